//! Events for Python: a bounded queue that a thread outside the runtime waits on.

use bytes::Bytes;
use qanat_transport::{Protocol, Warning};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// What happened, as `ConnectorEvent` of the Python stub.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A connection registered.
    Registered {
        /// 0 to ha_connections - 1.
        connection_index: u8,
        /// Given by the edge.
        connection_id: Uuid,
        /// The edge's address without port.
        edge_ip: String,
        /// The edge's location name.
        location: String,
        /// Transport in use.
        protocol: Protocol,
        /// Whether configuration is pushed.
        remotely_managed: bool,
    },
    /// A dial failed or a connection ended.
    Disconnected {
        /// 0 to ha_connections - 1.
        connection_index: u8,
        /// The edge's address without port; empty when its name did not resolve.
        edge_ip: String,
        /// Transport tried.
        protocol: Protocol,
        /// For people.
        reason: String,
        /// `None`: it will not be dialled again.
        retry_in: Option<Duration>,
    },
    /// The edge refused the registration.
    Refused {
        /// 0 to ha_connections - 1.
        connection_index: u8,
        /// The edge's address without port.
        edge_ip: String,
        /// The edge's words.
        cause: String,
        /// `None`: it will not be dialled again.
        retry_in: Option<Duration>,
    },
    /// From now on this connection uses the other transport.
    ProtocolFallback {
        /// 0 to ha_connections - 1.
        connection_index: u8,
        /// The one it uses now.
        protocol: Protocol,
    },
    /// The edge pushed a configuration: answer it within `rpc_timeout`.
    ConfigurationPushed {
        /// For `answer_configuration`.
        push_id: u64,
        /// On which connection.
        connection_index: u8,
        /// Its version.
        version: i32,
        /// JSON.
        configuration: Bytes,
    },
    /// The edge knows that a connection takes no new requests: `stop` was called.
    Unregistered {
        /// 0 to ha_connections - 1.
        connection_index: u8,
        /// The edge's address without port.
        edge_ip: String,
    },
    /// A request found its rule. Only with `tell_requests`, as the next one.
    RequestReceived(Box<ReceivedRequest>),
    /// The answer to a request began.
    RequestAnswered {
        /// On which connection.
        connection_index: u8,
        /// Index of the rule, -1 without one.
        rule: i64,
        /// The rule's service as the user wrote it.
        service: String,
        /// The request's id, as the edge gave it.
        request_id: String,
        /// Its status.
        status: u16,
        /// Of the body in bytes, -1 when it isn't known.
        content_length: i64,
    },
    /// A request was answered by the connector itself, because its origin could not.
    OriginFailed {
        /// On which connection.
        connection_index: u8,
        /// Index of the rule, -1 without one.
        rule: i64,
        /// The rule's service as the user wrote it.
        service: String,
        /// The request's method.
        method: String,
        /// `host/path` of the request.
        destination: String,
        /// Stable code.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// The client went away before its request was answered whole.
    RequestCanceled {
        /// On which connection.
        connection_index: u8,
        /// `host/path` of the request.
        destination: String,
    },
    /// A line for the log.
    Warning(Warning),
    /// All connections have ended after `stop`.
    Stopped,
}

/// A request as it goes to its origin, less what is hop-by-hop. Bytes that no text has are escaped.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedRequest {
    /// On which connection.
    pub connection_index: u8,
    /// Index of the rule, -1 without one.
    pub rule: i64,
    /// The rule's service as the user wrote it.
    pub service: String,
    /// The request's id, as the edge gave it.
    pub request_id: String,
    /// Its method.
    pub method: String,
    /// Its Host.
    pub host: String,
    /// Its path and query.
    pub target: String,
    /// Its fields, in order.
    pub headers: Vec<(String, String)>,
    /// Of the body in bytes, -1 when it isn't known.
    pub content_length: i64,
}

impl Event {
    /// True for what may be dropped when nobody takes events: single requests, and lines for the log.
    fn is_expendable(&self) -> bool {
        matches!(
            self,
            Event::RequestReceived(_)
                | Event::RequestAnswered { .. }
                | Event::OriginFailed { .. }
                | Event::RequestCanceled { .. }
                | Event::Warning(_)
        )
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<Event>,
    expendable: usize,
    dropped: u64,
    closed: bool,
}

/// The queue. Life-cycle events are never dropped (their number is bounded by what a supervisor can do in a time); events
/// about single requests are, once `capacity` are waiting.
pub(crate) struct EventQueue {
    state: Mutex<State>,
    filled: Condvar,
    capacity: usize,
}

impl EventQueue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event and wakes a waiting thread.
    pub(crate) fn push(&self, event: Event) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if event.is_expendable() {
            if state.queue.len() >= self.capacity {
                state.dropped += 1;
                return;
            }
            state.expendable += 1;
        } else if state.queue.len() >= self.capacity && state.expendable > 0 {
            let oldest = state.queue.iter().position(Event::is_expendable);
            if let Some(index) = oldest {
                state.queue.remove(index);
                state.expendable -= 1;
                state.dropped += 1;
            }
        }
        state.queue.push_back(event);
        drop(state);
        self.filled.notify_one();
    }

    /// Waits up to `timeout` for the first event, then takes at most `limit`. Empty on time-out and after `close` once the
    /// rest has been taken.
    pub(crate) fn next(&self, limit: usize, timeout: Duration) -> Vec<Event> {
        let end = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        while state.queue.is_empty() && !state.closed {
            let left = match end {
                Some(end) => end.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if left.is_zero() {
                break;
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let count = limit.min(state.queue.len());
        let taken: Vec<Event> = state.queue.drain(..count).collect();
        state.expendable -= taken.iter().filter(|e| e.is_expendable()).count();
        taken
    }

    /// Nothing more is taken in; waiting threads return.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// How many were dropped since start.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn canceled(index: u8) -> Event {
        Event::RequestCanceled { connection_index: index, destination: String::new() }
    }

    #[test]
    fn a_full_queue_drops_requests_and_keeps_the_life_cycle() {
        let queue = EventQueue::new(2);
        for index in 0..3 {
            queue.push(canceled(index));
        }
        queue.push(Event::Stopped);
        assert_eq!(queue.dropped(), 2);
        assert_eq!(queue.next(10, Duration::ZERO), vec![canceled(1), Event::Stopped]);
    }

    #[test]
    fn a_waiting_thread_is_woken_by_a_push_and_by_close() {
        let queue = Arc::new(EventQueue::new(8));
        let waiting = std::thread::spawn({
            let queue = queue.clone();
            move || (queue.next(1, Duration::from_secs(60)), queue.next(1, Duration::from_secs(60)))
        });
        queue.push(Event::Stopped);
        queue.close();
        assert_eq!(waiting.join().unwrap(), (vec![Event::Stopped], vec![]));
    }

    #[test]
    fn limit_and_time_out_are_kept() {
        let queue = EventQueue::new(8);
        queue.push(canceled(0));
        queue.push(canceled(1));
        assert_eq!(queue.next(1, Duration::from_secs(9)).len(), 1);
        assert_eq!(queue.next(9, Duration::from_secs(9)).len(), 1);
        assert!(queue.next(9, Duration::from_millis(1)).is_empty());
    }
}
