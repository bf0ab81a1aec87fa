//! What passes, by hostname, tunnel and node: a bounded number of series, found without a lock. A hostname is a route's, never what a
//! visitor wrote, so that a wildcard is one.

use crate::series::{Series, Totals};
use crate::shards::Shards;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use uuid::Uuid;

/// Series at once (about 1 to 8 KiB each). Above it, those that were idle for long make room; without any, what is new is counted in
/// one for all the rest.
const MOST: usize = 10_000;
/// Seconds.
const IDLE: u64 = 600;

/// A route's hostname: without the `*.` of a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Label {
    pub(crate) name: Bytes,
    pub(crate) is_wildcard: bool,
}

impl Label {
    /// `app.example.com` or `*.example.com`.
    pub(crate) fn text(&self) -> String {
        let star = if self.is_wildcard { "*." } else { "" };
        format!("{star}{}", String::from_utf8_lossy(&self.name))
    }
}

type Parts<'a> = (&'a [u8], bool, Uuid, Option<&'a str>);

/// Whose series it is: owned in the table, borrowed from a request while it is looked for.
trait Named {
    fn parts(&self) -> Parts<'_>;
}

impl Hash for dyn Named + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Named + '_ {}

#[derive(Clone, Debug)]
struct Key {
    label: Label,
    tunnel_id: Uuid,
    token_id: Option<String>,
}

impl Named for Key {
    fn parts(&self) -> Parts<'_> {
        (&self.label.name, self.label.is_wildcard, self.tunnel_id, self.token_id.as_deref())
    }
}

impl Named for Parts<'_> {
    fn parts(&self) -> Parts<'_> {
        *self
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl<'a> Borrow<dyn Named + 'a> for Key {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

/// All series.
pub(crate) struct Traffic {
    series: ArcSwap<Shards<Key, Arc<Series>>>,
    rest: Arc<Series>,
    writer: Mutex<()>,
    most: usize,
    started: Instant,
}

/// One series as it stands. Without a hostname: all those that there was no room for.
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    /// Of the route: `app.example.com` or `*.example.com`.
    pub hostname: String,
    /// Where it led to; nil for the rest.
    pub tunnel_id: Uuid,
    /// The node; `None`: no connection took the request.
    pub token_id: Option<String>,
    /// Since the series began.
    pub totals: Totals,
}

impl Default for Traffic {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Traffic {
    fn new(most: usize) -> Self {
        Self {
            series: ArcSwap::from_pointee(Shards::default()),
            rest: Arc::default(),
            writer: Mutex::new(()),
            most,
            started: Instant::now(),
        }
    }

    /// The series of what goes from this hostname through this node.
    pub(crate) fn of(&self, label: &Label, tunnel_id: Uuid, token_id: Option<&str>) -> Arc<Series> {
        let parts: Parts<'_> = (&label.name, label.is_wildcard, tunnel_id, token_id);
        match self.series.load().get(&parts as &dyn Named) {
            Some(series) => series.clone(),
            None => self.begin(label, tunnel_id, token_id),
        }
    }

    #[cold]
    fn begin(&self, label: &Label, tunnel_id: Uuid, token_id: Option<&str>) -> Arc<Series> {
        let _writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let parts: Parts<'_> = (&label.name, label.is_wildcard, tunnel_id, token_id);
        let now = self.series.load();
        if let Some(series) = now.get(&parts as &dyn Named) {
            return series.clone();
        }
        let mut all = Shards::clone(&now);
        if all.len() >= self.most {
            let second = self.started.elapsed().as_secs();
            let idle: Vec<_> = all.iter().filter(|(_, s)| s.idle_for(second) >= IDLE).map(|(k, _)| k.clone()).collect();
            if idle.is_empty() {
                return self.rest.clone();
            }
            for key in &idle {
                all.remove(key);
            }
        }
        // A slice would keep the request's whole buffer.
        let label = Label { name: Bytes::copy_from_slice(&label.name), is_wildcard: label.is_wildcard };
        let series = Arc::<Series>::default();
        all.insert(Key { label, tunnel_id, token_id: token_id.map(str::to_owned) }, series.clone());
        self.series.store(Arc::new(all));
        series
    }

    /// Every series as it stands.
    pub(crate) fn all(&self) -> Vec<Passed> {
        let second = self.started.elapsed().as_secs();
        let passed = |hostname, tunnel_id, token_id, series: &Series| {
            series.idle_for(second);
            Passed { hostname, tunnel_id, token_id, totals: series.totals() }
        };
        let now = self.series.load();
        let mut all: Vec<_> =
            now.iter().map(|(key, s)| passed(key.label.text(), key.tunnel_id, key.token_id.clone(), s)).collect();
        let rest = passed(String::new(), Uuid::nil(), None, &self.rest);
        if rest.totals.requests > 0 {
            all.push(rest);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Fate;

    fn label(name: &'static str) -> Label {
        Label { name: Bytes::from_static(name.as_bytes()), is_wildcard: name.starts_with('w') }
    }

    fn count(traffic: &Traffic, name: &'static str, token_id: Option<&str>) {
        traffic.of(&label(name), Uuid::from_u128(1), token_id).ended(Fate::Answered(200), 0, 0);
    }

    fn told(traffic: &Traffic) -> Vec<(String, Option<String>, u64)> {
        let mut all: Vec<_> = traffic.all().into_iter().map(|p| (p.hostname, p.token_id, p.totals.requests)).collect();
        all.sort();
        all
    }

    #[test]
    fn each_hostname_and_node_has_its_own() {
        let traffic = Traffic::default();
        for (name, token) in [("a.test", Some("")), ("a.test", Some("x")), ("w.test", None), ("a.test", Some("x"))] {
            count(&traffic, name, token);
        }
        let own = |name: &str, token: Option<&str>, n| (name.to_owned(), token.map(str::to_owned), n);
        assert_eq!(told(&traffic), [own("*.w.test", None, 1), own("a.test", Some(""), 1), own("a.test", Some("x"), 2)]);
    }

    #[test]
    fn their_number_is_bounded_and_what_has_no_room_is_counted_together() {
        let traffic = Traffic::new(2);
        for name in ["a.test", "b.test", "c.test", "d.test", "a.test"] {
            count(&traffic, name, None);
        }
        let requests: Vec<_> = told(&traffic).into_iter().map(|(name, _, n)| (name, n)).collect();
        assert_eq!(requests, [(String::new(), 2), ("a.test".to_owned(), 2), ("b.test".to_owned(), 1)]);
    }

    #[test]
    fn who_was_idle_for_long_makes_room() {
        let mut traffic = Traffic::new(2);
        count(&traffic, "a.test", None);
        count(&traffic, "b.test", None);
        traffic.all();
        // As if it had all been long ago.
        traffic.started -= std::time::Duration::from_secs(2 * IDLE);
        count(&traffic, "b.test", None);
        count(&traffic, "c.test", None);
        let names: Vec<_> = told(&traffic).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["b.test", "c.test"]);
    }
}
