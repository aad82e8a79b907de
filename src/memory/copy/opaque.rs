//! Single loads and stores that the compiler does not look into.
//!
//! As machine instructions they race with nothing in the sense of the language, and one place may be touched by
//! bytes here and by a word there. A store is a barrier for the compiler, a load keeps pending stores before it.

#[cfg(target_arch = "x86_64")]
use std::arch::asm;

/// Loads one byte.
///
/// # Safety
/// `from` is mapped for reads of one byte.
#[inline(always)]
pub(super) unsafe fn load_byte(from: *const u8) -> u8 {
    #[cfg(target_arch = "x86_64")]
    {
        let byte: u8;
        // SAFETY:
        // - bounds: one byte, says the caller.
        // - device: the machine takes whatever stands there.
        unsafe {
            asm!("mov {}, byte ptr [{}]", out(reg_byte) byte, in(reg) from, options(nostack, preserves_flags, readonly));
        }
        byte
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY:
    // - bounds: one byte, says the caller.
    // - device: volatile: the machine takes whatever stands there.
    unsafe {
        from.read_volatile()
    }
}

/// Loads eight bytes: in one access where `from` is aligned.
///
/// # Safety
/// `from` is mapped for reads of eight bytes.
#[inline(always)]
pub(super) unsafe fn load_word(from: *const u8) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let word: u64;
        // SAFETY:
        // - bounds: eight bytes, says the caller; x86-64 loads them at any alignment.
        // - device: the machine takes whatever stands there.
        unsafe {
            asm!("mov {}, qword ptr [{}]", out(reg) word, in(reg) from, options(nostack, preserves_flags, readonly));
        }
        word
    }
    #[cfg(not(target_arch = "x86_64"))]
    if from.cast::<u64>().is_aligned() {
        // SAFETY:
        // - bounds: eight aligned bytes, says the caller.
        // - device: volatile: the machine takes whatever stands there.
        unsafe { from.cast::<u64>().read_volatile() }
    } else {
        // SAFETY:
        // - bounds, device: eight bytes one by one, as in `load_byte`.
        u64::from_ne_bytes(std::array::from_fn(|at| unsafe { load_byte(from.wrapping_add(at)) }))
    }
}

/// Stores one byte.
///
/// # Safety
/// `into` is mapped for writes of one byte.
#[inline(always)]
pub(super) unsafe fn store_byte(into: *mut u8, byte: u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY:
    // - bounds: one byte, says the caller.
    // - device: others may touch it at the same time; the machine's store races with nothing.
    unsafe {
        asm!("mov byte ptr [{}], {}", in(reg) into, in(reg_byte) byte, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY:
    // - bounds: one byte, says the caller.
    // - device: volatile: others may touch it at the same time.
    unsafe {
        into.write_volatile(byte);
    }
}

/// Stores eight bytes: in one access where `into` is aligned.
///
/// # Safety
/// `into` is mapped for writes of eight bytes, and aligned to eight where the processor is no x86-64.
#[inline(always)]
pub(super) unsafe fn store_word(into: *mut u8, word: u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY:
    // - bounds: eight bytes, says the caller; x86-64 stores them at any alignment.
    // - device: others may touch them at the same time; the machine's store races with nothing.
    unsafe {
        asm!("mov qword ptr [{}], {}", in(reg) into, in(reg) word, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY:
    // - bounds: eight aligned bytes, says the caller.
    // - device: volatile: others may touch them at the same time.
    unsafe {
        into.cast::<u64>().write_volatile(word);
    }
}

/// Loads 32 bytes: each word in one access where `from` is aligned.
///
/// # Safety
/// `from` is mapped for reads of 32 bytes.
#[inline(always)]
pub(super) unsafe fn load_turn(from: *const u8) -> [u64; super::TURN] {
    #[cfg(target_arch = "x86_64")]
    {
        let (a, b, c, d): (u64, u64, u64, u64);
        // SAFETY:
        // - bounds: 32 bytes, says the caller; x86-64 loads words at any alignment.
        // - device: the machine takes whatever stands there.
        unsafe {
            asm!(
                "mov {a}, qword ptr [{from}]",
                "mov {b}, qword ptr [{from} + 8]",
                "mov {c}, qword ptr [{from} + 16]",
                "mov {d}, qword ptr [{from} + 24]",
                from = in(reg) from,
                a = out(reg) a,
                b = out(reg) b,
                c = out(reg) c,
                d = lateout(reg) d,
                options(nostack, preserves_flags, readonly)
            );
        }
        [a, b, c, d]
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY:
    // - bounds, device: four words one by one, as in `load_word`.
    std::array::from_fn(|at| unsafe { load_word(from.wrapping_add(at * 8)) })
}

/// Stores 32 bytes: each word in one access where `into` is aligned.
///
/// # Safety
/// `into` is mapped for writes of 32 bytes, and aligned to eight where the processor is no x86-64.
#[inline(always)]
pub(super) unsafe fn store_turn(into: *mut u8, words: [u64; super::TURN]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY:
    // - bounds: 32 bytes, says the caller; x86-64 stores words at any alignment.
    // - device: others may touch them at the same time; the machine's stores race with nothing.
    unsafe {
        asm!(
            "mov qword ptr [{into}], {a}",
            "mov qword ptr [{into} + 8], {b}",
            "mov qword ptr [{into} + 16], {c}",
            "mov qword ptr [{into} + 24], {d}",
            into = in(reg) into,
            a = in(reg) words[0],
            b = in(reg) words[1],
            c = in(reg) words[2],
            d = in(reg) words[3],
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    for (at, word) in words.into_iter().enumerate() {
        // SAFETY:
        // - bounds, device: four words one by one, as in `store_word`.
        unsafe { store_word(into.wrapping_add(at * 8), word) };
    }
}
