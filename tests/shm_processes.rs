//! The shm fabric between processes that are killed and stopped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use handfast::fabric::shm::{Shm, ShmEndpoint, ShmPort};
use handfast::fabric::{
    Address, Completion, Dial, DialPurpose, Domain, Endpoint, EndpointEvent, Fabric, FabricError, Link, LinkMonitor,
    LinkSlot, PageSizes, Port, WorkCompletionStatus, WorkRequest,
};
use handfast::memory::{Buffer, Region};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const SIZES: PageSizes = PageSizes { status: 4096, mailbox: 4096 };
const LIMIT: Duration = Duration::from_secs(20);
const ROLE: &str = "HANDFAST_TEST_ROLE";
const ADDRESS: &str = "HANDFAST_TEST_ADDRESS";

/// Another process, running [`other_process`]; killed at the latest when the test ends.
struct Other {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Other {
    fn start(role: &str, address: &Address) -> Fallible<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", "other_process", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ADDRESS, address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, lines })
    }
    /// Waits for a line that ends so.
    fn says(&mut self, expected: &str) -> Outcome {
        let mut line = String::new();
        while self.lines.read_line(&mut line)? != 0 {
            if line.trim_end().ends_with(expected) {
                return Ok(());
            }
            line.clear();
        }
        Err(format!("the other process ended without saying `{expected}`").into())
    }
    fn signal(&self, name: &str) -> Outcome {
        let done = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status()?;
        if done.success() { Ok(()) } else { Err("no signal sent".into()) }
    }
    /// Stops it, and waits until all of it stands still.
    fn stop(&self) -> Outcome {
        self.signal("STOP")?;
        until("the other process to stop", || {
            for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
                let stat = std::fs::read_to_string(task?.path().join("stat"))?;
                if !stat.rsplit(") ").next().is_some_and(|state| state.starts_with('T')) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }
    fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
    /// Lets it end by itself.
    fn end(mut self) -> Outcome {
        drop(self.child.stdin.take());
        if self.child.wait()?.success() { Ok(()) } else { Err("the other process failed".into()) }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(test: &str) -> Fallible<Address> {
    Ok(format!("shm://processes.{test}.{}:1", std::process::id()).parse()?)
}

fn file(address: &Address) -> PathBuf {
    match address {
        Address::Shm { name, port } => PathBuf::from(format!("/dev/shm/handfast.{name}.{port}")),
        _ => panic!("a shm address"),
    }
}

fn until<T>(what: &str, mut done: impl FnMut() -> Fallible<Option<T>>) -> Fallible<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = done()? {
            return Ok(value);
        }
        if begun.elapsed() > LIMIT {
            return Err(format!("waited {LIMIT:?} in vain: {what}").into());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn dialled(to: &Address, purpose: DialPurpose) -> Fallible<Link<Shm>> {
    let mut dial = Shm::new().dial(to, purpose)?;
    until("a link", || Ok(dial.poll()?))
}

fn dial_error(to: &Address, purpose: DialPurpose) -> Fallible<FabricError> {
    let mut dial = Shm::new().dial(to, purpose)?;
    until("a dial to fail", || match dial.poll() {
        Ok(None) => Ok(None),
        Ok(Some(_)) => Err("a link to nobody".into()),
        Err(error) => Ok(Some(error)),
    })
}

fn complete(port: &mut ShmPort) -> Fallible<Completion> {
    until("a completion", || {
        let mut done = [Completion::default()];
        let count = port.poll(&mut done);
        let [done] = done;
        Ok((count == 1).then_some(done))
    })
}

fn buffer(link: &Link<Shm>, bytes: usize) -> Fallible<Buffer> {
    Ok(link.domain.buffer(Region::builder(4096).pinned(false).build()?)?.split_at(bytes).0)
}

/// The first word of the status block.
fn read_status(link: &mut Link<Shm>) -> Fallible<u64> {
    let into = buffer(link, 8)?;
    link.port.post_read(WorkRequest::signalled(1), into, &link.status, 0)?;
    let done = complete(&mut link.port)?;
    assert!(done.is_success(), "{done:?}");
    let bytes = done.buffer.ok_or("no buffer")?;
    Ok(u64::from_ne_bytes(bytes.as_slice().try_into()?))
}

fn slot(number: u8) -> LinkSlot {
    LinkSlot::new(number).expect("a slot")
}

fn incoming(endpoint: &mut ShmEndpoint) -> Fallible<handfast::fabric::Incoming> {
    until("a dial", || match endpoint.poll() {
        None => Ok(None),
        Some(EndpointEvent::Incoming(incoming)) => Ok(Some(incoming)),
        Some(other) => Err(format!("unexpected: {other:?}").into()),
    })
}

/// What the other process does. Not a test by itself.
#[test]
#[ignore = "started by the other tests"]
fn other_process() -> Outcome {
    let (role, to) = (std::env::var(ROLE)?, std::env::var(ADDRESS)?.parse::<Address>()?);
    std::thread::spawn(|| {
        // Our starter is gone, or wants us to end.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        END.store(true, Ordering::Relaxed);
    });
    match role.as_str() {
        "listen" => serve(&to),
        "dial" => {
            let mut dial = Shm::new().dial(&to, DialPurpose::Session)?;
            let _ = dial.poll()?;
            println!("\ndialled");
            let mut link = until("a link", || Ok(dial.poll()?))?;
            let (_, mailbox) = link.mailbox.clone().ok_or("no mailbox")?;
            link.port.post_write_inline(WorkRequest::signalled(1), &77u64.to_ne_bytes(), &mailbox, 0)?;
            assert!(complete(&mut link.port)?.is_success());
            println!("\nwritten");
            until("the end", || Ok(END.load(Ordering::Relaxed).then_some(())))
        }
        other => Err(format!("no such role: {other}").into()),
    }
}

static END: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Listens, counts in its status block, and accepts whoever comes.
fn serve(at: &Address) -> Outcome {
    let mut endpoint = Shm::new().listen(at, SIZES)?;
    endpoint.status().store(0, 41, Ordering::Release)?;
    println!("\nready");
    let mut next = 0;
    while !END.load(Ordering::Relaxed) {
        match endpoint.poll() {
            Some(EndpointEvent::Incoming(incoming)) => {
                endpoint.close(slot(next));
                endpoint.accept(incoming, slot(next))?;
                next = (next + 1) % 4;
            }
            Some(EndpointEvent::Closed(slot, _)) => endpoint.close(slot),
            Some(other) => return Err(format!("unexpected: {other:?}").into()),
            None => std::thread::sleep(Duration::from_micros(100)),
        }
        endpoint.status().fetch_add(8, 1, Ordering::Relaxed)?;
    }
    Ok(())
}

#[test]
fn a_killed_owner_is_noticed_and_its_leftovers_are_cleaned() -> Outcome {
    let at = address("killed")?;
    let mut owner = Other::start("listen", &at)?;
    owner.says("ready")?;
    let mut link = dialled(&at, DialPurpose::Session)?;
    let mut watching = dialled(&at, DialPurpose::Observe)?;
    assert_eq!(read_status(&mut link)?, 41);
    assert!(link.monitor.check().is_ok() && watching.monitor.check().is_ok());

    let busy = Shm::new().listen(&at, SIZES).err().ok_or("two listeners")?;
    assert_eq!(busy, FabricError::AddressInUse { address: at.clone(), process: Some(owner.child.id()) });

    owner.kill()?;
    let lost = link.monitor.check().err().ok_or("the dead seem alive")?;
    assert!(matches!(&lost, FabricError::LinkLost { detail, .. } if detail.contains("has ended")), "{lost}");
    assert!(watching.monitor.check().is_err());
    // Memory of the dead can still be read, but nothing is called done there.
    let into = buffer(&link, 8)?;
    link.port.post_read(WorkRequest::signalled(1), into, &link.status, 0)?;
    assert_eq!(complete(&mut link.port)?.status, WorkCompletionStatus::RetryExceeded);
    for purpose in [DialPurpose::Session, DialPurpose::Observe] {
        let error = dial_error(&at, purpose)?;
        assert!(matches!(&error, FabricError::NotListening { detail, .. } if detail.contains("gone")), "{error}");
    }
    assert!(file(&at).exists(), "a killed process leaves its file");
    let endpoint = Shm::new().listen(&at, SIZES)?;
    assert!(!matches!(dialled(&at, DialPurpose::Observe)?.monitor.check(), Err(FabricError::LinkLost { .. })));
    drop(endpoint);
    assert!(!file(&at).exists());
    Ok(())
}

#[test]
fn a_process_that_ends_well_leaves_nothing() -> Outcome {
    let at = address("well")?;
    let mut owner = Other::start("listen", &at)?;
    owner.says("ready")?;
    let mut link = dialled(&at, DialPurpose::Session)?;
    assert!(file(&at).exists());
    owner.end()?;
    assert!(!file(&at).exists());
    let error = dial_error(&at, DialPurpose::Session)?;
    assert_eq!(error, FabricError::NotListening { address: at, detail: String::new() });
    assert!(link.monitor.check().is_err());
    let (_, mailbox) = link.mailbox.clone().ok_or("no mailbox")?;
    link.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &mailbox, 0)?;
    assert!(!complete(&mut link.port)?.is_success(), "its port was closed before it ended");
    Ok(())
}

#[test]
fn a_stopped_owner_is_read_and_its_door_is_open_again_when_it_goes_on() -> Outcome {
    let at = address("stopped")?;
    let mut owner = Other::start("listen", &at)?;
    owner.says("ready")?;
    let mut link = dialled(&at, DialPurpose::Session)?;
    owner.stop()?;
    assert_eq!(read_status(&mut link)?, 41);
    assert_eq!(read_status(&mut dialled(&at, DialPurpose::Observe)?)?, 41);
    assert!(link.monitor.check().is_ok(), "a stopped process is not a dead one");
    let mut dial = Shm::new().dial(&at, DialPurpose::Session)?;
    for _ in 0..100 {
        assert!(dial.poll()?.is_none(), "nobody is there to accept");
        std::thread::sleep(Duration::from_micros(100));
    }
    owner.signal("CONT")?;
    let mut second = until("the accept", || Ok(dial.poll()?))?;
    assert_eq!(read_status(&mut second)?, 41);
    owner.end()
}

#[test]
fn a_killed_dialler_is_noticed_and_what_it_wrote_stays() -> Outcome {
    let at = address("dialler")?;
    let mut endpoint = Shm::new().listen(&at, SIZES)?;
    let mut dialler = Other::start("dial", &at)?;
    let first = incoming(&mut endpoint)?;
    endpoint.accept(first, slot(2))?;
    dialler.says("written")?;
    assert_eq!(endpoint.poll(), None);
    dialler.kill()?;
    let event = until("the end of the link", || Ok(endpoint.poll()))?;
    let EndpointEvent::Closed(closed, error) = event else { return Err(format!("unexpected: {event:?}").into()) };
    assert_eq!(closed, slot(2));
    assert!(matches!(&error, FabricError::LinkLost { detail, .. } if detail.contains("has ended")), "{error}");
    let mailbox = endpoint.mailbox(slot(2)).ok_or("no mailbox")?;
    assert_eq!(mailbox.load(0, Ordering::Acquire)?, 77);
    assert_eq!(endpoint.poll(), None, "told once");
    endpoint.close(slot(2));

    let mut dialler = Other::start("dial", &at)?;
    let again = incoming(&mut endpoint)?;
    endpoint.accept(again, slot(2))?;
    dialler.says("written")?;
    drop(endpoint);
    assert!(!file(&at).exists());
    Ok(())
}

#[test]
fn diallers_that_die_at_the_door_do_not_block_it() -> Outcome {
    let at = address("door")?;
    let mut endpoint = Shm::new().listen(&at, SIZES)?;
    // As many as the door has cells.
    let mut diallers = Vec::new();
    for _ in 0..8 {
        let mut dialler = Other::start("dial", &at)?;
        dialler.says("dialled")?;
        diallers.push(dialler);
    }
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(incoming(&mut endpoint)?);
    }
    let mut dial = Shm::new().dial(&at, DialPurpose::Session)?;
    for _ in 0..20 {
        assert!(dial.poll()?.is_none(), "the door is full");
        assert_eq!(endpoint.poll(), None);
    }
    diallers.iter_mut().try_for_each(Other::kill)?;
    for dead in waiting.into_iter().take(4) {
        let error = endpoint.accept(dead, slot(0)).err().ok_or("accepted the dead")?;
        assert!(matches!(error, FabricError::LinkLost { .. }), "{error}");
    }
    let next = until("a free cell", || {
        assert!(dial.poll()?.is_none());
        match endpoint.poll() {
            Some(EndpointEvent::Incoming(incoming)) => Ok(Some(incoming)),
            Some(other) => Err(format!("unexpected: {other:?}").into()),
            None => Ok(None),
        }
    })?;
    endpoint.accept(next, slot(0))?;
    until("the link", || Ok(dial.poll()?))?;
    Ok(())
}
