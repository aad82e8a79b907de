//! Memory that other processes write at the same time, behind calls that are safe whatever those processes do.
//!
//! Imports `memory`. All raw pointers of the shm fabric are in this file: the others see words and copies, checked against the mapping.

use crate::memory::{Loan, Region, copy_from_shared, copy_to_shared};
use memmap2::MmapRaw;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A mapping that stays for as long as anybody holds it.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    length: usize,
    writable: bool,
    _holder: Holder,
}

/// What unmaps it.
#[derive(Debug)]
enum Holder {
    /// Made by this process. Held for its Drop alone.
    Own { _region: Arc<Region> },
    /// Made by another one, sealed against shrinking. Held for its Drop alone.
    Foreign { _map: MmapRaw },
}

// SAFETY:
// - live: the holder is immutable and owns the mapping until the last reference is gone.
// - alias: no reference to the mapped bytes is ever formed, but to single atomic words.
// - thread: all access is by atomic words and by the copies of `memory`, which any thread may make at any time.
unsafe impl Send for Mapping {}
// SAFETY:
// - alias: as for Send.
// - thread: as for Send; a shared `Mapping` has no other operation than reading its own immutable fields.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// A region of this process.
    pub(crate) fn own(region: Arc<Region>) -> Option<Arc<Self>> {
        let base = NonNull::new(region.as_ptr())?;
        let length = region.len();
        Some(Arc::new(Self { base, length, writable: true, _holder: Holder::Own { _region: region } }))
    }
    /// A memory file of another process, which nobody can shrink.
    pub(crate) fn foreign(map: MmapRaw, writable: bool) -> Option<Arc<Self>> {
        let base = NonNull::new(map.as_mut_ptr())?;
        let length = map.len();
        Some(Arc::new(Self { base, length, writable, _holder: Holder::Foreign { _map: map } }))
    }
}

/// A stretch of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    base: NonNull<u8>,
    length: usize,
    writable: bool,
    _keep: Arc<Mapping>,
}

// SAFETY:
// - live: `_keep` holds the mapping.
// - alias: as for `Mapping`: atomic words and shared copies only.
// - thread: as for `Mapping`.
unsafe impl Send for Span {}
// SAFETY:
// - live: as for Send.
// - thread: no operation on a shared `Span` touches anything but the mapping, as for `Mapping`.
unsafe impl Sync for Span {}

impl Span {
    /// `length` bytes at `offset`, if the mapping has them and they begin on a word.
    pub(crate) fn new(mapping: &Arc<Mapping>, offset: usize, length: usize) -> Option<Self> {
        let end = offset.checked_add(length)?;
        if end > mapping.length || !offset.is_multiple_of(8) {
            return None;
        }
        // SAFETY:
        // - bounds: offset <= end <= the length of the mapping, checked above.
        let base = unsafe { mapping.base.add(offset) };
        Some(Self { base, length, writable: mapping.writable, _keep: Arc::clone(mapping) })
    }
    /// All of a mapping.
    pub(crate) fn whole(mapping: &Arc<Mapping>) -> Self {
        Self { base: mapping.base, length: mapping.length, writable: mapping.writable, _keep: Arc::clone(mapping) }
    }
    /// Whether `length` bytes at `offset` are in it.
    #[inline]
    pub(crate) fn holds(&self, offset: usize, length: usize) -> bool {
        offset <= self.length && length <= self.length - offset
    }
    /// The word at `offset`. Stores to it are allowed where [`Span::is_writable`].
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if !self.holds(offset, 8) || !offset.is_multiple_of(8) {
            return None;
        }
        // SAFETY:
        // - bounds: 8 bytes at `offset` are in the span, checked above.
        let word = unsafe { self.base.add(offset) };
        // SAFETY:
        // - live: `_keep` holds the mapping for as long as `self` is borrowed.
        // - bounds: 8 bytes, aligned: the base of a span and the offset are multiples of 8.
        // - alias: every access of this process to the bytes is atomic or one of the shared copies; other processes are outside the model.
        // - device: the partner may change the word at any time, which an atomic allows.
        Some(unsafe { AtomicU64::from_ptr(word.as_ptr().cast()) })
    }
    /// Whether this process may store to it.
    #[inline]
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }
    /// Copies out. False, and nothing done, where the span does not hold that much.
    #[inline]
    #[must_use]
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) -> bool {
        if !self.holds(offset, into.len()) {
            return false;
        }
        // SAFETY:
        // - bounds: checked above.
        let from = unsafe { self.base.add(offset) };
        // SAFETY:
        // - live: `_keep` holds the mapping; it was made readable.
        // - bounds: `into.len()` bytes at `offset` are in the span, and `into` holds as many.
        // - alias: `into` is an exclusive slice of private memory, so it is no part of the mapping.
        // - device: the partner may write the bytes meanwhile, which is what this copy is for.
        unsafe { copy_from_shared(from.as_ptr(), into.as_mut_ptr(), into.len()) };
        true
    }
    /// Copies in. False, and nothing done, where the span does not hold that much, or may not be written.
    #[inline]
    #[must_use]
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.writable || !self.holds(offset, bytes.len()) {
            return false;
        }
        // SAFETY:
        // - bounds: checked above.
        let into = unsafe { self.base.add(offset) };
        // SAFETY:
        // - live: `_keep` holds the mapping; it is writable, checked above.
        // - bounds: `bytes.len()` bytes at `offset` are in the span, and `bytes` holds as many.
        // - alias: `bytes` is a slice of private memory, so it is no part of the mapping.
        // - device: the partner may read or write the bytes meanwhile, which is what this copy is for.
        unsafe { copy_to_shared(bytes.as_ptr(), into.as_ptr(), bytes.len()) };
        true
    }
    /// Copies what is lent in. False, and nothing done, where the span does not hold that much, or may not be written.
    #[inline]
    #[must_use]
    pub(crate) fn write_loan(&self, offset: usize, loan: &Loan) -> bool {
        if !self.writable || !self.holds(offset, loan.len()) {
            return false;
        }
        // SAFETY:
        // - bounds: checked above.
        let into = unsafe { self.base.add(offset) };
        // SAFETY:
        // - live: `_keep` holds the mapping; it is writable, checked above.
        // - bounds: `loan.len()` bytes at `offset` are in the span.
        // - alias: a ring is never exposed, so it is no part of a mapping of this fabric.
        // - device: the partner may read or write the bytes meanwhile, which is what this copy is for.
        unsafe { loan.copy_to_shared(into.as_ptr()) };
        true
    }
    /// A word of it that keeps the mapping by itself.
    pub(crate) fn shared_word(&self, offset: usize) -> Option<SharedWord> {
        let word = NonNull::from(self.word(offset)?);
        Some(SharedWord { word, keep: Some(Arc::clone(&self._keep)) })
    }
}

/// One word of a mapping, held without the rest.
#[derive(Debug, Clone)]
pub(crate) struct SharedWord {
    word: NonNull<AtomicU64>,
    keep: Option<Arc<Mapping>>,
}

// SAFETY:
// - live: `keep` holds the mapping, or the word is a static.
// - alias: an atomic.
// - thread: an atomic.
unsafe impl Send for SharedWord {}
// SAFETY:
// - live: as for Send.
// - thread: an atomic.
unsafe impl Sync for SharedWord {}

/// What a word that is in no mapping reads as.
static NOTHING: AtomicU64 = AtomicU64::new(0);

impl SharedWord {
    /// A word that is always zero. Nobody stores to it: words of others are only loaded.
    pub(crate) fn nothing() -> Self {
        Self { word: NonNull::from(&NOTHING), keep: None }
    }
}

impl Deref for SharedWord {
    type Target = AtomicU64;
    #[inline]
    fn deref(&self) -> &AtomicU64 {
        debug_assert!(self.keep.is_some() || std::ptr::eq(self.word.as_ptr(), &NOTHING));
        // SAFETY:
        // - live: `keep` holds the mapping for as long as `self` is borrowed, or the word is a static.
        // - bounds: aligned and mapped, by `Span::word`.
        // - alias: only atomic access, as for `Span::word`.
        unsafe { self.word.as_ref() }
    }
}
