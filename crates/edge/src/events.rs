//! What the edge tells Python: what anybody can cause without a secret, and lines for the log, are dropped when nobody takes
//! them. Times are Unix seconds.

use bytes::Bytes;
use qanat_transport::Protocol;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

pub(crate) type Events = qanat_boundary::EventQueue<Event>;

/// The edge's events, for `qanat_boundary::events` and whatever else is made of them.
#[macro_export]
macro_rules! declare_events {
    ($make:ident) => {
        $make! {
            /// A connector registered one of its connections.
            control ConnectionRegistered {
                connection_id: Uuid,
                tunnel_id: Uuid,
                connector_id: Uuid,
                connection_index: u8,
                protocol: Protocol,
                origin_ip: IpAddr,
                version: String,
                arch: String,
                features: Vec<String>,
                token_id: String,
                registered_at: f64,
            }

            /// unregisterConnection arrived.
            control ConnectionDraining { connection_id: Uuid, tunnel_id: Uuid, token_id: String, at: f64 }

            /// What was sent on the connection isn't acknowledged in time (`suspect`), or is again.
            control ConnectionSuspect {
                connection_id: Uuid,
                tunnel_id: Uuid,
                connector_id: Uuid,
                token_id: String,
                suspect: bool,
                at: f64,
            }

            /// The connection ended.
            control ConnectionLost {
                connection_id: Uuid,
                tunnel_id: Uuid,
                connector_id: Uuid,
                connection_index: u8,
                token_id: String,
                reason: String,
                lost_at: f64,
            }

            /// A registration was refused.
            expendable RegistrationRefused {
                code: &'static str,
                message: String,
                tunnel_id: Option<Uuid>,
                origin_ip: IpAddr,
                protocol: Protocol,
                retry_after_s: f64,
                count: u64,
                at: f64,
            }

            /// A connection's answer to a pushed configuration.
            control ConfigurationApplied {
                connection_id: Uuid,
                tunnel_id: Uuid,
                connector_id: Uuid,
                pushed_version: i32,
                version: i32,
                error: String,
                at: f64,
            }

            /// A locally managed connector told its configuration.
            control LocalConfiguration { connection_id: Uuid, tunnel_id: Uuid, configuration: Bytes, at: f64 }

            /// What became of a probe.
            control ProbeAnswered {
                probe_id: u64,
                tunnel_id: Uuid,
                token_id: Option<String>,
                connection_id: Option<Uuid>,
                status: u16,
                headers: Vec<(String, String)>,
                body: Bytes,
                duration_s: f64,
                cause: &'static str,
                detail: String,
                at: f64,
            }

            /// A request that the edge answered itself or cut.
            expendable RequestFailed {
                request_id: String,
                hostname: String,
                method: String,
                path: String,
                tunnel_id: Option<Uuid>,
                connection_id: Option<Uuid>,
                status: u16,
                cause: &'static str,
                fault: &'static str,
                detail: String,
                started_at: f64,
                duration_s: f64,
                client_ip: IpAddr,
                hops: Vec<(&'static str, f64, f64, String)>,
            }
        }
    };
}

/// One hop of a failed request: which, when it began after the request's head was there, how long it took, what happened.
pub(crate) type Hop = (&'static str, f64, f64, String);

use qanat_boundary::events;
declare_events!(events);

/// Unix seconds now.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use qanat_boundary::Expendable;

    #[test]
    fn what_a_tunnel_did_is_never_dropped() {
        let draining =
            ConnectionDraining { connection_id: Uuid::nil(), tunnel_id: Uuid::nil(), token_id: String::new(), at: 0.0 };
        assert!(!Event::from(draining).is_expendable());
        let refused = RegistrationRefused {
            code: "unknown_tunnel",
            message: String::new(),
            tunnel_id: None,
            origin_ip: IpAddr::from([127, 0, 0, 1]),
            protocol: Protocol::Quic,
            retry_after_s: 0.0,
            count: 1,
            at: 0.0,
        };
        assert!(Event::from(refused).is_expendable());
    }
}
