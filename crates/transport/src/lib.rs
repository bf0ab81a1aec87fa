//! Tunnel connections over QUIC and HTTP/2: streams, registration and configuration RPC, for both ends.

mod connector;
mod doubt;
mod edge;
mod features;
mod handover;
mod head;
mod http2;
mod judge;
mod lines;
mod message;
mod moment;
mod owner;
mod quic;
mod rpc;
mod stream;
mod tls;
mod turns;
mod udp;
mod workers;

pub use connector::{
    ConfigurationPush, DialError, DialSettings, EdgeLink, FRAME_TYPES, Incoming, IncomingRequest, LinkWatch,
    ProxyRoute, QuicLine, QuicTotals, RegisterError, Route, TunnelResponder,
};
pub use edge::{
    Admission, Arrivals, ConnectorLink, ListenerSettings, OpenStream, Registrar, ResponseStream, TunnelListener,
};
pub use handover::{Elsewhere, Generation, Given, Older, Passed, TunnelUdp};
pub use lines::{Flow, Lines, Wanted};
pub use message::{
    AnsweredBy, Applied, Entrance, OpenError, Protocol, Registration, RegistrationDetails, RegistrationRefusal,
    RequestKind, ResponseError, ResponseEvent, TunnelRequest, TunnelResponse,
};
pub use owner::owner;
pub use qanat_wire::took::Took;
pub use quic::Congestion;
pub use stream::{TunnelSink, TunnelSource};
pub use tls::{TlsError, Trust, connector_tls, connector_tls_post_quantum, edge_tls};
pub use workers::{Seats, Workers, own_worker};
