//! What is measured of the log, and what is to be reached.

use crate::effort::Effort;
use crate::samples::{Quantiles, Samples};
use std::error::Error;

/// Which of the two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Acknowledged when received.
    Received,
    /// Acknowledged when placed.
    Placed,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// A bare WRITE of so many bytes through a port.
    Write(usize),
    /// A bare READ.
    Read(usize),
    /// From before the reservation until durable: bytes, and whether another producer is at work beside it.
    Append(Level, usize, bool),
    /// `write(2)` and `fdatasync(2)`.
    File(usize),
    /// Through TCP, and acknowledged.
    Tcp(usize),
    /// Appends that nobody waits for, and whether there are two producers.
    Stream(Level, bool),
    /// The two copies that each record of the streams takes.
    Copies,
    /// The same through a bare ring, and whether there are two producers.
    Bare(bool),
}

/// Sizes of records, bytes.
pub(crate) const SIZES: [usize; 4] = [64, 256, 4096, 65536];
/// Bytes of a record of the streams.
pub(crate) const STREAM_BYTES: usize = 256;

/// All rows, as they are measured in each round.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for bytes in SIZES {
        rows.extend([Row::Write(bytes), Row::Read(bytes)]);
        for level in [Level::Received, Level::Placed] {
            rows.extend([false, true].map(|second| Row::Append(level, bytes, second)));
        }
        rows.extend([Row::Tcp(bytes), Row::File(bytes)]);
    }
    rows.extend([Row::Copies, Row::Bare(false), Row::Bare(true)]);
    for level in [Level::Received, Level::Placed] {
        rows.extend([false, true].map(|second| Row::Stream(level, second)));
    }
    rows
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Placed => "placed",
        }
    }
}

impl Row {
    /// As in `--rows`, and as the name of a file.
    pub(crate) fn name(self) -> String {
        let producers = |second| if second { 2 } else { 1 };
        match self {
            Self::Write(bytes) => format!("write-{bytes}"),
            Self::Read(bytes) => format!("read-{bytes}"),
            Self::Append(level, bytes, second) => format!("{}-{bytes}-{}", level.name(), producers(second)),
            Self::File(bytes) => format!("fdatasync-{bytes}"),
            Self::Tcp(bytes) => format!("tcp-{bytes}"),
            Self::Stream(level, second) => format!("stream-{}-{}", level.name(), producers(second)),
            Self::Copies => "stream-memcpy".to_owned(),
            Self::Bare(second) => format!("stream-bare-{}", producers(second)),
        }
    }

    /// Whether its figure is millions a second, and not nanoseconds.
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Self::Stream(..) | Self::Copies | Self::Bare(_))
    }

    /// How many in one round, by each producer.
    pub(crate) fn turns(self, effort: Effort) -> u64 {
        effort.samples(match self {
            Self::File(_) => (100, 20),
            Self::Write(65536) | Self::Read(65536) | Self::Append(_, 65536, _) | Self::Tcp(65536) => (2_000, 400),
            Self::Tcp(_) => (5_000, 1_000),
            Self::Write(_) | Self::Read(_) | Self::Append(..) => (20_000, 4_000),
            Self::Stream(..) | Self::Copies | Self::Bare(_) => (2_000_000, 400_000),
        })
    }
}

/// What was taken of a row.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// Which.
    pub(crate) row: Row,
    /// Latencies by rounds; of a rate, the rate is the p50.
    pub(crate) rounds: Vec<Quantiles>,
    /// All samples, in tenths of a nanosecond; none of a rate.
    pub(crate) all: Samples,
    /// Repetitions set aside because both processors shared a core.
    pub(crate) set_aside: usize,
}

impl Taken {
    pub(crate) fn new(row: Row) -> Result<Self, Box<dyn Error>> {
        Ok(Self { row, rounds: Vec::new(), all: Samples::new()?, set_aside: 0 })
    }

    /// The median over rounds of each quantile.
    pub(crate) fn quoted(&self) -> Quantiles {
        Quantiles::median(&self.rounds)
    }
}

/// Appends a second of 256 bytes that are to be reached, millions.
const RATE: f64 = 5.0;
/// Placed may take so many times a WRITE and a READ.
const RATIO: f64 = 1.3;
/// And its p99.9 so many times its p50.
const TAIL: f64 = 10.0;

/// The p50 of a WRITE and a READ of so many bytes.
pub(crate) fn write_and_read(all: &[Taken], bytes: usize) -> Option<f64> {
    let of = |row| all.iter().find(|taken| taken.row == row).map(|taken| taken.quoted().p50);
    Some(of(Row::Write(bytes))? + of(Row::Read(bytes))?)
}

/// What is to be reached, and whether it is; none where nothing is asked for.
pub(crate) fn verdict(taken: &Taken, all: &[Taken]) -> Option<(String, bool)> {
    let quoted = taken.quoted();
    match taken.row {
        Row::Append(Level::Placed, 64, false) => {
            let limit = write_and_read(all, 64)?;
            let met = quoted.p50 <= RATIO * limit && quoted.p999 <= TAIL * quoted.p50;
            Some((format!("<= {RATIO} x, p99.9 <= {TAIL} x p50"), met))
        }
        Row::Stream(_, false) => Some((format!(">= {RATE} M/s"), quoted.p50 >= RATE)),
        Row::Stream(level, true) => {
            let one = all.iter().find(|taken| taken.row == Row::Stream(level, false))?.quoted().p50;
            Some((format!(">= {RATE} M/s, >= {one:.2} of one"), quoted.p50 >= RATE && quoted.p50 >= one))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(row: Row, p50: f64, p999: f64) -> Result<Taken, Box<dyn Error>> {
        let rounds = vec![Quantiles { p50, p999, ..Quantiles::default() }; 3];
        Ok(Taken { rounds, ..Taken::new(row)? })
    }

    fn met(row: Row, p50: f64, p999: f64, others: &[Taken]) -> Result<Option<bool>, Box<dyn Error>> {
        Ok(verdict(&taken(row, p50, p999)?, others).map(|(_, met)| met))
    }

    #[test]
    fn placed_may_take_1_3_times_a_write_and_a_read() -> Result<(), Box<dyn Error>> {
        let bare = [taken(Row::Write(64), 60.0, 0.0)?, taken(Row::Read(64), 40.0, 0.0)?];
        let row = Row::Append(Level::Placed, 64, false);
        assert_eq!(met(row, 129.0, 1200.0, &bare)?, Some(true));
        assert_eq!(met(row, 131.0, 1200.0, &bare)?, Some(false));
        assert_eq!(met(row, 100.0, 1001.0, &bare)?, Some(false));
        assert_eq!(met(row, 100.0, 1000.0, &[])?, None);
        assert_eq!(met(Row::Append(Level::Received, 64, false), 1.0, 1.0, &bare)?, None);
        Ok(())
    }

    #[test]
    fn two_producers_must_not_be_slower_than_one() -> Result<(), Box<dyn Error>> {
        let one = [taken(Row::Stream(Level::Placed, false), 6.0, 0.0)?];
        let row = Row::Stream(Level::Placed, true);
        assert_eq!(met(row, 6.0, 0.0, &one)?, Some(true));
        assert_eq!(met(row, 5.9, 0.0, &one)?, Some(false));
        assert_eq!(met(Row::Stream(Level::Placed, false), 4.9, 0.0, &[])?, Some(false));
        Ok(())
    }

    #[test]
    fn no_two_rows_share_a_name() {
        let mut names: Vec<String> = rows().into_iter().map(Row::name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
