//! What came of a demo: the session, the passes, the recovery.

use crate::cli::demo::protocol::{GrantReport, StepReport};
use crate::cli::demo::tally::Tally;
use crate::cli::failure::Failure;
use serde_json::{Value, json};
use std::time::Duration;

/// A session as both sides told of it.
pub(crate) struct Established {
    pub(crate) session: String,
    pub(crate) partner_incarnation: String,
    pub(crate) authentication: String,
    pub(crate) steps: Vec<StepReport>,
    pub(crate) partner_steps: Vec<StepReport>,
    pub(crate) since_boot_ns: u64,
    pub(crate) grants: Vec<GrantReport>,
}

/// A complete pass.
pub(crate) struct Passed {
    pub(crate) number: u32,
    pub(crate) sent: Tally,
    pub(crate) received: Tally,
    pub(crate) seconds: f64,
}

impl Passed {
    pub(crate) fn agrees(&self) -> bool {
        self.sent.agrees(&self.received)
    }

    /// A failure where it does not.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.agrees() {
            return Ok(());
        }
        let (number, sent, received) = (self.number, &self.sent, &self.received);
        Err(Failure::new(format!(
            "pass {number}: {} bytes with digest {} were sent, {} bytes with digest {} received",
            sent.bytes, sent.digest, received.bytes, received.digest
        )))
    }

    pub(crate) fn gigabytes_per_second(&self) -> f64 {
        self.sent.bytes as f64 / self.seconds.max(1e-9) / 1e9
    }
}

/// How the sender got over the loss of its partner; all times from the kill on.
pub(crate) struct Recovery {
    pub(crate) lost_after: Duration,
    pub(crate) reason: String,
    /// Bytes of the log that nobody had acknowledged then.
    pub(crate) unacknowledged: u64,
    pub(crate) restarted_after: Duration,
    pub(crate) ready_after: Duration,
    /// Bytes that the new partner's copy was given before it was whole.
    pub(crate) refilled: u64,
    pub(crate) whole_after: Duration,
}

/// What came of it all.
pub(crate) struct Outcome {
    pub(crate) established: Established,
    pub(crate) again: Established,
    pub(crate) recovery: Recovery,
    pub(crate) passes: [Passed; 2],
    pub(crate) restarts: u32,
    pub(crate) ring_bytes: u64,
    pub(crate) fabric: &'static str,
}

impl Outcome {
    /// Whether the demo shows what it is to show.
    pub(crate) fn check(&self, source: &str) -> Result<(), Failure> {
        let [first, second] = &self.passes;
        for pass in &self.passes {
            pass.check()?;
        }
        if first.sent.digest != second.sent.digest {
            return Err(Failure::new(format!(
                "{source} changed between the two passes ({} bytes, then {}): take one that nobody writes to",
                first.sent.bytes, second.sent.bytes
            )));
        }
        Ok(())
    }

    /// The one object that `--json` prints.
    pub(crate) fn object(&self) -> Value {
        let [first, second] = &self.passes;
        let steps = |steps: &[StepReport]| -> Vec<_> {
            steps.iter().map(|step| json!({ "name": step.name, "ns": step.ns })).collect()
        };
        let client = |grant: &GrantReport| {
            json!({
                "name": grant.client,
                "ports": grant.ports,
                "memory_here_bytes": grant.here_bytes,
                "memory_there_bytes": grant.there_bytes,
            })
        };
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        json!({
            "established": true,
            "authentication": self.established.authentication,
            "since_boot_ns": self.established.since_boot_ns,
            "steps": steps(&self.established.steps),
            "partner_steps": steps(&self.established.partner_steps),
            "fabric": self.fabric,
            "session_id": self.established.session,
            "session_id_after_restart": self.again.session,
            "clients": self.established.grants.iter().map(client).collect::<Vec<_>>(),
            "ring_bytes": self.ring_bytes,
            "bytes": second.sent.bytes,
            "digest_sent": second.sent.digest,
            "digest_received": second.received.digest,
            "digests_agree": self.passes.iter().all(Passed::agrees) && first.sent.digest == second.sent.digest,
            "gigabytes_per_second": first.gigabytes_per_second(),
            "restarts": self.restarts,
            "resumed": second.agrees(),
            "recovery": {
                "lost_ns": ns(self.recovery.lost_after),
                "reason": self.recovery.reason,
                "unacknowledged_bytes": self.recovery.unacknowledged,
                "restarted_ns": ns(self.recovery.restarted_after),
                "ready_ns": ns(self.recovery.ready_after),
                "refilled_bytes": self.recovery.refilled,
                "whole_ns": ns(self.recovery.whole_after),
            },
        })
    }
}
