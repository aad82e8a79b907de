//! Remedies of memory, fabric and manager, as a program that links the library follows them.

use crate::process::node::{Node, config};
use crate::process::{files_of, folder_on_disk};
use crate::run::unique;
use crate::under_test;
use handfast::fabric::{Fabric, PageSizes};
use handfast::manager::{ClientSpec, ClusterManager};
use handfast::memory::{Backing, HugePages, Region, RegionBuilder};
use std::os::unix::fs::PermissionsExt;

/// The region is refused with these words, and made the other way.
fn refused_then_made(refused: RegionBuilder, wanted: &str, mended: RegionBuilder) {
    let error = refused.build().expect_err(wanted).to_string();
    assert!(error.contains(wanted), "{wanted} is missing from: {error}");
    mended.build().unwrap_or_else(|error| panic!("{wanted}: the remedy does not help: {error}"));
}

#[test]
fn a_region_is_had_as_its_refusal_says() {
    let folder = folder_on_disk();
    let small = || Region::builder(4096).pinned(false);
    refused_then_made(Region::builder(0).pinned(false), "ask for 1 byte to", small());
    let name = unique("a-region");
    let named = |name: String| small().backing(Backing::SharedMemory(name));
    refused_then_made(named(format!("/{name}")), "a name has 1 byte or more, no `/`", named(name.clone()));
    std::fs::remove_file(format!("/dev/shm/{name}")).expect("the region's file");
    let path = folder.path().join("region");
    let file = || small().backing(Backing::File(path.clone()));
    drop(file().build().expect("a region"));
    let allow = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("its mode");
    allow(0o666);
    let error = file().build().expect_err("writable by all").to_string();
    assert!(error.contains("a regular file of this user, writable by nobody else"), "{error}");
    allow(0o600);
    file().build().expect("a file of this user alone");
    // Huge pages: of a size and number that no machine of tests has.
    let many = || Region::builder(8 << 30).pinned(false);
    let error = many().huge_pages(HugePages::Need1GiB).build();
    if let Err(error) = error {
        let told = error.to_string();
        assert!(told.contains("HugePages::Prefer2MiB or HugePages::Prefer1GiB"), "{told}");
        for pages in [HugePages::Prefer2MiB, HugePages::Prefer1GiB] {
            small().huge_pages(pages).build().expect("ordinary pages");
        }
    }
    refused_then_made(
        file().huge_pages(HugePages::Need2MiB),
        "huge pages needs",
        file().huge_pages(HugePages::Prefer2MiB),
    );
}

#[test]
fn memory_is_placed_on_a_node_that_there_is_or_on_none() {
    let small = || Region::builder(4096).pinned(false);
    let error = small().numa_node(900).build().expect_err("no such node").to_string();
    // Where the call is filtered, or the kernel has no NUMA, that is told.
    assert!(error.contains("NUMA node 900"), "{error}");
    if error.contains("there is no such node") {
        assert!(error.contains("Mems_allowed_list in /proc/self/status"), "{error}");
        let status = std::fs::read_to_string("/proc/self/status").expect("the status");
        let list = status.lines().find_map(|line| line.strip_prefix("Mems_allowed_list:")).expect("the list").trim();
        let first = list.split([',', '-']).next().expect("a node").parse().expect("its number");
        small().numa_node(first).build().expect("a node that this process may use");
    }
    small().build().expect("no node");
}

#[test]
fn a_manager_is_had_as_its_refusal_says() {
    let name = unique("a-manager");
    let boot = |config| ClusterManager::boot(under_test::fabric(), config);
    let mut manager = boot(config(&name, 0)).expect("boot");
    let spec = |name: &str| ClientSpec::new(name.parse().expect("a name"));
    let mut refused = |wrong: ClientSpec, wanted: &str, mended: ClientSpec| {
        let client = || Box::new(crate::process::node::Shared::default());
        let error = manager.client(wrong, client()).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
        manager.client(mended, client()).expect(wanted);
    };
    refused(spec("first").ports(0), "allowed are 1 to 512", spec("first").ports(1));
    refused(spec("second").ports(513), "allowed are 1 to 512", spec("second").ports(512));
    refused(spec("first"), "client names are unique within a node", spec("third"));
    manager.open();
    let late = manager.client(spec("late"), Box::new(crate::process::node::Shared::default()));
    let error = late.expect_err("too late").to_string();
    assert!(error.contains("register every client before `open`"), "{error}");
    drop(manager);
    Node::boot_with(config(&name, 0), &[("late", 1, 0)]).map(drop).expect("registered before `open`");
    assert_eq!(files_of(&name), Vec::<std::path::PathBuf>::new());
}

#[test]
fn an_endpoint_listens_at_an_address_of_its_fabric() {
    let name = unique("an-endpoint");
    let (fabric, sizes) = (under_test::fabric(), PageSizes { status: 4096, mailbox: 4096 });
    let listen = |address: &str| fabric.listen(&address.parse().expect("an address"), sizes);
    let error = listen("rdma://10.9.0.1:7471").expect_err("another fabric's").to_string();
    assert!(error.contains("it begins with `shm://`"), "{error}");
    drop(listen(&format!("shm://{name}:1")).expect("an address of this fabric"));
}

#[test]
fn a_region_that_finds_no_room_is_made_smaller() {
    let name = unique("no-room");
    let region = |bytes| Region::builder(bytes).pinned(false).backing(Backing::SharedMemory(name.clone()));
    refused_then_made(region(1 << 45), "Free space there, or make the region smaller", region(4096));
    std::fs::remove_file(format!("/dev/shm/{name}")).expect("the region's file");
}
