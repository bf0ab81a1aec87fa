//! Tunnel connections over QUIC and HTTP/2: streams, registration and configuration RPC, for both ends.

mod allowance;
mod congestion;
mod connector;
mod edge;
mod features;
mod goodbye;
mod http2;
mod http2_accept;
mod http2_head;
mod lines;
mod listener;
mod message;
mod network;
mod pending;
mod quic;
mod quic_accept;
mod quic_head;
mod quic_stream;
mod responder;
mod response;
mod rpc;
mod rpc_connector;
mod rpc_edge;
mod stream;
mod tls;
mod udp;
mod warning;

pub use congestion::Congestion;
pub use connector::{ConfigurationPush, DialError, DialSettings, EdgeLink, Incoming, IncomingRequest, RegisterError};
pub use edge::{Admission, Link, OpenStream, Registrar};
pub use lines::{Flow, Lines};
pub use listener::{ListenerSettings, TunnelListener};
pub use message::{
    AnsweredBy, Applied, OpenError, Protocol, Registration, RegistrationDetails, RegistrationRefusal, RequestKind,
    ResponseError, ResponseEvent, Trailers, TunnelRequest, TunnelResponse,
};
pub use network::{Network, owner};
pub use responder::TunnelResponder;
pub use response::ResponseStream;
pub use stream::{TunnelSink, TunnelSource};
pub use tls::{TlsError, connector_tls, connector_tls_post_quantum, edge_tls};
pub use warning::Warning;
