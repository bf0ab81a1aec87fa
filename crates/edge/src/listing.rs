//! The request list: what passes of the hostnames that somebody watches for a while, with the fields of each request, and without what
//! may be a secret. Off for all others, where it costs a look at a flag. Nobody waits for it: what has no room is dropped and counted.

use crate::access::{Entry, QueryShown, referer, split};
use crate::traffic::Label;
use arc_swap::ArcSwap;
use qanat_boundary::Counter;
use qanat_http::Headers;
use serde::Serialize;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that may wait for somebody to take them.
const MOST_BYTES: usize = 4 << 20;
/// Fields of one request that are listed, and the longest value of one.
const MOST_FIELDS: usize = 64;
const LONGEST: usize = 512;
/// Fields whose values are told: all that is known to hold no secret. Of any other only the name is.
const TOLD: [&str; 40] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "cache-control",
    "cdn-loop",
    "cf-connecting-ip",
    "cf-ray",
    "cf-visitor",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "date",
    "dnt",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "priority",
    "range",
    "save-data",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-websocket-version",
    "te",
    "upgrade-insecure-requests",
    "user-agent",
    "x-forwarded-proto",
];

/// Which hostnames are watched, and what waits to be taken.
#[derive(Default)]
pub(crate) struct Listing {
    is_on: AtomicBool,
    watched: ArcSwap<HashSet<String>>,
    waiting: Mutex<Waiting>,
    dropped: Counter,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Vec<u8>>,
    bytes: usize,
}

#[derive(Serialize)]
struct Listed<'a> {
    /// The route's.
    hostname: &'a str,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
    headers: Vec<(String, String)>,
}

impl Listing {
    /// From now on requests of these are listed: hostnames of routes, `app.example.com` or `*.example.com`.
    pub(crate) fn watch(&self, hostnames: Vec<String>) {
        self.is_on.store(!hostnames.is_empty(), Relaxed);
        self.watched.store(Arc::new(hostnames.into_iter().collect()));
    }

    /// Whether anything is.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// The route's hostname, if its requests are listed.
    pub(crate) fn wants(&self, label: Option<&Label>) -> Option<String> {
        if !self.is_on() {
            return None;
        }
        let hostname = label?.text();
        self.watched.load().contains(&hostname).then_some(hostname)
    }

    /// Lists a request that is over, with the fields that its tunnel got.
    pub(crate) fn enter(&self, hostname: &str, entry: Entry<'_>, target: &[u8], headers: &Headers) {
        let (path, query) = split(target, QueryShown::Names);
        let page = headers.get("referer").map(|value| referer(value, QueryShown::Names)).unwrap_or_default();
        let entry = Entry { path, query, referer: page, ..entry };
        let headers = (headers.iter().take(MOST_FIELDS)).map(|field| shown(&field.name, &field.value)).collect();
        let Ok(json) = serde_json::to_vec(&Listed { hostname, entry: &entry, headers }) else { return };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.bytes + json.len() > MOST_BYTES {
            drop(waiting);
            return self.dropped.add(1);
        }
        waiting.bytes += json.len();
        waiting.requests.push_back(json);
    }

    /// What is there: JSON, one object each.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        std::mem::take(&mut waiting.requests).into()
    }

    /// Requests that had no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

fn shown(name: &[u8], value: &[u8]) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]).into_owned();
    let told =
        if TOLD.iter().any(|told| told.as_bytes().eq_ignore_ascii_case(name)) { text(value) } else { "*".into() };
    (text(name), told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tests::entry;
    use bytes::Bytes;
    use serde_json::Value;

    fn label(name: &'static str) -> Label {
        Label { name: Bytes::from_static(name.as_bytes()), is_wildcard: name.starts_with('w') }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(*name, *value);
        }
        headers
    }

    #[test]
    fn only_hostnames_that_are_watched_are_listed_and_none_at_first() {
        let listing = Listing::default();
        assert!(!listing.is_on() && listing.wants(Some(&label("a.test"))).is_none());
        listing.watch(vec!["a.test".into(), "*.w.test".into()]);
        let wanted = ["a.test", "b.test", "w.test"].map(|name| listing.wants(Some(&label(name))));
        assert_eq!(wanted, [Some("a.test".into()), None, Some("*.w.test".into())]);
        assert_eq!(listing.wants(None), None, "management requests are nobody's");
        listing.watch(vec![]);
        assert!(listing.wants(Some(&label("a.test"))).is_none());
    }

    #[test]
    fn what_may_be_a_secret_is_not_listed() {
        let listing = Listing::default();
        let fields = [
            ("Authorization", "Bearer S3CRET"),
            ("Cookie", "session=S3CRET"),
            ("Proxy-Authorization", "S3CRET"),
            ("Cf-Access-Jwt-Assertion", "S3CRET"),
            ("Cf-Access-Client-Secret", "S3CRET"),
            ("X-Api-Key", "S3CRET"),
            ("Sec-WebSocket-Protocol", "S3CRET"),
            ("Referer", "https://u:S3CRET@a.test/p?code=S3CRET#S3CRET"),
            ("Accept", "text/html"),
            ("USER-AGENT", "curl/8"),
        ];
        listing.enter("a.test", entry(), b"/p?token=S3CRET&S3CRET", &headers(&fields));
        let taken = listing.take();
        let [json] = &taken[..] else { panic!("{taken:?}") };
        assert!(!String::from_utf8_lossy(json).contains("S3CRET"));
        let told: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(
            (&told["hostname"], &told["query"], &told["path"]),
            (&"a.test".into(), &"token=*&*".into(), &"/p".into())
        );
        assert_eq!(told["referer"], "https://a.test/p?code=*");
        let told: Vec<_> =
            told["headers"].as_array().unwrap().iter().map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        assert_eq!(told.len(), fields.len());
        assert_eq!(told[8..], [("Accept".into(), "text/html".into()), ("USER-AGENT".into(), "curl/8".into())]);
        assert!(told[..8].iter().all(|(_, value)| value == "*"));
    }

    #[test]
    fn what_has_no_room_is_counted_and_there_is_room_again_when_it_was_taken() {
        let listing = Listing::default();
        let long = "x".repeat(LONGEST);
        let mut fields = Headers::new();
        for _ in 0..2 * MOST_FIELDS {
            fields.push("Accept", long.clone());
        }
        let mut entered = 0;
        while listing.dropped() == 0 {
            listing.enter("a.test", entry(), b"/", &fields);
            entered += 1;
        }
        let taken = listing.take();
        assert_eq!(taken.len(), entered - 1);
        assert!(
            taken.iter().map(Vec::len).sum::<usize>() <= MOST_BYTES && taken[0].len() < MOST_FIELDS * (LONGEST + 40)
        );
        listing.enter("a.test", entry(), b"/", &fields);
        assert_eq!((listing.take().len(), listing.dropped()), (1, 1));
    }
}
