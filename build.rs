//! What `--version` and every report print: version, commit and profile. No network; a source archive without git says `unknown`.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=HANDFAST_COMMIT");
    for path in [".git/HEAD", ".git/index"] {
        if std::path::Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    // Explorations that take minutes without optimisation are left out then: nothing else tells a test how it was compiled.
    println!("cargo:rustc-check-cfg=cfg(optimised)");
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level != "0") {
        println!("cargo:rustc-cfg=optimised");
    }
    let commit = std::env::var("HANDFAST_COMMIT").ok().or_else(commit).unwrap_or_else(|| "unknown".to_owned());
    let [version, profile] = ["CARGO_PKG_VERSION", "PROFILE"].map(|name| std::env::var(name).unwrap_or_default());
    println!("cargo:rustc-env=HANDFAST_VERSION={version} ({commit}, {profile})");
}

fn commit() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=9"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
