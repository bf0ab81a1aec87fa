//! Totals since start.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

qanat_boundary::counters! {
    requests "Requests that came.";
    requests_open "Requests under way.";
    request_errors "Answered by the connector itself, because the origin could not, or cut.";
    requests_canceled "The client went away first.";
    connections "Registered connections that take new requests.";
    connections_suspect "Connections on which what was sent to the edge isn't acknowledged in time.";
    suspicions "Connections that became so.";
    connections_replaced "Of these, those that were made anew before they had ended.";
    register_success "Registrations accepted.";
    register_fail "Registrations refused, or not answered.";
    register_duplicate "Of these, those that the edge refused since it has this connection already.";
    quic_connections "QUIC connections that were begun.";
    quic_connections_ended "Of these, those that failed or ended.";
    tcp_sessions "TCP sessions that were asked for.";
    tcp_sessions_open "TCP sessions under way.";
    connect_failed "Origins of bytes that could not be reached.";
    configuration_pushes "Configurations that the edge pushed.";
    configuration_pushes_refused "Pushed configurations that are not in force.";
    local_configuration_pushes "Times that the edge was told the local configuration.";
    local_configuration_pushes_errors "Of these, those that it didn't take.";
    trailers_dropped "Trailer sections that the transport can't carry.";
    malformed_requests "Requests of the edge that break HTTP's rules.";
    streams_refused "Streams beyond the bound of a connection.";
}

/// Lowest and highest status counted one by one.
const STATUSES: std::ops::Range<usize> = 100..1000;

/// Answers of origins by status.
pub(crate) struct Responses(Box<[AtomicU32]>);

impl Default for Responses {
    fn default() -> Self {
        Self(STATUSES.map(|_| AtomicU32::new(0)).collect())
    }
}

impl Responses {
    /// Counts an answer of an origin.
    pub(crate) fn add(&self, status: u16) {
        if let Some(counter) = usize::from(status).checked_sub(STATUSES.start).and_then(|i| self.0.get(i)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Adds `responses_200` and the like; statuses that never came are left out.
    pub(crate) fn list(&self, all: &mut BTreeMap<String, u64>) {
        for (index, counter) in self.0.iter().enumerate() {
            let count = counter.load(Relaxed);
            if count > 0 {
                all.insert(format!("responses_{}", index + STATUSES.start), u64::from(count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_seen_statuses_are_listed_and_odd_ones_are_ignored() {
        let responses = Responses::default();
        for status in [200, 200, 999, 42] {
            responses.add(status);
        }
        let mut all = BTreeMap::new();
        responses.list(&mut all);
        assert_eq!(all, BTreeMap::from([("responses_200".to_owned(), 2), ("responses_999".to_owned(), 1)]));
    }
}
