//! How long a session takes: a fresh process opens one with a node that has been up for a while and has a control thread.

use crate::machine::{self, monotonic_ns};
use crate::rdma::pipe::Pipe;
use crate::rdma::{beside, rows, started};
use handfast::fabric::Address;
use handfast::fabric::verbs::Verbs;
use handfast::manager::{ClusterManager, Event, NodeConfig};
use std::error::Error;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Hidden first arguments of this program.
pub(crate) const SESSION: &str = "rdma-session";
/// See [`SESSION`].
pub(crate) const PARTNER: &str = "rdma-partner";

fn manager(node: &str, at: &str, other: &str, partner_at: &str) -> Result<ClusterManager<Verbs>, Box<dyn Error>> {
    let (at, partner_at): (Address, Address) = (at.parse()?, partner_at.parse()?);
    let fabric = Verbs::new()?;
    let config = NodeConfig::new("perf".parse()?, node.parse()?, at, other.parse()?, partner_at);
    let mut manager = ClusterManager::boot(fabric, config)?;
    manager.open();
    Ok(manager)
}

/// The fresh process: microseconds until its page was published and until its session stood. The libraries are loaded before, as `cmtime`
/// has them when its clock starts.
pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [at, partner] = arguments else { return Err("arguments: AT PARTNER".into()) };
    Verbs::new()?;
    let from = monotonic_ns();
    let mut manager = manager("a", at, "b", partner)?;
    let booted = monotonic_ns();
    let began = Instant::now();
    while !matches!(manager.poll(), Some(Event::Established { .. })) {
        if began.elapsed() > Duration::from_secs(10) {
            return Err("no session within 10 s".into());
        }
    }
    let now = monotonic_ns();
    println!("{} {}", (booted - from) / 1000, (now - from) / 1000);
    manager.shut_down();
    Ok(())
}

/// The node it opens a session with: until its pipe ends.
pub(crate) fn partner(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [at, partner, processor] = arguments else { return Err("arguments: AT PARTNER PROCESSOR".into()) };
    machine::pin(processor.parse()?)?;
    let thread = manager("b", at, "a", partner)?.spawn()?;
    let mut pipe = Pipe::of_standard_streams();
    pipe.say("serving")?;
    pipe.hear()?;
    thread.leave();
    Ok(())
}

/// So many sessions one after the other: median and 99 % of what each took, microseconds.
pub(crate) fn measure(at: &Address, turns: u64, processors: (usize, usize)) -> Result<(f64, f64), Box<dyn Error>> {
    let (at, there) = (beside(at, 2)?.to_string(), beside(at, 3)?.to_string());
    let mut command = Command::new(std::env::current_exe()?);
    command.args([PARTNER, &there, &at, &processors.1.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let (to, from) = (child.stdin.take().ok_or("no pipe")?, child.stdout.take().ok_or("no pipe")?);
    let mut pipe = Pipe::new(from, to);
    if pipe.hear()? != "serving" {
        return Err("the partner does not serve".into());
    }
    let mut tenths = Vec::new();
    for _ in 0..turns {
        let (booted, established) = started(SESSION, &[at.clone(), there.clone()])?;
        eprintln!("session: {booted} us to listen, {established} us to stand");
        tenths.push((established * 1e4) as u64);
    }
    pipe.say("leave")?;
    child.wait()?;
    rows::quoted(&tenths)
}
