//! Why the edge refuses what it is told, by stable codes.

/// Why the edge refused what it was told. `code()` is stable, the text names field and reason.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A listener could not be bound.
    #[error("can't listen on {address}: {reason}")]
    BindFailed {
        /// As given.
        address: String,
        /// The system's reason.
        reason: String,
    },
    /// A socket that was handed over.
    #[error("bad socket: {role}: {reason}")]
    BadSocket {
        /// What it was given for.
        role: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not PEM, no key, or key and leaf do not fit.
    #[error("bad certificate: {0}")]
    BadCertificate(String),
    /// A setting's value.
    #[error("bad setting: {field}: {reason}")]
    BadSetting {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// One hostname occurs twice, or is not a hostname.
    #[error("bad route: {0}")]
    RouteConflict(String),
}

impl EdgeError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BindFailed { .. } => "bind_failed",
            Self::BadSocket { .. } => "bad_socket",
            Self::BadCertificate(_) => "bad_certificate",
            Self::BadSetting { .. } => "bad_setting",
            Self::RouteConflict(_) => "route_conflict",
        }
    }
}
