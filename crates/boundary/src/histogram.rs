//! How long things take, in buckets: as Prometheus counts it, and without a lock.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Observations by upper bound of their bucket. The last bucket has no bound.
pub struct Histogram {
    bounds: &'static [f64],
    buckets: Box<[AtomicU64]>,
    /// In millionths: a sum that any thread may add to.
    sum_millionths: AtomicU64,
}

/// What a histogram holds at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistogramSnapshot {
    /// Upper bounds, ascending.
    pub bounds: &'static [f64],
    /// How many observations each bucket has of its own, and after them those above every bound.
    pub counts: Vec<u64>,
    /// Of all observations.
    pub sum: f64,
}

impl Histogram {
    /// Nothing observed yet. `bounds` ascend.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_millionths: AtomicU64::new(0),
        }
    }

    /// Counts one; an observation equal to a bound belongs below it.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Relaxed);
        // A float's conversion to an integer saturates.
        self.sum_millionths.fetch_add((value * 1e6) as u64, Relaxed);
    }

    /// What it holds now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            bounds: self.bounds,
            counts: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            sum: self.sum_millionths.load(Relaxed) as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_counts_in_the_first_bucket_that_it_does_not_exceed() {
        let histogram = Histogram::new(&[1.0, 10.0]);
        for value in [0.5, 1.0, 1.1, 10.0, 11.0, 0.0] {
            histogram.observe(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.counts, snapshot.sum), (vec![3, 2, 1], 23.6));
    }
}
