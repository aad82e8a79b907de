//! Copies between private memory and memory that another process or device may touch at the same time.

/// Copies `length` bytes from shared memory.
///
/// # Safety
/// `from` is mapped for `length` bytes of reads and `into` is valid for `length` bytes of writes, for the whole call.
pub(crate) unsafe fn copy_from_shared(from: *const u8, into: *mut u8, length: usize) {
    let _ = (from, into, length);
    todo!()
}

/// Copies `length` bytes into shared memory.
///
/// # Safety
/// `into` is mapped for `length` bytes of writes and `from` is valid for `length` bytes of reads, for the whole call.
pub(crate) unsafe fn copy_to_shared(from: *const u8, into: *mut u8, length: usize) {
    let _ = (from, into, length);
    todo!()
}
