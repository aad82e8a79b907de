//! One round: a fresh partner, a log that flows, the end of the partner, and how long acknowledgements went on.

use crate::life::node::{Node, Place};
use crate::life::partner::Partner;
use crate::life::sys;
use crate::life::watch::Watch;
use crate::life::way::{Manager, Row, Way};
use crate::machine::monotonic_ns;
use crate::nodes::Side;
use handfast::fabric::Fabric;
use handfast::manager::{ClusterManager, ControlThread};
use std::error::Error;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How long both nodes may take until the log flows; 2 GiB take some seconds to be touched.
const START_MAX: Duration = Duration::from_secs(30);
/// The log flows so long before anything happens.
const SETTLE: Duration = Duration::from_millis(30);
/// It flows where it rose within this.
const FLOWS: Duration = Duration::from_millis(1);
/// How long it may take to flow again after that moment.
const FLOWS_MAX: Duration = Duration::from_millis(500);
/// Without a rise for so long, once the partner is gone, the round is over.
const QUIET: Duration = Duration::from_millis(300);
/// And after this in any case.
const RISES_MAX: Duration = Duration::from_secs(3);
/// A core dump may take so long.
const DUMP_MAX: Duration = Duration::from_secs(120);
/// How long a partner that runs on may take until acknowledgements go on.
const RESUME_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_micros(200);

/// What both processes are given.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Where the nodes listen.
    pub(crate) place: Place,
    /// The processors of the measuring thread and of the partner.
    pub(crate) processors: (usize, usize),
    /// Where core dumps go.
    pub(crate) folder: PathBuf,
    /// The plain memory of a partner that dumps core.
    pub(crate) heap_bytes: usize,
}

/// What a round yields; times in nanoseconds from just before the signal (or the exec).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// The last rise of `mirrored`: after the poll that brought it.
    pub(crate) last_ns: i64,
    /// Before that poll.
    pub(crate) polled_ns: i64,
    /// When the kernel said that the partner is gone, or stopped.
    pub(crate) gone_ns: Option<i64>,
    /// From SIGCONT to the next rise; none where it is not asked for, or did not come.
    pub(crate) resumed_ns: Option<i64>,
    /// Bytes of the core file.
    pub(crate) core_bytes: u64,
}

/// Our manager, while the round lasts.
enum Held<F: Fabric> {
    Thread { _thread: ControlThread },
    Unpolled(Box<ClusterManager<F>>),
}

impl<F: Fabric> Held<F> {
    /// Does what is due where nobody else does.
    fn poll(&mut self) {
        if let Self::Unpolled(manager) = self {
            while manager.poll().is_some() {}
        }
    }
}

fn since(from: u64, to: u64) -> i64 {
    to.wrapping_sub(from).cast_signed()
}

/// Makes one.
pub(crate) fn run<F: Fabric>(fabric: F, row: Row, setting: &Setting) -> Result<Sample, Box<dyn Error>> {
    let (here, there) = setting.processors;
    let heap = (setting.folder.as_path(), setting.heap_bytes);
    let mut partner = Partner::start(row.way, &setting.place, there, heap)?;
    let node = Node::boot(fabric, &setting.place, Side::A)?;
    let mut manager = match row.manager {
        Manager::Thread => Held::Thread { _thread: node.manager.spawn()? },
        Manager::Unpolled => Held::Unpolled(Box::new(node.manager)),
    };
    let watch = Watch::start(node.log, node.poller, here)?;
    flow(&mut manager, &watch, &mut partner)?;
    let (from, mut gone) = (strike(row.way, &mut partner)?, None);
    let status = quiet(row.way, &watch, &mut partner, from, &mut gone)?;
    let (last_ns, polled_ns) = (since(from, watch.rose_ns()), since(from, watch.polled_ns()));
    let mut sample = Sample { last_ns, polled_ns, gone_ns: gone, resumed_ns: None, core_bytes: 0 };
    if row.way == Way::Stop {
        sample.resumed_ns = resume(&mut manager, &watch, &partner)?;
    }
    if row.way == Way::Core && status.is_some_and(|status| status.core_dumped()) {
        sample.core_bytes = take_core(&setting.folder)?;
    }
    if !watch.is_running() {
        return Err("the log ended while it was watched".into());
    }
    drop((watch, partner, manager));
    Ok(sample)
}

/// Until records are acknowledged both ways, and a moment longer.
fn flow<F: Fabric>(manager: &mut Held<F>, watch: &Watch, partner: &mut Partner) -> Result<(), Box<dyn Error>> {
    let (began, mut is_ready) = (Instant::now(), false);
    while !(is_ready && watch.wholes() > 0 && watch.rose_ns() > 0) {
        manager.poll();
        is_ready |= partner.heard().is_some();
        if let Some(status) = partner.process.try_wait()? {
            return Err(format!("the partner ended before the log flowed: {status}").into());
        }
        if began.elapsed() > START_MAX {
            return Err(format!("the log did not flow in time: {}", watch.story()).into());
        }
        std::thread::sleep(LOOK);
    }
    std::thread::sleep(SETTLE);
    // On a busy machine either process may lack a processor just now.
    let began = Instant::now();
    while since(watch.rose_ns(), monotonic_ns()) > FLOWS.as_nanos() as i64 {
        if began.elapsed() > FLOWS_MAX {
            return Err(format!("the log stood still before anything happened: {}", watch.story()).into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Does it; the moment just before.
fn strike(way: Way, partner: &mut Partner) -> Result<u64, Box<dyn Error>> {
    let process = partner.process.id();
    let signal = match way {
        Way::Kill | Way::Fork => sys::SIGKILL,
        Way::Core => sys::SIGABRT,
        Way::Stop => sys::SIGSTOP,
        Way::Exec => return partner.exec(),
    };
    let from = monotonic_ns();
    sys::signal(process, signal)?;
    Ok(from)
}

/// Until the partner is gone (or stopped) and `mirrored` has not risen for a while.
fn quiet(
    way: Way,
    watch: &Watch,
    partner: &mut Partner,
    from: u64,
    gone: &mut Option<i64>,
) -> Result<Option<ExitStatus>, Box<dyn Error>> {
    let (began, mut gone_at, mut status) = (Instant::now(), None, None);
    loop {
        if gone_at.is_none() {
            let process = partner.process.id();
            let is_gone = match way {
                Way::Exec => true,
                Way::Stop => sys::is_stopped(process)?,
                Way::Kill | Way::Core | Way::Fork => {
                    status = partner.process.try_wait()?;
                    status.is_some()
                }
            };
            if is_gone {
                *gone = (way != Way::Exec).then(|| since(from, monotonic_ns()));
                gone_at = Some(Instant::now());
            }
        }
        match gone_at {
            None if began.elapsed() > DUMP_MAX => {
                return Err("the partner did not end in time".into());
            }
            Some(at) if at.elapsed() > RISES_MAX => return Ok(status),
            Some(at) if at.elapsed() > QUIET => {
                let age = since(watch.rose_ns(), monotonic_ns());
                if age > QUIET.as_nanos() as i64 {
                    return Ok(status);
                }
            }
            _ => {}
        }
        std::thread::sleep(LOOK);
    }
}

/// SIGCONT; how long until acknowledgements go on, in this session or in the next one.
fn resume<F: Fabric>(manager: &mut Held<F>, watch: &Watch, partner: &Partner) -> Result<Option<i64>, Box<dyn Error>> {
    let (began, from) = (Instant::now(), monotonic_ns());
    sys::signal(partner.process.id(), sys::SIGCONT)?;
    while began.elapsed() < RESUME_MAX {
        manager.poll();
        let rose = watch.rose_ns();
        if rose > from {
            return Ok(Some(since(from, rose)));
        }
        std::thread::sleep(LOOK);
    }
    Ok(None)
}

/// Removes what was dumped into a folder; how much it was.
fn take_core(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += entry.metadata()?.len();
        std::fs::remove_file(entry.path())?;
    }
    Ok(bytes)
}
