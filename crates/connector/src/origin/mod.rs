//! Origins: where they are, how they are dialled, and the connections kept to them. One pool per address and TLS identity.

mod bounds;
mod dial;
mod idle;
mod io;
mod pool;
pub(crate) mod tls;

pub use bounds::OriginBounds;
pub(crate) use dial::connect;
pub(crate) use io::{Half, Io};
pub(crate) use pool::{Checkout, H1Connection, H2_STREAM_WINDOW, H2Connection, Origin, OriginPools};

use bytes::Bytes;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where an origin listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// A name or IP address (without brackets) and a port.
    Tcp(String, u16),
    /// A socket file.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "tcp [{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "tcp {host}:{port}"),
            Address::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}

/// How an origin is authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TlsIdentity {
    /// SNI (unless it is an IP address) and the name that the certificate must be for.
    pub(crate) server_name: String,
    /// The only trust anchors; `None`: the system's.
    pub(crate) ca_pool_pem: Option<Bytes>,
    /// False: any certificate is taken.
    pub(crate) verify: bool,
    /// Offer h2.
    pub(crate) http2: bool,
}

/// Everything that two requests must share to share a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OriginKey {
    pub(crate) address: Address,
    pub(crate) tls: Option<TlsIdentity>,
    pub(crate) connect_timeout: Duration,
    pub(crate) tls_timeout: Duration,
    pub(crate) tcp_keep_alive: Duration,
    pub(crate) happy_eyeballs: bool,
    pub(crate) keep_alive_connections: usize,
    pub(crate) keep_alive_timeout: Duration,
    /// Asked of every address before it is dialled.
    pub(crate) bounds: Option<Arc<OriginBounds>>,
}
