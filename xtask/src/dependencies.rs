//! What a user of the library compiles: nothing of what the program alone needs.

use crate::counts::Counts;
use crate::step::Step;
use std::collections::BTreeSet;
use std::path::Path;

/// What no library user may be made to compile, whatever the features say.
const NEVER: &[&str] = &[
    "clap",
    "criterion",
    "indicatif",
    "loom",
    "plotters",
    "proptest",
    "ratatui",
    "serde",
    "serde_json",
    "stateright",
    "tokio",
];

/// The library's dependency tree without features.
pub(crate) fn tree() -> Step {
    Step::cargo(&[
        "tree",
        "--package",
        "handfast",
        "--edges",
        "normal",
        "--no-default-features",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])
}

/// Looks through the tree. The second value tells whether it is clean.
pub(crate) fn run(root: &Path) -> std::io::Result<(Counts, bool)> {
    println!("$ {}", tree());
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let listing = match tree().output(root) {
        Ok(listing) => listing,
        Err(error) => {
            println!("{error}");
            return Ok((Counts::FAILED, false));
        }
    };
    let (found, used) = unwanted(&manifest, &listing);
    if found.is_empty() && used != 0 {
        println!("library alone: {used} packages, none of them the program's ... ok");
        return Ok((Counts::PASSED, true));
    }
    println!("library alone: {used} packages, among them {found:?} ... FAILED");
    println!("make each of them optional, and part of the feature `cli`");
    Ok((Counts::FAILED, false))
}

/// Packages in the listing that should not be there, and how many packages it names.
fn unwanted(manifest: &str, listing: &str) -> (Vec<String>, usize) {
    let packages: BTreeSet<&str> = listing.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let optional = manifest.split('"').filter_map(|text| text.strip_prefix("dep:"));
    let barred: BTreeSet<&str> = NEVER.iter().copied().chain(optional).collect();
    (packages.intersection(&barred).map(|name| (*name).to_owned()).collect(), packages.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_the_program_alone_needs() {
        let manifest = "[features]\ncli = [\"dep:clap\", \"dep:toml\"]";
        assert_eq!(unwanted(manifest, "handfast v0.1.0 (/x)\nlibc v0.2\nlibc v0.2 (*)\n"), (vec![], 2));
        let (found, _) = unwanted(manifest, "handfast v0.1.0\ntoml v0.9\nserde v1.0\nlibc v0.2\n");
        assert_eq!(found, ["serde", "toml"]);
    }
}
