//! Addresses of more than one fabric, and of one that is not to be had here.

use crate::run::program;

/// What the program says, and its exit status.
fn complaint(arguments: &[&str]) -> (String, Option<i32>) {
    let output = program().args(arguments).output().expect("it runs");
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[test]
fn partners_of_two_fabrics_are_refused() {
    let (shm, rdma, partner) = ("shm://x:1", "rdma://10.9.0.1:7471", "b@rdma://10.9.0.1:7471");
    let cases: [&[&str]; 3] = [
        &["node", "--id", "a", "--at", shm, "--partner", partner],
        &["demo", "--side", "sender", "--at", shm, "--partner", rdma],
        &["demo", "--side", "receiver", "--at", rdma, "--partner", shm],
    ];
    for arguments in cases {
        let (text, status) = complaint(arguments);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains("of two fabrics") && text.contains(shm) && text.contains(rdma), "{text}");
    }
    let (text, status) = complaint(&["demo", "--fabric", "verbs", "--at", shm]);
    assert!(status == Some(2) && text.contains("of two fabrics"), "{text}");
}

#[test]
fn a_demo_that_makes_no_sense_says_why() {
    let cases: [(&[&str], &str); 6] = [
        (&["demo", "--side", "sender"], "--at"),
        (&["demo", "--side", "sender", "--at", "shm://x:1"], "--partner"),
        (&["demo", "--partner", "shm://x:1"], "--side"),
        (&["demo", "--side", "receiver", "--at", "shm://x:1", "--partner", "shm://x:1"], "own address"),
        (
            &["demo", "--side", "receiver", "--at", "shm://x:1", "--partner", "shm://x:2", "file"],
            "the file is the sender's",
        ),
        (&["demo", "--at", "shm://x:65535"], "the port after this one"),
    ];
    for (arguments, wanted) in cases {
        let (text, status) = complaint(arguments);
        assert!(status == Some(2) && text.contains(wanted), "{wanted} is missing from: {text}");
    }
}

/// An address out of a range that is kept for documentation: no machine has it.
const NOWHERE: &str = "rdma://192.0.2.1:7471";

#[test]
fn rdma_that_is_not_to_be_had_here_is_told_in_words() {
    let partner = "b@rdma://192.0.2.2:7471";
    let cases: [&[&str]; 4] = [
        &["node", "--id", "a", "--at", NOWHERE, "--partner", partner],
        &["status", NOWHERE],
        &["demo", "--at", NOWHERE],
        &["demo", "--side", "receiver", "--at", NOWHERE, "--partner", "rdma://192.0.2.2:7471"],
    ];
    for arguments in cases {
        let (text, status) = complaint(arguments);
        assert_eq!(status, Some(1), "{arguments:?}: {text}");
        if cfg!(feature = "verbs") {
            // No library, no kernel support, no such address: whichever it is, it says what to do, or where it looked.
            let known = ["libibverbs", "rdma", "192.0.2.1"].iter().any(|word| text.contains(word));
            assert!(known && text.starts_with("handfast: "), "{text}");
        } else {
            assert!(text.contains("built without RDMA") && text.contains("--features verbs"), "{text}");
        }
    }
}
