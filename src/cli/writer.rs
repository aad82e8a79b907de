//! A node's lines, written by a thread of their own: a reader who stands still (a pager, a stopped terminal, a log driver that hangs) holds nobody up.
//! What the queue has no room for is dropped and counted, and the count is told.

use crate::cli::failure::Failure;
use crate::cli::threads;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Result as Outcome, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that wait for a reader. A node tells some hundred a second at most, unless RUST_LOG asks for all.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// Between two attempts at a pipe that was made non-blocking by another of its holders, and is full.
const FULL_PIPE_PAUSE: Duration = Duration::from_millis(10);

/// What is told of lines that were dropped.
pub(crate) type Notice = fn(u64) -> String;

/// Where lines are handed in. Never waits for a reader.
#[derive(Clone)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Lines that found no room since the last one that did.
    dropped: u64,
    /// Lines that were dropped or could not be written, and that nobody was told of yet.
    missed: u64,
    is_writing: bool,
    is_ended: bool,
}

struct Line {
    /// Lines that were dropped before it.
    dropped: u64,
    bytes: Vec<u8>,
}

impl Writer {
    /// To standard output, around the standard library's own lock and buffer: a thread that waits in there would hold them.
    pub(crate) fn to_stdout(notice: Notice) -> Result<Self, Failure> {
        Self::to_copy("standard output", std::io::stdout().as_fd().try_clone_to_owned(), notice)
    }

    /// To standard error, in the same way.
    pub(crate) fn to_stderr(notice: Notice) -> Result<Self, Failure> {
        Self::to_copy("standard error", std::io::stderr().as_fd().try_clone_to_owned(), notice)
    }

    fn to_copy(name: &str, copy: Outcome<OwnedFd>, notice: Notice) -> Result<Self, Failure> {
        let copy = copy.map_err(|error| Failure::of(format!("making another descriptor of {name}"), error))?;
        Self::start(File::from(copy), notice)
    }

    pub(crate) fn start(to: impl Write + Send + 'static, notice: Notice) -> Result<Self, Failure> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let there = Arc::clone(&shared);
        // It ends with `finish`, or with the process while it waits for the reader.
        threads::start("lines", move || there.write(&mut Sink { to, is_torn: false }, notice))?;
        Ok(Self { shared })
    }

    /// Hands one line in.
    pub(crate) fn line(&self, text: impl std::fmt::Display) {
        self.shared.push(format!("{text}\n").into_bytes());
    }

    /// Takes nothing more, and waits until all is written, to that moment at most. Whether nothing was lost.
    pub(crate) fn finish(&self, until: Instant) -> bool {
        let mut queue = self.shared.lock();
        queue.is_ended = true;
        self.shared.changed.notify_all();
        loop {
            let is_idle = queue.lines.is_empty() && queue.dropped == 0 && !queue.is_writing;
            let left = until.saturating_duration_since(Instant::now());
            if is_idle || left.is_zero() {
                return is_idle && queue.missed == 0;
            }
            queue = self.shared.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What `tracing` hands in: a line at a time.
impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> Outcome<usize> {
        self.shared.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Outcome<()> {
        Ok(())
    }
}

impl Shared {
    /// Held for some moves in memory alone, never while something is written.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: Vec<u8>) {
        let mut queue = self.lock();
        if queue.is_ended || queue.bytes + bytes.len() > QUEUE_BYTES_MAX {
            queue.dropped += u64::from(!queue.is_ended);
            return;
        }
        queue.bytes += bytes.len();
        let dropped = std::mem::take(&mut queue.dropped);
        queue.lines.push_back(Line { dropped, bytes });
        self.changed.notify_all();
    }

    /// The next line, or the count alone of those that were dropped where none follows. None at the end.
    fn next(&self, missed: u64) -> Option<Line> {
        let mut queue = self.lock();
        (queue.is_writing, queue.missed) = (false, missed);
        loop {
            let line = queue.lines.pop_front().or_else(|| {
                let dropped = std::mem::take(&mut queue.dropped);
                (dropped != 0).then(|| Line { dropped, bytes: Vec::new() })
            });
            if let Some(line) = line {
                queue.bytes -= line.bytes.len();
                queue.is_writing = true;
                return Some(line);
            }
            self.changed.notify_all();
            if queue.is_ended {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes until the end. A line for which there is no room is lost, and told of when there is.
    fn write(&self, sink: &mut Sink<impl Write>, notice: Notice) {
        let mut missed = 0;
        while let Some(Line { dropped, bytes }) = self.next(missed) {
            missed += dropped;
            if missed != 0 && sink.put(format!("{}\n", notice(missed)).as_bytes()).is_ok() {
                missed = 0;
            }
            if !bytes.is_empty() && sink.put(&bytes).is_err() {
                missed += 1;
            }
        }
    }
}

/// Where lines go in the end.
struct Sink<W> {
    to: W,
    /// The last line was written in part.
    is_torn: bool,
}

impl<W: Write> Sink<W> {
    fn put(&mut self, line: &[u8]) -> Outcome<()> {
        if self.is_torn {
            self.all(b"\n")?;
        }
        self.all(line)
    }

    fn all(&mut self, mut rest: &[u8]) -> Outcome<()> {
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(FULL_PIPE_PAUSE),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Writes as often as it is let, and says what; an empty permit is a full disk. Its end lets everything fail.
    struct Held {
        permits: Receiver<usize>,
        written: Sender<String>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> Outcome<usize> {
            let count = self.permits.recv().map_err(|_| ErrorKind::BrokenPipe)?.min(bytes.len());
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let text = String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned();
            self.written.send(text).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(count)
        }
        fn flush(&mut self) -> Outcome<()> {
            Ok(())
        }
    }

    fn held() -> Result<(Writer, Sender<usize>, Receiver<String>), Failure> {
        let ((permit, permits), (written, told)) = (channel(), channel());
        let writer = Writer::start(Held { permits, written }, |count| format!("{count} were dropped"))?;
        Ok((writer, permit, told))
    }

    #[test]
    fn a_reader_that_stands_still_holds_nobody_up_and_hears_what_it_missed() -> Result<(), Failure> {
        let (writer, permit, told) = held()?;
        let line = "x".repeat(1023);
        // One of them may be on its way already, which makes room for one more.
        for _ in 0..1100 {
            writer.line(&line);
        }
        assert!(!writer.shared.lock().lines.is_empty());
        for _ in 0..1100 {
            permit.send(usize::MAX)?;
        }
        let (mut whole, mut dropped) = (0, 0);
        while whole + dropped < 1100 {
            match told.recv_timeout(PATIENCE)?.trim_end() {
                text if text == line => whole += 1,
                text => dropped += text.strip_suffix(" were dropped").unwrap_or_default().parse::<u64>()?,
            }
        }
        assert_eq!(whole + dropped, 1100);
        assert!(whole == 1024 || whole == 1025, "{whole} fit");
        writer.line("and on");
        assert!(writer.finish(Instant::now() + PATIENCE));
        assert_eq!(told.recv_timeout(PATIENCE)?, "and on\n");
        Ok(())
    }

    #[test]
    fn a_full_disk_costs_the_lines_that_it_does_not_take_and_no_other() -> Result<(), Failure> {
        let (writer, permit, told) = held()?;
        for permitted in [2, 0, 0, usize::MAX, usize::MAX, usize::MAX] {
            permit.send(permitted)?;
        }
        for line in ["first", "second", "third"] {
            writer.line(line);
        }
        // What was cut short ends its line before the next begins. The notice of `first` found no room either.
        permit.send(usize::MAX)?;
        let mut heard = String::new();
        while !heard.ends_with("third\n") {
            heard += &told.recv_timeout(PATIENCE)?;
        }
        assert_eq!(heard, "fi\nsecond\n1 were dropped\nthird\n");
        assert!(writer.finish(Instant::now() + PATIENCE));
        Ok(())
    }

    #[test]
    fn the_end_is_not_waited_for_longer_than_wanted() -> Result<(), Failure> {
        let (writer, permit, _told) = held()?;
        writer.line("never");
        assert!(!writer.finish(Instant::now() + Duration::from_millis(1)));
        drop(permit);
        Ok(())
    }
}
