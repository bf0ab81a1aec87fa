//! The connector's end: connections to edges, and the streams that edges open on them.

mod context;
mod dial;
mod http2;
mod incoming;
mod link;
mod proxy;
mod quic;
mod responder;
mod rpc;
mod statistics;

pub use dial::{DialError, DialSettings, Route};
pub use incoming::{ConfigurationPush, Incoming, IncomingRequest};
pub use link::{EdgeLink, LinkWatch};
pub use proxy::ProxyRoute;
pub use responder::TunnelResponder;
pub use rpc::RegisterError;
pub use statistics::{FRAME_TYPES, QuicLine, QuicTotals};
