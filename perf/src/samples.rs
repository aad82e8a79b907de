//! Samples, their histograms, and what is quoted of them. The unit is a tenth of a nanosecond.

use hdrhistogram::{CreationError, Histogram, RecordError};
use std::fmt::Write;

/// 100 s.
const TENTHS_MAX: u64 = 1_000_000_000_000;

/// What one side of one round took.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    histogram: Histogram<u64>,
}

impl Samples {
    /// None yet.
    pub(crate) fn new() -> Result<Self, CreationError> {
        Ok(Self { histogram: Histogram::new_with_bounds(1, TENTHS_MAX, 3)? })
    }

    /// Adds one, in tenths of a nanosecond.
    pub(crate) fn add(&mut self, tenths: u64) -> Result<(), RecordError> {
        self.histogram.record(tenths.clamp(1, TENTHS_MAX))
    }

    /// Of samples in tenths of a nanosecond, in the order they were taken.
    pub(crate) fn of(tenths: &[u64]) -> Result<Self, Box<dyn std::error::Error>> {
        let mut samples = Self::new()?;
        for sample in tenths {
            samples.add(*sample)?;
        }
        Ok(samples)
    }

    /// Its quantiles, in nanoseconds.
    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 10.0;
        Quantiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: self.histogram.max() as f64 / 10.0 }
    }

    /// As a text that histogram plotters read: value in nanoseconds, quantile, count, 1/(1-quantile).
    pub(crate) fn hgrm(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
        let mut total = 0;
        for step in self.histogram.iter_quantiles(5) {
            total += step.count_since_last_iteration();
            let (value, quantile) = (step.value_iterated_to() as f64 / 10.0, step.quantile_iterated_to());
            if quantile < 1.0 {
                writeln!(text, "{value:12.1} {quantile:2.12} {total:10} {:14.2}", 1.0 / (1.0 - quantile))?;
            } else {
                writeln!(text, "{value:12.1} {quantile:2.12} {total:10}            inf")?;
            }
        }
        let (mean, deviation) = (self.histogram.mean() / 10.0, self.histogram.stdev() / 10.0);
        writeln!(text, "#[Mean    = {mean:12.1}, StdDeviation   = {deviation:12.1}]")?;
        let (max, count) = (self.histogram.max() as f64 / 10.0, self.histogram.len());
        writeln!(text, "#[Max     = {max:12.1}, Total count    = {count:12}]")?;
        Ok(text)
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }
}

/// Nanoseconds at four quantiles.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Quantiles {
    /// Half of all.
    pub(crate) p50: f64,
    /// 99 %.
    pub(crate) p99: f64,
    /// 99.9 %.
    pub(crate) p999: f64,
    /// All.
    pub(crate) max: f64,
}

impl Quantiles {
    /// Of one round: the p50 is that of the means of so many samples in a row, the others are those of single samples.
    pub(crate) fn of_round(tenths: &[u64], group: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let singles = Samples::of(tenths)?.quantiles();
        let means =
            tenths.chunks_exact(group.max(1)).map(|group| group.iter().sum::<u64>() as f64 / group.len() as f64);
        Ok(Self { p50: median(means.collect()) / 10.0, ..singles })
    }

    /// The median over rounds, for each quantile by itself.
    pub(crate) fn median(rounds: &[Quantiles]) -> Self {
        let of = |pick: fn(&Quantiles) -> f64| median(rounds.iter().map(pick).collect());
        Self { p50: of(|at| at.p50), p99: of(|at| at.p99), p999: of(|at| at.p999), max: of(|at| at.max) }
    }
}

/// The middle one; of an even number the mean of the middle two; zero of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn the_p50_of_a_round_sees_between_the_steps_of_the_counter() -> Result<(), Box<dyn std::error::Error>> {
        let tenths: Vec<u64> = (0..1600).map(|number| if number % 4 == 0 { 1100 } else { 1000 }).collect();
        let at = Quantiles::of_round(&tenths, 16)?;
        assert!((at.p50 - 102.5).abs() < 0.01 && (at.p99 - 110.0).abs() < 0.1, "{at:?}");
        Ok(())
    }

    #[test]
    fn quantiles_are_in_nanoseconds() -> Result<(), Box<dyn std::error::Error>> {
        let mut samples = Samples::new()?;
        for tenths in 1..=1000 {
            samples.add(tenths * 10)?;
        }
        let at = samples.quantiles();
        assert!((at.p50 - 500.0).abs() < 1.0 && (at.p99 - 990.0).abs() < 2.0, "{at:?}");
        assert!(samples.hgrm()?.contains("Total count    =         1000"));
        Ok(())
    }
}
