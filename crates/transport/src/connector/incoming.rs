//! What an edge asks of a connector.

use super::responder::TunnelResponder;
use crate::{Applied, TunnelRequest, TunnelSource};
use bytes::Bytes;
use tokio::sync::oneshot;

/// What an edge asks of a connector.
#[allow(clippy::large_enum_variant)] // nearly all are requests: a box would cost each one an allocation
pub enum Incoming {
    /// A request.
    Request(IncomingRequest),
    /// A configuration.
    Configuration(ConfigurationPush),
}

/// A request to serve.
pub struct IncomingRequest {
    /// Its head.
    pub request: TunnelRequest,
    /// Its body.
    pub body: TunnelSource,
    /// Where the answer goes.
    pub responder: TunnelResponder,
}

/// A pushed configuration. Answer it; dropped unanswered, the edge gets an error.
pub struct ConfigurationPush {
    /// Its version.
    pub version: i32,
    /// The JSON document `{"ingress":…}`.
    pub configuration: Bytes,
    /// The answer.
    pub answer: oneshot::Sender<Applied>,
}
