//! The access log's lines: one JSON object a request, made when its answer has ended, in a bounded queue that somebody empties. Nobody waits
//! for it: what has no room is dropped and counted. Which fields there are is said in docs/how-to/logs.md.

use crate::trace::Trace;
use bytes::Bytes;
use qanat_boundary::Counter;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Longest text of a client's that a line holds.
const LONGEST: usize = 2048;

/// What of a query is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryShown {
    /// Nothing.
    None,
    /// Names, with `*` for each value.
    Names,
    /// As it is, secrets and all.
    All,
}

/// What is logged, of what, and how much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// 0 to 1: of requests that were answered by their origin; others are logged always. 0: no log.
    pub(crate) sample: f64,
    pub(crate) query: QueryShown,
    pub(crate) most_bytes: usize,
}

/// What is known of a request at its end. `None` and empty texts are left out of the line.
#[derive(Serialize)]
pub(crate) struct Entry<'a> {
    /// Unix seconds, when its head had been read.
    pub(crate) time: f64,
    #[serde(serialize_with = "text")]
    pub(crate) request_id: &'a [u8],
    #[serde(serialize_with = "text")]
    pub(crate) client_ip: &'a [u8],
    #[serde(serialize_with = "text")]
    pub(crate) method: &'a [u8],
    pub(crate) scheme: &'static str,
    #[serde(serialize_with = "text")]
    pub(crate) host: &'a [u8],
    #[serde(serialize_with = "text")]
    pub(crate) path: &'a [u8],
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) query: String,
    pub(crate) protocol: &'static str,
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) duration_s: f64,
    #[serde(flatten)]
    pub(crate) way: Way<'a>,
    #[serde(serialize_with = "text", skip_serializing_if = "is_empty")]
    pub(crate) user_agent: &'a [u8],
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) referer: String,
    #[serde(flatten)]
    pub(crate) trace: Option<&'a Trace>,
}

/// Through which tunnel and connection it went, and what became of it there.
#[derive(Default, Serialize)]
pub(crate) struct Way<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tunnel_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection_id: Option<Uuid>,
    /// The connector token's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_byte_s: Option<f64>,
    /// Of these: in the connector, and at its origin, as ours tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connector_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'static str>,
}

fn is_empty(text: &[u8]) -> bool {
    text.is_empty()
}

fn text<S: serde::Serializer>(bytes: &&[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]))
}

/// One line, with its end.
#[derive(Debug)]
pub struct Line {
    /// JSON and a line feed.
    pub json: Vec<u8>,
    /// It is for the log.
    pub logged: bool,
    /// It is for traces: it has the fields of a span.
    pub traced: bool,
}

/// Lines on their way out.
pub(crate) struct AccessLog {
    rule: Rule,
    waiting: Mutex<Waiting>,
    enough: Condvar,
    dropped: Counter,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Line>,
    bytes: usize,
    closed: bool,
}

impl AccessLog {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, waiting: Mutex::default(), enough: Condvar::new(), dropped: Counter::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is one.
    pub(crate) fn is_on(&self) -> bool {
        self.rule.sample > 0.0
    }

    /// Whether a request is logged; one that `failed` always is.
    pub(crate) fn wants(&self, failed: bool) -> bool {
        let sample = self.rule.sample;
        sample > 0.0 && (failed || sample >= 1.0 || rand::random::<f64>() < sample)
    }

    /// Enters the line of a request that is over.
    pub(crate) fn enter(&self, entry: &Entry<'_>, logged: bool) {
        let Ok(mut json) = serde_json::to_vec(entry) else { return };
        json.push(b'\n');
        let traced = entry.trace.is_some();
        let mut waiting = self.lock();
        let bytes = waiting.bytes + json.len();
        if bytes > self.rule.most_bytes {
            drop(waiting);
            return self.dropped.add(1);
        }
        let half = self.rule.most_bytes / 2;
        let is_enough = waiting.bytes < half && bytes >= half;
        waiting.bytes = bytes;
        waiting.lines.push_back(Line { json, logged, traced });
        drop(waiting);
        // Whoever empties it looks by itself now and then: a wake-up for each line would be a system call for each request.
        if is_enough {
            self.enough.notify_one();
        }
    }

    /// Waits until half of the room is taken, or for so long, and takes what is there. At once after `close`.
    pub(crate) fn take(&self, timeout: Duration) -> Vec<Line> {
        let end = Instant::now() + timeout;
        let mut waiting = self.lock();
        while waiting.bytes < self.rule.most_bytes / 2 && !waiting.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self.enough.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.bytes = 0;
        std::mem::take(&mut waiting.lines).into()
    }

    /// Nobody waits any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.enough.notify_all();
    }

    /// Lines that had no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// A target's path, and its query as it may be told.
    pub(crate) fn split<'t>(&self, target: &'t [u8]) -> (&'t [u8], String) {
        split(target, self.rule.query)
    }

    /// A Referer as it may be told.
    pub(crate) fn referer(&self, value: &Bytes) -> String {
        referer(value, self.rule.query)
    }
}

/// A target's path, and so much of its query.
pub(crate) fn split(target: &[u8], how: QueryShown) -> (&[u8], String) {
    let at = target.iter().position(|b| *b == b'?').unwrap_or(target.len());
    let (path, rest) = target.split_at(at);
    (path, rest.get(1..).map_or_else(String::new, |query| shown(query, how)))
}

/// A Referer without user information and fragment, and with so much of its query.
pub(crate) fn referer(value: &Bytes, how: QueryShown) -> String {
    let value = value.split(|b| *b == b'#').next().unwrap_or_default();
    let (page, query) = split(&value[..value.len().min(LONGEST)], how);
    let mut page = String::from_utf8_lossy(page).into_owned();
    if let Some((scheme, rest)) = page.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        if let Some((_, host)) = authority.rsplit_once('@') {
            page = format!("{scheme}://{host}{}", &rest[authority.len()..]);
        }
    }
    if query.is_empty() { page } else { format!("{page}?{query}") }
}

/// A part without `=` may be a secret as a whole.
fn shown(query: &[u8], how: QueryShown) -> String {
    let query = &query[..query.len().min(LONGEST)];
    match how {
        QueryShown::None => String::new(),
        QueryShown::All => String::from_utf8_lossy(query).into_owned(),
        QueryShown::Names => {
            let parts = query.split(|b| *b == b'&').map(|part| match part.iter().position(|b| *b == b'=') {
                Some(at) => format!("{}=*", String::from_utf8_lossy(&part[..at])),
                None if part.is_empty() => String::new(),
                None => "*".to_owned(),
            });
            parts.collect::<Vec<_>>().join("&")
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(query: QueryShown, most_bytes: usize) -> AccessLog {
        AccessLog::new(Rule { sample: 1.0, query, most_bytes })
    }

    pub(crate) fn entry() -> Entry<'static> {
        Entry {
            time: 1.5,
            request_id: b"1-lab",
            client_ip: b"192.0.2.1",
            method: b"GET",
            scheme: "https",
            host: b"a.test",
            path: b"/\"\n\x1b",
            query: String::new(),
            protocol: "HTTP/2",
            status: 200,
            bytes_in: 0,
            bytes_out: 5,
            duration_s: 0.25,
            way: Way::default(),
            user_agent: b"",
            referer: String::new(),
            trace: None,
        }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_a_client_wrote() {
        let log = log(QueryShown::Names, 4096);
        log.enter(&entry(), true);
        let lines = log.take(Duration::ZERO);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line.json.iter().filter(|b| **b < 0x20).count(), 1, "its end alone");
        let told: serde_json::Value = serde_json::from_slice(&line.json).unwrap();
        assert_eq!((told["path"].as_str(), told["status"].as_u64()), (Some("/\"\n\u{1b}"), Some(200)));
        assert!(told.get("cause").is_none() && told.get("user_agent").is_none() && line.logged && !line.traced);
    }

    #[test]
    fn what_has_no_room_is_counted_and_there_is_room_again_when_it_was_emptied() {
        let log = log(QueryShown::Names, 600);
        for _ in 0..9 {
            log.enter(&entry(), true);
        }
        let taken = log.take(Duration::from_secs(60)).len() as u64;
        assert!(taken > 0 && log.dropped() == 9 - taken);
        log.enter(&entry(), true);
        assert_eq!(log.take(Duration::ZERO).len(), 1);
        log.close();
        assert!(log.take(Duration::from_secs(60)).is_empty());
    }

    #[test]
    fn values_of_a_query_are_told_only_if_somebody_says_so() {
        let target = b"/a?token=s3cret&page=2&s3cret&&x=";
        assert_eq!(log(QueryShown::Names, 1).split(target), (&b"/a"[..], "token=*&page=*&*&&x=*".to_owned()));
        assert_eq!(log(QueryShown::None, 1).split(target), (&b"/a"[..], String::new()));
        assert_eq!(log(QueryShown::All, 1).split(target).1, "token=s3cret&page=2&s3cret&&x=");
        let referer = Bytes::from_static(b"https://me:s3cret@a.test/p?code=s3cret#s3cret");
        assert_eq!(log(QueryShown::Names, 1).referer(&referer), "https://a.test/p?code=*");
    }

    #[test]
    fn a_failed_request_is_logged_whatever_the_sample() {
        let some = AccessLog::new(Rule { sample: 1e-12, query: QueryShown::None, most_bytes: 1 });
        assert!(some.wants(true) && !some.wants(false));
        let none = AccessLog::new(Rule { sample: 0.0, query: QueryShown::None, most_bytes: 1 });
        assert!(!none.wants(true) && !none.wants(false));
    }

    proptest! {
        #[test]
        fn no_value_gets_through(names in proptest::collection::vec("[a-z]{0,4}", 0..5)) {
            let query: Vec<_> = names.iter().map(|name| format!("{name}=S3CRET")).collect();
            prop_assert!(!shown(query.join("&").as_bytes(), QueryShown::Names).contains("S3CRET"));
        }
    }
}
