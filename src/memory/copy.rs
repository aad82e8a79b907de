//! Copies between private memory and memory that another process or device may touch at the same time.
//!
//! The shared side is touched by relaxed atomic accesses only, or by one machine instruction that the compiler does not look into: never
//! by a plain access, whose race with another writer would be undefined behaviour. Each aligned 8-byte word of the shared side moves in one
//! access in copies of up to [`WORDS_MAX`] bytes; longer ones promise nothing about tearing. No ordering: callers add fences.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Copies up to this length move word by word; longer ones by `rep movsb` where there is such a thing.
pub(crate) const WORDS_MAX: usize = 256;

const WORD: usize = 8;

/// Bytes before the first aligned word of the shared side, and bytes in whole words.
#[inline(always)]
fn parts(shared: usize, length: usize) -> (usize, usize) {
    let head = (shared.wrapping_neg() % WORD).min(length);
    (head, (length - head) / WORD * WORD)
}

/// Copies `length` bytes from shared memory.
///
/// # Safety
/// `from` is mapped for `length` bytes of reads and `into` is valid for `length` bytes of writes, for the whole call; nobody else touches
/// `into` meanwhile. `from` may change at any time.
#[inline]
pub(crate) unsafe fn copy_from_shared(from: *const u8, into: *mut u8, length: usize) {
    if length > WORDS_MAX && cfg!(target_arch = "x86_64") {
        // SAFETY:
        // - bounds, alias: the caller's, passed on.
        return unsafe { copy_by_string_instruction(from, into, length) };
    }
    let (head, words) = parts(from.addr(), length);
    let mut at = 0;
    while at < length {
        if at == head && words != 0 {
            while at < head + words {
                // SAFETY:
                // - bounds: `at + 8 <= head + words <= length`; aligned, since `head` bytes lead to an aligned word.
                // - device: the word may change at any time; an atomic load takes whatever stands there.
                let word = unsafe { &*from.add(at).cast::<AtomicU64>() }.load(Ordering::Relaxed);
                // SAFETY:
                // - bounds: `at + 8 <= length`.
                // - alias: `into` is the caller's alone.
                unsafe { into.add(at).cast::<u64>().write_unaligned(word) };
                at += WORD;
            }
            continue;
        }
        // SAFETY:
        // - bounds: `at < length`.
        // - device: the byte may change at any time; an atomic load takes whatever stands there.
        let byte = unsafe { &*from.add(at).cast::<AtomicU8>() }.load(Ordering::Relaxed);
        // SAFETY:
        // - bounds: `at < length`.
        // - alias: `into` is the caller's alone.
        unsafe { into.add(at).write(byte) };
        at += 1;
    }
}

/// Copies `length` bytes into shared memory.
///
/// # Safety
/// `into` is mapped for `length` bytes of writes and `from` is valid for `length` bytes of reads, for the whole call; nobody writes `from`
/// meanwhile. `into` may be read and written by others at any time.
#[inline]
pub(crate) unsafe fn copy_to_shared(from: *const u8, into: *mut u8, length: usize) {
    if length > WORDS_MAX && cfg!(target_arch = "x86_64") {
        // SAFETY:
        // - bounds, alias: the caller's, passed on.
        return unsafe { copy_by_string_instruction(from, into, length) };
    }
    let (head, words) = parts(into.addr(), length);
    let mut at = 0;
    while at < length {
        if at == head && words != 0 {
            while at < head + words {
                // SAFETY:
                // - bounds: `at + 8 <= length`.
                // - alias: nobody writes `from`.
                let word = unsafe { from.add(at).cast::<u64>().read_unaligned() };
                // SAFETY:
                // - bounds: `at + 8 <= head + words <= length`; aligned, since `head` bytes lead to an aligned word.
                // - device: others may write the word too; an atomic store races with nothing.
                unsafe { &*into.add(at).cast::<AtomicU64>() }.store(word, Ordering::Relaxed);
                at += WORD;
            }
            continue;
        }
        // SAFETY:
        // - bounds: `at < length`.
        // - alias: nobody writes `from`.
        let byte = unsafe { from.add(at).read() };
        // SAFETY:
        // - bounds: `at < length`.
        // - device: others may write the byte too; an atomic store races with nothing.
        unsafe { &*into.add(at).cast::<AtomicU8>() }.store(byte, Ordering::Relaxed);
        at += 1;
    }
}

/// One instruction that copies at the speed of the machine's own `memcpy` for all but short lengths, and that the compiler takes as
/// opaque: it neither assumes that the bytes stand still nor that nobody else touches them.
///
/// # Safety
/// As for [`copy_from_shared`] or [`copy_to_shared`]; the two ranges do not overlap.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn copy_by_string_instruction(from: *const u8, into: *mut u8, length: usize) {
    // SAFETY:
    // - bounds: the caller vouches for both ranges; the direction flag is clear by the calling convention.
    // - alias: the instruction is an access of the machine and not of the language, as a system call's would be.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rsi") from => _,
            inout("rdi") into => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Never called: the word loop serves every length on other machines.
///
/// # Safety
/// None.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy_by_string_instruction(_from: *const u8, _into: *mut u8, _length: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Aligned([u8; 2048]);

    #[test]
    fn every_offset_and_length_copies_just_its_bytes() {
        let source: Vec<u8> = (0..2048u32).map(|index| (index * 7 % 251) as u8).collect();
        let lengths = (0..40).chain([255, 256, 257, 258, 300, 1024]);
        for length in lengths {
            for offset in 0..17 {
                let mut place = Aligned([0xee; 2048]);
                // SAFETY:
                // - bounds: 17 + 1024 < 2048 on both sides.
                // - alias: `place` and `source` are this test's alone.
                unsafe {
                    copy_to_shared(source.as_ptr().wrapping_add(3), place.0.as_mut_ptr().wrapping_add(offset), length)
                };
                assert_eq!(&place.0[offset..offset + length], &source[3..3 + length], "{offset} {length}");
                assert!(place.0[..offset].iter().chain(&place.0[offset + length..]).all(|byte| *byte == 0xee));
                let mut back = vec![0xdd; length + 2];
                // SAFETY:
                // - bounds: `back` has two bytes more than are copied.
                // - alias: `place` and `back` are this test's alone.
                unsafe {
                    copy_from_shared(place.0.as_ptr().wrapping_add(offset), back.as_mut_ptr().wrapping_add(1), length)
                };
                assert_eq!(&back[1..=length], &source[3..3 + length]);
                assert_eq!((back[0], back[length + 1]), (0xdd, 0xdd));
            }
        }
    }
}
