//! What may go wrong in a simulation, how often, and how often it did.

use std::time::Duration;

/// How slow the simulated fabric is, and how often it fails. Ratios are parts per million of the operations they can strike.
///
/// Start from [`Faults::none`] or [`Faults::storm`] and change fields.
///
/// ```
/// use handfast::fabric::sim::Faults;
/// let mut faults = Faults::none();
/// faults.lose_acknowledgement_ppm = 20_000; // 2 %
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Faults {
    /// Least time for one way over the wire, nanoseconds.
    pub latency_ns_min: u64,
    /// Most time for one way over the wire, nanoseconds (taken as the least where it is below that).
    pub latency_ns_max: u64,
    /// How long an operation that nobody answers is tried again before it completes `RetryExceeded`, nanoseconds.
    pub retry_timeout_ns: u64,
    /// How long a dial waits for its answer before it fails with `Timeout`, nanoseconds.
    pub dial_timeout_ns: u64,
    /// An operation is never carried out, nor is any behind it on its port; it completes `RetryExceeded`.
    pub lose_operation_ppm: u32,
    /// An operation is carried out and yet completes `RetryExceeded`. Those behind it on its port may be carried out and come back flushed.
    pub lose_acknowledgement_ppm: u32,
    /// An operation is late. Order on its port is kept, so those behind it are late too.
    pub delay_ppm: u32,
    /// How late at most, nanoseconds. Each halving of this is equally likely: most delays are short, a few are very long.
    pub delay_ns_max: u64,
    /// A WRITE is carried out again later, if the memory is still exposed under the same key then.
    pub repeat_write_ppm: u32,
    /// How much later at most, nanoseconds.
    pub repeat_after_ns_max: u64,
    /// A READ looks twice and returns each 8-byte word from either look.
    pub tear_read_ppm: u32,
    /// A WRITE is applied in two parts, in either order, cut between two 8-byte words.
    pub tear_write_ppm: u32,
    /// Time between the two looks or parts at most, nanoseconds.
    pub tear_gap_ns_max: u64,
    /// The notice that the other side closed a link, or that its process ended, never arrives.
    pub lose_notice_ppm: u32,
    /// An operation still on its way when its port fails, is closed or loses its process is carried out all the same. Order is kept:
    /// behind the first that is not, none is.
    pub land_after_teardown_ppm: u32,
}

impl Faults {
    /// A fabric that never fails: 1 to 5 us for one way, 4 ms of retries, 1 s for a dial.
    pub const fn none() -> Self {
        Self {
            latency_ns_min: 1_000,
            latency_ns_max: 5_000,
            retry_timeout_ns: 4_000_000,
            dial_timeout_ns: 1_000_000_000,
            lose_operation_ppm: 0,
            lose_acknowledgement_ppm: 0,
            delay_ppm: 0,
            delay_ns_max: 1_000_000,
            repeat_write_ppm: 0,
            repeat_after_ns_max: 10_000_000,
            tear_read_ppm: 0,
            tear_write_ppm: 0,
            tear_gap_ns_max: 50_000,
            lose_notice_ppm: 0,
            land_after_teardown_ppm: 0,
        }
    }

    /// A fabric on which everything goes wrong often: losses 1 % each, repeats, tears and delays 10 %, notices and teardown 50 %.
    pub const fn storm() -> Self {
        Self {
            lose_operation_ppm: 10_000,
            lose_acknowledgement_ppm: 10_000,
            delay_ppm: 100_000,
            repeat_write_ppm: 100_000,
            tear_read_ppm: 100_000,
            tear_write_ppm: 100_000,
            lose_notice_ppm: 500_000,
            land_after_teardown_ppm: 500_000,
            ..Self::none()
        }
    }

    /// Time between two tries of an operation that nobody answers, nanoseconds.
    pub(super) fn retry_interval_ns(&self) -> u64 {
        (self.retry_timeout_ns / 7).max(1)
    }

    /// Time between two tries of a dial or its answer that a cut stops, nanoseconds.
    pub(super) fn dial_interval_ns(&self) -> u64 {
        self.retry_interval_ns().max(self.dial_timeout_ns / 1_000)
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

/// One fault, for one chosen operation: see [`Sim::strike`](super::Sim::strike).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It is never carried out.
    LoseOperation,
    /// It is carried out, and completes `RetryExceeded`.
    LoseAcknowledgement,
    /// It takes this much longer.
    Delay(Duration),
    /// The WRITE is carried out again this much later.
    RepeatWrite(Duration),
    /// The READ looks twice, this far apart.
    TearRead(Duration),
    /// The WRITE (with immediate or without) is applied in two parts, this far apart.
    TearWrite(Duration),
}

/// What a simulation did so far. A test of a fault asserts that the fault was among it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Events processed.
    pub events: u64,
    /// Operations posted (receives not counted).
    pub operations_posted: u64,
    /// Operations carried out at their target, refused ones and repeats not counted.
    pub operations_executed: u64,
    /// Operations the target refused: wrong key, range, right, domain, alignment or length.
    pub operations_refused: u64,
    /// Completions made, those of receives included.
    pub completions: u64,
    /// Operations lost on their way by a fault.
    pub operations_lost: u64,
    /// Acknowledgements lost by a fault.
    pub acknowledgements_lost: u64,
    /// Operations carried out whose completion says they failed or were flushed, whatever the cause.
    pub landed_but_failed: u64,
    /// Operations carried out after their port had failed, closed or lost its process.
    pub landed_after_teardown: u64,
    /// Operations delayed by a fault.
    pub operations_delayed: u64,
    /// WRITEs carried out a second time.
    pub writes_repeated: u64,
    /// READs that returned a mix which the memory never held at either look.
    pub reads_torn: u64,
    /// WRITEs applied in two parts; counted at the first.
    pub writes_torn: u64,
    /// Tries of an operation, a dial, an answer or a notice that a cut stopped.
    pub packets_cut: u64,
    /// Completions `RetryExceeded`.
    pub retries_exceeded: u64,
    /// Completions `ReceiverNotReady`.
    pub receivers_not_ready: u64,
    /// Notices of the end of a link that never arrived, by fault or cut.
    pub notices_lost: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials answered `NotListening`.
    pub dials_refused: u64,
    /// Dials answered `Timeout`.
    pub dials_timed_out: u64,
    /// Nodes crashed or powered off.
    pub crashes: u64,
    /// Nodes started again after that.
    pub restarts: u64,
}
