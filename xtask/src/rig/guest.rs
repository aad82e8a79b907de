//! One guest: a QEMU process, its console, and how its script ended.

use super::prepare::Boot;
use crate::counts::{Counts, Reader};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

const TAIL_LINES: usize = 30;

/// How a guest ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Status(i32),
    /// The kernel gave up or killed for want of memory: its own line.
    Kernel(String),
    /// The deadline passed.
    Hang,
    /// QEMU ended, and the script had not.
    Vanished,
}

/// Ends QEMU whichever way the run is left. `setpriv` execs QEMU and has the kernel end it should xtask be killed.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a guest, runs the script, prints its console.
pub(super) fn run(boot: &Boot, script: &Path, deadline: Duration) -> io::Result<(End, Counts)> {
    let mut machine = Machine(qemu(boot, script).spawn()?);
    let console = machine.0.stdout.take().ok_or_else(|| io::Error::other("QEMU has no console"))?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()).is_err() {
                return;
            }
        }
    });
    let (until, mut tail, mut reader) = (Instant::now() + deadline, VecDeque::new(), Reader::default());
    let mut kernel = None;
    let end = loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if reader.line(&line) {
                    println!("a| {line}");
                }
                let said = verdict(&line);
                if tail.len() == TAIL_LINES {
                    tail.pop_front();
                }
                tail.push_back(line);
                match said {
                    Some(End::Kernel(line)) => drop(kernel.get_or_insert(line)),
                    Some(end) => break end,
                    None => {}
                }
            }
            Err(RecvTimeoutError::Timeout) => break End::Hang,
            Err(RecvTimeoutError::Disconnected) => break End::Vanished,
        }
    };
    let end = kernel.map_or(end, End::Kernel);
    if !matches!(end, End::Status(_)) {
        println!("-- {end:?}; the last lines of the console:");
        tail.iter().for_each(|line| println!("   {line}"));
    }
    Ok((end, Reader::total(&[reader])))
}

fn qemu(boot: &Boot, script: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "2",
    ]);
    command.args([
        "-m",
        "1536",
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "stdio",
        "-no-reboot",
        "-nic",
        "none",
    ]);
    command.arg("-kernel").arg(&boot.kernel).arg("-initrd").arg(&boot.initrd);
    command.args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]);
    command.args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host", "-append"]);
    command.arg(format!("console=ttyS0 quiet panic=-1 mitigations=off ADDRESS=10.9.0.1 SCRIPT={}", script.display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// What a line of the console decides.
fn verdict(line: &str) -> Option<End> {
    if let Some(status) = line.strip_prefix("rig: status ") {
        return status.trim().parse().ok().map(End::Status);
    }
    let signs = ["Kernel panic", "Out of memory: Killed process", "BUG: ", "Oops: "];
    signs.iter().any(|sign| line.contains(sign)).then(|| End::Kernel(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_whole() {
        assert_eq!(verdict("rig: status 0"), Some(End::Status(0)));
        assert_eq!(verdict("rig: status 101"), Some(End::Status(101)));
        assert_eq!(verdict("rig: status x"), None);
        assert_eq!(verdict("echo rig: status 0"), None);
    }

    #[test]
    fn the_kernels_troubles_are_told() {
        let line = "[    3.1] Kernel panic - not syncing: Attempted to kill init!";
        assert_eq!(verdict(line), Some(End::Kernel(line.to_owned())));
        assert_eq!(verdict("test panics_are_caught ... ok"), None);
    }
}
