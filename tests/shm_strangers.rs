//! Processes that a limit, a filter or the kernel keeps apart: what each is told, and that none of them ends by it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "process/mod.rs"]
mod process;
#[path = "process/on_shm.rs"]
mod under_test;

use handfast::fabric::shm::{Shm, make_dumpable};
use handfast::fabric::{Dial, DialPurpose, Fabric, FabricError, PageSizes};
use handfast::manager::{ClusterManager, NodeConfig};
use handfast::memory::{Backing, MemoryError, Region};
use process::child::Child;
use process::role::{asked, commands, say, variable};
use process::sys::{fork_and_live_on, hide, kill_self, limit_files, refuse_call, user};
use std::time::{Duration, Instant};
use under_test::address;

const PATIENCE: Duration = Duration::from_secs(20);
const SIZES: PageSizes = PageSizes { status: 4096, mailbox: 4096 };
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A name for addresses that no other test has.
fn unique(name: &str) -> String {
    format!("strangers-{name}-{}", std::process::id())
}

fn child(role: &str, name: &str) -> Child {
    Child::start(role, &[("HANDFAST_TEST_NAME", name.to_owned())])
}

#[test]
fn role() {
    let name = || variable("HANDFAST_TEST_NAME").expect("HANDFAST_TEST_NAME");
    match asked().as_deref() {
        None => {}
        Some("forks") => {
            let endpoint = Shm::new().listen(&address(&name(), 0), SIZES).expect("an address");
            fork_and_live_on();
            std::mem::forget(endpoint);
            say("forked");
            kill_self();
        }
        Some("hides") => {
            let endpoint = Shm::new().listen(&address(&name(), 0), SIZES).expect("an address");
            hide();
            say("hidden");
            let commands = commands();
            let _ = commands.recv();
            make_dumpable().expect("what it may do to itself");
            say("shown");
            let _ = commands.recv();
            drop(endpoint);
        }
        Some("is-filtered") => {
            refuse_call(libc::SYS_pidfd_open).expect("a filter");
            refuse_call(libc::SYS_mbind).expect("a filter");
            let listened = Shm::new().listen(&address(&name(), 0), SIZES);
            say(&format!("listen {}", listened.err().map(|error| error.to_string()).unwrap_or_default()));
            let placed = Region::builder(4096).numa_node(0).build();
            say(&format!("place {}", placed.err().map(|error| error.to_string()).unwrap_or_default()));
        }
        Some("is-limited") => {
            limit_files(FILE_BYTES_MAX);
            let shared = Backing::Shared { read_only_elsewhere: false };
            let folder = process::folder_on_disk();
            for backing in [shared, Backing::SharedMemory(name()), Backing::File(folder.path().join("region"))] {
                let made = Region::builder(2 * FILE_BYTES_MAX as usize).pinned(false).backing(backing).build();
                match made {
                    Err(error @ MemoryError::FileLimit { limit: FILE_BYTES_MAX, .. }) => say(&format!("told {error}")),
                    other => say(&format!("wrong: {other:?}")),
                }
            }
            say("lives");
        }
        Some(other) => panic!("no such role: {other}"),
    }
}

/// What a dial to the first node of this name comes to.
fn dialled(name: &str, purpose: DialPurpose) -> String {
    let began = Instant::now();
    let dial = Shm::new().dial(&address(name, 0), purpose);
    let mut dial = match dial {
        Ok(dial) => dial,
        Err(error) => return error.to_string(),
    };
    while began.elapsed() < PATIENCE {
        match dial.poll() {
            Ok(None) => std::thread::yield_now(),
            Ok(Some(_)) => return "a link".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
    "nothing".to_owned()
}

/// A child made by `fork` has every descriptor of its parent, and the lock over the address with it.
#[test]
fn who_outlives_the_process_that_forked_it_is_told_of_and_not_the_dead() {
    let name = unique("forked");
    let mut parent = child("forks", &name);
    parent.wait_for(0, "forked", Instant::now() + PATIENCE).unwrap();
    let dead = parent.process.id();
    parent.process.wait().expect("its end");
    for purpose in [DialPurpose::Session, DialPurpose::Observe] {
        let told = dialled(&name, purpose);
        assert!(told.contains("one that it forked, and that outlives it, still holds the address"), "{told}");
    }
    let error = Shm::new().listen(&address(&name, 0), SIZES).expect_err("a held address");
    let told = error.to_string();
    assert!(matches!(error, FabricError::AddressHeld { process, .. } if process == dead), "{told}");
    assert!(told.contains("`fuser /dev/shm/handfast.") && !told.contains(&dead.to_string()), "{told}");
    // The forked one ends with the commands; then the address is free.
    drop(parent);
    let began = Instant::now();
    while let Err(error) = Shm::new().listen(&address(&name, 0), SIZES) {
        assert!(began.elapsed() < PATIENCE, "{error}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_process_that_hides_from_its_user_is_named_as_such() {
    if user() == 0 {
        eprintln!("SKIPPED: nothing is hidden from root");
        return;
    }
    let name = unique("hidden");
    let mut other = child("hides", &name);
    other.wait_for(0, "hidden", Instant::now() + PATIENCE).unwrap();
    let told = dialled(&name, DialPurpose::Session);
    assert!(told.contains("is not dumpable") && told.matches("EACCES").count() == 1, "{told}");
    assert!(told.contains("have it call `fabric::shm::make_dumpable` first"), "{told}");
    other.tell("go on");
    other.wait_for(0, "shown", Instant::now() + PATIENCE).unwrap();
    assert_eq!(dialled(&name, DialPurpose::Observe), "a link");
}

#[test]
fn a_filter_is_named_at_boot_and_so_is_its_call() {
    let name = unique("filtered");
    let mut other = child("is-filtered", &name);
    let told = other.wait_for(0, "listen ", Instant::now() + PATIENCE).unwrap();
    assert!(told.contains("pidfd_open(2) is refused: by a container's seccomp profile"), "{told}");
    assert_eq!(told.matches("EPERM").count(), 1, "{told}");
    let told = other.wait_for(0, "place ", Instant::now() + PATIENCE).unwrap();
    assert!(told.contains("seccomp profile") && told.contains("mbind") && !told.contains("built"), "{told}");
    other.end_well(PATIENCE).unwrap();
}

/// Beyond the limit the kernel answers with a signal, which nobody here asked for.
#[test]
fn a_limit_of_file_sizes_is_an_error_and_no_signal() {
    let name = unique("limited");
    let mut other = child("is-limited", &name);
    other.wait_for(0, "lives", Instant::now() + PATIENCE).unwrap();
    let told: Vec<&String> = other.lines.iter().filter(|line| line.starts_with("told ")).collect();
    assert_eq!(told.len(), 3, "{:?}", other.lines);
    assert!(told.iter().all(|line| line.contains("1048576 bytes") && line.contains("ulimit -f")), "{told:?}");
    other.end_well(PATIENCE).unwrap();
}

/// Two that never meet would seek each other for ever.
#[test]
fn a_partner_of_another_fabric_or_at_ones_own_address_is_refused_at_boot() {
    let name = unique("pair");
    let boot = |at: &str, partner_at: &str| {
        let place = |text: &str| text.parse().expect("an address");
        let config = NodeConfig::new(
            "pair".parse().expect("a name"),
            "a".parse().expect("a name"),
            place(at),
            "b".parse().expect("a name"),
            place(partner_at),
        );
        ClusterManager::boot(Shm::new(), config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let here = format!("shm://{name}:1");
    assert!(boot(&here, "rdma://10.9.0.2:7471").contains("begins with `shm://`"));
    assert!(boot(&here, "sim://b:1").contains("are of two fabrics"));
    assert!(boot(&here, &here).contains("at this node's own address"));
    assert!(boot("rdma://10.9.0.1:1", "rdma://10.9.0.1:1?device=rxe0").contains("at this node's own address"));
    assert!(boot("rdma://10.9.0.1:1", "rdma://10.9.0.2:1").contains("is not an address of the fabric `shm`"));
    assert_eq!(boot(&here, &format!("shm://{name}:2")), "");
}
