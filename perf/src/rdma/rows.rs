//! The rows of the table: what is measured, against whom, and what is to be reached.

use crate::machine::Scale;
use crate::samples::{Quantiles, Samples};
use std::error::Error;

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// One way of a WRITE of so many bytes.
    Write(usize),
    /// A READ of so many bytes.
    Read(usize),
    /// A stream of WRITEs of so many bytes.
    Stream(usize),
    /// From nothing to an established session.
    Session,
}

/// All, in the order of the table. READ of 8 bytes comes before the session, whose goal is counted in it.
pub(crate) const ROWS: [Row; 6] =
    [Row::Write(8), Row::Write(4096), Row::Read(8), Row::Read(4096), Row::Stream(65536), Row::Session];

impl Row {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Write(bytes) => format!("write-{bytes}"),
            Self::Read(bytes) => format!("read-{bytes}"),
            Self::Stream(bytes) => format!("stream-{bytes}"),
            Self::Session => "session".to_owned(),
        }
    }

    /// The program it is compared with.
    pub(crate) fn peer(self) -> &'static str {
        match self {
            Self::Write(_) => "ib_write_lat",
            Self::Read(_) => "ib_read_lat",
            Self::Stream(_) => "ib_write_bw",
            Self::Session => "cmtime",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Stream(_) => "MiB/s",
            _ => "us",
        }
    }

    /// How many in each round, both sides alike.
    pub(crate) fn turns(self) -> u64 {
        match self {
            Self::Write(_) | Self::Read(_) => 4000,
            Self::Stream(_) => 500,
            Self::Session => 5,
        }
    }
}

/// What was taken of a row so far, by rounds: p50 and p99 of each.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) row: Row,
    pub(crate) ours: Vec<(f64, f64)>,
    pub(crate) peer: Vec<(f64, f64)>,
}

impl Taken {
    pub(crate) fn new(row: Row) -> Self {
        Self { row, ours: Vec::new(), peer: Vec::new() }
    }

    /// Ours: medians over rounds.
    pub(crate) fn quoted(&self) -> (f64, f64) {
        medians(&self.ours)
    }

    /// The peer's; none where it was not installed.
    pub(crate) fn quoted_peer(&self) -> Option<(f64, f64)> {
        (!self.peer.is_empty()).then(|| medians(&self.peer))
    }

    /// Ours over the peer's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.quoted_peer().map(|peer| self.quoted().0 / peer.0)
    }
}

/// A session may take what connecting alone takes, and four operations.
pub(crate) const STEPS: f64 = 4.0;

/// The goal of a row as text, and whether it is met: none where there is no peer.
pub(crate) fn verdict(taken: &Taken, all: &[Taken]) -> (String, Option<bool>) {
    match taken.row {
        Row::Write(_) | Row::Read(_) => ("<= 1.05 x".to_owned(), taken.ratio().map(|ratio| ratio <= 1.05)),
        Row::Stream(_) => (">= 0.95 x".to_owned(), taken.ratio().map(|ratio| ratio >= 0.95)),
        Row::Session => {
            let read = all.iter().find(|taken| taken.row == Row::Read(8)).map(|taken| taken.quoted().0);
            let limit = taken.quoted_peer().zip(read).map(|(peer, read)| peer.0 + STEPS * read);
            let text = limit.map_or("<= connect + 4 READs".to_owned(), |limit| format!("<= {limit:.0} us"));
            (text, limit.map(|limit| taken.quoted().0 <= limit))
        }
    }
}

/// p50 and p99 in microseconds of ticks that hold so many ways each.
pub(crate) fn latency(scale: &Scale, ticks: &[u64], ways: u64) -> Result<(f64, f64), Box<dyn Error>> {
    let tenths: Vec<u64> = ticks.iter().map(|ticks| scale.tenths(*ticks, ways)).collect();
    quoted(&tenths)
}

/// p50 and p99 in microseconds of tenths of a nanosecond.
pub(crate) fn quoted(tenths: &[u64]) -> Result<(f64, f64), Box<dyn Error>> {
    let Quantiles { p50, p99, .. } = Samples::of(tenths)?.quantiles();
    Ok((p50 / 1000.0, p99 / 1000.0))
}

fn medians(rounds: &[(f64, f64)]) -> (f64, f64) {
    let quantiles: Vec<Quantiles> =
        rounds.iter().map(|(p50, p99)| Quantiles { p50: *p50, p99: *p99, ..Quantiles::default() }).collect();
    let quoted = Quantiles::median(&quantiles);
    (quoted.p50, quoted.p99)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(row: Row, ours: f64, peer: f64) -> Taken {
        Taken { row, ours: vec![(ours, ours); 3], peer: vec![(peer, peer); 3] }
    }

    #[test]
    fn latencies_must_be_low_and_rates_high() {
        let of = |taken: Taken| verdict(&taken, &[]).1;
        assert_eq!(of(taken(Row::Write(8), 10.4, 10.0)), Some(true));
        assert_eq!(of(taken(Row::Read(8), 10.6, 10.0)), Some(false));
        assert_eq!(of(taken(Row::Stream(65536), 9.6, 10.0)), Some(true));
        assert_eq!(of(taken(Row::Stream(65536), 9.4, 10.0)), Some(false));
        assert_eq!(of(Taken { peer: Vec::new(), ..taken(Row::Write(8), 1.0, 1.0) }), None);
    }

    #[test]
    fn a_session_may_take_a_connection_and_four_operations() {
        let all = [taken(Row::Read(8), 10.0, 10.0), taken(Row::Session, 139.0, 100.0)];
        assert_eq!(verdict(&all[1], &all), ("<= 140 us".to_owned(), Some(true)));
        assert_eq!(verdict(&taken(Row::Session, 141.0, 100.0), &all).1, Some(false));
    }
}
