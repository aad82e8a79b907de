//! What a node has promised, told so that it outlives the node by SIGKILL or by a power cut.

use crate::process::role::say;
use crate::process::sys::drain_stdout;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Threads that append in one life, at most.
pub(crate) const PRODUCERS_MAX: usize = 3;

/// What is told of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It has begun records up to this one. Told before.
    Started,
    /// Its records up to this one are acknowledged. Told after.
    Acknowledged,
    /// Its records up to this one may be gone: they lie before a truncation. Told before.
    Dropped,
    /// Told of the life, in the place of a fourth producer: what was restored at its start is acknowledged anew.
    Settled,
}

/// Where it is told.
pub(crate) trait Board: Send + Sync {
    fn note(&self, life: u32, producer: u8, what: What, count: u64);
}

/// In a file: one `write(2)` each, which the kernel keeps whatever becomes of the process.
pub(crate) struct FileBoard(File);

impl FileBoard {
    pub(crate) fn open(path: &Path) -> Self {
        let mut options = OpenOptions::new();
        Self(options.read(true).write(true).create(true).truncate(false).open(path).expect("the board"))
    }

    fn place(life: u32, producer: u8, what: What) -> u64 {
        let row = u64::from(life) * (PRODUCERS_MAX as u64 + 1) + u64::from(producer);
        row * 32 + 8 * what as u64
    }

    /// What was told; zero where nothing was.
    pub(crate) fn read(&self, life: u32, producer: u8, what: What) -> u64 {
        let mut bytes = [0; 8];
        match self.0.read_exact_at(&mut bytes, Self::place(life, producer, what)) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => 0,
        }
    }
}

impl Board for FileBoard {
    fn note(&self, life: u32, producer: u8, what: What, count: u64) {
        self.0.write_all_at(&count.to_le_bytes(), Self::place(life, producer, what)).expect("a write to the board");
    }
}

/// On the console: `board LIFE PRODUCER WHAT COUNT`. Acknowledgements are told now and then; truncations each time, and before they are
/// made the console has sent them.
pub(crate) struct ConsoleBoard(Mutex<[Option<Instant>; PRODUCERS_MAX + 1]>);

/// A producer's acknowledgements are told so often.
const TOLD_EVERY: Duration = Duration::from_millis(5);

impl ConsoleBoard {
    pub(crate) fn new() -> Self {
        Self(Mutex::new([None; PRODUCERS_MAX + 1]))
    }
}

impl Board for ConsoleBoard {
    fn note(&self, life: u32, producer: u8, what: What, count: u64) {
        match what {
            What::Started => {}
            What::Acknowledged => {
                let mut told = self.0.lock().expect("no panic");
                let last = &mut told[usize::from(producer)];
                if last.is_none_or(|last| last.elapsed() >= TOLD_EVERY) {
                    *last = Some(Instant::now());
                    drop(told);
                    say(&format!("board {life} {producer} acknowledged {count}"));
                }
            }
            What::Dropped => {
                say(&format!("board {life} {producer} dropped {count}"));
                drain_stdout();
            }
            What::Settled => say(&format!("board {life} {producer} settled {count}")),
        }
    }
}
