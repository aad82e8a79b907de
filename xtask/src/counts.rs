//! What test runners said: their own counts, and the skips they announced.

/// Tests that passed, failed, and could not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// One check that passed.
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    /// One check that failed.
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    /// One check that could not run.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Reads the lines of test runners: what to print of them, and what they counted.
///
/// A test that finds on its way that it cannot run prints a line that begins with `SKIPPED:` and returns. Its runner counts it as
/// passed; here it moves over to the skipped ones. Runners are started with `--show-output`, else they would keep that line to
/// themselves; what else passed tests have printed is left out again.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    counts: Counts,
    announced: u64,
    in_successes: bool,
}

impl Reader {
    /// Takes one line, without its end; whether to print it.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        let line = line.trim();
        if line.starts_with("SKIPPED:") {
            self.announced += 1;
            return true;
        }
        if line == "successes:" {
            self.in_successes = true;
        } else if line == "failures:" || line.starts_with("test result:") {
            self.in_successes = false;
        }
        if let Some(counts) = parse(line) {
            self.counts.add(counts);
        }
        !self.in_successes
    }

    /// What standard output and standard error of one runner counted together.
    pub(crate) fn total(readers: &[Self]) -> Counts {
        let mut total = Counts::default();
        let announced = readers.iter().map(|reader| reader.announced).sum::<u64>();
        for reader in readers {
            total.add(reader.counts);
        }
        total.passed = total.passed.saturating_sub(announced);
        total.skipped += announced;
        total
    }
}

/// The counts in a line `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn parse(line: &str) -> Option<Counts> {
    let (_, tail) = line.strip_prefix("test result:")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in tail.split(';') {
        let mut words = part.split_whitespace();
        let (Some(number), Some(word)) = (words.next(), words.next()) else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match word {
            "passed" => counts.passed = number,
            "failed" => counts.failed = number,
            "ignored" => counts.skipped = number,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Counts, Vec<&str>) {
        let mut reader = Reader::default();
        let printed = text.lines().filter(|line| reader.line(line)).collect();
        (Reader::total(&[reader]), printed)
    }

    #[test]
    fn sums_what_runners_say() {
        let (counts, printed) = read(
            "running 3 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 5 filtered out; finished in 0.1s\n\
             test result: FAILED. 4 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
        );
        assert_eq!(counts, Counts { passed: 6, failed: 3, skipped: 1 });
        assert_eq!(printed.len(), 3);
    }

    #[test]
    fn a_skip_moves_one_test_over_and_is_printed() {
        let (counts, printed) = read(
            "test a ... ok\n\nsuccesses:\n\n---- a stdout ----\nchatter\nSKIPPED: no strace here\n\nsuccesses:\n    a\n    b\n\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        assert_eq!(counts.skipped, 1);
        assert_eq!(counts.passed, 1);
        assert!(printed.contains(&"SKIPPED: no strace here"));
        assert!(!printed.iter().any(|line| line.contains("chatter")));
    }

    #[test]
    fn failures_are_printed_in_full() {
        let (_, printed) = read("successes:\nhidden\nfailures:\n---- b stdout ----\nthe reason\n");
        assert_eq!(printed, ["failures:", "---- b stdout ----", "the reason"]);
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(parse("running 3 tests"), None);
        assert_eq!(read("test result of something else").0, Counts::default());
    }
}
