//! No lock between `reserve` and `durable()`: shown by the text, since a lock that nobody else holds makes no system call.
//!
//! The files of that way name no lock at all. What they call in others that have one is `#[cold]` wherever it takes it: an error, a beginning, an
//! end, news from another thread.

use crate::shape::functions;
use crate::source::{Breach, Source};

/// The way of a record: reserved, sealed, collected, posted, completed, acknowledged.
pub(crate) const WAY: [&str; 18] = [
    "src/clients/mirrored_log/producer.rs",
    "src/clients/mirrored_log/record.rs",
    "src/clients/mirrored_log/lsn.rs",
    "src/clients/mirrored_log/poller/mod.rs",
    "src/clients/mirrored_log/mirror.rs",
    "src/clients/mirrored_log/wire.rs",
    "src/clients/mirrored_log/writer.rs",
    "src/clients/mirrored_log/replica.rs",
    "src/clients/mirrored_log/stall.rs",
    "src/memory/ring/index.rs",
    "src/memory/ring/mod.rs",
    "src/memory/buffer.rs",
    "src/fabric/shm/port.rs",
    "src/fabric/shm/port/progress.rs",
    "src/fabric/shm/queue.rs",
    "src/fabric/shm/receives.rs",
    "src/fabric/shm/wire.rs",
    "src/fabric/shm/remote.rs",
];

/// Files beside it that have locks, and are called into.
pub(crate) const BESIDE: [&str; 5] = [
    "src/clients/mirrored_log/shared.rs",
    "src/clients/mirrored_log/sleepers.rs",
    "src/clients/mirrored_log/inbox.rs",
    "src/clients/mirrored_log/copy.rs",
    "src/clients/mirrored_log/keeper.rs",
];

/// What waits for another thread.
const WAITS: [&str; 10] =
    ["Mutex", "RwLock", "Condvar", "Barrier", "LazyLock", "lock", "try_lock", "park", "sleep", "mpsc"];

/// Every lock on the way, and every one beside it that is not out of it.
pub(crate) fn breaches(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    let tests = source.code.lines().position(|line| line == "mod tests {").unwrap_or(usize::MAX);
    let tokens = source.tokens().into_iter().filter(|token| token.line <= tests);
    if WAY.contains(&source.path.as_str()) {
        for token in tokens.filter(|token| WAITS.contains(&token.text)) {
            found
                .push(source.breach(token.line, format!("`{}` on the way of a record: take it elsewhere", token.text)));
        }
    } else if BESIDE.contains(&source.path.as_str()) {
        let functions = functions(source);
        for token in tokens.filter(|token| token.text == "lock") {
            let around = functions.iter().filter(|(_, line, length)| (*line..line + length).contains(&token.line));
            if let Some((name, line, _)) = around.max_by_key(|(_, line, _)| *line)
                && !is_cold(source, *line)
            {
                found.push(source.breach(*line, format!("`{name}` takes a lock and is not #[cold]")));
            }
        }
    }
    found
}

/// Whether the function on this line has `#[cold]` above it.
fn is_cold(source: &Source, line: usize) -> bool {
    let lines: Vec<&str> = source.code.lines().take(line - 1).collect();
    lines.iter().rev().take_while(|line| line.trim().starts_with("#[")).any(|line| line.contains("cold"))
}

#[test]
fn a_lock_on_the_way_is_seen() {
    let of = |path: &str, text: &str| breaches(&Source::new(path, text)).len();
    let lock = "impl A {\n    #[inline]\n    fn f(&self) -> u8 {\n        *self.m.lock()\n    }\n}\n";
    assert_eq!((of(WAY[0], lock), of(BESIDE[0], lock), of("src/x.rs", lock)), (1, 1, 0));
    let cold = lock.replace("#[inline]", "#[cold]");
    assert_eq!((of(WAY[0], &cold), of(BESIDE[0], &cold)), (1, 0));
    assert_eq!(of(WAY[0], "use std::sync::Mutex; // lock\nconst A: &str = \"lock\";\n"), 1);
    assert_eq!(of(WAY[0], "fn f() {}\nmod tests {\n    use std::sync::Mutex;\n}\n"), 0);
}
