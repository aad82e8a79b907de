//! Which features this machine can build.

use std::env;
use std::path::{Path, PathBuf};

/// What is missing for the feature `verbs`: its bindings are made by cmake and libclang.
pub(crate) fn missing_for_verbs() -> Option<&'static str> {
    let folders = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    if !folders.iter().any(|folder| folder.join("cmake").is_file()) {
        return Some("cmake (package cmake)");
    }
    if !libraries().iter().any(|folder| has_libclang(folder)) {
        return Some("libclang (package libclang-dev)");
    }
    None
}

/// The words for cargo: `--features verbs` where that can be built, else nothing.
pub(crate) fn words() -> &'static [&'static str] {
    if missing_for_verbs().is_none() { &["--features", "verbs"] } else { &[] }
}

/// Where libclang may lie: what the environment says, or the folders of Debian, Ubuntu, Fedora and Arch.
fn libraries() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("LIBCLANG_PATH").map(PathBuf::from).into_iter().collect();
    folders.extend(["/usr/lib64", "/usr/lib", "/usr/local/lib"].map(PathBuf::from));
    for parent in ["/usr/lib", "/usr/lib/llvm"] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        folders.extend(entries.flat_map(|entry| [entry.path(), entry.path().join("lib")]));
    }
    folders
}

fn has_libclang(folder: &Path) -> bool {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names
        .into_iter()
        .any(|name| name.to_string_lossy().starts_with("libclang.so") || is_versioned(&name.to_string_lossy()))
}

/// `libclang-14.so`, `libclang-14.so.1`; not `libclang-cpp.so`.
fn is_versioned(name: &str) -> bool {
    let rest = name.strip_prefix("libclang-").unwrap_or("");
    rest.starts_with(|first: char| first.is_ascii_digit()) && rest.contains(".so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libclang_is_told_from_its_kin() {
        assert!(is_versioned("libclang-14.so") && is_versioned("libclang-19.so.1"));
        assert!(!is_versioned("libclang-cpp.so.14") && !is_versioned("libclang.so") && !is_versioned("libLLVM-14.so"));
    }
}
