//! Ingress rules as Python hands them over.

use crate::settings::OriginSettings;

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
    /// Answered 502 with a reason; `target`: the service text.
    Unsupported,
}

impl ServiceKind {
    /// Reads the words of the Python stub: `http`, `unix`, `unix+tls`, `status`, `hello_world`, `unsupported`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "http" => Self::Http,
            "unix" => Self::Unix,
            "unix+tls" => Self::UnixTls,
            "status" => Self::Status,
            "hello_world" => Self::HelloWorld,
            "unsupported" => Self::Unsupported,
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
