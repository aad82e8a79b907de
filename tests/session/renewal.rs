//! Ports that one bad request ended, and that are had anew while the session goes on.

use crate::duo::Duo;
use crate::process::node::{Shared, buffer_of, next_completion, text_here, write_by};
use handfast::fabric::{Port, PortState, WorkCompletionStatus, WorkRequest};
use handfast::session::RenewalError;
use std::time::Duration;

const CLIENTS: [(&str, u16, u64); 2] = [("log", 2, 8192), ("monitor", 1, 8192)];
const LOG: usize = 0;
const MONITOR: usize = 1;

fn ready(title: &str) -> Duo {
    let mut duo = Duo::new(title);
    duo.clients = CLIENTS.to_vec();
    duo.configure(|_, config| {
        let mut timing = handfast::session::Timing::default();
        timing.retry_max = Duration::from_micros(100);
        config.timing(timing)
    });
    duo.start_both();
    duo.until_ready();
    duo
}

fn client(duo: &Duo, node: usize, client: usize) -> Shared {
    duo.node(node).clients[client].clone()
}

/// A misaligned atomic, which ends its port.
fn spoil(of: &Shared, index: usize) {
    let mut notes = of.notes();
    let notes = &mut *notes;
    let session = notes.session.as_ref().expect("a session");
    let (port, grant) = (&mut notes.ports[index], session.grant().expect("a grant"));
    let into = buffer_of(session, &[0; 8]).expect("a buffer");
    port.post_fetch_add(WorkRequest::signalled(7), into, grant, 4, 1).expect("posted");
    let completion = next_completion(port).expect("a completion");
    assert_eq!(completion.status, WorkCompletionStatus::RemoteInvalidRequest);
    assert_eq!(port.state(), PortState::Error);
}

fn ask(of: &Shared, index: u16) -> Result<(), RenewalError> {
    of.notes().session.as_ref().expect("a session").renew_port(index)
}

/// How often a client was given this port anew.
fn times(of: &Shared, index: u16) -> usize {
    let notes = of.notes();
    let given = notes.renewed.iter().map(|(index, outcome)| (*index, outcome.clone()));
    given.filter(|given| *given == (index, Ok(()))).count()
}

fn until_renewed(duo: &mut Duo, which: usize, index: u16, count: usize) {
    duo.until("a new port on both nodes", |duo| (0..2).all(|node| times(&client(duo, node, which), index) == count));
}

/// Every port of every client, both ways, within the first session.
fn check_all(duo: &Duo, title: &str) {
    for node in 0..2 {
        for (which, (name, ports, _)) in CLIENTS.into_iter().enumerate() {
            for index in 0..usize::from(ports) {
                let words = format!("{title}: {name} {index} of {node}");
                write_by(&client(duo, node, which), index, &words).expect("written");
                assert_eq!(text_here(&client(duo, 1 - node, which)).as_ref(), Ok(&words));
            }
            let notes = duo.node(node).clients[which].notes();
            assert_eq!((notes.ready, notes.lost.len()), (1, 0), "the session did not last");
        }
    }
}

pub(crate) fn a_port_that_a_bad_request_ended_is_had_anew() {
    for asks in [0, 1] {
        let mut duo = ready("renewed");
        let session = duo.node(0).manager.session();
        spoil(&client(&duo, 0, LOG), 1);
        // The others go on, and so does the session.
        duo.run_for(Duration::from_millis(20));
        for node in 0..2 {
            write_by(&client(&duo, node, LOG), 0, "the other port").expect("written");
            write_by(&client(&duo, node, MONITOR), 0, "the other client").expect("written");
        }
        ask(&client(&duo, asks, LOG), 1).expect("asked");
        until_renewed(&mut duo, LOG, 1, 1);
        check_all(&duo, "renewed");
        assert_eq!([0, 1].map(|node| duo.node(node).manager.session()), [session; 2]);
    }
}

pub(crate) fn ports_asked_for_by_both_at_once_come_once() {
    let mut duo = ready("both");
    spoil(&client(&duo, 0, LOG), 0);
    spoil(&client(&duo, 1, LOG), 1);
    spoil(&client(&duo, 1, MONITOR), 0);
    for (node, which, index) in [(0, LOG, 0), (0, MONITOR, 0), (1, LOG, 1), (1, LOG, 0), (1, LOG, 0)] {
        ask(&client(&duo, node, which), index).expect("asked");
    }
    for (which, index) in [(LOG, 0), (LOG, 1), (MONITOR, 0)] {
        until_renewed(&mut duo, which, index, 1);
    }
    check_all(&duo, "both");
    duo.run_for(Duration::from_millis(30));
    for node in 0..2 {
        let given = [LOG, MONITOR].map(|which| duo.node(node).clients[which].notes().renewed.len());
        assert_eq!(given, [2, 1], "a port came twice");
    }
    check_all(&duo, "still");
}

pub(crate) fn a_port_is_had_anew_again_and_again() {
    let mut duo = ready("again");
    for round in 1..=30 {
        spoil(&client(&duo, round % 2, LOG), 1);
        ask(&client(&duo, round / 2 % 2, LOG), 1).expect("asked");
        until_renewed(&mut duo, LOG, 1, round);
        check_all(&duo, "again");
    }
    // A healthy one too.
    ask(&client(&duo, 0, MONITOR), 0).expect("asked");
    until_renewed(&mut duo, MONITOR, 0, 1);
    check_all(&duo, "healthy");
}

pub(crate) fn a_port_that_cannot_be_had_anew_is_an_error_value() {
    let mut duo = ready("refused");
    let refused = Err(RenewalError::NoSuchPort { index: 2, ports: 2 });
    assert_eq!(ask(&client(&duo, 0, LOG), 2), refused);
    let session = client(&duo, 0, LOG).notes().session.take().expect("a session");
    duo.stop_without_leaving(1);
    duo.until("the session ends", |_| !session.is_live());
    assert_eq!(session.renew_port(0), Err(RenewalError::Ended));
}
