//! Which tunnels' connectors are expected back, so that requests wait for them.

use arc_swap::ArcSwap;
use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long after its start an edge expects the connectors of an edge before it.
const LATELY: Duration = Duration::from_secs(2);

/// Those that are on their way.
#[derive(Default)]
pub(crate) struct Expected {
    /// Every tunnel's, until then.
    all: OnceLock<Instant>,
    /// These alone, since the process before told who they are.
    those: ArcSwap<Option<(HashSet<Uuid>, Instant)>>,
}

impl Expected {
    /// From now on, and for a moment, every connector is expected, unless it is known which.
    pub(crate) fn begin(&self) {
        if self.those.load().is_none() {
            let _ = self.all.set(Instant::now() + LATELY);
        }
    }

    /// From now on those of these tunnels are expected, at most so long.
    pub(crate) fn only(&self, tunnels: HashSet<Uuid>, within: Duration) {
        self.those.store(Some((tunnels, Instant::now() + within)).into());
    }

    /// How much longer a tunnel's are.
    pub(crate) fn left(&self, tunnel: &Uuid) -> Duration {
        let those = self.those.load();
        let until = match &**those {
            Some((tunnels, until)) => tunnels.contains(tunnel).then_some(until),
            None => self.all.get(),
        };
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_expected_for_a_moment_unless_it_is_known_which() {
        let (expected, one, other) = (Expected::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(expected.left(&one).is_zero());
        expected.begin();
        assert!(!expected.left(&one).is_zero());
        expected.only([one].into(), Duration::from_secs(60));
        assert!(expected.left(&one) > LATELY && expected.left(&other).is_zero());
    }
}
