//! A word that the kernel marks when this process ends: a robust futex of a thread that never returns.
//!
//! The kernel walks the list of robust futexes of each thread that ends, however it ends, and sets FUTEX_OWNER_DIED in
//! those that hold the thread's number; with FUTEX_WAITERS set it wakes one sleeper (set_robust_list(2), and
//! Documentation/locking/robust-futex-ABI in the kernel's tree). Not before the end of a core dump, and not while the
//! process is stopped: for those there is the heartbeat.

use crate::sys::Errno;
use crate::sys::thread::{NoThread, refused};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The word, in memory that others may look at and nobody else may write.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct MarkedWord {
    /// The thread's number and FUTEX_WAITERS while it lives; FUTEX_OWNER_DIED set once it has ended. A futex has four bytes: the
    /// low half of the word, whose high half is zero.
    word: AtomicU64,
}

/// Bytes of a [`MarkedWord`] with what is apart from it.
pub(crate) const MARKED_WORD_BYTES: usize = size_of::<MarkedWord>();

/// The list that the kernel walks: in memory of this process alone, since whoever could write it could have the kernel mark other words.
#[derive(Debug, Default)]
#[repr(C)]
struct List {
    /// `struct robust_list_head`: first entry, offset from an entry to its word, entry under way.
    head: AtomicUsize,
    offset: AtomicUsize,
    pending: AtomicUsize,
    /// `struct robust_list`: the next entry.
    entry: AtomicUsize,
}

/// Set in a word by whoever waits for it, and by us, so that the kernel wakes a sleeper (linux/futex.h).
const FUTEX_WAITERS: u32 = 0x8000_0000;
/// Set by the kernel when the thread that holds the word has ended (linux/futex.h).
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;

/// Where in a word its low half stands.
const LOW_HALF: usize = if cfg!(target_endian = "little") { 0 } else { 4 };

/// Bytes of the head that the kernel is told of.
const HEAD_BYTES: usize = 3 * size_of::<usize>();

/// How long a dead thread's word is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why no word of this process is marked at its end.
#[derive(Debug)]
pub(crate) enum NoMark {
    /// No thread is to be had.
    Thread(NoThread),
    /// The kernel, or a filter of system calls, does not mark words within half a second.
    Unmarked(Errno),
}

/// A [`MarkedWord`] that no thread ever gives up.
#[derive(Debug, Clone, Copy)]
struct Place(NonNull<MarkedWord>);

// SAFETY:
// - live: the memory is never unmapped, says who made it.
// - alias, thread: all of it is atomics.
unsafe impl Send for Place {}

impl Place {
    /// Has the kernel mark the word when the calling thread ends. The thread's own list, which the C library set, is replaced: it
    /// must never hold a robust mutex. Returns the word's value.
    fn take(self) -> Result<u64, Errno> {
        // SAFETY:
        // - live: never unmapped, says who made the place.
        // - alias: atomics alone.
        let place = unsafe { self.0.as_ref() };
        // Never freed: the kernel reads it when the thread ends.
        let list: &'static List = Box::leak(Box::default());
        let (entry, head) = (list.entry.as_ptr().addr(), list.head.as_ptr().addr());
        list.entry.store(head, Ordering::Relaxed);
        list.offset.store((place.word.as_ptr().addr() + LOW_HALF).wrapping_sub(entry), Ordering::Relaxed);
        list.pending.store(0, Ordering::Relaxed);
        // SAFETY:
        // - live: the call takes no pointer.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        let value = u64::from(u32::try_from(thread).map_err(|_| Errno::new(libc::ERANGE))? | FUTEX_WAITERS);
        place.word.store(value, Ordering::Relaxed);
        list.head.store(entry, Ordering::Release);
        // SAFETY:
        // - live: list and place outlive this thread, whose end is when the kernel reads them last.
        // - bounds: the head is three words long, as the kernel is told.
        // - alias: the kernel reads the list and writes the word when this thread ends; here all of it is atomics.
        // - thread: replaces the list of this thread alone, which takes no robust mutex.
        let result = unsafe { libc::syscall(libc::SYS_set_robust_list, list.head.as_ptr(), HEAD_BYTES) };
        if result < 0 { Err(Errno::last()) } else { Ok(value) }
    }
}

/// Starts a thread that lives as long as the process and whose word stands at `place`; the word's value while it lives.
/// A first thread, with a word of its own at `proof`, ends at once: were that not marked, none would be.
///
/// # Errors
/// [`NoMark`].
///
/// # Safety
/// Both places are mapped, writable, aligned and zeroed, are this call's alone, and are never unmapped in this process.
pub(crate) unsafe fn begin(place: NonNull<MarkedWord>, proof: NonNull<MarkedWord>) -> Result<u64, NoMark> {
    spawn(Place(proof), false)?;
    // SAFETY:
    // - live: the place is never unmapped, says the caller.
    // - alias: atomics alone.
    let proof = unsafe { proof.as_ref() };
    let began = Instant::now();
    while proof.word.load(Ordering::Acquire) & u64::from(FUTEX_OWNER_DIED) == 0 {
        if began.elapsed() > PATIENCE {
            // It does not mark any, or this machine has too much to do.
            return Err(NoMark::Unmarked(Errno::new(libc::ETIMEDOUT)));
        }
        std::thread::yield_now();
    }
    spawn(Place(place), true)
}

/// Runs a thread that takes a place; with `stays`, for ever.
fn spawn(place: Place, stays: bool) -> Result<u64, NoMark> {
    /// It calls a handful of functions, none of them deep.
    const STACK_BYTES: usize = 64 << 10;
    let (tell, told) = mpsc::sync_channel(1);
    let run = move || {
        block_signals();
        let taken = { place }.take();
        let is_taken = taken.is_ok();
        let _ = tell.send(taken);
        if stays && is_taken {
            loop {
                // A park may end early: it is begun again.
                std::thread::park();
            }
        }
    };
    let builder = std::thread::Builder::new().name("handfast-life".to_owned()).stack_size(STACK_BYTES);
    let lacking = |errno| NoMark::Thread(refused("the thread whose end tells of this process's", errno));
    builder.spawn(run).map_err(|error| lacking(Errno::from(&error)))?;
    // The sender is gone without a word only where the thread could not run.
    match told.recv() {
        Ok(taken) => taken.map_err(NoMark::Unmarked),
        Err(_) => Err(lacking(Errno::new(libc::EAGAIN))),
    }
}

/// No handler of the engine's ever runs on this thread.
fn block_signals() {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY:
    // - live, alias: `all` is ours alone while the call fills it.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY:
    // - live: `all` was filled, and outlives the call.
    // - thread: changes the mask of the calling thread alone.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
}

/// Sleeps until `word` is woken, its low half does not hold that of `seen`, or `patience` has passed (`futex(2)`, FUTEX_WAIT,
/// shared: a read-only mapping will do). One system call.
pub(crate) fn sleep_on(word: &AtomicU64, seen: u64, patience: Duration) {
    let seconds = libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX);
    let timeout = libc::timespec { tv_sec: seconds, tv_nsec: libc::c_long::from(patience.subsec_nanos()) };
    let (futex, nothing) = (word.as_ptr().cast::<u8>().wrapping_add(LOW_HALF), std::ptr::null::<u32>());
    // SAFETY:
    // - live: word and timeout outlive the call.
    // - bounds: an aligned half of a word.
    // - alias: the kernel reads the word, which is an atomic.
    let slept = unsafe {
        libc::syscall(libc::SYS_futex, futex, libc::FUTEX_WAIT, seen as u32, &raw const timeout, nothing, 0u32)
    };
    if slept < 0 && !matches!(Errno::last().number(), libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT) {
        // A filter refuses the call: who asks again and again is not to spin for it.
        std::thread::sleep(patience.min(Duration::from_millis(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> NonNull<MarkedWord> {
        let zeroed = MarkedWord { word: AtomicU64::new(0) };
        // Never freed, as `begin` asks.
        NonNull::from(Box::leak(Box::new(zeroed)))
    }

    #[test]
    fn the_kernel_marks_the_word_of_a_thread_that_ended_and_of_no_other() -> Result<(), Box<dyn std::error::Error>> {
        let (life, proof) = (place(), place());
        // SAFETY:
        // - live, bounds, alias: both are this test's, zeroed and leaked.
        let value = unsafe { begin(life, proof) }.map_err(|why| format!("{why:?}"))?;
        // SAFETY:
        // - live: leaked.
        let life = unsafe { life.as_ref() };
        // SAFETY:
        // - live: leaked.
        let proof = unsafe { proof.as_ref() };
        assert_eq!(life.word.load(Ordering::Acquire), value);
        assert_eq!(proof.word.load(Ordering::Acquire) as u32, FUTEX_WAITERS | FUTEX_OWNER_DIED);
        Ok(())
    }

    #[test]
    fn a_sleeper_is_woken_by_a_death_and_by_its_patience() -> Result<(), Box<dyn std::error::Error>> {
        let proof = place();
        let value = spawn(Place(proof), false).map_err(|why| format!("{why:?}"))?;
        // SAFETY:
        // - live: leaked.
        let word = &unsafe { proof.as_ref() }.word;
        let began = Instant::now();
        while word.load(Ordering::Acquire) == value && began.elapsed() < Duration::from_secs(20) {
            sleep_on(word, value, Duration::from_millis(100));
        }
        assert_ne!(word.load(Ordering::Acquire), value);
        let alive = AtomicU64::new(5);
        sleep_on(&alive, 5, Duration::from_millis(1));
        sleep_on(&alive, 6, Duration::from_secs(100));
        Ok(())
    }
}
