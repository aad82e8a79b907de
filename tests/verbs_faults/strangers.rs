//! Strangers with a link of their own, while two nodes hold a session.

use crate::device::Device;
use crate::duo::{Duo, unique};
use crate::rig::Outcome;
use crate::under_test::{self, UnderTest};
use handfast::fabric::{Dial, DialPurpose, Domain, Fabric, Link, Port, Remote, RemoteDescriptor, WorkRequest};
use std::time::{Duration, Instant};

/// Polls both nodes until the stranger's dial is answered, or is not.
fn intrude(duo: &mut Duo, name: &str) -> Option<Link<UnderTest>> {
    let fabric = under_test::fabric();
    let mut dial = fabric.dial(&under_test::address(name, 0), DialPurpose::Session).expect("a dial");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(500) {
        match dial.poll() {
            Ok(Some(link)) => return Some(link),
            Ok(None) => duo.run_for(Duration::from_millis(1)),
            Err(_) => return None,
        }
    }
    None
}

/// Keys are easy to guess: those of the partner's link lie beside the stranger's own. Domains keep them apart.
#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn another_links_key_opens_nothing_and_the_session_goes_on() -> Outcome {
    let mut duo = Duo::new("strangers");
    let name = duo.name.clone();
    duo.start_both();
    duo.until_ready();
    let session = duo.node(0).manager.session();
    let mut tried = 0;
    for guess in 1..=8u64 {
        let Some(mut link) = intrude(&mut duo, &name) else { continue };
        let (_, own) = link.mailbox.as_ref().ok_or("no mailbox")?;
        let own = *own.descriptor();
        let guessed = RemoteDescriptor { key: own.key.wrapping_sub(guess * 0x100) & 0xffff_ffff, ..own };
        let remote = link.domain.import(&guessed)?;
        link.port.post_write_inline(WorkRequest::signalled(1), &[0xee; 8], &remote, 0)?;
        let mut completions = [handfast::fabric::Completion::default()];
        let began = Instant::now();
        while link.port.poll(&mut completions) == 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "no completion");
            duo.run_for(Duration::from_millis(1));
        }
        assert!(!completions[0].is_success(), "a guessed key opened something");
        tried += 1;
    }
    assert!(tried >= 4, "only {tried} strangers got a link");
    duo.run_for(Duration::from_millis(100));
    assert_eq!(duo.node(0).manager.session(), session, "the session did not last");
    assert!((0..2).all(|index| duo.node(index).clients[0].notes().lost.is_empty()));
    duo.check_words();
    Ok(())
}

/// Strangers that dial without pause and say nothing take no slot from the partner, and none from each other for ever.
#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn dials_without_pause_end_no_session() {
    let mut duo = Duo::new("dials");
    let name = duo.name.clone();
    duo.start_both();
    duo.until_ready();
    let session = duo.node(0).manager.session();
    let links: Vec<_> = (0..24).filter_map(|_| intrude(&mut duo, &name)).collect();
    assert!(!links.is_empty());
    duo.run_for(Duration::from_millis(50));
    assert_eq!(duo.node(0).manager.session(), session, "the session did not last");
    duo.check_words();
}

/// A request of another protocol at our port is refused, and nothing else happens.
#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn another_program_at_our_port_is_turned_away() {
    let mut duo = Duo::new(&unique("rping"));
    let name = duo.name.clone();
    duo.start_both();
    duo.until_ready();
    let handfast::fabric::Address::Rdma { host, port, .. } = under_test::address(&name, 0) else {
        panic!("no RDMA address")
    };
    let rping = std::process::Command::new("rping")
        .args(["-c", "-C", "1", "-a", &host.to_string(), "-p", &port.to_string()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut rping) = rping else {
        println!("SKIPPED: rping is not installed");
        return;
    };
    let began = Instant::now();
    while rping.try_wait().expect("a child").is_none() && began.elapsed() < Duration::from_secs(20) {
        duo.run_for(Duration::from_millis(10));
    }
    let _ = rping.kill();
    assert!(!rping.wait().expect("a child").success(), "rping got a connection");
    assert!(duo.node(0).clients[0].notes().lost.is_empty());
    duo.check_words();
    let _ = std::marker::PhantomData::<Device>;
}
