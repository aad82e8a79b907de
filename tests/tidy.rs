//! The rules of this repository that no compiler checks: layers, unsafe code, the shape of files.
//!
//! Reads the sources as text. Each rule is tried on samples beside it, so that one which has gone blind fails too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/locks.rs"]
mod locks;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/unsafety.rs"]
mod unsafety;

use source::{Breach, Source};
use std::path::Path;
use std::sync::LazyLock;

/// Where sources are. What is not there yet is passed over.
const FOLDERS: [&str; 8] = ["src", "docs", "tests", "perf", "xtask", "benches", "examples", "ffi"];

/// All files below the folders, and those in the root, with these endings.
fn files(endings: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders: Vec<_> = FOLDERS.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()).collect();
    let mut paths = Vec::new();
    paths.extend(root.read_dir().expect("the repository can be read").map(|entry| entry.expect("an entry").path()));
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder of sources can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    paths.sort();
    for path in paths {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_file() && endings.contains(&ending) {
            let text = std::fs::read_to_string(&path).expect("a source can be read");
            let name = path.strip_prefix(root).expect("it lies in the repository").to_string_lossy().replace('\\', "/");
            found.push(Source::new(&name, &text));
        }
    }
    found
}

/// All Rust sources, but for the samples of what must not compile: they are about one line each.
static SOURCES: LazyLock<Vec<Source>> =
    LazyLock::new(|| files(&["rs"]).into_iter().filter(|source| !source.is_in("tests/compile_fail")).collect());

/// Fails with every breach on a line of its own, as `file:line: what, and what to do`.
fn insist(breaches: Vec<Breach>) {
    let lines: Vec<String> =
        breaches.iter().map(|Breach { path, line, what }| format!("{path}:{line}: {what}")).collect();
    assert!(lines.is_empty(), "{} to put in order:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn layers_use_only_what_is_below_them() {
    let seen: usize = SOURCES.iter().map(layers::uses).sum();
    assert!(seen > 300, "only {seen} paths seen: the rule has gone blind");
    insist(SOURCES.iter().flat_map(layers::breaches).collect());
}

#[test]
fn unsafe_code_is_confined_and_explained() {
    let seen: usize = SOURCES.iter().map(|source| unsafety::uses(source).len()).sum();
    assert!(seen > 30, "only {seen} uses of unsafe seen: the rule has gone blind");
    insist(SOURCES.iter().flat_map(unsafety::breaches).collect());
}

#[test]
fn records_of_the_log_meet_no_lock() {
    let is_there = |path: &&str| SOURCES.iter().any(|source| source.path == **path);
    let gone: Vec<_> = locks::WAY.iter().chain(&locks::BESIDE).filter(|path| !is_there(path)).collect();
    assert!(gone.is_empty(), "moved: {gone:?}");
    insist(SOURCES.iter().flat_map(locks::breaches).collect());
}

#[test]
fn files_have_a_header_a_size_and_an_end() {
    assert!(SOURCES.len() > 80, "only {} files seen: the rule has gone blind", SOURCES.len());
    let mut longest: Vec<_> = SOURCES
        .iter()
        .flat_map(|source| {
            shape::functions(source).into_iter().map(|(name, line, length)| (length, &source.path, line, name))
        })
        .collect();
    longest.sort_by(|a, b| b.cmp(a));
    for (length, path, line, name) in longest.iter().take(5) {
        println!("{length} lines: {name}, {path}:{line}");
    }
    insist(SOURCES.iter().flat_map(shape::breaches).collect());
}

#[test]
fn texts_have_no_tabs_and_no_pictures() {
    insist(files(&["md", "toml", "stderr"]).iter().flat_map(shape::signs).collect());
}
