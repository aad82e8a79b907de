//! One guest: a QEMU process, its console, and how its script ended.

use super::prepare::Boot;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Status(i32),
    /// The kernel gave up or killed for want of memory: its own line.
    Kernel(String),
    /// The deadline passed.
    Hang,
    /// QEMU ended, and the script had not.
    Vanished,
}

/// One end of the wire between two guests: UDP ports of this machine's loopback.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire {
    pub(super) own: u16,
    pub(super) other: u16,
}

/// A guest to be booted.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    /// `a` or `b`: begins every line of its console, and says its address, 10.9.0.1 or 10.9.0.2.
    pub(super) name: char,
    pub(super) script: PathBuf,
    /// None: alone, with a device on a pair of virtual Ethernet ends.
    pub(super) wire: Option<Wire>,
    /// An image of a disk, which the guest has as /dev/vda.
    pub(super) disk: Option<Arc<Image>>,
}

const IMAGE_BYTES: u64 = 64 << 20;

/// Lines of a script that mount an image, and tell tests of it.
pub(super) const MOUNT: &str =
    "mkdir -p /run/disk && mount -t ext4 /dev/vda /run/disk\nexport HANDFAST_DISK=/run/disk\n";

/// A disk with an empty file system, in a file that is gone with this.
#[derive(Debug)]
pub(super) struct Image {
    path: PathBuf,
}

impl Image {
    /// One for the job of this name.
    pub(super) fn make(root: &Path, job: &str) -> io::Result<Self> {
        let path = root.join(format!("target/rig/{job}-{}.disk", std::process::id()));
        std::fs::File::create(&path)?.set_len(IMAGE_BYTES)?;
        let image = Self { path: path.canonicalize()? };
        let made = Command::new("mkfs.ext4").arg("-q").arg("-F").arg(&image.path).output()?;
        if !made.status.success() {
            return Err(io::Error::other(format!("mkfs.ext4: {}", String::from_utf8_lossy(&made.stderr).trim())));
        }
        Ok(image)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // A file of ours that is left over does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What a guest's console brings.
#[derive(Debug)]
pub(super) enum Heard {
    Line(String),
    /// The console is closed, with what QEMU said on its standard error.
    Closed(String),
}

/// A running guest. Dropping it is a power cut. `setpriv` has the kernel end QEMU should xtask be killed.
pub(super) struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guest {
    /// Types a line at its console.
    pub(super) fn tell(&mut self, line: &str) -> io::Result<()> {
        match &mut self.0.stdin {
            Some(console) => console.write_all(format!("{line}\n").as_bytes()).and_then(|()| console.flush()),
            None => Err(io::Error::other("the guest's console takes no lines")),
        }
    }

    /// Boots; what its console says arrives under its name and this number.
    pub(super) fn boot(boot: &Boot, seat: &Seat, number: u32, heard: &Sender<(u32, Heard)>) -> io::Result<Self> {
        let mut child = qemu(boot, seat).spawn()?;
        let (console, errors) = (child.stdout.take(), child.stderr.take());
        let guest = Self(child);
        let console = console.ok_or_else(|| io::Error::other("QEMU has no console"))?;
        let heard = heard.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if heard.send((number, Heard::Line(line))).is_err() {
                    return;
                }
            }
            let mut said = String::new();
            if let Some(mut errors) = errors {
                // What cannot be read of it is not worth a failure of its own.
                let _ = errors.read_to_string(&mut said);
            }
            let _ = heard.send((number, Heard::Closed(said)));
        });
        Ok(guest)
    }
}

fn qemu(boot: &Boot, seat: &Seat) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"]);
    command.args(["-m", "1536", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-kernel").arg(&boot.kernel).arg("-initrd").arg(&boot.initrd);
    command.args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]);
    command.args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]);
    let last = if seat.name == 'a' { 1 } else { 2 };
    match seat.wire {
        None => {
            command.args(["-smp", "2", "-nic", "none"]);
        }
        Some(Wire { own, other }) => {
            let end = |what: &str, port: u16| format!("{what}.type=inet,{what}.host=127.0.0.1,{what}.port={port}");
            command.args(["-smp", "1", "-netdev"]);
            command.arg(format!("dgram,id=wire,{},{}", end("local", own), end("remote", other)));
            command.arg("-device").arg(format!("virtio-net-pci,netdev=wire,mac=52:54:00:00:00:0{last},romfile="));
        }
    }
    if let Some(disk) = &seat.disk {
        command.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=writeback", disk.path.display()));
    }
    let script = seat.script.display();
    command.arg("-append");
    command.arg(format!("console=ttyS0 quiet panic=-1 mitigations=off ADDRESS=10.9.0.{last} SCRIPT={script}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a line of the console decides.
pub(super) fn verdict(line: &str) -> Option<End> {
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
