//! Which layer may use which: read from every path that begins with `crate`, `super` or the crate's own name.

use crate::source::{Breach, Source, Token};

/// From the lowest to the highest: each uses itself and those before it.
const LAYERS: [&str; 11] =
    ["sys", "storage", "memory", "fabric", "page", "handshake", "session", "manager", "clients", "engines", "cli"];

/// All that `page` and `handshake` may use of `fabric`: plain types. Of `memory` and `sys` they use nothing.
const PLAIN: [&str; 2] = ["LinkSlot", "LINK_SLOTS"];

/// Backends of `fabric`. No layer of the library names one, nor does one name another.
const BACKENDS: [&str; 3] = ["shm", "sim", "verbs"];

/// What `error` holds and the crate root offers again. Every layer may use it.
const ERROR: [&str; 3] = ["error", "Error", "Recovery"];

/// What the pure layers must not touch: clock, files, network, threads, processes, environment.
const IMPURE: [&str; 8] = ["fs", "io", "net", "time", "thread", "process", "env", "os"];

/// A path in code, from the crate's root on.
#[derive(Debug, PartialEq)]
struct Path<'a> {
    /// `crate`, `std`, or the crate's own name.
    root: &'a str,
    names: Vec<&'a str>,
    line: usize,
}

/// Every use of a layer that may not be.
pub(crate) fn breaches(source: &Source) -> Vec<Breach> {
    let Some(module) = module(&source.path) else { return Vec::new() };
    let tokens = source.tokens();
    let paths = paths(&tokens, &module);
    let found = paths.iter().filter_map(|path| Some(source.breach(path.line, judge(&module, path)?)));
    found.collect()
}

/// How many paths into the crate the file has: a rule that sees none has seen nothing.
pub(crate) fn uses(source: &Source) -> usize {
    module(&source.path).map_or(0, |module| paths(&source.tokens(), &module).len())
}

/// The module that a file of `src/` is; none for other files and for the crate root, which only declares.
fn module(path: &str) -> Option<Vec<&str>> {
    let path = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut names: Vec<&str> = path.split('/').collect();
    if names.last() == Some(&"mod") {
        names.pop();
    }
    if names == ["lib"] { None } else { Some(names) }
}

/// What is wrong with this path in this module, if anything is.
fn judge(module: &[&str], path: &Path<'_>) -> Option<String> {
    let own = module[0];
    let shown = path.names.join("::");
    if path.root == "std" {
        let pure = matches!(own, "page" | "handshake");
        let touched = path.names.first().is_some_and(|name| IMPURE.contains(name));
        return (pure && touched)
            .then(|| format!("`{own}` is pure and uses std::{shown}: pass what it needs in as a value"));
    }
    let is_program = matches!(own, "cli" | "main");
    if path.root == "handfast" {
        return (!is_program).then(|| format!("the library names itself (handfast::{shown}): write crate::"));
    }
    let target = *path.names.first()?;
    if is_program {
        return (target != "cli")
            .then(|| format!("the program sees the public API only: handfast::, not crate::{shown}"));
    }
    if own == "error" || ERROR.contains(&target) {
        return None;
    }
    let rank = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let Some(own_rank) = rank(own) else {
        return Some(format!("`{own}` is no layer: give it a place in LAYERS of tests/tidy/layers.rs"));
    };
    let Some(target_rank) = rank(target) else {
        return Some(format!("crate::{shown} names no layer: name where it is defined"));
    };
    if target_rank > own_rank {
        return Some(format!("`{own}` uses crate::{shown}, which is above it: move it down, or hand it in"));
    }
    let second = path.names.get(1).copied().unwrap_or("*");
    if matches!(own, "page" | "handshake")
        && target_rank < rank("page")?
        && !(target == "fabric" && PLAIN.contains(&second))
    {
        return Some(format!(
            "`{own}` uses crate::{shown}: of the layers below it may use {} alone",
            PLAIN.join(" and ")
        ));
    }
    let own_backend = module.get(1).copied().filter(|_| own == "fabric");
    if target == "fabric" && BACKENDS.contains(&second) && own_backend != Some(second) {
        return Some(format!("crate::{shown} is a backend, and not this one: be generic over the trait Fabric"));
    }
    None
}

/// All paths into the crate, into the standard library and into the crate by its own name.
fn paths<'a>(tokens: &[Token<'a>], module: &[&'a str]) -> Vec<Path<'a>> {
    let mut found = Vec::new();
    // Inline modules around the place where we are, each with the number of braces open before it.
    let mut inline: Vec<(&'a str, usize)> = Vec::new();
    let mut open = 0;
    for at in 0..tokens.len() {
        let text = |ahead: usize| tokens.get(at + ahead).map_or("", |token| token.text);
        match text(0) {
            "mod" if text(2) == "{" => inline.push((text(1), open)),
            "{" => open += 1,
            "}" => {
                open = open.saturating_sub(1);
                inline.pop_if(|(_, before)| *before == open);
            }
            root @ ("crate" | "super" | "std" | "handfast")
                if text(1) == "::" && (at == 0 || tokens[at - 1].text != "::") =>
            {
                let mut base: Vec<&str> = Vec::new();
                let mut after = at + 1;
                if root == "super" {
                    base = module.iter().copied().chain(inline.iter().map(|(name, _)| *name)).collect();
                    base.pop();
                    while tokens.get(after + 1).is_some_and(|token| token.text == "super") {
                        base.pop();
                        after += 2;
                    }
                }
                let root = if root == "super" { "crate" } else { root };
                let mut names = base;
                tree(tokens, after, &mut names, &mut |names, line| {
                    found.push(Path { root, names: names.to_vec(), line });
                });
            }
            _ => {}
        }
    }
    found
}

/// Follows `::name`, `::*` and `::{...}` from `at` on; tells each leaf. Where it ended.
fn tree<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    names: &mut Vec<&'a str>,
    leaf: &mut impl FnMut(&[&'a str], usize),
) -> usize {
    let depth = names.len();
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let line = tokens.get(at).map_or(0, |token| token.line);
    while text(at) == "::" {
        at += 1;
        if text(at) == "{" {
            at = group(tokens, at + 1, names, leaf);
            names.truncate(depth);
            return at;
        }
        let Some(token) = tokens.get(at).filter(|token| token.is_word() || token.text == "*") else { break };
        names.push(token.text);
        at += 1;
    }
    leaf(names, line);
    names.truncate(depth);
    at
}

/// The elements of a group up to its closing brace.
fn group<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    names: &mut Vec<&'a str>,
    leaf: &mut impl FnMut(&[&'a str], usize),
) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text {
            "}" => return at + 1,
            "self" | "*" => {
                leaf(names, token.line);
                at += 1;
            }
            "as" => at += 2,
            _ if token.is_word() => {
                names.push(token.text);
                at = tree(tokens, at + 1, names, leaf);
                names.pop();
            }
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
fn complaints(path: &str, text: &str) -> Vec<String> {
    breaches(&Source::new(path, text)).into_iter().map(|breach| format!("{}: {}", breach.line, breach.what)).collect()
}

#[test]
fn upward_uses_are_found_however_they_are_written() {
    for (path, text) in [
        ("src/memory/copy.rs", "use crate::fabric::Port;"),
        ("src/memory/copy.rs", "fn f() {\n let _ = crate::fabric::LinkSlot::new(1);\n}"),
        ("src/memory/mod.rs", "use super::fabric::Port;"),
        ("src/memory/copy.rs", "use super::super::fabric;"),
        ("src/memory/copy.rs", "mod tests { use super::super::super::session::Session; }"),
        ("src/memory/copy.rs", "use crate::{sys::Errno, fabric::{Port, Link}};"),
        ("src/fabric/sim/mod.rs", "pub(crate) use crate::handshake::Handshake as H;"),
        ("src/session/mod.rs", "use crate::manager::*;"),
        ("src/session/mod.rs", "use crate::*;"),
        ("src/session/mod.rs", "use crate::secret::Thing;"),
        ("src/new/mod.rs", "use crate::sys::Errno;"),
    ] {
        assert!(!complaints(path, text).is_empty(), "{path} may not say {text}");
    }
    assert_eq!(
        complaints("src/memory/a.rs", "//! a\nuse crate::{\n    sys::Errno,\n    fabric::{Port, Link},\n};").len(),
        2
    );
}

#[test]
fn downward_uses_are_fine() {
    for (path, text) in [
        ("src/session/mod.rs", "use crate::{fabric::{self, Port as P}, handshake::*, page, Error};"),
        ("src/memory/copy.rs", "use super::region::Region; mod tests { use super::super::buffer; use super::*; }"),
        ("src/memory/copy.rs", "pub(crate) fn f() {} // crate::manager\nconst T: &str = \"crate::manager::X\";"),
        ("src/error.rs", "use crate::manager::ManagerError;"),
        ("src/fabric/shm/port.rs", "use crate::fabric::shm::ring::Ring; use crate::sys; use super::wire;"),
        ("src/page/status.rs", "use crate::fabric::{LINK_SLOTS, LinkSlot}; use super::identity::Word;"),
        ("src/cli/node.rs", "use crate::cli::args::A; use handfast::fabric::shm::Shm; use super::failure::F;"),
        ("tests/x.rs", "use crate::anything;"),
        ("src/lib.rs", "pub use crate::manager::X;"),
    ] {
        assert_eq!(complaints(path, text), Vec::<String>::new(), "{path} may say {text}");
    }
}

#[test]
fn pure_layers_take_plain_types_alone() {
    for text in [
        "use crate::fabric::Port;",
        "use crate::fabric::{LinkSlot, shm::Shm};",
        "use crate::fabric::*;",
        "use crate::memory::Region;",
        "use crate::sys::Errno;",
        "use std::time::Instant;",
        "use std::{fmt, io::Read};",
    ] {
        assert!(!complaints("src/handshake/mod.rs", text).is_empty(), "handshake may not say {text}");
        assert!(!complaints("src/page/status.rs", text).is_empty(), "page may not say {text}");
    }
    assert!(complaints("src/session/timing.rs", "use std::time::Duration;").is_empty());
}

#[test]
fn nothing_names_a_foreign_backend() {
    assert!(!complaints("src/session/mod.rs", "use crate::fabric::shm::Shm;").is_empty());
    assert!(!complaints("src/fabric/sim/mod.rs", "use super::shm::Shm;").is_empty());
    assert!(!complaints("src/fabric/mod.rs", "use crate::fabric::sim::Sim;").is_empty());
}

#[test]
fn the_program_sees_the_public_api_only() {
    assert!(!complaints("src/cli/mod.rs", "use crate::fabric::Port;").is_empty());
    assert!(!complaints("src/main.rs", "use crate::sys;").is_empty());
    assert!(!complaints("src/session/mod.rs", "use handfast::fabric::Port;").is_empty());
}
