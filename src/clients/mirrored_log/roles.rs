//! That no file is given two roles in one log.
//!
//! Between logs locks see to it: the ring's file is locked, and a kept file and a term file have a lock beside them.

use super::config::{LogConfig, OnLoss};
use super::error::LogError;
use crate::memory::Backing;
use crate::storage::{Meant, with_suffix};

/// A name that the log uses: of which option, in which role, and what it means.
type Role = (u8, &'static str, Meant);

/// Whether every role has a file of its own.
///
/// # Errors
/// [`LogError::SameFile`].
pub(super) fn check(config: &LogConfig) -> Result<(), LogError> {
    let mut roles: Vec<Role> = Vec::new();
    if let Backing::File(path) = &config.backing
        && let Some(meant) = Meant::by(path)
    {
        add(&mut roles, 0, "the ring", meant, &[(".new", "the next ring")]);
    }
    if let Some(meant) = config.keep.as_deref().and_then(Meant::by) {
        let beside = [
            (".lock", "the lock of the kept file"),
            (".new", "the next kept file"),
            (".taken", "what a takeover of the kept file is noted in"),
            (".taken.new", "the next note of a takeover"),
        ];
        add(&mut roles, 1, "the kept file", meant, &beside);
    }
    if let Some(meant) = config.state_file.as_deref().and_then(Meant::by) {
        let beside = [(".lock", "the lock of the state file"), (".new", "the next state file")];
        add(&mut roles, 3, "the state file", meant, &beside);
    }
    if let OnLoss::GoOnAlone { term_file } = &config.on_loss
        && let Some(meant) = Meant::by(term_file)
    {
        let beside = [(".lock", "the lock of the term file"), (".new", "the next term file")];
        add(&mut roles, 2, "the term file", meant, &beside);
    }
    for (index, (option, one, meant)) in roles.iter().enumerate() {
        for (other_option, other, other_meant) in roles.iter().skip(index + 1) {
            if option != other_option && meant.is(other_meant) {
                return Err(LogError::SameFile { path: meant.path().to_owned(), one, other });
            }
        }
    }
    Ok(())
}

/// A file, and what lies beside it.
fn add(roles: &mut Vec<Role>, option: u8, role: &'static str, meant: Meant, beside: &[(&str, &'static str)]) {
    let path = meant.path().to_owned();
    roles.push((option, role, meant));
    for (suffix, role) in beside {
        roles.extend(Meant::by(&with_suffix(&path, suffix)).map(|meant| (option, *role, meant)));
    }
}
