//! The connector's end: connections to edges, and the streams that edges open on them.

mod context;
mod dial;
mod http2;
mod incoming;
mod link;
mod quic;
mod responder;
mod rpc;

pub use dial::{DialError, DialSettings};
pub use incoming::{ConfigurationPush, Incoming, IncomingRequest};
pub use link::EdgeLink;
pub use responder::TunnelResponder;
pub use rpc::RegisterError;
