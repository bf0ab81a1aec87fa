//! RPC calls as they are counted: how many of each, how many failed, how long they took.

use qanat_boundary::{Counter, Histogram, HistogramSnapshot};
use serde::Serialize;
use std::time::Instant;

/// Seconds: 50 ms, and three times as much four times, as stock cloudflared reckons them.
const BOUNDS: [f64; 5] = [0.05, 0.150_000_000_000_000_02, 0.450_000_000_000_000_07, 1.35, 4.050_000_000_000_001];

/// Which calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    RegisterConnection,
    UnregisterConnection,
    UpdateLocalConfiguration,
    /// The edge's, served here.
    UpdateConfiguration,
}

impl Call {
    const ALL: [Call; 4] = [
        Call::RegisterConnection,
        Call::UnregisterConnection,
        Call::UpdateLocalConfiguration,
        Call::UpdateConfiguration,
    ];

    /// Who asks, whose interface it is, and its name.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Call::RegisterConnection => ("client", "registration", "register_connection"),
            Call::UnregisterConnection => ("client", "registration", "unregister_connection"),
            Call::UpdateLocalConfiguration => ("client", "registration", "update_local_configuration"),
            Call::UpdateConfiguration => ("server", "config", "update_configuration"),
        }
    }
}

struct Tally {
    calls: Counter,
    failures: Counter,
    seconds: Histogram,
}

/// Counts all calls.
pub(crate) struct Calls([Tally; Call::ALL.len()]);

/// What is known of one call's kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallSnapshot {
    /// `client`: we ask the edge; `server`: it asks us.
    pub side: &'static str,
    /// The interface.
    pub handler: &'static str,
    /// The method.
    pub method: &'static str,
    /// Ended ones.
    pub operations: u64,
    /// Of these, those that failed, or were given up.
    pub failures: u64,
    /// How long they took, in seconds.
    pub latency: HistogramSnapshot,
}

impl Default for Calls {
    fn default() -> Self {
        Self(Call::ALL.map(|_| Tally {
            calls: Counter::default(),
            failures: Counter::default(),
            seconds: Histogram::new(&BOUNDS),
        }))
    }
}

impl Calls {
    /// A call begins. It has failed unless `succeeded` is called.
    pub(crate) fn begin(&self, call: Call) -> Begun<'_> {
        Begun { tally: &self.0[call as usize], since: Instant::now(), has_succeeded: false }
    }

    /// Those kinds that ever ended.
    pub(crate) fn snapshot(&self) -> Vec<CallSnapshot> {
        let seen = Call::ALL.iter().zip(&self.0).filter(|(_, tally)| tally.calls.get() > 0);
        seen.map(|(call, tally)| {
            let (side, handler, method) = call.names();
            CallSnapshot {
                side,
                handler,
                method,
                operations: tally.calls.get(),
                failures: tally.failures.get(),
                latency: tally.seconds.snapshot(),
            }
        })
        .collect()
    }
}

/// A call under way; counted when it goes.
pub(crate) struct Begun<'a> {
    tally: &'a Tally,
    since: Instant,
    has_succeeded: bool,
}

impl Begun<'_> {
    /// It ended so.
    pub(crate) fn ended<T, E>(mut self, result: &Result<T, E>) {
        self.has_succeeded = result.is_ok();
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.tally.seconds.observe(self.since.elapsed().as_secs_f64());
        self.tally.calls.add(1);
        if !self.has_succeeded {
            self.tally.failures.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_fails_or_is_given_up_is_a_failure_and_what_never_came_is_not_listed() {
        let calls = Calls::default();
        calls.begin(Call::RegisterConnection).ended(&Ok::<_, ()>(()));
        calls.begin(Call::RegisterConnection).ended(&Err::<(), _>(()));
        drop(calls.begin(Call::RegisterConnection));
        let seen = calls.snapshot();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].side, seen[0].handler, seen[0].method), ("client", "registration", "register_connection"));
        assert_eq!((seen[0].operations, seen[0].failures, seen[0].latency.counts[0]), (3, 2, 3));
    }
}
