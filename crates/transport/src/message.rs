//! What crosses a tunnel connection, the same for both transports.

use crate::TunnelSource;
use bytes::Bytes;
use qanat_http::{BodyLength, RequestHead, ResponseHead, StreamError};
use qanat_wire::took::Took;
use std::net::IpAddr;
use std::time::Duration;
use uuid::Uuid;

/// The two transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// QUIC, ALPN `argotunnel`.
    Quic,
    /// HTTP/2 over TLS; the edge is the client.
    Http2,
}

impl Protocol {
    /// `quic` or `http2`.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Quic => "quic",
            Protocol::Http2 => "http2",
        }
    }
}

/// What a data stream asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Plain HTTP.
    Http,
    /// A WebSocket (the head has neither Upgrade nor Connection).
    WebSocket,
    /// A TCP stream to `authority`.
    Tcp,
}

/// By which of the edge's entrances a request came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entrance {
    /// A public hostname, or whatever a visitor's Host says.
    #[default]
    Public,
    /// The management hostname, with a token that the edge has verified.
    Management,
    /// A stock edge, which doesn't say: there the Host alone tells.
    Untold,
}

/// A request on its way through the tunnel.
#[derive(Clone, Debug)]
pub struct TunnelRequest {
    /// Plain, WebSocket or TCP.
    pub kind: RequestKind,
    /// `headers` are final: hygiene was done and the edge's own were added.
    pub head: RequestHead,
    /// Announced on QUIC as `HttpHeader:Content-Length` or `HttpHeader:Transfer-Encoding: chunked`.
    pub length: BodyLength,
    /// How it came to the edge. Told to connectors that announced `qanat_management`.
    pub entrance: Entrance,
}

/// Who made an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// The origin (or an ingress rule's built-in answer).
    Origin,
    /// The connector itself, because the origin could not.
    Connector,
}

/// A final response head and its body.
pub struct TunnelResponse {
    /// For a WebSocket 101 with the origin's fields, on both transports.
    pub head: ResponseHead,
    /// What the connector told of the length.
    pub length: BodyLength,
    /// Who answered.
    pub from: AnsweredBy,
    /// The body (raw bytes after 101).
    pub body: TunnelSource,
    /// How long it took behind the tunnel, as our connector tells; a stock one doesn't.
    pub took: Option<Took>,
}

/// What a response stream gives next.
pub enum ResponseEvent {
    /// A 1xx other than 101.
    Informational(ResponseHead),
    /// The answer; nothing follows but its body.
    Final(TunnelResponse),
}

/// Why no response came.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// `ConnectResponse.error`, or the connector's own bodiless 502 on HTTP/2: the origin could not be reached.
    #[error("the connector could not reach the origin: {reason}")]
    Origin {
        /// Stable, such as `origin_refused`; a stock connector tells none.
        code: Option<String>,
        /// For people; empty where none was told.
        reason: String,
        /// How long it took behind the tunnel, as our connector tells.
        took: Option<Took>,
    },
    /// The stream was reset before the head.
    #[error("the connector reset the stream before it answered")]
    Reset,
    /// The connection ended.
    #[error("the connection to the connector was lost: {0}")]
    ConnectionLost(String),
    /// The answer broke the protocol (bad signature, capnp, status, field).
    #[error("the connector's answer is malformed: {0}")]
    Malformed(String),
    /// The origin's answer, handed on as it came, is none that the request allows: it switches to what was not asked for.
    #[error("the origin's answer is malformed: {0}")]
    BadAnswer(&'static str),
    /// The head is above the limit.
    #[error("the response head is larger than {0} bytes")]
    TooLarge(usize),
    /// The head has more field lines than the limit.
    #[error("the response head has more than {0} field lines")]
    TooManyFields(usize),
}

impl From<StreamError> for ResponseError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::ConnectionLost(reason) => ResponseError::ConnectionLost(reason),
            StreamError::Reset => ResponseError::Reset,
            other => ResponseError::Malformed(other.to_string()),
        }
    }
}

/// Why a stream could not be opened: nothing of the request reached the connector.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The connection is gone or going.
    #[error("the connection is closed: {0}")]
    Closed(String),
    /// The peer allows no further stream now.
    #[error("no stream is free on this connection")]
    Exhausted,
    /// The request can't be expressed (S57): a name with `:` or not a token.
    #[error("the request can't be sent: {0}")]
    Invalid(&'static str),
}

/// What a connector says when it registers (TunnelAuth, ConnectionOptions, ClientInfo).
#[derive(Clone, Debug)]
pub struct Registration {
    /// 32 hex.
    pub account_tag: String,
    /// Raw secret.
    pub secret: Bytes,
    /// The tunnel.
    pub tunnel_id: Uuid,
    /// 0 to ha_connections - 1.
    pub connection_index: u8,
    /// The connector's id (ClientInfo.clientId).
    pub connector_id: Uuid,
    /// As announced, order kept.
    pub features: Vec<String>,
    /// The connector's version text.
    pub version: String,
    /// `linux_amd64`.
    pub arch: String,
    /// The connector's own local address, if it told.
    pub origin_local_ip: Option<IpAddr>,
    /// ConnectionOptions.replaceExisting
    pub replace_existing: bool,
    /// ConnectionOptions.numPreviousAttempts
    pub previous_attempts: u8,
}

/// The edge's consent.
#[derive(Clone, Debug)]
pub struct RegistrationDetails {
    /// Id of the connection.
    pub connection_id: Uuid,
    /// The edge's location name.
    pub location: String,
    /// Whether configuration is pushed.
    pub remotely_managed: bool,
}

/// The edge's refusal (ConnectionError).
#[derive(Clone, Debug)]
pub struct RegistrationRefusal {
    /// For people; `EDUPCONN` makes a stock connector try another address.
    pub cause: String,
    /// How long to wait.
    pub retry_after: Duration,
    /// False: permanent.
    pub should_retry: bool,
}

/// A connector's answer to a pushed configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The version in force now.
    pub version: i32,
    /// Why the pushed one is not, `None` when it is (or was not newer). Empty text: no reason given (HTTP/2).
    pub error: Option<String>,
}
