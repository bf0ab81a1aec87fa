//! What the connector tells Python: what is about single requests, and lines for the log, are dropped when nobody takes them.

use bytes::Bytes;
use qanat_transport::Protocol;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use uuid::Uuid;

/// Open while something holds it: who wants it longer duplicates it.
#[derive(Clone, Debug)]
pub struct Descriptor(Arc<OwnedFd>);

impl Descriptor {
    /// Its number.
    pub fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// One that lives by itself.
    pub fn duplicate(&self) -> std::io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(descriptor: OwnedFd) -> Self {
        Self(Arc::new(descriptor))
    }
}

impl PartialEq for Descriptor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

pub(crate) type EventQueue = qanat_boundary::EventQueue<Event>;

/// The connector's events, for `qanat_boundary::events` and whatever else is made of them.
#[macro_export]
macro_rules! declare_events {
    ($make:ident) => {
        $make! {
            /// A connection registered.
            control Registered {
                connection_index: u8,
                connection_id: Uuid,
                edge_ip: String,
                location: String,
                protocol: Protocol,
                remotely_managed: bool,
            }

            /// A dial failed or a connection ended.
            control Disconnected {
                connection_index: u8,
                edge_ip: String,
                protocol: Protocol,
                reason: String,
                retry_in_s: Option<f64>,
            }

            /// What was sent to the edge isn't acknowledged in time (`suspect`), or is again.
            control Doubted { connection_index: u8, edge_ip: String, suspect: bool }

            /// The edge refused the registration.
            control Refused { connection_index: u8, edge_ip: String, cause: String, retry_in_s: Option<f64> }

            /// From now on this connection uses the other transport.
            control ProtocolFallback { connection_index: u8, protocol: Protocol }

            /// The edge pushed a configuration: answer it within `rpc_timeout`.
            control ConfigurationPushed { push_id: u64, connection_index: u8, version: i32, configuration: Bytes }

            /// A token was signed with a key of an issuer that is not known: its key set should be fetched (again).
            expendable KeySetWanted { issuer: String }

            /// The edge knows that a connection takes no new requests: `stop` was called.
            control Unregistered { connection_index: u8, edge_ip: String }

            /// A request found its rule. Only with `tell_requests`, as the next one.
            expendable RequestReceived {
                connection_index: u8,
                rule: i64,
                service: String,
                request_id: String,
                method: String,
                host: String,
                target: String,
                headers: Vec<(String, String)>,
                content_length: i64,
            }

            /// The answer to a request began.
            expendable RequestAnswered {
                connection_index: u8,
                rule: i64,
                service: String,
                request_id: String,
                status: u16,
                content_length: i64,
            }

            /// A request was answered by the connector itself, because its origin could not.
            expendable OriginFailed {
                connection_index: u8,
                rule: i64,
                service: String,
                method: String,
                destination: String,
                code: &'static str,
                message: String,
            }

            /// The client went away before its request was answered whole.
            expendable RequestCanceled { connection_index: u8, destination: String }

            /// A request for the management: the server's end of a socket.
            control ManagementAsked { socket: Descriptor }

            /// All connections have ended after `stop`.
            control Stopped {}
        }
    };
}

use qanat_boundary::events;
declare_events!(events);
