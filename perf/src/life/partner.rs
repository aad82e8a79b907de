//! The partner: a process of its own that holds the copy, until something happens to it.
//!
//! It says `ready` once its own log is mirrored too. On `exec` it says when, and becomes another
//! program. It ends with its standard input.

use crate::life::node::{self, Node, Place};
use crate::life::sys;
use crate::life::way::Way;
use crate::machine;
use crate::nodes::Side;
use handfast::clients::mirrored_log::{LogEvent, Pace};
use handfast::fabric::Fabric;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Hidden first argument of this program.
pub(crate) const PEER: &str = "life-peer";

/// How long the other process may take for its start.
const PATIENCE: Duration = Duration::from_secs(30);

/// From the close of a process's output to that of its last descriptor.
const CLOSES: Duration = Duration::from_millis(5);

/// The program that the partner becomes, and how long it runs at most.
const OTHER_PROGRAM: (&str, &str) = ("sleep", "60");

/// Runs in the partner's process.
pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [way, place, processor, heap] = arguments else {
        return Err("arguments: WAY PLACE PROCESSOR HEAP".into());
    };
    let way = Way::of(way).ok_or("no such way")?;
    machine::pin(processor.parse()?)?;
    let heap = heap_of(heap.parse()?);
    if way == Way::Core {
        sys::allow_core()?;
    }
    let place = Place::parse(place)?;
    node::on_fabric!(&place, fabric => serve(fabric, &place, way))?;
    drop(std::hint::black_box(heap));
    Ok(())
}

/// Plain memory with something in every page.
fn heap_of(bytes: usize) -> Vec<u8> {
    vec![0xA1; bytes]
}

fn serve<F: Fabric>(fabric: F, place: &Place, way: Way) -> Result<(), Box<dyn Error>> {
    let Node { manager, log: _log, poller } = Node::boot(fabric, place, Side::B)?;
    let manager = manager.spawn()?;
    let poller = poller.spawn(Pace::default())?;
    let began = Instant::now();
    loop {
        match poller.events().recv_timeout(PATIENCE.saturating_sub(began.elapsed()))? {
            LogEvent::Mirrored { .. } => break,
            LogEvent::Ended(why) => return Err(why.into()),
            _ => {}
        }
    }
    if way == Way::Fork {
        sys::fork_child()?;
    }
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        if line? == "exec" {
            say(&machine::monotonic_ns().to_string())?;
            let (program, argument) = OTHER_PROGRAM;
            return Err(Command::new(program).arg(argument).exec().into());
        }
    }
    drop((poller, manager));
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// The partner as the measuring process holds it: dropped, it ends, and so does what it forked.
pub(crate) struct Partner {
    /// Its process.
    pub(crate) process: Child,
    heard: Receiver<String>,
}

impl Partner {
    /// Starts it in this folder, with so many bytes of plain memory.
    pub(crate) fn start(
        way: Way,
        place: &Place,
        processor: usize,
        (folder, heap_bytes): (&Path, usize),
    ) -> Result<Self, Box<dyn Error>> {
        let heap = if way == Way::Core { heap_bytes } else { 0 };
        let mut command = Command::new(std::env::current_exe()?);
        command.args([PEER, way.name(), &place.to_string()]).arg(processor.to_string());
        command.arg(heap.to_string()).current_dir(folder);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().ok_or("the partner has no output")?;
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Ok(Self { process, heard })
    }

    /// What it has said since, if anything.
    pub(crate) fn heard(&self) -> Option<String> {
        self.heard.try_recv().ok()
    }

    /// Has it become another program; when it did.
    pub(crate) fn exec(&mut self) -> Result<u64, Box<dyn Error>> {
        let stdin = self.process.stdin.as_mut().ok_or("the partner has no input")?;
        stdin.write_all(b"exec\n")?;
        Ok(self.heard.recv_timeout(PATIENCE)?.parse()?)
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // A forked child ends with the input that it inherited, and holds the address till then.
        self.process.stdin = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
        let began = Instant::now();
        // Nobody has the output open any more once both are gone.
        while self.heard.recv_timeout(PATIENCE.saturating_sub(began.elapsed())).is_ok() {}
        std::thread::sleep(CLOSES);
    }
}
