//! Totals since start, as atomics: a request never takes a lock to be counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Lowest and highest status counted one by one.
const STATUSES: std::ops::Range<usize> = 100..1000;

/// All counters of one connector. A name with `_open`, or `connections`, is a gauge.
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) requests_open: AtomicU64,
    pub(crate) request_errors: AtomicU64,
    pub(crate) requests_canceled: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) register_success: AtomicU64,
    pub(crate) register_fail: AtomicU64,
    pub(crate) configuration_pushes: AtomicU64,
    pub(crate) configuration_pushes_refused: AtomicU64,
    pub(crate) local_configuration_pushes: AtomicU64,
    pub(crate) local_configuration_pushes_errors: AtomicU64,
    pub(crate) trailers_dropped: AtomicU64,
    pub(crate) malformed_requests: AtomicU64,
    pub(crate) streams_refused: AtomicU64,
    responses: Box<[AtomicU32]>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            requests: AtomicU64::default(),
            requests_open: AtomicU64::default(),
            request_errors: AtomicU64::default(),
            requests_canceled: AtomicU64::default(),
            connections: AtomicU64::default(),
            register_success: AtomicU64::default(),
            register_fail: AtomicU64::default(),
            configuration_pushes: AtomicU64::default(),
            configuration_pushes_refused: AtomicU64::default(),
            local_configuration_pushes: AtomicU64::default(),
            local_configuration_pushes_errors: AtomicU64::default(),
            trailers_dropped: AtomicU64::default(),
            malformed_requests: AtomicU64::default(),
            streams_refused: AtomicU64::default(),
            responses: STATUSES.map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Counts an answer of an origin.
    pub(crate) fn response(&self, status: u16) {
        if let Some(counter) = usize::from(status).checked_sub(STATUSES.start).and_then(|i| self.responses.get(i)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Everything by name; statuses that never came are left out.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (name, counter) in [
            ("requests", &self.requests),
            ("requests_open", &self.requests_open),
            ("request_errors", &self.request_errors),
            ("requests_canceled", &self.requests_canceled),
            ("connections", &self.connections),
            ("register_success", &self.register_success),
            ("register_fail", &self.register_fail),
            ("configuration_pushes", &self.configuration_pushes),
            ("configuration_pushes_refused", &self.configuration_pushes_refused),
            ("local_configuration_pushes", &self.local_configuration_pushes),
            ("local_configuration_pushes_errors", &self.local_configuration_pushes_errors),
            ("trailers_dropped", &self.trailers_dropped),
            ("malformed_requests", &self.malformed_requests),
            ("streams_refused", &self.streams_refused),
        ] {
            all.insert(name.to_owned(), counter.load(Relaxed));
        }
        for (index, counter) in self.responses.iter().enumerate() {
            let count = counter.load(Relaxed);
            if count > 0 {
                all.insert(format!("responses_{}", index + STATUSES.start), u64::from(count));
            }
        }
        all
    }
}

/// Adds one while it lives.
pub(crate) struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    pub(crate) fn new(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Relaxed);
        Self(counter)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_seen_statuses_are_listed_and_odd_ones_are_ignored() {
        let counters = Counters::new();
        for status in [200, 200, 999, 42] {
            counters.response(status);
        }
        let all = counters.snapshot();
        assert_eq!((all["responses_200"], all["responses_999"]), (2, 1));
        assert_eq!(all.keys().filter(|k| k.starts_with("responses_")).count(), 2);
    }

    #[test]
    fn a_gauge_falls_when_it_is_dropped() {
        let counters = Counters::new();
        let gauge = Gauge::new(&counters.requests_open);
        assert_eq!(counters.snapshot()["requests_open"], 1);
        drop(gauge);
        assert_eq!(counters.snapshot()["requests_open"], 0);
    }
}
