//! Numbers that any thread may move: a request never takes a lock to be counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Declares `Counters`: a field and a name for each line. A name with `_open`, or `connections`, is a gauge.
#[macro_export]
macro_rules! counters {
    ($($name:ident $doc:literal;)*) => {
        /// Totals since start, and gauges.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(#[doc = $doc] pub(crate) $name: $crate::Counter,)*
        }

        impl Counters {
            /// Every one by name.
            pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

/// One number.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Counts `n` fewer.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Counts one for as long as the guard lives.
    pub fn hold(&self) -> Held<'_> {
        self.add(1);
        Held(self)
    }
}

/// See `Counter::hold`.
pub struct Held<'a>(&'a Counter);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

#[cfg(test)]
mod tests {
    counters! {
        requests "Requests.";
        requests_open "Requests under way.";
    }

    #[test]
    fn every_counter_is_listed_by_name_and_a_gauge_falls_when_its_guard_goes() {
        let counters = Counters::default();
        counters.requests.add(3);
        counters.requests.sub(1);
        let held = counters.requests_open.hold();
        assert_eq!(counters.all().collect::<Vec<_>>(), [("requests", 2), ("requests_open", 1)]);
        drop(held);
        assert_eq!(counters.requests_open.get(), 0);
    }
}
