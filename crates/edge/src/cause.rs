//! Everything that can go wrong with a request: one stable code, whose fault it is, the status and what a person can do.

use qanat_boundary::Counter;
use qanat_http::HeadError;

/// Whose fault a failure is: the hop that the error page names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever sent the request.
    Client,
    /// This edge.
    Edge,
    /// The tunnel: its connections or its connector.
    Tunnel,
    /// The service behind the connector.
    Origin,
}

impl Fault {
    /// `client`, `edge`, `tunnel` or `origin`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Edge => "edge",
            Self::Tunnel => "tunnel",
            Self::Origin => "origin",
        }
    }
}

/// Where on a request's way it broke: what the page marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Whoever asks.
    Browser,
    /// This edge.
    Edge,
    /// The tunnel: no connection to carry the request, or one that was lost.
    Tunnel,
    /// The connector at the tunnel's other end.
    Connector,
    /// The service behind it.
    Origin,
}

impl Place {
    /// All, in a request's order.
    pub const ALL: [Self; 5] = [Self::Browser, Self::Edge, Self::Tunnel, Self::Connector, Self::Origin];

    /// As the page has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Edge => "edge",
            Self::Tunnel => "tunnel",
            Self::Connector => "connector",
            Self::Origin => "origin",
        }
    }
}

macro_rules! causes {
    ($($variant:ident $code:literal $fault:ident $status:literal $number:literal $retry:literal $title:literal $advice:literal;)*) => {
        /// Why the edge answered a request itself or cut it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cause {
            $(#[doc = $title] $variant,)*
        }

        impl Cause {
            /// Every cause, for the reference page.
            pub const ALL: &'static [Cause] = &[$(Cause::$variant,)*];

            /// Stable code.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
            /// Whose fault it is.
            pub fn fault(self) -> Fault {
                match self { $(Self::$variant => Fault::$fault,)* }
            }
            /// The status that the client gets, when it can still get one.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
            /// The number by which users of this protocol's hosted edge know it, when there is one; 0: none. The status is not
            /// always that number: a stock connector tells of its origin by 502 and 504, and clients' retries go by these.
            pub fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)* }
            }
            /// Whether the same request may well succeed later.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retry,)* }
            }
            /// What happened, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
            /// What to do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

causes! {
    ClientClosed "client_closed" Client 499 0 true
        "The client went away" "Nothing to do: the client closed its connection or cancelled the request.";
    BadRequest "bad_request" Client 400 0 false
        "The request is malformed" "The request breaks HTTP's rules; its sender must be corrected.";
    HeadTooLarge "head_too_large" Client 431 0 false
        "The request's header fields are too large" "Send fewer or smaller header fields, such as cookies: 128 of them and 128 KiB in all pass.";
    TargetTooLong "target_too_long" Client 414 0 false
        "The request's address is too long" "Send long data in the request's body.";
    HeadTooSlow "head_too_slow" Client 408 0 true
        "The request's head came too slowly" "Try again over a better network.";
    BodyTooSlow "body_too_slow" Client 408 0 true
        "The request's body came too slowly" "Try again over a better network.";
    BodyTooLarge "body_too_large" Client 413 0 false
        "The request's body is too large" "Send less at once; control.body_bytes is the most that the control API takes by the public listener.";
    ClientTooSlow "client_too_slow" Client 408 0 true
        "The client did not take the answer" "Try again over a better network.";
    UnknownHostname "unknown_hostname" Client 404 1001 false
        "This hostname is not served here" "Check the spelling; if it is yours, create a proxied record that points to a tunnel.";
    Misdirected "misdirected" Client 421 0 false
        "This connection does not serve that hostname" "Open a new connection with the right server name.";
    ManagementHost "management_host" Client 421 0 false
        "This hostname is not served here" "The management hostname is served to management tokens only, over HTTPS and under the edge's own name for it.";
    ManagementDenied "management_denied" Client 403 0 false
        "The management token is not good for this" "Ask the control API for a new token of the tunnel, for the resource that is asked for.";
    ControlNeedsTls "control_needs_tls" Client 403 0 false
        "The control API is served by HTTPS only" "Ask by HTTPS, and replace the token: it was sent in the clear.";
    MethodNotAllowed "method_not_allowed" Client 405 0 false
        "CONNECT is not served here" "Use another method.";
    LoopDetected "loop_detected" Client 508 1000 false
        "The request came by here too often" "An origin points back to this edge: correct the tunnel's ingress rules.";
    NoConnection "no_connection" Tunnel 530 1033 true
        "The tunnel has no connection" "Start the tunnel's connector on its host, or look at its log to see why it can't connect.";
    NoActiveNode "no_active_node" Tunnel 530 1033 true
        "The tunnel's active node has no connection" "Start the connector on the active host, or promote another node: `qanat node list` shows them.";
    RequestCut "request_cut" Tunnel 502 520 true
        "The request was ended when its node was cut off" "Try again: the tunnel's other nodes serve.";
    TunnelDeleted "tunnel_deleted" Tunnel 410 1033 false
        "The tunnel behind this hostname was deleted" "Point the hostname's record to another tunnel, or delete the record.";
    ConnectionLost "connection_lost" Tunnel 502 520 true
        "The connection to the connector was lost" "Try again; when it happens often, look at the connector's log.";
    TunnelProtocolError "tunnel_protocol_error" Tunnel 502 520 false
        "The connector's answer is malformed" "Update the connector.";
    ResponseHeadTooLarge "response_head_too_large" Origin 502 520 false
        "The origin's header fields are too large" "Have the origin send fewer or smaller header fields: 512 of them and 128 KiB in all pass.";
    GrpcNeedsHttp2 "grpc_needs_http2" Tunnel 502 520 false
        "gRPC needs trailers, which this connector can't carry over QUIC"
        "Run the connector with --protocol http2, or use a qanat connector.";
    OriginRefused "origin_refused" Origin 502 521 true
        "The origin refused the connection" "Start the service that the ingress rule names, or correct the rule.";
    OriginDenied "origin_denied" Origin 502 523 false
        "The connector does not reach for this origin" "It denies link-local and metadata addresses to pushed rules: correct the ingress rule, or list the address in the connector's --allow-origins.";
    OriginTls "origin_tls" Origin 502 525 false
        "No TLS with the origin, or its certificate isn't trusted" "Have the origin show a certificate for the name that the ingress rule calls it by (originServerName), from an authority that the connector trusts (caPool).";
    OriginTimeout "origin_timeout" Origin 504 522 true
        "The origin could not be reached in time" "See whether the connector's host can reach the service that the ingress rule names.";
    ResponseTimeout "response_timeout" Origin 504 524 true
        "The origin did not answer in time" "See what the origin is doing; a long job should answer at once and report later.";
    OriginBadResponse "origin_bad_response" Origin 502 520 false
        "The origin's answer is malformed" "The origin breaks HTTP's rules: see whether the ingress rule names the right scheme and port.";
    OriginResetMidBody "origin_reset_mid_body" Origin 502 520 true
        "The origin broke off its answer" "Look at the origin's log.";
    UploadStalled "upload_stalled" Origin 504 524 true
        "The origin did not take the request's body" "See what the origin is doing: it has left the body of the request unread.";
    OriginError "origin_error" Origin 502 520 true
        "The origin could not be reached" "Look at the connector's log: it names the reason.";
    Overloaded "overloaded" Edge 503 1200 true
        "Too many requests are open" "Try again in a moment.";
    ControlUnavailable "control_unavailable" Edge 503 0 true
        "The control API does not answer" "Try again in a moment; when it lasts, look at the edge's log.";
    HeldTooMany "held_too_many" Edge 503 1200 true
        "Too many requests wait while another node takes over" "Try again in a moment.";
}

/// How many requests failed, by cause.
pub(crate) struct ByCause(Box<[Counter]>);

impl Default for ByCause {
    fn default() -> Self {
        Self(Cause::ALL.iter().map(|_| Counter::default()).collect())
    }
}

impl ByCause {
    pub(crate) fn count(&self, cause: Cause) {
        if let Some(counter) = self.0.get(cause as usize) {
            counter.add(1);
        }
    }

    /// Those that occurred, by code.
    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        let all = Cause::ALL.iter().zip(&self.0).map(|(cause, counter)| (cause.code(), counter.get()));
        all.filter(|(_, count)| *count > 0).collect()
    }
}

impl Cause {
    /// Where the way broke.
    pub fn place(self) -> Place {
        match self {
            Self::UnknownHostname | Self::Misdirected | Self::ManagementHost | Self::LoopDetected => Place::Edge,
            Self::TunnelProtocolError | Self::GrpcNeedsHttp2 | Self::OriginDenied => Place::Connector,
            other => match other.fault() {
                Fault::Client => Place::Browser,
                Fault::Edge => Place::Edge,
                Fault::Tunnel => Place::Tunnel,
                Fault::Origin => Place::Origin,
            },
        }
    }
}

impl From<&HeadError> for Cause {
    /// Of a head that was refused.
    fn from(error: &HeadError) -> Self {
        match error {
            HeadError::Malformed(_) | HeadError::UnsupportedVersion | HeadError::ExpectationFailed => Self::BadRequest,
            HeadError::LineTooLong(_) => Self::TargetTooLong,
            HeadError::TooLarge(_) | HeadError::TooManyFields(_) => Self::HeadTooLarge,
            HeadError::ConnectRefused => Self::MethodNotAllowed,
        }
    }
}

/// How a connector's text begins; the reason follows.
const UNREACHABLE: &str = "traffic from cloudflared: ";

/// Why a connector could not reach the origin: by the code that ours tells, else by its text.
pub(crate) fn origin_cause(code: Option<&str>, text: &str) -> Cause {
    let Some(code) = code else { return stock_cause(text) };
    let known = Cause::ALL.iter().find(|cause| cause.fault() == Fault::Origin && cause.code() == code);
    known.copied().unwrap_or(Cause::OriginError)
}

/// What a stock connector's text says of the origin. It has no code for it (protocol.md, *Our own additions*), so Go's words decide.
fn stock_cause(text: &str) -> Cause {
    let reason = text.split_once(UNREACHABLE).map_or(text, |(_, reason)| reason);
    let has = |word: &str| reason.contains(word);
    if has("malformed HTTP")
        || has("first record does not look like a TLS handshake")
        || has("server gave HTTP response")
    {
        Cause::OriginBadResponse
    } else if has("timeout") || has("timed out") || has("deadline exceeded") {
        Cause::OriginTimeout
    } else if has("tls: ") || has("x509: ") {
        // The address stands before, as in a dial that failed.
        Cause::OriginTls
    } else if has("connection refused") || has("dial tcp") || has("dial unix") || has("no such host") {
        Cause::OriginRefused
    } else {
        Cause::OriginError
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        let mut codes: Vec<_> = Cause::ALL.iter().map(|c| c.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Cause::ALL.len());
        assert!(Cause::ALL.iter().all(|c| c.status() >= 400));
    }

    #[test]
    fn failures_are_counted_by_cause() {
        let failures = ByCause::default();
        Cause::ALL.iter().for_each(|cause| failures.count(*cause));
        failures.count(Cause::NoConnection);
        let all = failures.all();
        assert_eq!(all.len(), Cause::ALL.len());
        assert!(all.iter().all(|(code, count)| *count == if *code == "no_connection" { 2 } else { 1 }));
    }

    #[test]
    fn a_connectors_code_decides_whatever_its_text_says() {
        assert_eq!(origin_cause(Some("origin_denied"), "dial tcp 127.0.0.1:1: i/o timeout"), Cause::OriginDenied);
        assert_eq!(origin_cause(Some("origin_tls"), "connection refused"), Cause::OriginTls);
        for code in ["", "unknown_hostname", "no_connection"] {
            assert_eq!(origin_cause(Some(code), "connection refused"), Cause::OriginError, "{code}: none of an origin");
        }
    }

    #[test]
    fn a_stock_connectors_text_names_the_cause() {
        let stock = "Unable to reach the origin service. The service may be down or it may not be responding to traffic \
                     from cloudflared: dial tcp 127.0.0.1:1: connect: connection refused";
        assert_eq!(origin_cause(None, stock), Cause::OriginRefused);
        assert_eq!(origin_cause(None, "… dial tcp 10.0.0.1:80: i/o timeout"), Cause::OriginTimeout);
        assert_eq!(origin_cause(None, "… EOF"), Cause::OriginError);
        assert_eq!(origin_cause(None, "… dial tcp 127.0.0.1:443: tls: invalid certificate: Expired"), Cause::OriginTls);
        assert_eq!(
            origin_cause(None, "net/http: HTTP/1.x transport connection broken: malformed HTTP status code"),
            Cause::OriginBadResponse
        );
    }
}
