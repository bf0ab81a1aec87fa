//! Totals since start.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($name:ident $doc:literal;)*) => {
        /// Totals (and gauges, named `…_open`).
        #[derive(Default)]
        pub(crate) struct Counters {
            $(#[doc = $doc] pub(crate) $name: Counter,)*
        }
        impl Counters {
            /// Every one by name.
            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    requests "Requests whose head was read.";
    requests_open "Requests under way.";
    requests_failed "Answered by the edge itself or cut, the client's departure left out.";
    client_closed "The client went away first.";
    retries "Attempts on another connection.";
    websockets_open "WebSockets under way.";
    bytes_in "Request body bytes relayed.";
    bytes_out "Response body bytes relayed.";
    connections "Public connections accepted.";
    connections_open "Public connections open.";
    connections_refused "Public connections closed at once: a limit.";
    connections_calmed "Public HTTP/2 connections ended with ENHANCE_YOUR_CALM.";
    handshakes_failed "Public TLS handshakes that failed.";
    tunnel_connections_open "Registered connections of connectors.";
    registrations "Registrations accepted.";
    registrations_refused "Registrations refused.";
    configurations_pushed "Configurations pushed and answered.";
    configurations_failed "Pushes that got no answer.";
    unknown_streams "Streams that connectors opened without reason, and malformed answers (of ended connections).";
    trailers_dropped "Trailer sections that the transport or the client's HTTP version can't carry.";
    informational "1xx answers passed on.";
}

/// A number that any thread may move.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    /// Counts one for as long as the guard lives.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.add(1);
        Held(self)
    }
}

/// See `Counter::hold`.
pub(crate) struct Held<'a>(&'a Counter);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}
