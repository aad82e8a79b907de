//! Remedies of two nodes that do not understand each other: one of them is corrected, and they meet.

use crate::run::{Node, unique};
use signal_hook::consts::SIGTERM;

/// Nodes a and b with these options say this; b, started anew with those, is met. `b_id`: whose partner it is.
struct Case<'a> {
    a: &'a [&'a str],
    b: &'a [&'a str],
    said: [&'a str; 2],
    mended: &'a [&'a str],
}

fn check(number: usize, case: &Case<'_>) {
    let name = unique(&format!("mended{number}"));
    let (mut a, mut b) = (Node::start(&name, 1, case.a), Node::start(&name, 2, case.b));
    a.wait_for(case.said[0]);
    b.wait_for(case.said[1]);
    assert_eq!(b.end(SIGTERM), Some(0));
    let mut b = Node::start(&name, 2, case.mended);
    b.wait_for("ready: 1 clients");
    a.wait_for("ready: 1 clients");
    assert_eq!(b.end(SIGTERM), Some(0));
    assert_eq!(a.end(SIGTERM), Some(0));
}

#[test]
fn a_misconfigured_node_is_corrected_as_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = |name: &str, byte: u8| {
        let path = folder.path().join(name);
        std::fs::write(&path, [byte; 32]).expect("written");
        path.display().to_string()
    };
    let (one, other) = (key("one", 1), key("other", 2));
    let with_key: &[&str] = &["--key", &one];
    let (x, y): (&[&str], &[&str]) = (&["--cluster", "x"], &["--cluster", "y"]);
    let different = "pre-shared keys differ: give both the same key";
    let own = ["give the partner the same key", "give this node the same key"];
    let cluster = "correct the address or the cluster's name";
    let node = ["belongs to node `z`", "expects another node here: correct the partner's name or cluster"];
    let cases = [
        Case { a: with_key, b: &["--key", &other], said: [different; 2], mended: with_key },
        Case { a: with_key, b: &[], said: own, mended: with_key },
        Case { a: x, b: y, said: [cluster; 2], mended: x },
        Case { a: &[], b: &["--id", "z"], said: node, mended: &[] },
    ];
    for (number, case) in cases.iter().enumerate() {
        check(number, case);
    }
}

#[test]
fn a_client_that_is_not_served_is_once_its_counterpart_is_mended() {
    let (log, other): (&[&str], &[&str]) = (&["--client", "log:1:1KiB"], &["--client", "other:1:1KiB"]);
    let lacks = "the partner has no client of this name: start one there, or correct the name";
    check(10, &Case { a: log, b: other, said: [lacks; 2], mended: log });
    let small: &[&str] = &["--client", "log:1:1MiB", "--memory-max", "1KiB"];
    let large: &[&str] = &["--client", "log:1:1MiB", "--memory-max", "1MiB"];
    let said =
        ["could not be made at the partner: its log says why", "over this node's limit of 1024: raise --memory-max"];
    check(11, &Case { a: large, b: small, said, mended: large });
}

#[test]
fn a_limit_of_file_sizes_is_raised() {
    let name = unique("raised");
    let client = ["--client", "log:1:16MiB"];
    let mut b = Node::start(&name, 2, &client);
    let mut a = Node::limited(&name, "-S -f 1000", &client);
    a.wait_for("Raise it (`ulimit -f`, LimitFSIZE= in the service file)");
    assert_eq!(a.end(SIGTERM), Some(0));
    let mut a = Node::limited(&name, "-S -f unlimited", &client);
    a.wait_for("ready: 1 clients");
    b.wait_for("ready: 1 clients");
    assert_eq!(a.end(SIGTERM), Some(0));
    assert_eq!(b.end(SIGTERM), Some(0));
}

#[test]
fn a_taken_address_is_given_up_or_another_port_is_chosen() {
    let name = unique("given-up");
    let mut first = Node::start(&name, 1, &[]);
    first.wait_for("listening");
    let mut second = Node::start(&name, 1, &[]);
    second.wait_for(&format!("is in use by process {}: end it, or choose another port", first.id()));
    assert_eq!(second.wait(), Some(1));
    let (at, partner) = (format!("shm://{name}:3"), format!("b@shm://{name}:2"));
    let mut third = Node::with(&["--id", "a", "--at", &at, "--partner", &partner]);
    third.wait_for("listening");
    assert_eq!(first.end(SIGTERM), Some(0));
    let mut second = Node::start(&name, 1, &[]);
    second.wait_for("listening");
    assert_eq!(second.end(SIGTERM), Some(0));
    assert_eq!(third.end(SIGTERM), Some(0));
}

#[test]
fn a_limit_of_address_space_is_raised() {
    let name = unique("space");
    let client = ["--client", "log:1:128MiB"];
    let mut b = Node::start(&name, 2, &client);
    let mut a = Node::limited(&name, "-S -v 120000", &client);
    a.wait_for("(`ulimit -v`, vm.max_map_count, vm.overcommit_memory and the memory limit of a container");
    assert_eq!(a.end(SIGTERM), Some(0));
    let mut a = Node::limited(&name, "-S -v unlimited", &client);
    a.wait_for("ready: 1 clients");
    b.wait_for("ready: 1 clients");
    assert_eq!(a.end(SIGTERM), Some(0));
    assert_eq!(b.end(SIGTERM), Some(0));
}

#[test]
fn ports_are_asked_for_within_those_of_a_session() {
    let many: &[&str] = &["--client", "first:512:0", "--client", "second:1:0"];
    let name = unique("ports");
    let (mut a, mut b) = (Node::start(&name, 1, many), Node::start(&name, 2, many));
    for node in [&mut a, &mut b] {
        node.wait_for("the session's 512 ports are given out to clients before it: ask for fewer");
    }
    for node in [&mut a, &mut b] {
        assert_eq!(node.end(SIGTERM), Some(0));
    }
    let fewer: &[&str] = &["--client", "first:511:0", "--client", "second:1:0"];
    let (mut a, mut b) = (Node::start(&name, 1, fewer), Node::start(&name, 2, fewer));
    for node in [&mut a, &mut b] {
        node.wait_for("ready: 2 clients");
    }
    assert_eq!(a.end(SIGTERM), Some(0));
    assert_eq!(b.end(SIGTERM), Some(0));
}
