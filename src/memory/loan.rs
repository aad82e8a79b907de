//! Bytes of a ring that a port may read: the loans that are out, and the memory they keep.
//!
//! Imports its siblings. A [`Loan`] is the only way from a ring to a port that does not copy at once. Every
//! path that reads lent bytes (at once, deferred, inline, device) asks the loan for them; there is no form of
//! it that stands for no bytes. The ring's room is freed up to the oldest loan that is out, never past it.

mod table;

use crate::memory::registered::{LocalKey, Registered, Registration};
use crate::memory::ring::Ring;
use crate::memory::{MemoryError, copy_between_shared, copy_from_shared};
#[cfg(loom)]
use loom::sync::atomic as checked;
use std::sync::Arc;

pub(crate) use table::{LoanTable, LoanWindow};

/// Loans of one ring that can be out at once: more than a log has requests on its way. A power of two.
pub(crate) const LOANS_MAX: usize = 1024;

/// A ring registered in one protection domain, for its reader to lend from.
#[derive(Debug)]
pub struct RingSource {
    lender: Arc<Registered<Arc<Ring>>>,
}

impl RingSource {
    /// What backends build: the ring known by `key` in the domain `domain`.
    pub(crate) fn new(
        ring: Arc<Ring>,
        domain: u64,
        key: LocalKey,
        registration: Option<Box<dyn Registration>>,
    ) -> Self {
        Self { lender: Arc::new(Registered::new(ring, domain, key, registration)) }
    }

    /// Whether it is of this ring.
    #[inline]
    pub(crate) fn is_of(&self, ring: &Arc<Ring>) -> bool {
        Arc::ptr_eq(&**self.lender, ring)
    }

    /// A loan of `length` bytes at `offset` of the ring's memory, noted in its table under `number`. By the ring's
    /// reader, which has looked at all three. Counts one reference.
    #[inline]
    pub(crate) fn lend(&self, offset: usize, length: usize, number: u32) -> Loan {
        Loan { lender: Arc::clone(&self.lender), offset, length, number }
    }
}

/// Published bytes of a ring, lent to a port for one WRITE.
///
/// They hold still until the loan is dropped: the ring's room is not freed past the oldest loan that is out, so
/// no producer owns them anew meanwhile. A port drops it when the device, or its own copy, is done with the
/// bytes. One that is forgotten ([`std::mem::forget`]) keeps the ring's room and memory for ever.
///
/// A handle of 32 bytes. Dropping it is one store and one reference; no lock, no system call.
#[derive(Debug)]
pub struct Loan {
    lender: Arc<Registered<Arc<Ring>>>,
    offset: usize,
    length: usize,
    number: u32,
}

impl Loan {
    /// Length in bytes: what the WRITE moves.
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Never: nothing is lent without a byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies its bytes out: what a fabric without a device does. No allocation.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`] where `into` is not as long as the loan.
    pub fn copy_to(&self, into: &mut [u8]) -> Result<(), MemoryError> {
        if into.len() != self.length {
            let (length, region) = (into.len() as u64, self.length as u64);
            return Err(MemoryError::OutOfRange { offset: 0, length, region });
        }
        // SAFETY:
        // - live: the lender keeps the ring, and that its region.
        // - bounds: `length` bytes at the pointer, by `RingReader::lend`; `into` is as long, checked above.
        // - alias: `into` is an exclusive slice of other memory. Nobody writes lent bytes but, where the ring's
        //   memory has a name, whoever maps that too, which the copy allows.
        // - device: devices only read lent bytes.
        unsafe { copy_from_shared(self.as_ptr(), into.as_mut_ptr(), self.length) };
        Ok(())
    }

    /// Copies its bytes into memory that others may touch.
    ///
    /// # Safety
    /// `into` is mapped for `len()` bytes of writes, and is no part of the ring.
    #[inline]
    pub(crate) unsafe fn copy_to_shared(&self, into: *mut u8) {
        // SAFETY:
        // - live, alias, device: as in `copy_to`.
        // - bounds: `into` is the caller's, passed on.
        unsafe { copy_between_shared(self.as_ptr(), into, self.length) };
    }

    /// The protection domain it is registered in.
    #[inline]
    pub(crate) fn domain(&self) -> u64 {
        self.lender.domain()
    }

    /// The key the device knows it by.
    #[cfg(feature = "verbs")]
    #[inline]
    pub(crate) fn local_key(&self) -> LocalKey {
        self.lender.key()
    }

    /// Where it starts in this process: for reads alone.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        // `offset` is within the ring's memory, so the sum stays within its mapping.
        self.lender.memory().0.as_ptr().wrapping_add(self.offset)
    }
}

impl Drop for Loan {
    #[inline]
    fn drop(&mut self) {
        self.lender.loans().give_back(self.number);
    }
}
