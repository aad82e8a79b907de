//! Copies between private memory and memory that another process or device may touch at the same time.
//!
//! The shared side is touched by machine instructions that the compiler does not look into, never by an access of
//! the language: a plain one that races with another writer would be undefined behaviour, and so would atomic ones
//! of two sizes at one place, which words and the bytes before and behind them are. (Where the processor is no
//! x86-64, by volatile accesses, which the language leaves to the machine outside of its own allocations.) Each
//! aligned 8-byte word of the shared side moves in one access in copies of up to [`WORDS_MAX`] bytes; longer ones
//! promise nothing about tearing, nor about the order in which their bytes appear. No ordering with anything else
//! either: callers add fences.
//!
//! Figures on an AMD EPYC, ns a copy in cache: 8 B 1.3 to 1.6 (inlined); 64 B 3.3; 256 B 8; 512 B 9; 4 KiB 42; 64 KiB 1340. The C library's
//! `memcpy` there: 4 KiB 42, 64 KiB 1260. With the target 5 bytes ahead of the source in its page, 4 KiB: 86 against 1170.

mod opaque;

use opaque::{load_byte, load_turn, load_word, store_byte, store_turn, store_word};

/// Copies up to this length move word by word.
pub(crate) const WORDS_MAX: usize = 256;

const WORD: usize = size_of::<u64>();

/// Words a turn of the main loop: what keeps two loads and two stores a cycle busy.
const TURN: usize = 4;

/// Copies `length` bytes from shared memory.
///
/// # Safety
/// `from` is mapped for `length` bytes of reads and `into` is valid for `length` bytes of writes, for the whole call; nobody else touches
/// `into` meanwhile. `from` may change at any time.
#[inline]
pub(crate) unsafe fn copy_from_shared(from: *const u8, into: *mut u8, length: usize) {
    #[cfg(target_arch = "x86_64")]
    if length > WORDS_MAX {
        // SAFETY:
        // - bounds, alias, device: the caller's, passed on.
        return unsafe { long::copy::<true, false>(from, into, length) };
    }
    // SAFETY:
    // - bounds, alias, device: the caller's, passed on.
    unsafe { copy_words::<true, false>(from, into, length) };
}

/// Copies `length` bytes into shared memory.
///
/// # Safety
/// `into` is mapped for `length` bytes of writes and `from` is valid for `length` bytes of reads, for the whole call; nobody writes `from`
/// meanwhile. `into` may be read and written by others at any time.
#[inline]
pub(crate) unsafe fn copy_to_shared(from: *const u8, into: *mut u8, length: usize) {
    #[cfg(target_arch = "x86_64")]
    if length > WORDS_MAX {
        // SAFETY:
        // - bounds, alias, device: the caller's, passed on.
        return unsafe { long::copy::<false, true>(from, into, length) };
    }
    // SAFETY:
    // - bounds, alias, device: the caller's, passed on.
    unsafe { copy_words::<false, true>(from, into, length) };
}

/// Copies `length` bytes from memory that others may write into memory that others may touch.
///
/// # Safety
/// `from` is mapped for `length` bytes of reads and `into` for `length` bytes of writes, for the whole call. Both may be read and written by
/// others at any time. The two do not overlap.
#[inline]
pub(crate) unsafe fn copy_between_shared(from: *const u8, into: *mut u8, length: usize) {
    #[cfg(target_arch = "x86_64")]
    if length > WORDS_MAX {
        // SAFETY:
        // - bounds, alias, device: the caller's, passed on.
        return unsafe { long::copy::<true, true>(from, into, length) };
    }
    // SAFETY:
    // - bounds, alias, device: the caller's, passed on.
    unsafe { copy_words::<true, true>(from, into, length) };
}

/// Bytes up to the first aligned word of the shared side, its words, and the bytes that are left. `FROM_SHARED` and `INTO_SHARED` say which side
/// is shared; where both are, the words are the target's.
///
/// # Safety
/// As for [`copy_to_shared`], [`copy_from_shared`] or [`copy_between_shared`].
#[inline]
unsafe fn copy_words<const FROM_SHARED: bool, const INTO_SHARED: bool>(from: *const u8, into: *mut u8, length: usize) {
    let shared = if INTO_SHARED { into.addr() } else { from.addr() };
    if length == WORD && shared.is_multiple_of(WORD) {
        // The commonest length of all, and where it is a constant this is all that is left of the function.
        // SAFETY:
        // - bounds: `length` is one word, and the shared side is aligned.
        return unsafe { move_word::<FROM_SHARED, INTO_SHARED>(from, into) };
    }
    let head = (shared.wrapping_neg() % WORD).min(length);
    let words_end = length - (length - head) % WORD;
    let mut at = 0;
    while at < head {
        // SAFETY:
        // - bounds: `at < head <= length`; the rest is the caller's, passed on.
        unsafe { move_byte::<FROM_SHARED, INTO_SHARED>(from.wrapping_add(at), into.wrapping_add(at)) };
        at += 1;
    }
    while words_end - at >= TURN * WORD {
        // SAFETY:
        // - bounds: `at + 32 <= words_end <= length`; the shared side is aligned, since `head` bytes and whole words come before it.
        unsafe { move_turn::<FROM_SHARED, INTO_SHARED>(from.wrapping_add(at), into.wrapping_add(at)) };
        at += TURN * WORD;
    }
    while at < words_end {
        // SAFETY:
        // - bounds: as above: what is left up to `words_end` is whole words.
        unsafe { move_word::<FROM_SHARED, INTO_SHARED>(from.wrapping_add(at), into.wrapping_add(at)) };
        at += WORD;
    }
    while at < length {
        // SAFETY:
        // - bounds: `at < length`; the rest is the caller's, passed on.
        unsafe { move_byte::<FROM_SHARED, INTO_SHARED>(from.wrapping_add(at), into.wrapping_add(at)) };
        at += 1;
    }
}

/// Moves one byte.
///
/// # Safety
/// Both sides are valid for one byte; a private side is the caller's alone.
#[inline(always)]
unsafe fn move_byte<const FROM_SHARED: bool, const INTO_SHARED: bool>(from: *const u8, into: *mut u8) {
    let byte = if FROM_SHARED {
        // SAFETY:
        // - bounds, device: one byte, says the caller; it may change at any time.
        unsafe { load_byte(from) }
    } else {
        // SAFETY:
        // - bounds, alias: one byte that nobody writes, says the caller.
        unsafe { from.read() }
    };
    if INTO_SHARED {
        // SAFETY:
        // - bounds, device: one byte, says the caller; others may touch it too.
        unsafe { store_byte(into, byte) };
    } else {
        // SAFETY:
        // - bounds, alias: one byte that is the caller's alone.
        unsafe { into.write(byte) };
    }
}

/// Moves one word in one access of the shared side.
///
/// # Safety
/// Both sides are valid for eight bytes, the shared one (of two, the target) is aligned to eight; a private side is the caller's alone.
#[inline(always)]
unsafe fn move_word<const FROM_SHARED: bool, const INTO_SHARED: bool>(from: *const u8, into: *mut u8) {
    let word = if FROM_SHARED {
        // SAFETY:
        // - bounds, device: eight bytes, says the caller; they may change at any time.
        unsafe { load_word(from) }
    } else {
        // SAFETY:
        // - bounds, alias: eight bytes that nobody writes, says the caller; of any alignment.
        unsafe { from.cast::<u64>().read_unaligned() }
    };
    if INTO_SHARED {
        // SAFETY:
        // - bounds, device: eight bytes, says the caller; others may touch them too.
        unsafe { store_word(into, word) };
    } else {
        // SAFETY:
        // - bounds, alias: eight bytes that are the caller's alone; of any alignment.
        unsafe { into.cast::<u64>().write_unaligned(word) };
    }
}

/// Moves four words, each in one access of the shared side.
///
/// # Safety
/// As for [`move_word`], for 32 bytes.
#[inline(always)]
unsafe fn move_turn<const FROM_SHARED: bool, const INTO_SHARED: bool>(from: *const u8, into: *mut u8) {
    let words = if FROM_SHARED {
        // SAFETY:
        // - bounds, device: 32 bytes, says the caller; they may change at any time.
        unsafe { load_turn(from) }
    } else {
        // SAFETY:
        // - bounds, alias: 32 bytes that nobody writes, says the caller; of any alignment.
        unsafe { from.cast::<[u64; TURN]>().read_unaligned() }
    };
    if INTO_SHARED {
        // SAFETY:
        // - bounds, device: 32 bytes, says the caller; others may touch them too.
        unsafe { store_turn(into, words) };
    } else {
        // SAFETY:
        // - bounds, alias: 32 bytes that are the caller's alone; of any alignment.
        unsafe { into.cast::<[u64; TURN]>().write_unaligned(words) };
    }
}

/// Long copies by instructions that are opaque to the compiler.
#[cfg(target_arch = "x86_64")]
mod long {
    use std::arch::asm;

    const BLOCK: usize = 64;

    /// From this length on the string instruction repays its start, about 9 ns.
    const STRING_MIN: usize = 768;

    /// Zen processors run the string instruction byte by byte (27 times slower, measured) where the target lies 1 to 31 bytes past the source
    /// in the 4 KiB page. The line that is left out costs nothing and covers their kin.
    fn suits_string(from: usize, into: usize) -> bool {
        let ahead = into.wrapping_sub(from) % 4096;
        ahead == 0 || ahead >= BLOCK
    }

    /// Copies more than one block.
    ///
    /// # Safety
    /// As for the function of [`super`] with the same sides shared; the two ranges do not overlap.
    #[inline(never)]
    pub(super) unsafe fn copy<const FROM_SHARED: bool, const INTO_SHARED: bool>(
        from: *const u8,
        into: *mut u8,
        length: usize,
    ) {
        if length >= STRING_MIN && suits_string(from.addr(), into.addr()) {
            // SAFETY:
            // - bounds, alias, device: the caller's, passed on.
            return unsafe { copy_string(from, into, length) };
        }
        let whole = length - length % BLOCK;
        if whole != 0 {
            // SAFETY:
            // - bounds: `whole <= length`, a multiple of a block and not zero.
            unsafe { copy_blocks(from, into, whole) };
        }
        let (from, into) = (from.wrapping_add(whole), into.wrapping_add(whole));
        // SAFETY:
        // - bounds: what is left of `length`.
        unsafe { super::copy_words::<FROM_SHARED, INTO_SHARED>(from, into, length - whole) };
    }

    /// One instruction, at the speed of the C library's own copy. Later stores stay behind it; its own come in any order.
    ///
    /// # Safety
    /// Both ranges hold `length` bytes and do not overlap.
    #[inline]
    unsafe fn copy_string(from: *const u8, into: *mut u8, length: usize) {
        // SAFETY:
        // - bounds: the caller vouches for both ranges; the direction flag is clear by the calling convention.
        // - alias: the accesses are the machine's and not the language's, as a system call's would be.
        // - device: others may touch the shared side meanwhile; the machine moves whatever stands there.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") length => _,
                inout("rsi") from => _,
                inout("rdi") into => _,
                options(nostack, preserves_flags)
            );
        }
    }

    /// 64 bytes a turn in four vector registers that every x86-64 has.
    ///
    /// # Safety
    /// Both ranges hold `length` bytes, a multiple of 64 and not zero, and do not overlap.
    #[inline]
    unsafe fn copy_blocks(from: *const u8, into: *mut u8, length: usize) {
        // SAFETY:
        // - bounds: the caller vouches for both ranges; each turn moves 64 of the `length` bytes and the last leaves zero.
        // - alias: the accesses are the machine's and not the language's, as a system call's would be.
        // - device: others may touch the shared side meanwhile; the machine moves whatever stands there.
        unsafe {
            asm!(
                "2:",
                "movups {a}, xmmword ptr [{from}]",
                "movups {b}, xmmword ptr [{from} + 16]",
                "movups {c}, xmmword ptr [{from} + 32]",
                "movups {d}, xmmword ptr [{from} + 48]",
                "movups xmmword ptr [{into}], {a}",
                "movups xmmword ptr [{into} + 16], {b}",
                "movups xmmword ptr [{into} + 32], {c}",
                "movups xmmword ptr [{into} + 48], {d}",
                "add {from}, 64",
                "add {into}, 64",
                "sub {left}, 64",
                "jnz 2b",
                from = inout(reg) from => _,
                into = inout(reg) into => _,
                left = inout(reg) length => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack)
            );
        }
    }
}

#[cfg(test)]
mod tests;
