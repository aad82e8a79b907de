//! How long a session takes: a fresh process opens one with a node that has been up for a while and has a control thread.

use crate::machine::monotonic_ns;
use handfast::fabric::Address;
use handfast::fabric::verbs::Verbs;
use handfast::manager::{ClusterManager, ControlThread, Event, NodeConfig};
use std::error::Error;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Hidden first argument of this program.
pub(crate) const SESSION: &str = "rdma-session";

/// What was there before: nanoseconds from just before the library is first called.
pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [at, partner] = arguments else { return Err("arguments: AT PARTNER".into()) };
    let (at, partner): (Address, Address) = (at.parse()?, partner.parse()?);
    let config = NodeConfig::new("perf".parse()?, "a".parse()?, at, "b".parse()?, partner);
    let from = monotonic_ns();
    let mut manager = ClusterManager::boot(Verbs::new()?, config)?;
    manager.open();
    let booted = monotonic_ns();
    let began = Instant::now();
    while !matches!(manager.poll(), Some(Event::Established { .. })) {
        if began.elapsed() > Duration::from_secs(10) {
            return Err("no session within 10 s".into());
        }
    }
    let now = monotonic_ns();
    println!("{} {}", booted - from, now - from);
    manager.shut_down();
    Ok(())
}

/// The node it opens a session with.
pub(crate) fn serve(at: &Address, partner: &Address) -> Result<ControlThread, Box<dyn Error>> {
    let config = NodeConfig::new("perf".parse()?, "b".parse()?, at.clone(), "a".parse()?, partner.clone());
    let mut manager = ClusterManager::boot(Verbs::new()?, config)?;
    manager.open();
    Ok(manager.spawn()?)
}

/// Starts such a process: until it listened, and until its session stood, in nanoseconds.
pub(crate) fn measure(at: &Address, partner: &Address) -> Result<(u64, u64), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([SESSION, &at.to_string(), &partner.to_string()]).stdout(Stdio::piped()).stdin(Stdio::null());
    let output = command.output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (output.status.success(), numbers.next(), numbers.next()) {
        (true, Some(Ok(booted)), Some(Ok(established))) => Ok((booted, established)),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("a started process ended with {} and said: {text}{said}", output.status).into())
        }
    }
}
