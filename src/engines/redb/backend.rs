//! The primary's side: a storage backend of redb whose every write and change of length also goes to the mirrored log.
//!
//! One lock orders them: an operation is encoded straight into its reservation in the log's ring, committed, and then made on the local file. So the log's
//! order is the file's order, and every prefix of the log is a state the file was in (or in the middle of one write, as after any crash).
//!
//! What the file held before goes to the partner in pieces, as an image, between the engine's own operations. Until its end is there the partner has
//! nothing to build from, so no sync returns before that.

use crate::clients::mirrored_log::{LogError, Lsn, MirroredLog};
use crate::engines::redb::log::{AppendError, Fill, Log, Mirror};
use crate::engines::redb::operation::{OPERATION_HEADER_BYTES, Operation};
use crate::engines::redb::options::MirrorOptions;
use crate::engines::redb::refusal::{refusal, system};
use crate::sys::{self, thread::NoThread};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at what the partner has applied, and at what it needs.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The longest sleep of one who waits without a deadline.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the partner has, or will have, to apply operations to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    /// It is to be sent.
    Wanted,
    /// Everything before this byte was sent.
    Sending(u64),
    /// All of it was sent; this record says so.
    Sent(Lsn),
}

#[derive(Debug)]
struct State {
    length: u64,
    last: Option<Lsn>,
    base: Base,
    /// The record with which the last image began; none before the first did.
    begun: Option<Lsn>,
    /// Whether the partner was seen to need no image since that one began.
    taken: bool,
    /// Why nothing more is taken.
    failed: Option<String>,
    closed: bool,
}

#[derive(Debug)]
struct Shared<L> {
    log: L,
    file: File,
    options: MirrorOptions,
    /// Most bytes of data in a record; found out where the log takes less than was asked for.
    piece_bytes: AtomicUsize,
    state: Mutex<State>,
    /// The state has changed.
    bell: Condvar,
}

/// A storage backend of redb over a local file and a mirrored log: [`redb::Builder::create_with_backend`](::redb::Builder::create_with_backend) takes it.
///
/// A write is copied twice, into the log's ring and to the file, and waits only where the ring is full. A sync waits until the partner has acknowledged (or, where this node goes on alone, this disk has) all that was
/// written before it. A commit without durability waits for nothing, nor does one of redb's `Eventual` durability: the log keeps the order.
///
/// A thread of its own frees the ring as the partner applies, and sends the file's content where the partner lacks it: at the start, since nothing proves that
/// the partner's image is this very file, and whenever its follower asks for an image.
///
/// An operation that fails is the last one, as redb has it: both are to be opened anew.
#[derive(Debug)]
pub struct MirroredBackend(Backend<Mirror>);

impl MirroredBackend {
    /// Takes a file (open for reading and writing, and nobody else's; it is locked by `fcntl(2)`), and begins to send its content. Does not wait for the partner:
    /// the first sync does.
    ///
    /// The log serves this file alone, and is set up with
    /// [`applied_bounds_truncation`](crate::clients::mirrored_log::LogConfig::applied_bounds_truncation). Its ring holds at least what one transaction writes.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`]: the file is in use. What the system says of the file; it has no thread to give.
    pub fn new(file: File, log: &MirroredLog, options: MirrorOptions) -> io::Result<Self> {
        Backend::new(file, Mirror::new(log.clone()), options).map(Self)
    }
}

impl ::redb::StorageBackend for MirroredBackend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.0.read(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self, eventual: bool) -> io::Result<()> {
        self.0.sync_data(eventual)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// The same, over any log.
#[derive(Debug)]
pub(crate) struct Backend<L: Log> {
    shared: Arc<Shared<L>>,
    keeper: Option<JoinHandle<()>>,
}

impl<L: Log> Backend<L> {
    /// Takes the file, which nobody else may write, and sends its content.
    pub(crate) fn new(file: File, log: L, options: MirrorOptions) -> io::Result<Self> {
        match sys::file::try_lock(file.as_fd()) {
            Ok(true) => {}
            Ok(false) => {
                return Err(io::Error::new(ErrorKind::WouldBlock, "the database file is in use by another process"));
            }
            Err(errno) => return Err(system("locking the database file", errno)),
        }
        let length = file.metadata()?.len();
        let state =
            State { length, last: None, base: Base::Wanted, begun: None, taken: false, failed: None, closed: false };
        let shared = Arc::new(Shared {
            log,
            file,
            options,
            piece_bytes: AtomicUsize::new(options.piece_bytes),
            state: Mutex::new(state),
            bell: Condvar::new(),
        });
        let here = Arc::clone(&shared);
        let keeper = sys::thread::start("redb-mirror", "the thread that mirrors the database", move || here.keep());
        let keeper = keeper.map_err(|NoThread { tried, errno }| {
            // redb shows the kind and the words of an error, and no chain.
            io::Error::new(io::Error::from_raw_os_error(errno.number()).kind(), format!("{tried}: {errno}"))
        })?;
        let keeper = Some(keeper);
        Ok(Self { shared, keeper })
    }
}

impl<L: Log> Drop for Backend<L> {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.bell.notify_all();
        if let Some(keeper) = self.keeper.take() {
            sys::thread::join(keeper);
        }
    }
}

impl State {
    fn image_begins(&mut self, at: Option<Lsn>) {
        if at.is_some() {
            (self.base, self.begun, self.taken) = (Base::Sending(0), at, false);
        }
    }
}

impl<L: Log> Shared<L> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, where everything so far went well.
    fn sound(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        match &state.failed {
            None => Ok(state),
            Some(why) => Err(io::Error::other(format!(
                "the mirrored file takes nothing more ({why}): open it anew (MirroredBackend::new), which sends the partner an image of it"
            ))),
        }
    }

    /// After a failure the partner's records and the local file may differ: nothing more is taken until the file is opened anew, which sends an image.
    fn fail<T>(&self, state: &mut State, error: io::Error) -> io::Result<T> {
        state.failed.get_or_insert_with(|| error.to_string());
        self.bell.notify_all();
        Err(error)
    }

    /// The same, but for a wait that ran out before anything was done: the partner may be back for the next one.
    fn fail_unless_late<T>(&self, state: &mut State, error: io::Error) -> io::Result<T> {
        if error.kind() == ErrorKind::TimedOut { Err(error) } else { self.fail(state, error) }
    }

    /// The state, to make an operation of the engine in. The first record of all is that an image begins: what follows is meant for this file, and the image that
    /// the partner may still have is of an earlier one.
    fn begun(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.sound()?;
        if state.begun.is_none() {
            match self.append(&Operation::ImageBegins { length: state.length }) {
                Ok(begun) => state.image_begins(begun),
                Err(error) => return self.fail_unless_late(&mut state, error),
            }
        }
        Ok(state)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.begun()?;
        let mut done = 0;
        while done < data.len() {
            let piece = &data[done..data.len().min(done + self.piece_bytes.load(Ordering::Relaxed))];
            let operation = Operation::Write { offset: offset + done as u64, data: piece };
            match self.append(&operation) {
                Ok(Some(lsn)) => state.last = Some(lsn),
                // The log takes shorter records.
                Ok(None) => continue,
                // Of one that is here in part the partner has a part.
                Err(error) if done == 0 => return self.fail_unless_late(&mut state, error),
                Err(error) => return self.fail(&mut state, error),
            }
            done += piece.len();
        }
        if let Err(error) = sys::file::write_all_at(&self.file, data, offset) {
            return self.fail(&mut state, error);
        }
        state.length = state.length.max(offset + data.len() as u64);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.begun()?;
        match self.append(&Operation::SetLength { length }) {
            Ok(lsn) => state.last = lsn.or(state.last),
            Err(error) => return self.fail_unless_late(&mut state, error),
        }
        if let Err(error) = sys::file::set_length(&self.file, length) {
            return self.fail(&mut state, error);
        }
        state.length = length;
        Ok(())
    }

    /// Appends an operation, with all the patience there is. None where the log takes shorter records only: pieces are shorter from here on.
    fn append(&self, operation: &Operation<'_>) -> io::Result<Option<Lsn>> {
        let mut fill = |place: &mut [u8]| encode(operation, place);
        let until = self.options.deadline();
        loop {
            let look = Instant::now() + LOOK_INTERVAL;
            let step = until.map_or(look, |until| until.min(look));
            match self.log.append(operation.bytes(), Some(step), &mut fill) {
                Ok(lsn) => return Ok(Some(lsn)),
                Err(AppendError::Full | AppendError::NotOpen) if until.is_none_or(|until| Instant::now() < until) => {
                    self.log.free();
                }
                Err(AppendError::TooLong { max }) if self.shorten(max) => return Ok(None),
                Err(error) => return Err(self.refusal(error)),
            }
        }
    }

    /// Makes pieces so short that a record of `max` bytes holds one. False where they are, or no piece would be left.
    fn shorten(&self, max: usize) -> bool {
        let bytes = max.saturating_sub(OPERATION_HEADER_BYTES);
        bytes > 0 && self.piece_bytes.fetch_min(bytes, Ordering::Relaxed) > bytes
    }

    fn refusal(&self, error: AppendError) -> io::Error {
        refusal(error, self.log.applied(), self.options.wait_max)
    }

    fn sync(&self) -> io::Result<()> {
        loop {
            let (last, base) = self.base_sent()?;
            // The last records are on their way to the partner meanwhile.
            if self.options.local_sync {
                self.sync_file()?;
            }
            let lsn = last.map_or(base, |last| last.max(base));
            match self.log.wait(lsn, self.options.deadline()) {
                Ok(true) if self.is_outrun() => {}
                Ok(true) => return Ok(()),
                // Nobody else has it: then this disk does.
                Ok(false) if !self.options.local_sync => return self.sync_file(),
                Ok(false) => return Ok(()),
                Err(error) => {
                    let late = matches!(error, LogError::Late { .. });
                    let kind = if late { ErrorKind::TimedOut } else { ErrorKind::BrokenPipe };
                    return self.fail_unless_late(&mut self.state(), io::Error::new(kind, error));
                }
            }
        }
    }

    fn sync_file(&self) -> io::Result<()> {
        self.file.sync_data().or_else(|error| self.fail(&mut self.state(), error))
    }

    /// Whether the log has freed, alone, what the partner never applied: what it has of later records is of no use to it. Another image is on its way then.
    fn is_outrun(&self) -> bool {
        let (mut state, tail) = (self.state(), self.log.tail());
        let lacks =
            self.log.applied().is_some_and(|applied| applied < tail) && state.begun.is_some_and(|begun| begun < tail);
        if lacks && matches!(state.base, Base::Sent(_)) {
            state.base = Base::Wanted;
            self.bell.notify_all();
        }
        lacks
    }

    /// Waits until the image was sent. The last record of all there is, and the image's.
    fn base_sent(&self) -> io::Result<(Option<Lsn>, Lsn)> {
        let mut state = self.sound()?;
        let (mut before, mut until) = (state.base, self.options.deadline());
        loop {
            if let Base::Sent(lsn) = state.base {
                return Ok((state.last, lsn));
            }
            if state.base != before {
                (before, until) = (state.base, self.options.deadline());
            }
            let left = until.map_or(SLEEP_MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                let text = format!(
                    "the partner took nothing of the file's image for {:.1} s; \
                     see whether its follower runs",
                    self.options.wait_max.as_secs_f64()
                );
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            drop(self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner));
            state = self.sound()?;
        }
    }

    /// The thread beside the engine: frees the ring, sends images.
    fn keep(&self) {
        loop {
            self.log.free();
            let mut state = self.state();
            if state.closed || state.failed.is_some() {
                return;
            }
            self.look(&mut state);
            let sent = match state.base {
                Base::Sent(_) => false,
                _ => match self.send_piece(&mut state) {
                    Ok(sent) => sent,
                    Err(error) => {
                        let _: io::Result<()> = self.fail(&mut state, error);
                        return;
                    }
                },
            };
            if sent {
                self.bell.notify_all();
                drop(state);
                // Whoever waits for the lock comes first.
                std::thread::yield_now();
            } else {
                drop(self.bell.wait_timeout(state, LOOK_INTERVAL));
            }
        }
    }

    /// Whether the partner needs another image: it asks, and has the last one behind it or cannot have it any more.
    fn look(&self, state: &mut State) {
        let needs = self.log.needs_image();
        match state.base {
            Base::Wanted => {}
            _ if !needs => state.taken = true,
            Base::Sending(_) => {}
            Base::Sent(_) if state.taken || Some(self.log.tail()) > state.begun => state.base = Base::Wanted,
            Base::Sent(_) => {}
        }
    }

    /// One record of an image. False where the log has no room for it now, or is not open yet.
    fn send_piece(&self, state: &mut State) -> io::Result<bool> {
        let at = match state.base {
            Base::Sent(_) => return Ok(false),
            Base::Wanted => {
                let begins = Operation::ImageBegins { length: state.length };
                let begun = self.offer(OPERATION_HEADER_BYTES, &mut |place| encode(&begins, place))?;
                state.image_begins(begun);
                return Ok(begun.is_some());
            }
            Base::Sending(at) => at,
        };
        if at >= state.length {
            let ends = Operation::ImageEnds { length: state.length };
            let ended = self.offer(OPERATION_HEADER_BYTES, &mut |place| encode(&ends, place))?;
            if let Some(lsn) = ended {
                state.base = Base::Sent(lsn);
            }
            return Ok(ended.is_some());
        }
        let left = usize::try_from(state.length - at).unwrap_or(usize::MAX);
        let bytes = left.min(self.piece_bytes.load(Ordering::Relaxed));
        let read = |data: &mut [u8]| self.file.read_exact_at(data, at);
        let mut fill = |place: &mut [u8]| room(Operation::encode_chunk(place, at, read)?);
        let sent = self.offer(OPERATION_HEADER_BYTES + bytes, &mut fill)?;
        if sent.is_some() {
            state.base = Base::Sending(at + bytes as u64);
        }
        Ok(sent.is_some())
    }

    /// Appends a record if there is room at once.
    fn offer(&self, bytes: usize, fill: Fill<'_>) -> io::Result<Option<Lsn>> {
        match self.log.append(bytes, None, fill) {
            Ok(lsn) => Ok(Some(lsn)),
            Err(AppendError::Full | AppendError::NotOpen) => Ok(None),
            Err(AppendError::TooLong { max }) if self.shorten(max) => Ok(None),
            Err(error) => Err(self.refusal(error)),
        }
    }
}

fn encode(operation: &Operation<'_>, place: &mut [u8]) -> io::Result<()> {
    room(operation.encode(place))
}

fn room(given: bool) -> io::Result<()> {
    if given { Ok(()) } else { Err(io::Error::other("the log gave another room than was asked for")) }
}

impl<L: Log> ::redb::StorageBackend for Backend<L> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.shared.state().length)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.shared.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.shared.set_length(len)
    }

    fn sync_data(&self, eventual: bool) -> io::Result<()> {
        match (eventual, self.shared.options.local_sync) {
            (false, _) => self.shared.sync(),
            // The log's order is a barrier by itself; the local file needs one of its own.
            (true, true) => self.shared.file.sync_data(),
            (true, false) => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.shared.write(offset, data)
    }
}
