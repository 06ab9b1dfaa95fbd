//! The histograms that openraft keeps of its batches, in two kilobytes each.
//!
//! The published crate of this name builds lookup tables for sixteen resolutions at its first use, 25 MB that stay resident,
//! a sixth of what a whole idle cluster may have; openraft uses the smallest. This one computes what those tables hold. It
//! has what openraft calls, and goes when the published one builds its tables on demand.

use std::{fmt, marker::PhantomData};

/// Below this every value has a bucket of its own; above, each power of two has this many.
const STEPS: usize = 4;
const STEP_BITS: u32 = STEPS.trailing_zeros();
const BUCKETS: usize = STEPS + (u64::BITS - STEP_BITS) as usize * STEPS;

/// How often values of each magnitude occurred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Vec<u64>,
    samples: u64,
    of: PhantomData<T>,
}

/// What is said of a histogram: for each share of the values, the bound that it stays below or at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PercentileStats {
    /// How many values there are.
    pub samples: u64,
    /// 0.1 %.
    pub p0_1: u64,
    /// 1 %.
    pub p1: u64,
    /// 5 %.
    pub p5: u64,
    /// 10 %.
    pub p10: u64,
    /// Half.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
}

/// Histograms side by side.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    series: Vec<(String, Histogram)>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// An empty histogram.
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS], samples: 0, of: PhantomData }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value that occurred `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        self.counts[bucket(value)] += count;
        self.samples += count;
    }

    /// The usual percentiles, each as the least value of the bucket that it falls into.
    pub fn percentile_stats(&self) -> PercentileStats {
        let at = |per_mille: u64| {
            let wanted = (u128::from(self.samples) * u128::from(per_mille)).div_ceil(1000).max(1);
            let mut seen = 0_u128;
            let found = self.counts.iter().position(|count| {
                seen += u128::from(*count);
                seen >= wanted
            });
            found.map_or(0, least)
        };
        PercentileStats {
            samples: self.samples,
            p0_1: at(1),
            p1: at(10),
            p5: at(50),
            p10: at(100),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
        }
    }
}

/// The bucket of a value: its power of two, and the bits behind the first.
fn bucket(value: u64) -> usize {
    let Some(power) = value.checked_ilog2().filter(|power| *power >= STEP_BITS) else {
        return value as usize;
    };
    let above = (power - STEP_BITS) as usize;
    STEPS + above * STEPS + ((value >> above) as usize & (STEPS - 1))
}

/// The least value of a bucket.
fn least(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(STEPS) else {
        return bucket as u64;
    };
    ((STEPS + above % STEPS) as u64) << (above / STEPS)
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p0_1, p1, p5, p10, p50, p90, p99, p99_9 } = self;
        write!(formatter, "{samples} values, 0.1 %: {p0_1}, 1 %: {p1}, 5 %: {p5}, 10 %: {p10}, ")?;
        write!(formatter, "50 %: {p50}, 90 %: {p90}, 99 %: {p99}, 99.9 %: {p99_9}")
    }
}

impl AsciiChart {
    /// A chart of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a histogram.
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.series.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.series.iter().try_for_each(|(name, of)| writeln!(formatter, "{name}: {}", of.percentile_stats()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_none_is_left_over() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for value in (0..70).chain((0..64).flat_map(|power| [1 << power, (1_u64 << power) + 1, u64::MAX >> power])) {
            let at = bucket(value);
            assert!(least(at) <= value && value - least(at) <= value / STEPS as u64, "{value}");
            assert!(at + 1 == BUCKETS || value < least(at + 1), "{value}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats(), PercentileStats::default());
        (0..1000).for_each(|n| histogram.record(u64::from(n >= 900)));
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p50, stats.p90, stats.p99), (1000, 0, 0, 1));
    }
}
