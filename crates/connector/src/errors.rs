//! What can go wrong: in settings, in tables, and with one request's origin.

use qanat_http::StreamError;
use std::time::Duration;

/// Why a `Connector` can't be made.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// A field of the settings.
    #[error("{field}: {reason}")]
    Field {
        /// Its name, as in the Python stub.
        field: &'static str,
        /// What is wrong and what is accepted.
        reason: String,
    },
}

impl SettingError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            SettingError::Field { .. } => "bad_setting",
        }
    }
}

/// Why a list of rules doesn't compile.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The path of a rule is no Go (RE2) regular expression.
    #[error("ingress[{rule}].path: {reason}")]
    Pattern {
        /// Index of the rule.
        rule: usize,
        /// What is wrong.
        reason: String,
    },
    /// With the path of a rule the configuration is more than may be compiled.
    #[error("ingress[{rule}].path: {reason}")]
    TooMuch {
        /// Index of the rule.
        rule: usize,
        /// What is too large, and what to do.
        reason: String,
    },
    /// An explanation took too long.
    #[error("ingress[{rule}].path: matching takes longer than {limit:?}")]
    TimeOver {
        /// Index of the rule.
        rule: usize,
        /// The limit that passed.
        limit: Duration,
    },
    /// The service of a rule.
    #[error("ingress[{rule}].service: {reason}")]
    Target {
        /// Index of the rule.
        rule: usize,
        /// What is wrong.
        reason: String,
    },
    /// The hostname of a rule.
    #[error("ingress[{rule}].hostname: {reason}")]
    Hostname {
        /// Index of the rule.
        rule: usize,
        /// What is wrong.
        reason: String,
    },
    /// A key of originRequest.
    #[error("ingress[{rule}].originRequest.{key}: {reason}")]
    Origin {
        /// Index of the rule.
        rule: usize,
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl TableError {
    /// Index of the rule that it is about.
    pub fn rule(&self) -> usize {
        match self {
            TableError::Pattern { rule, .. }
            | TableError::TooMuch { rule, .. }
            | TableError::TimeOver { rule, .. }
            | TableError::Target { rule, .. }
            | TableError::Hostname { rule, .. }
            | TableError::Origin { rule, .. } => *rule,
        }
    }

    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            TableError::Pattern { .. } => "bad_pattern",
            TableError::TooMuch { .. } => "patterns_too_large",
            TableError::TimeOver { .. } => "time_over",
            TableError::Target { .. } => "bad_target",
            TableError::Hostname { .. } => "bad_hostname",
            TableError::Origin { .. } => "bad_origin_setting",
        }
    }
}

/// The origin's part in a request that failed.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The name has no address, or nothing accepts connections there.
    #[error("dial {address}: {reason}")]
    Refused {
        /// Where to.
        address: String,
        /// The system's reason.
        reason: String,
    },
    /// What the configuration may not reach, as it came from elsewhere (security.md, S40).
    #[error(
        "dial {address}: the connector denies this address to a pushed configuration ({reason}): list it in --allow-origins"
    )]
    Denied {
        /// Where to.
        address: String,
        /// What is there.
        reason: String,
    },
    /// Connecting or the TLS handshake took too long.
    #[error("dial {address}: {phase} timed out after {limit:?}")]
    TimedOut {
        /// Where to.
        address: String,
        /// `connect` or `tls`.
        phase: &'static str,
        /// The limit that passed.
        limit: Duration,
    },
    /// The origin's certificate or handshake.
    #[error("dial {address}: {reason}")]
    Tls {
        /// Where to.
        address: String,
        /// What rustls says.
        reason: String,
    },
    /// A reused connection was closed by the origin, and the request could not be sent again.
    #[error("reused connection closed by origin {address} ({reason}); the request was not repeated")]
    ReusedClosed {
        /// Where to.
        address: String,
        /// How it ended.
        reason: String,
    },
    /// The connection ended before an answer.
    #[error("connection to origin {address} ended before it answered: {reason}")]
    Closed {
        /// Where to.
        address: String,
        /// How it ended.
        reason: String,
    },
    /// The answer breaks HTTP.
    #[error("malformed HTTP response from origin {address}: {reason}")]
    BadResponse {
        /// Where to.
        address: String,
        /// What it broke.
        reason: String,
    },
    /// The answer's head is above the limit.
    #[error("response head of origin {address} is too large: {reason}")]
    HeadTooLarge {
        /// Where to.
        address: String,
        /// Which limit.
        reason: String,
    },
    /// The request has a body of unknown length above the limit, and the rule forbids chunked encoding.
    #[error(
        "the request body has no length, chunked encoding is disabled (disableChunkedEncoding) and it is larger than {0} bytes"
    )]
    LengthRequired(usize),
    /// Where a client wants to go is nowhere.
    #[error("{0}")]
    BadDestination(String),
    /// No more TCP streams to private networks at once.
    #[error("there are {0} flows, as many as maxActiveFlows allows")]
    TooManyFlows(u64),
    /// The request has no token that lets it in.
    #[error("request filtered by middleware handler (AccessJWTValidator) due to: {0}")]
    NoAccess(String),
    /// Whether a token is good can't be said yet.
    #[error("error while processing middleware handler AccessJWTValidator: {0}")]
    NoKeySet(String),
    /// The edge sent what can't be sent on (security.md, S12).
    #[error("the edge's request is malformed: {0}")]
    BadRequest(&'static str),
    /// The origin takes the request's body too slowly, and others need the room.
    #[error("origin {address} left the request's body unread")]
    UploadStalled {
        /// Where to.
        address: String,
    },
    /// The client went away or its body ended badly.
    #[error("the request ended early: {0}")]
    Client(StreamError),
}

impl OriginError {
    /// Stable code, as in docs/reference/errors.
    pub fn code(&self) -> &'static str {
        match self {
            OriginError::Refused { .. } => "origin_refused",
            OriginError::Denied { .. } => "origin_denied",
            OriginError::TimedOut { .. } => "origin_timeout",
            OriginError::Tls { .. } => "origin_tls",
            OriginError::ReusedClosed { .. } => "reused_connection_closed",
            OriginError::Closed { .. } => "origin_closed",
            OriginError::BadResponse { .. } => "origin_bad_response",
            OriginError::HeadTooLarge { .. } => "response_head_too_large",
            OriginError::LengthRequired(_) => "length_required",
            OriginError::BadDestination(_) => "bad_destination",
            OriginError::TooManyFlows(_) => "too_many_flows",
            OriginError::NoAccess(_) => "access_denied",
            OriginError::NoKeySet(_) => "access_unknown",
            OriginError::BadRequest(_) => "bad_request",
            OriginError::UploadStalled { .. } => "upload_stalled",
            OriginError::Client(_) => "client_closed",
        }
    }

    /// The text for people. Scripts match how the stock connector's begins.
    pub fn text(&self) -> String {
        match self {
            OriginError::BadDestination(_)
            | OriginError::TooManyFlows(_)
            | OriginError::NoAccess(_)
            | OriginError::NoKeySet(_)
            | OriginError::BadRequest(_) => self.to_string(),
            _ => format!("{UNREACHABLE} {self}"),
        }
    }
}

/// How every line about an unreachable origin begins (connector.md, 6).
pub const UNREACHABLE: &str = "Unable to reach the origin service. The service may be down or it may not be responding to \
     traffic from cloudflared:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_begins_as_scripts_expect() {
        let error = OriginError::Refused { address: "127.0.0.1:1".into(), reason: "Connection refused".into() };
        assert!(error.text().starts_with(
            "Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: dial "
        ));
    }
}
