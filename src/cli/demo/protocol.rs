//! What the demo's processes tell each other over pipes (lines of JSON), and over the session (immediate data).

use serde::{Deserialize, Serialize};

/// From a worker to the supervisor, one line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// Its page can be read.
    Listening { incarnation: String },
    /// A session stands.
    Established {
        session: String,
        partner_incarnation: String,
        authentication: String,
        steps: Vec<StepReport>,
        since_boot_ns: u64,
    },
    /// Its clients are served.
    Ready { grants: Vec<GrantReport> },
    /// The session is gone.
    Lost { reason: String },
    /// So much of a pass has gone out, or come in.
    Progress { bytes: u64 },
    /// A pass is complete on this side.
    Passed { pass: u32, bytes: u64, digest: String, seconds: f64 },
    /// The receiver stands still in the middle of the pass, as it was told to.
    Holding { bytes: u64 },
    /// Anything else worth a line.
    Note { text: String },
    /// It cannot go on.
    Failed { error: String },
}

/// One of the four steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StepReport {
    pub(crate) name: String,
    pub(crate) ns: u64,
}

/// What one client was granted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GrantReport {
    pub(crate) client: String,
    pub(crate) ports: u16,
    pub(crate) here_bytes: u64,
    pub(crate) there_bytes: u64,
}

/// From the supervisor to a worker, one line each. The end of the pipe means: leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Stream the file, as pass of this number.
    Pass(u32),
}

/// The immediate data of a chunk's WRITE: bytes, pass, and whether the pass ends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) bytes: u32,
    pub(crate) pass: u8,
    pub(crate) last: bool,
}

impl Chunk {
    pub(crate) fn encode(self) -> u32 {
        (self.bytes & 0xf_ffff) | u32::from(self.pass & 0x7f) << 20 | u32::from(self.last) << 31
    }
    pub(crate) fn decode(immediate: u32) -> Self {
        Self { bytes: immediate & 0xf_ffff, pass: (immediate >> 20) as u8 & 0x7f, last: immediate >> 31 == 1 }
    }
}

/// Writes one report to standard output. Where the supervisor is gone, the end of standard input says so too, and ends this process.
pub(crate) fn tell(report: &Report) {
    if let Ok(line) = serde_json::to_string(report) {
        crate::cli::output::line(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immediates_round_trip() {
        for bytes in [0, 1, super::super::CHUNK_BYTES as u32] {
            for last in [false, true] {
                let chunk = Chunk { bytes, pass: 2, last };
                assert_eq!(Chunk::decode(chunk.encode()), chunk);
            }
        }
    }
}
