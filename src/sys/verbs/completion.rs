//! Completion queues, polled the classic way (`ibv_poll_cq(3)`): the extended one returns spurious completions on rxe.

use crate::sys::Errno;
use crate::sys::verbs::{Context, answered, made};
use rdma_sys::{ibv_cq, ibv_create_cq, ibv_destroy_cq, ibv_poll_cq, ibv_wc, ibv_wc_flags};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

/// Codes of `ibv_wc_status`.
pub(crate) mod status {
    pub(crate) use rdma_sys::ibv_wc_status::*;
}

/// A completion queue.
#[derive(Debug)]
pub(crate) struct CompletionQueue {
    raw: NonNull<ibv_cq>,
    _context: Arc<Context>,
}

// SAFETY:
// - thread: libibverbs lets any thread use a completion queue; it locks within.
unsafe impl Send for CompletionQueue {}
// SAFETY:
// - thread: as for Send.
unsafe impl Sync for CompletionQueue {}

/// How one work request ended, as the device tells it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct WorkCompletion(ibv_wc);

impl std::fmt::Debug for WorkCompletion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "WorkCompletion({}, status {})", self.id(), self.status())
    }
}

impl WorkCompletion {
    /// All zeroes: what a provider does not fill reads as that.
    // SAFETY:
    // - bounds: a structure of numbers, for all of which zero is a value.
    pub(crate) const EMPTY: Self = Self(unsafe { MaybeUninit::zeroed().assume_init() });

    /// The number it was posted with.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.0.wr_id
    }
    /// Its status: one of [`status`].
    #[inline]
    pub(crate) fn status(&self) -> u32 {
        self.0.status
    }
    /// Bytes received; meaningful for a receive or READ that succeeded.
    #[inline]
    pub(crate) fn bytes(&self) -> u32 {
        self.0.byte_len
    }
    /// What the device's maker says about a failure.
    pub(crate) fn vendor_error(&self) -> u32 {
        self.0.vendor_err
    }
    /// The immediate data that came with a receive.
    #[inline]
    pub(crate) fn immediate(&self) -> Option<u32> {
        if self.0.wc_flags & ibv_wc_flags::IBV_WC_WITH_IMM.0 == 0 {
            return None;
        }
        // SAFETY:
        // - bounds: both variants are 4-byte numbers.
        Some(u32::from_be(unsafe { self.0.imm_data_invalidated_rkey_union.imm_data }))
    }
}

impl CompletionQueue {
    /// One for at least `entries` completions.
    pub(crate) fn new(context: &Arc<Context>, entries: u32) -> Result<Arc<Self>, Errno> {
        let entries = i32::try_from(entries).unwrap_or(i32::MAX);
        let none = std::ptr::null_mut();
        // SAFETY:
        // - live: the context by the count we keep; no channel, no user pointer.
        let raw = made(unsafe { ibv_create_cq(context.raw(), entries, none, std::ptr::null_mut(), 0) })?;
        Ok(Arc::new(Self { raw, _context: Arc::clone(context) }))
    }

    pub(super) fn raw(&self) -> *mut ibv_cq {
        self.raw.as_ptr()
    }

    /// Takes what has completed into `into`, from its start, and returns how many. Neither allocates nor blocks.
    ///
    /// # Errors
    /// The device or the queue has failed (EIO where the provider tells nothing more).
    #[inline]
    pub(crate) fn poll(&self, into: &mut [WorkCompletion]) -> Result<usize, Errno> {
        let room = i32::try_from(into.len()).unwrap_or(i32::MAX);
        // SAFETY:
        // - live: the queue is ours; the array outlives the call.
        // - bounds: `room` is no more than the array's length, whose elements are `ibv_wc` by layout.
        let got = unsafe { ibv_poll_cq(self.raw(), room, into.as_mut_ptr().cast::<ibv_wc>()) };
        usize::try_from(got).map_err(|_| Errno::new(libc::EIO))
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        // SAFETY:
        // - live: made by us, destroyed once, after the queue pairs that use it: they hold a count. Where one of them could not be destroyed, neither
        //   can this be: the kernel says EBUSY.
        let destroyed = answered(unsafe { ibv_destroy_cq(self.raw.as_ptr()) });
        if let Err(errno) = destroyed {
            tracing::warn!("a completion queue could not be destroyed: {errno}");
        }
    }
}
