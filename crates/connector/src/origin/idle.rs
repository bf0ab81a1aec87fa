//! Idle connections: last in, first out, none beyond its time, no more than a cap. Time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(super) struct IdleList<T> {
    /// Oldest first.
    list: VecDeque<Idle<T>>,
    capacity: usize,
}

struct Idle<T> {
    item: T,
    expires: Option<Instant>,
}

impl<T> IdleList<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { list: VecDeque::new(), capacity }
    }

    /// Keeps an item, until `expires` if it is given; gives back what must be closed for it.
    pub(super) fn put(&mut self, item: T, expires: Option<Instant>) -> Option<T> {
        if self.capacity == 0 {
            return Some(item);
        }
        let evicted = if self.list.len() >= self.capacity { self.list.pop_front().map(|i| i.item) } else { None };
        self.list.push_back(Idle { item, expires });
        evicted
    }

    /// The one used last that has time left. Those whose time is over stay for `sweep`.
    pub(super) fn take(&mut self, now: Instant) -> Option<T> {
        let index = self.list.iter().rposition(|i| i.expires.is_none_or(|e| e > now))?;
        let taken = self.list.remove(index)?;
        // What has been passed over is expired and younger: of no use.
        self.list.truncate(index);
        Some(taken.item)
    }

    /// Gives back everything whose time is over, to be dropped outside the lock.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<T> {
        let is_over = |i: &Idle<T>| i.expires.is_some_and(|e| e <= now);
        if !self.list.iter().any(is_over) {
            return Vec::new();
        }
        let (over, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.list).into_iter().partition(is_over);
        self.list = kept;
        over.into_iter().map(|i| i.item).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }
}

/// How long a connection may idle: the rule's limit (zero: none), or less when the origin announced its own. A little earlier
/// than the origin, which closes at its limit (case 56).
pub(super) fn idle_limit(rule: Duration, origin: Option<Duration>) -> Option<Duration> {
    let ours = (!rule.is_zero()).then_some(rule);
    let theirs = origin.map(|t| t.saturating_sub(Duration::from_secs(1)).max(t / 2));
    match (ours, theirs) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_origin_may_shorten_the_limit_but_not_lengthen_it() {
        let s = Duration::from_secs;
        assert_eq!(idle_limit(s(90), None), Some(s(90)));
        assert_eq!(idle_limit(s(90), Some(s(5))), Some(s(4)));
        assert_eq!(idle_limit(s(90), Some(s(1))), Some(Duration::from_millis(500)));
        assert_eq!(idle_limit(s(90), Some(s(0))), Some(s(0)));
        assert_eq!(idle_limit(s(3), Some(s(600))), Some(s(3)));
        assert_eq!(idle_limit(s(0), None), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(Option<u64>),
        Take,
        Sweep,
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            prop::option::of(0u64..20).prop_map(Step::Put),
            Just(Step::Take),
            Just(Step::Sweep),
            (0u64..10).prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn never_above_the_cap_never_expired_always_the_latest(capacity in 0usize..4, steps in steps()) {
            let mut list = IdleList::new(capacity);
            let mut now = Instant::now();
            let mut model: Vec<(usize, Option<Instant>)> = Vec::new();
            for (id, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put(life) => {
                        let expires = life.map(|l| now + Duration::from_secs(l));
                        list.put(id, expires);
                        model.push((id, expires));
                        if model.len() > capacity { model.remove(0); }
                    }
                    Step::Take => {
                        let alive = model.iter().rposition(|(_, e)| e.is_none_or(|e| e > now));
                        let expected = alive.map(|i| { let id = model[i].0; model.truncate(i); id });
                        prop_assert_eq!(list.take(now), expected);
                    }
                    Step::Sweep => {
                        model.retain(|(_, e)| e.is_none_or(|e| e > now));
                        list.sweep(now);
                    }
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                prop_assert_eq!(list.len(), model.len());
                prop_assert!(list.len() <= capacity);
            }
        }
    }
}
