//! What a guest boots from: a kernel that is unpacked but not installed, and an initial file system with its modules.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PACKAGES: &[&str] = &[
    "qemu-system-x86",
    "busybox-static",
    "kmod",
    "cpio",
    "rdma-core",
    "libibverbs1",
    "librdmacm1",
    "ibverbs-providers",
    "ibverbs-utils",
    "rdmacm-utils",
    "iproute2",
    "e2fsprogs",
];

/// In loading order. rxe asks for crc32_generic by name only when a link is added, and no dependency tells so.
const MODULES: &[&str] = &[
    "crc32_generic",
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "virtio_net",
    "virtio_rng",
    "veth",
    "ib_uverbs",
    "rdma_ucm",
    "rdma_rxe",
    "virtio_blk",
    "ext4",
];

/// Where a guest has a file system of its own, see tests/rig/init: it does not see the host's there.
const HIDDEN: &[&str] = &["/tmp", "/run", "/dev", "/proc", "/sys"];

/// Kernel and initial file system.
pub(super) struct Boot {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
}

/// Makes what is missing. Finished folders appear by one rename, so neither an interrupted run nor a second one at work is ever seen.
pub(super) fn prepare(root: &Path) -> io::Result<Boot> {
    visible(&root.canonicalize()?)?;
    packages()?;
    let init = root.join("tests/rig/init");
    let mut hasher = DefaultHasher::new();
    (fs::read(&init)?, MODULES).hash(&mut hasher);
    let home = root.join("target/rig");
    let done = home.join(format!("boot-{:016x}", hasher.finish()));
    if !done.exists() {
        let making = home.join(format!("making-{}", std::process::id()));
        fs::create_dir_all(&making)?;
        let made = make(&making, &init).and_then(|()| match fs::rename(&making, &done) {
            Err(_) if done.exists() => Ok(()),
            renamed => renamed,
        });
        if making.exists() {
            fs::remove_dir_all(&making)?;
        }
        made?;
    }
    Ok(Boot { kernel: done.join("vmlinuz"), initrd: done.join("initrd.gz") })
}

/// An error for a checkout that a guest does not see.
fn visible(root: &Path) -> io::Result<()> {
    match HIDDEN.iter().find(|place| root.starts_with(place)) {
        None => Ok(()),
        Some(place) => Err(io::Error::other(format!(
            "a guest has its own {place}, and so does not see {}: move the checkout elsewhere",
            root.display()
        ))),
    }
}

fn packages() -> io::Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let command = format!("apt-get update -qq && apt-get install -y -qq --no-install-recommends {list} >&2");
    if output("id", &["-u"], Path::new("/"))?.trim() != "0" {
        return Err(io::Error::other(format!("the rig needs packages, and this is not root; as root: {command}")));
    }
    let command = format!("export DEBIAN_FRONTEND=noninteractive; {command}");
    output("sh", &["-c", &command], Path::new("/")).map(drop)
}

fn installed(package: &str) -> bool {
    let asked =
        Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]).stderr(Stdio::null()).output();
    asked.is_ok_and(|asked| asked.stdout == b"installed")
}

fn make(folder: &Path, init: &Path) -> io::Result<()> {
    let depends = output("apt-cache", &["depends", "linux-image-amd64"], folder)?;
    let image = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: ").filter(|name| name.starts_with("linux-image-")));
    let image = image.ok_or_else(|| io::Error::other("apt-cache knows no linux-image-amd64: run apt-get update"))?;
    output("apt-get", &["download", "-qq", image], folder)?;
    output(
        "sh",
        &["-c", "dpkg -x linux-image-*.deb kernel && rm linux-image-*.deb && mv kernel/boot/vmlinuz-* vmlinuz"],
        folder,
    )?;
    let version = output("ls", &["kernel/lib/modules"], folder)?.trim().to_owned();
    let tree = folder.join("kernel").display().to_string();
    output("depmod", &["-b", &tree, &version], folder)?;
    for place in ["bin", "proc", "sys", "dev", "root", "modules"] {
        fs::create_dir_all(folder.join("tree").join(place))?;
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for module in MODULES {
        let words = ["-d", &tree, "-S", &version, "--show-depends", module];
        for line in output("modprobe", &words, folder)?.lines() {
            let file = line.strip_prefix("insmod ").map(|file| PathBuf::from(file.trim()));
            files.extend(file.filter(|file| !files.contains(file)));
        }
    }
    for (number, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        fs::copy(file, folder.join(format!("tree/modules/{number:03}-{name}")))?;
    }
    fs::copy("/bin/busybox", folder.join("tree/bin/busybox"))?;
    fs::copy(init, folder.join("tree/init"))?;
    let pack = "chmod 755 tree/init && cd tree && find . | cpio -o -H newc --quiet > ../initrd && gzip -1 ../initrd && cd .. && rm -r tree kernel";
    output("sh", &["-c", pack], folder).map(drop)
}

/// Runs a program to its end; what it printed, or an error with its words.
fn output(program: &str, words: &[&str], folder: &Path) -> io::Result<String> {
    let run = Command::new(program).args(words).current_dir(folder).stdin(Stdio::null()).output();
    let run = run.map_err(|error| io::Error::new(error.kind(), format!("cannot run {program}: {error}")))?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr);
        return Err(io::Error::other(format!(
            "{program} {} failed ({}): {}",
            words.join(" "),
            run.status,
            said.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_that_a_guest_does_not_see_is_refused() {
        assert!(visible(Path::new("/work/handfast")).is_ok());
        assert!(visible(Path::new("/tmpfiles/handfast")).is_ok());
        let refused = visible(Path::new("/tmp/handfast"));
        assert!(refused.is_err_and(|error| error.to_string().contains("its own /tmp")));
    }
}
