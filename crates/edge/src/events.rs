//! What the edge tells Python: what anybody can cause without a secret (RequestFailed, RegistrationRefused) and warnings are dropped
//! when nobody takes them, other events never.

use qanat_transport::{Protocol, Warning};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// One event; the variants and fields are those of `_engine.pyi`. Times are Unix seconds.
#[derive(Clone, Debug)]
pub enum Event {
    /// A connector registered one of its connections.
    ConnectionRegistered(ConnectionRegistered),
    /// unregisterConnection arrived.
    ConnectionDraining(ConnectionDraining),
    /// The connection ended.
    ConnectionLost(ConnectionLost),
    /// A registration was refused.
    RegistrationRefused(RegistrationRefused),
    /// A connection's answer to a pushed configuration.
    ConfigurationApplied(ConfigurationApplied),
    /// A locally managed connector told its configuration.
    LocalConfiguration(LocalConfiguration),
    /// A request that the edge answered itself or cut.
    RequestFailed(RequestFailed),
    /// A line for the log.
    Warning(Warning),
}

impl Event {
    /// True for what may be dropped when nobody takes events.
    fn is_expendable(&self) -> bool {
        matches!(self, Event::RequestFailed(_) | Event::RegistrationRefused(_) | Event::Warning(_))
    }
}

/// See `_engine.pyi`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ConnectionRegistered {
    pub connection_id: Uuid,
    pub tunnel_id: Uuid,
    pub connector_id: Uuid,
    pub connection_index: u8,
    pub protocol: Protocol,
    pub origin_ip: IpAddr,
    pub version: String,
    pub arch: String,
    pub features: Vec<String>,
    pub token_id: String,
    pub registered_at: f64,
}

/// See `_engine.pyi`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ConnectionDraining {
    pub connection_id: Uuid,
    pub tunnel_id: Uuid,
    pub at: f64,
}

/// See `_engine.pyi`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ConnectionLost {
    pub connection_id: Uuid,
    pub tunnel_id: Uuid,
    pub connector_id: Uuid,
    pub connection_index: u8,
    pub reason: String,
    pub lost_at: f64,
}

/// See `_engine.pyi`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct RegistrationRefused {
    pub code: &'static str,
    pub message: String,
    pub tunnel_id: Option<Uuid>,
    pub origin_ip: IpAddr,
    pub protocol: Protocol,
    pub retry_after: Duration,
    pub count: u64,
    pub at: f64,
}

/// See `_engine.pyi`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ConfigurationApplied {
    pub connection_id: Uuid,
    pub tunnel_id: Uuid,
    pub connector_id: Uuid,
    pub pushed_version: i32,
    pub version: i32,
    pub error: String,
    pub at: f64,
}

/// See `_engine.pyi`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct LocalConfiguration {
    pub connection_id: Uuid,
    pub tunnel_id: Uuid,
    pub configuration: bytes::Bytes,
    pub at: f64,
}

/// See `_engine.pyi`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct RequestFailed {
    pub request_id: String,
    pub hostname: String,
    pub method: String,
    pub path: String,
    pub tunnel_id: Option<Uuid>,
    pub connection_id: Option<Uuid>,
    pub status: u16,
    pub cause: &'static str,
    pub fault: &'static str,
    pub detail: String,
    pub started_at: f64,
    pub duration: Duration,
    pub client_ip: IpAddr,
}

/// Unix seconds now.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// The queue between the engine's threads and Python's.
pub(crate) struct Events {
    queue: Mutex<Queue>,
    arrived: Condvar,
    limit: usize,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    closed: bool,
}

impl Events {
    pub(crate) fn new(limit: usize) -> Self {
        Self { queue: Mutex::default(), arrived: Condvar::new(), limit, dropped: AtomicU64::new(0) }
    }

    /// Adds one. Expendable ones are dropped and counted when the queue is full.
    pub(crate) fn push(&self, event: Event) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if event.is_expendable() && queue.events.len() >= self.limit {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.events.push_back(event);
        drop(queue);
        self.arrived.notify_one();
    }

    /// Waits for the first, then takes what is there. Empty on time-out and after `close`.
    pub(crate) fn take(&self, limit: usize, timeout: Duration) -> Vec<Event> {
        let deadline = Instant::now().checked_add(timeout);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while queue.events.is_empty() && !queue.closed {
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if left.is_zero() {
                break;
            }
            queue = self.arrived.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let n = queue.events.len().min(limit);
        queue.events.drain(..n).collect()
    }

    /// Wakes whoever waits, now and later.
    pub(crate) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.arrived.notify_all();
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Event {
        Event::RequestFailed(RequestFailed {
            request_id: String::new(),
            hostname: String::new(),
            method: String::new(),
            path: String::new(),
            tunnel_id: None,
            connection_id: None,
            status: 502,
            cause: "x",
            fault: "edge",
            detail: String::new(),
            started_at: 0.0,
            duration: Duration::ZERO,
            client_ip: IpAddr::from([127, 0, 0, 1]),
        })
    }

    fn draining() -> Event {
        Event::ConnectionDraining(ConnectionDraining { connection_id: Uuid::nil(), tunnel_id: Uuid::nil(), at: 0.0 })
    }

    #[test]
    fn failures_are_dropped_and_counted_when_full_but_control_events_never() {
        let events = Events::new(1);
        events.push(failed());
        events.push(failed());
        events.push(Event::RegistrationRefused(RegistrationRefused {
            code: "unknown_tunnel",
            message: String::new(),
            tunnel_id: None,
            origin_ip: IpAddr::from([127, 0, 0, 1]),
            protocol: Protocol::Quic,
            retry_after: Duration::ZERO,
            count: 1,
            at: 0.0,
        }));
        events.push(draining());
        assert_eq!(events.dropped(), 2);
        assert_eq!(events.take(10, Duration::ZERO).len(), 2);
    }

    #[test]
    fn taking_waits_for_the_first_and_close_wakes_it() {
        let events = std::sync::Arc::new(Events::new(10));
        let waiting = std::thread::spawn({
            let events = events.clone();
            move || (events.take(10, Duration::from_secs(20)).len(), events.take(10, Duration::from_secs(20)).len())
        });
        events.push(draining());
        while !events.queue.lock().unwrap().events.is_empty() {
            std::thread::yield_now();
        }
        events.close();
        assert_eq!(waiting.join().unwrap(), (1, 0));
    }
}
