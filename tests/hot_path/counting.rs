//! An allocator that counts the calls of each thread.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Made at compile time and never dropped: reading it allocates nothing.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted.
pub(crate) struct Counting;

/// What `work` returns, and how often it called the allocator, to take or to give back, on this thread.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = CALLS.get();
    let outcome = work();
    (CALLS.get() - before, outcome)
}

fn count() {
    CALLS.set(CALLS.get() + 1);
}

// SAFETY:
// - live, bounds, alias: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY:
        // - bounds: the caller's layout, passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY:
        // - bounds: the caller's layout, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY:
        // - live: the caller's pointer, which came from the same allocator.
        // - bounds: the caller's layout and length, passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY:
        // - live: the caller's pointer, which came from the same allocator.
        // - bounds: the caller's layout, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
