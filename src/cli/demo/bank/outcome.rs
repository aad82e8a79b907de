//! What came of the bank, and whether it is what it must be.

use crate::cli::demo::bank::ledger::TOTAL;
use crate::cli::demo::bank::protocol::TakenOver;
use crate::cli::demo::bank::tally::Acknowledged;
use crate::cli::failure::Failure;
use serde_json::{Value, json};
use std::time::Duration;

/// What redb does alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Baseline {
    /// Each transaction synced to the disk.
    pub(crate) synced: Acknowledged,
    /// None ever synced.
    pub(crate) unsynced: Acknowledged,
}

/// What came of it all.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) baseline: Baseline,
    pub(crate) session: String,
    pub(crate) fabric: &'static str,
    pub(crate) seed: u64,
    /// By the primary, before it was killed.
    pub(crate) acknowledged: Acknowledged,
    pub(crate) taken: TakenOver,
    /// All from the kill on.
    pub(crate) lost_after: Duration,
    pub(crate) lost_for: String,
    pub(crate) taken_after: Duration,
}

impl Outcome {
    /// Whether everything that was acknowledged is there, and all is right.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let (taken, acknowledged) = (&self.taken, self.acknowledged.transactions);
        let seed = self.seed;
        if taken.transfers < acknowledged {
            let lost = acknowledged - taken.transfers;
            return Err(Failure::new(format!(
                "{lost} of {acknowledged} acknowledged transactions are lost (seed {seed})"
            )));
        }
        // One may have been on its way: it was at the partner before its acknowledgement was told.
        if taken.transfers > acknowledged + 1 {
            let more = taken.transfers - acknowledged;
            return Err(Failure::new(format!(
                "{more} transactions more than were acknowledged, and only one was on its way (seed {seed})"
            )));
        }
        if taken.total != TOTAL {
            return Err(Failure::new(format!("the accounts come to {} and not to {TOTAL} (seed {seed})", taken.total)));
        }
        if taken.wrong > 0 {
            let text =
                format!("{} accounts are not what {} transfers come to (seed {seed})", taken.wrong, taken.transfers);
            return Err(Failure::new(text));
        }
        Ok(())
    }

    /// The one object that `--json` prints.
    pub(crate) fn object(&self) -> Value {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let taken = &self.taken;
        json!({
            "engine": "redb",
            "fabric": self.fabric,
            "session_id": self.session,
            "seed": self.seed,
            "transactions_per_second": {
                "without_mirror_synced": self.baseline.synced.per_second(),
                "without_mirror_unsynced": self.baseline.unsynced.per_second(),
                "mirrored": self.acknowledged.per_second(),
            },
            "acknowledged": self.acknowledged.transactions,
            "found": taken.transfers,
            "total": taken.total,
            "total_expected": TOTAL,
            "accounts_wrong": taken.wrong,
            "lost_ns": ns(self.lost_after),
            "lost_reason": self.lost_for,
            "built_ns": taken.built_ns,
            "opened_ns": taken.opened_ns,
            "taken_over_ns": ns(self.taken_after),
            "operations_applied_before": taken.applied_before,
            "operations_applied_after": taken.applied_after,
            "log_history": taken.history,
            "log_reached": taken.reached,
            "log_stopped": taken.stopped,
            "database_bytes": taken.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(acknowledged: u64, transfers: u64, total: u64, wrong: u64) -> Outcome {
        let taken = TakenOver {
            history: String::new(),
            applied_before: 0,
            applied_after: 0,
            reached: 0,
            stopped: String::new(),
            bytes: 0,
            built_ns: 0,
            opened_ns: 0,
            transfers,
            total,
            wrong,
        };
        let made = Acknowledged { transactions: acknowledged, took: Duration::from_secs(1) };
        Outcome {
            baseline: Baseline { synced: made, unsynced: made },
            session: String::new(),
            fabric: "shm",
            seed: 7,
            acknowledged: made,
            taken,
            lost_after: Duration::ZERO,
            lost_for: String::new(),
            taken_after: Duration::ZERO,
        }
    }

    #[test]
    fn nothing_but_the_right_books_passes() {
        assert!(outcome(9, 9, TOTAL, 0).check().is_ok());
        assert!(outcome(9, 10, TOTAL, 0).check().is_ok(), "one was on its way");
        for (wrong, word) in [
            (outcome(9, 8, TOTAL, 0), "lost"),
            (outcome(9, 11, TOTAL, 0), "more"),
            (outcome(9, 9, TOTAL - 1, 0), "come to"),
            (outcome(9, 9, TOTAL, 2), "2 accounts"),
        ] {
            let said = wrong.check().err().map(|failure| failure.message().to_owned());
            assert!(said.as_ref().is_some_and(|said| said.contains(word) && said.contains("seed 7")), "{said:?}");
        }
    }
}
