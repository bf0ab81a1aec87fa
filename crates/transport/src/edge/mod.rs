//! The edge's end: connections of connectors, and the streams that the edge opens on them.

mod allowance;
mod duplicate;
mod goodbye;
mod http2;
mod link;
mod listener;
mod peer;
mod pending;
mod push;
mod quic;
mod reception;
mod registrar;
mod registration;
mod response;

pub use link::{ConnectorLink, OpenStream};
pub use listener::{Arrivals, TunnelListener};
pub use reception::ListenerSettings;
pub use registrar::{Admission, Registrar};
pub use response::ResponseStream;
