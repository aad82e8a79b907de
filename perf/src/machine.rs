//! The machine: which processors we may use, pinning, and a tick counter that costs little.
//!
//! The one module besides `bare` with unsafe code: the C library's affinity calls, prctl(2) and the
//! time-stamp counter.
#![allow(unsafe_code)]

use handfast::fabric::Fabric;
use handfast::fabric::shm::Shm;
use std::io;
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

/// Now, in nanoseconds of CLOCK_MONOTONIC: the same clock in every process of the machine.
pub(crate) fn monotonic_ns() -> u64 {
    Shm::new().now().0
}

/// The processors this process may run on, in order.
pub(crate) fn processors() -> io::Result<Vec<usize>> {
    // SAFETY:
    // - bounds: a set is plain words, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY:
    // - live: `set` is a local that lives through the call.
    // - bounds: the size passed is its own.
    let outcome = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    let has = |number: &usize| {
        // SAFETY:
        // - live: `set` is a local.
        // - bounds: the number is less than CPU_SETSIZE.
        unsafe { libc::CPU_ISSET(*number, &set) }
    };
    Ok((0..libc::CPU_SETSIZE as usize).filter(has).collect())
}

/// The kind of filesystem that a folder lies on: of the longest mount point above it.
pub(crate) fn filesystem(folder: &std::path::Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        folder.starts_with(point).then_some((point.len(), kind))
    });
    above.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

/// Pins the calling thread (and the processes it starts) to one processor.
pub(crate) fn pin(processor: usize) -> io::Result<()> {
    if processor >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY:
    // - bounds: a set is plain words, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY:
    // - live: `set` is a local.
    // - bounds: the number is less than CPU_SETSIZE, checked above.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY:
    // - live: `set` is a local that lives through the call.
    // - bounds: the size passed is its own.
    let outcome = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel end this process when the thread that started it ends, whatever it does then.
pub(crate) fn end_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY:
    // - thread: sets an attribute of this process; takes a number, and no memory.
    let outcome = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // It may have ended before.
    if parent_id() != parent {
        return Err(io::Error::other("the measuring process is gone"));
    }
    Ok(())
}

/// Ticks now, in program order only roughly: for stamps that are taken while something else is waited for.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY:
    // - thread: reads a counter that every x86-64 processor has and Linux lets programs read.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Ticks now, after everything before it and before everything after it: for the time of one short operation.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn ticks_ordered() -> u64 {
    // SAFETY:
    // - thread: an instruction that every x86-64 processor has; it touches no memory.
    unsafe { std::arch::x86_64::_mm_lfence() };
    let now = ticks();
    // SAFETY:
    // - thread: as above.
    unsafe { std::arch::x86_64::_mm_lfence() };
    now
}

/// Ticks now: the clock, where there is no counter.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    monotonic_ns()
}

/// Ticks now: the clock, where there is no counter.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn ticks_ordered() -> u64 {
    monotonic_ns()
}

/// How long a tick is, and what reading the counter twice costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    tenths_per_tick: f64,
    overhead_tenths: f64,
    step_tenths: f64,
}

impl Scale {
    /// Measures both: takes 50 ms.
    pub(crate) fn measure() -> Self {
        let (clock, from) = (Instant::now(), ticks_ordered());
        while clock.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let (to, elapsed) = (ticks_ordered(), clock.elapsed());
        let tenths = elapsed.as_nanos() as f64 * 10.0;
        let tenths_per_tick = tenths / to.wrapping_sub(from).max(1) as f64;
        let mut pairs: Vec<u64> = (0..200).map(|_| chain(1000)).collect();
        pairs.sort_unstable();
        let pair = pairs.get(pairs.len() / 2).copied().unwrap_or(0) as f64 / 1000.0;
        Self { tenths_per_tick, overhead_tenths: pair * tenths_per_tick, step_tenths: step() as f64 * tenths_per_tick }
    }

    /// How far apart readings in a row are that differ, nanoseconds: many processors count in steps of many ticks.
    pub(crate) fn step_ns(&self) -> f64 {
        self.step_tenths / 10.0
    }

    /// Tenths of a nanosecond for a number of ticks that `operations` operations took together.
    pub(crate) fn tenths(&self, ticks: u64, operations: u64) -> u64 {
        (ticks as f64 * self.tenths_per_tick / operations.max(1) as f64).round() as u64
    }

    /// The same for ticks between two readings of [`ticks_ordered`], whose own cost is taken off.
    pub(crate) fn tenths_ordered(&self, ticks: u64, operations: u64) -> u64 {
        let net = (ticks as f64 * self.tenths_per_tick - self.overhead_tenths).max(0.0);
        (net / operations.max(1) as f64).round() as u64
    }
}

/// Ticks of so many readings one behind the other: their mean is what a pair of them adds to what lies between.
fn chain(readings: u64) -> u64 {
    let from = ticks_ordered();
    for _ in 0..readings {
        std::hint::black_box(ticks_ordered());
    }
    ticks_ordered().wrapping_sub(from)
}

/// The median difference between two readings that differ, ticks.
fn step() -> u64 {
    let mut last = ticks();
    let difference = |_| {
        let now = ticks();
        let step = now.wrapping_sub(last);
        last = now;
        step
    };
    let mut steps: Vec<u64> = (0..10_000).map(difference).filter(|step| *step != 0).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied().unwrap_or(0)
}
