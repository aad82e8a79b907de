//! How the measuring process tells its peer what to do: a few words of the arena, spun on.

use crate::bare::{Arena, Line};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of the arena.
pub(crate) const ARENA_BYTES: usize = 64 << 10;

/// Lines of the arena, far enough apart that no processor fetches two at once.
pub(crate) mod lines {
    /// What to do: number, turns, base.
    pub(crate) const COMMAND: usize = 0;
    /// Begun and done: the numbers of commands.
    pub(crate) const ANSWER: usize = 4;
    /// The command of this number is to end.
    pub(crate) const STOP: usize = 8;
    /// From the measuring process to the peer.
    pub(crate) const PING: usize = 16;
    /// From the peer to the measuring process.
    pub(crate) const PONG: usize = 20;
    /// A line that the peer writes when it is told to.
    pub(crate) const DATA: usize = 24;
    /// What the bare four steps READ.
    pub(crate) const STATUS: usize = 28;
    /// What they WRITE in step 2.
    pub(crate) const GREETING: usize = 32;
    /// What they WRITE in step 4.
    pub(crate) const CONFIRMATION: usize = 36;
}

/// Blocks of the arena.
pub(crate) mod blocks {
    /// From the measuring process to the peer.
    pub(crate) const PING: usize = 2;
    /// From the peer to the measuring process.
    pub(crate) const PONG: usize = 4;
}

/// What the peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Answers lines by lines.
    Lines = 1,
    /// Answers blocks by blocks.
    Blocks,
    /// Acknowledges bare greetings until stopped.
    BareSteps,
    /// Dirties the bare data line when told to.
    BareDirty,
    /// Answers inline WRITEs by inline WRITEs.
    Writes,
    /// Answers 4 KiB WRITEs by 4 KiB WRITEs.
    BlockWrites,
    /// Dirties a line of its exposed memory when told to.
    Dirty,
    /// Answers messages by messages.
    Messages,
    /// Acknowledges greetings without a key until stopped.
    Steps,
    /// Acknowledges greetings with a key until stopped.
    KeyedSteps,
    /// Polls the manager that the started processes find, until stopped.
    Serve,
    /// Sleeps until stopped.
    Rest,
    /// Acknowledges records that come through TCP.
    Records,
    /// Ends.
    Quit,
}

const TASKS: [Task; 14] = [
    Task::Lines,
    Task::Blocks,
    Task::BareSteps,
    Task::BareDirty,
    Task::Writes,
    Task::BlockWrites,
    Task::Dirty,
    Task::Messages,
    Task::Steps,
    Task::KeyedSteps,
    Task::Serve,
    Task::Rest,
    Task::Records,
    Task::Quit,
];

/// The other process did not do its part in time.
#[derive(Debug)]
pub(crate) struct Stalled;

impl fmt::Display for Stalled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("the other process did not answer within 10 s: it ended, or another program has its processor")
    }
}

impl std::error::Error for Stalled {}

/// Spins until `ready`, without a pause: the other process has a processor of its own.
#[inline(always)]
pub(crate) fn spin(mut ready: impl FnMut() -> bool) -> Result<(), Stalled> {
    let mut turns = 0u32;
    let mut began = None;
    while !ready() {
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(1 << 20) && is_late(&mut began) {
            return Err(Stalled);
        }
    }
    Ok(())
}

#[cold]
fn is_late(began: &mut Option<Instant>) -> bool {
    began.get_or_insert_with(Instant::now).elapsed() > Duration::from_secs(10)
}

/// Sets a word when it is dropped: a thread that waits for it goes on, whatever happened here.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Spins until a word holds a value.
#[inline(always)]
pub(crate) fn await_word(word: &AtomicU64, value: u64) -> Result<(), Stalled> {
    spin(|| word.load(Ordering::Acquire) == value)
}

/// One command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command {
    number: u64,
    /// What to do.
    pub(crate) task: Task,
    /// How often, where the task does not run until stopped.
    pub(crate) turns: u64,
    /// The words of turn `n` hold `base + n`.
    pub(crate) base: u64,
}

/// The words of one side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control<'a> {
    command: &'a Line,
    answer: &'a Line,
    stop: &'a Line,
}

impl<'a> Control<'a> {
    /// In this arena.
    pub(crate) fn new(arena: &'a Arena) -> io::Result<Self> {
        Ok(Self {
            command: arena.line(lines::COMMAND)?,
            answer: arena.line(lines::ANSWER)?,
            stop: arena.line(lines::STOP)?,
        })
    }

    /// Tells the peer what to do, and waits until it has begun.
    pub(crate) fn begin(&self, task: Task, turns: u64) -> Result<Command, Stalled> {
        let [number, what, count, base, ..] = self.command;
        let (next, first) = (number.load(Ordering::Relaxed) + 1, base.load(Ordering::Relaxed));
        let first = first + count.load(Ordering::Relaxed);
        what.store(task as u64, Ordering::Relaxed);
        count.store(turns, Ordering::Relaxed);
        base.store(first, Ordering::Relaxed);
        number.store(next, Ordering::Release);
        let [begun, ..] = self.answer;
        await_word(begun, next)?;
        Ok(Command { number: next, task, turns, base: first })
    }

    /// Ends a command, and waits until the peer is done with it.
    pub(crate) fn end(&self, command: Command) -> Result<(), Stalled> {
        let ([stop, ..], [_, done, ..]) = (self.stop, self.answer);
        stop.store(command.number, Ordering::Release);
        await_word(done, command.number)
    }

    /// The command that follows the one of the number `after`, if it was given.
    pub(crate) fn next(&self, after: u64) -> Option<Command> {
        let [number, what, turns, base, ..] = self.command;
        let number = number.load(Ordering::Acquire);
        if number == after {
            return None;
        }
        let what = what.load(Ordering::Relaxed);
        let task = TASKS.into_iter().find(|task| *task as u64 == what)?;
        Some(Command { number, task, turns: turns.load(Ordering::Relaxed), base: base.load(Ordering::Relaxed) })
    }

    /// The peer's words that it begins, and is done.
    pub(crate) fn begun(&self, command: &Command) {
        let [begun, ..] = self.answer;
        begun.store(command.number, Ordering::Release);
    }
    /// See [`Control::begun`].
    pub(crate) fn done(&self, command: &Command) {
        let [_, done, ..] = self.answer;
        done.store(command.number, Ordering::Release);
    }

    /// Whether a command that runs until stopped is to end.
    #[inline(always)]
    pub(crate) fn is_stopped(&self, command: &Command) -> bool {
        let [stop, ..] = self.stop;
        stop.load(Ordering::Acquire) == command.number
    }
}

impl Command {
    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}
