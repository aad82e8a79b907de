//! Misuse that the types forbid: each file in `tests/compile_fail` must not compile, for the reason beside it.
//!
//! The files are generic over the fabric where they can be, so that they hold for every backend. After a change of the compiler or of a signature:
//! `TRYBUILD=overwrite cargo test --test compile_fail`, and read what changed.

use handfast::fabric::shm::ShmPort;

/// The compiler whose messages lie beside the files. Another one's may be worded otherwise.
const RUSTC: &str = "rustc 1.95.";

#[test]
fn misuse_does_not_compile() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = std::process::Command::new(rustc).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if !version.starts_with(RUSTC) {
        return eprintln!("SKIPPED: the messages in tests/compile_fail are those of {RUSTC}x, and this is {version:?}");
    }
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}

/// Has one meaning for a type that is not `Sync`, and two, which does not compile, for one that is.
trait OneIfNotSync<Marker> {
    const HOLDS: bool = true;
}

struct Sharable;

impl<T: ?Sized> OneIfNotSync<()> for T {}
impl<T: ?Sized + Sync> OneIfNotSync<Sharable> for T {}

#[test]
fn a_port_moves_between_threads_and_is_not_shared() {
    fn moves<T: Send>() {}
    moves::<ShmPort>();
    const { assert!(<ShmPort as OneIfNotSync<_>>::HOLDS, "it does not compile otherwise") };
}
