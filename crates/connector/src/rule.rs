//! Ingress rules as Python hands them over.

use crate::origin::OriginBounds;
use crate::settings::{OriginSettings, WarpRouting};
use std::sync::Arc;

/// What kind of service a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// `target`: `http://host:port` or `https://host:port`.
    Http,
    /// `target`: the path of a socket.
    Unix,
    /// TLS over a unix socket; `target`: its path.
    UnixTls,
    /// `target`: the status code.
    Status,
    /// The built-in page.
    HelloWorld,
    /// TCP over a WebSocket; `target`: `host:port`.
    Tcp,
    /// The same to where the client says; `target`: empty.
    Bastion,
    /// The same by SOCKS5, within `ip_rules`; `target`: empty.
    SocksProxy,
}

impl ServiceKind {
    /// Reads the words of the Python stub: `http`, `unix`, `unix+tls`, `status`, `hello_world`, `tcp`, `bastion`,
    /// `socks-proxy`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "http" => Self::Http,
            "unix" => Self::Unix,
            "unix+tls" => Self::UnixTls,
            "status" => Self::Status,
            "hello_world" => Self::HelloWorld,
            "tcp" => Self::Tcp,
            "bastion" => Self::Bastion,
            "socks-proxy" => Self::SocksProxy,
            _ => return None,
        })
    }
}

/// One ingress rule as Python hands it over.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `""` or `*` every host, `*.x` any depth below x.
    pub hostname: String,
    /// Go (RE2) pattern, unanchored; `""` every path.
    pub path: String,
    /// What `target` is.
    pub kind: ServiceKind,
    /// Depends on `kind`.
    pub target: String,
    /// What the user wrote, for logs.
    pub service: String,
    /// originRequest with defaults.
    pub origin: OriginSettings,
}

/// Where a table's requests may go, beside what its rules say.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// What the rules' own origins may not be.
    pub rules: Option<Arc<OriginBounds>>,
    /// What destinations that somebody at the other end chooses may not be: of `bastion`, SOCKS and private networks.
    pub clients: Option<Arc<OriginBounds>>,
    /// How streams to private networks are opened.
    pub warp_routing: WarpRouting,
}
