//! What answers a request: one file a kind of service. A service gets one call, drives both directions in the caller's task
//! and says how it ended.

mod hello_world;
mod http;
mod http1;
mod http2;
mod status;
mod unix;

pub use http::refusal_of_target;

use crate::origin::{Origin, OriginBounds, OriginPools};
use crate::{OriginError, Rule, ServiceKind, TableError};
use bytes::Bytes;
use qanat_http::{BodyLength, Headers, RequestHead, ResponseHead, Sink, Source, StreamError, Watch};
use qanat_transport::{AnsweredBy, TunnelResponder, TunnelSink};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long an origin or an edge may take nothing of a body: longer than an edge of ours waits for either.
const MOST_STALLED: Duration = Duration::from_secs(120);

/// How long an upload may stand still once the answer is complete, before it is given up.
const LINGER: Duration = Duration::from_secs(5);

/// Where an answer goes; `TunnelResponder`, or something in memory for tests.
pub(crate) trait Responder: Send + Unpin {
    /// The answer's body.
    type Sink: Sink + Unpin;
    /// A 1xx other than 101.
    fn informational(&mut self, head: ResponseHead);
    /// The answer's head.
    fn respond(self, head: ResponseHead, length: BodyLength, from: AnsweredBy) -> Result<Self::Sink, StreamError>;
    /// No answer: the origin could not be reached.
    fn fail(self, error: &str);
    /// Ready once nobody waits for the answer.
    fn poll_canceled(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Responder for TunnelResponder {
    type Sink = TunnelSink;
    fn informational(&mut self, head: ResponseHead) {
        TunnelResponder::informational(self, head);
    }
    fn respond(self, head: ResponseHead, length: BodyLength, from: AnsweredBy) -> Result<TunnelSink, StreamError> {
        TunnelResponder::respond(self, head, length, from)
    }
    fn fail(self, error: &str) {
        TunnelResponder::fail(self, error);
    }
    fn poll_canceled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        TunnelResponder::poll_canceled(self, cx)
    }
}

/// One request on its way to a service.
pub(crate) struct Call<B, R> {
    /// Hop-by-hop fields are gone.
    pub(crate) head: RequestHead,
    /// Of the body.
    pub(crate) length: BodyLength,
    /// Its body.
    pub(crate) body: B,
    /// Taken once an answer begins.
    pub(crate) responder: Option<R>,
    /// The answer's trailers could not be carried to the edge.
    pub(crate) trailers_dropped: bool,
    /// The body, when its origin doesn't take it.
    pub(crate) upload: Watch,
    /// The answer's body, when its edge doesn't take it.
    pub(crate) download: Watch,
}

impl<B, R> Call<B, R> {
    /// The body beside the rest, so that both can be polled in one task.
    pub(crate) fn split(&mut self) -> (&mut B, Asked<'_, R>) {
        let Self { head, length, body, responder, trailers_dropped, upload, download } = self;
        (body, Asked { head, length: *length, responder, trailers_dropped, upload, download })
    }
}

/// A call without its body.
pub(crate) struct Asked<'a, R> {
    pub(crate) head: &'a RequestHead,
    pub(crate) length: BodyLength,
    pub(crate) responder: &'a mut Option<R>,
    pub(crate) trailers_dropped: &'a mut bool,
    pub(crate) upload: &'a mut Watch,
    pub(crate) download: &'a mut Watch,
}

impl<R: Responder> Asked<'_, R> {
    /// Begins the answer. An error: nobody waits for it.
    pub(crate) fn respond(
        &mut self,
        head: ResponseHead,
        length: BodyLength,
        from: AnsweredBy,
    ) -> Result<R::Sink, StreamError> {
        match self.responder.take() {
            Some(responder) => responder.respond(head, length, from),
            None => Err(StreamError::Reset),
        }
    }

    /// Ready once nobody waits for the answer (before it began).
    pub(crate) fn poll_canceled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.responder.as_mut().map_or(Poll::Pending, |responder| responder.poll_canceled(cx))
    }
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The answer was delivered whole.
    Answered(u16),
    /// An answer of the connector's own was: there is no origin that could have given one.
    Told,
    /// The client went away.
    Canceled,
    /// Nothing was answered yet.
    Failed(OriginError),
    /// The origin broke off after its head; the client was reset.
    Broken { status: u16, reason: String },
}

/// What is added to every request to an origin.
pub(crate) struct Extras {
    /// `Cf-Warp-Tag-Id`.
    pub(crate) headers: Headers,
}

impl Extras {
    pub(crate) fn new(connector_id: uuid::Uuid) -> Self {
        let mut headers = Headers::with_capacity(1);
        headers.push(Bytes::from_static(b"Cf-Warp-Tag-Id"), connector_id.to_string());
        Self { headers }
    }
}

/// A rule's service, compiled.
pub(crate) enum Service {
    Origin(Box<http::OriginService>),
    Status(u16),
    HelloWorld,
    /// Why it can't be served.
    Unsupported(String),
}

impl Service {
    pub(crate) fn compile(index: usize, rule: &Rule, bounds: Option<&Arc<OriginBounds>>) -> Result<Self, TableError> {
        let target = |reason: String| TableError::Target { rule: index, reason };
        Ok(match rule.kind {
            ServiceKind::Http => {
                let (address, tls) = http::parse_target(&rule.target).map_err(target)?;
                Self::Origin(Box::new(http::OriginService::new(index, address, tls, &rule.origin, bounds)?))
            }
            ServiceKind::Unix | ServiceKind::UnixTls => {
                let address = unix::parse_target(&rule.target).map_err(target)?;
                let tls = rule.kind == ServiceKind::UnixTls;
                Self::Origin(Box::new(http::OriginService::new(index, address, tls, &rule.origin, bounds)?))
            }
            ServiceKind::Status => Self::Status(status::parse_target(&rule.target).map_err(target)?),
            ServiceKind::HelloWorld => {
                hello_world::start();
                Self::HelloWorld
            }
            ServiceKind::Unsupported => {
                Self::Unsupported(format!("the service `{}` is not supported by this connector yet", rule.target))
            }
        })
    }

    /// The origin whose connections every request of this rule shares, if they do.
    pub(crate) fn bind(&self, pools: &OriginPools) -> Option<Arc<Origin>> {
        match self {
            Self::Origin(origin) => origin.bind(pools),
            _ => None,
        }
    }

    /// Serves one call.
    pub(crate) async fn serve<B: Source + Unpin, R: Responder>(
        &self,
        bound: Option<&Arc<Origin>>,
        pools: &OriginPools,
        extras: &Extras,
        call: &mut Call<B, R>,
    ) -> End {
        match self {
            Self::Origin(service) => service.serve(bound, pools, extras, call).await,
            Self::Status(code) => status::serve(*code, AnsweredBy::Origin, call).await,
            Self::HelloWorld => hello_world::serve(call).await,
            Self::Unsupported(reason) => End::Failed(OriginError::Unsupported(reason.clone())),
        }
    }
}

/// Without any rule, or before the first table: 503.
pub(crate) async fn serve_nothing<B: Source + Unpin, R: Responder>(call: &mut Call<B, R>) -> End {
    status::serve(503, AnsweredBy::Connector, call).await
}
