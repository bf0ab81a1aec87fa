//! One request on its way to a service, where its answer goes, and how it ended.

use crate::OriginError;
use qanat_http::{BodyLength, RequestHead, ResponseHead, Sink, StreamError, Watch};
use qanat_transport::{AnsweredBy, TunnelResponder, TunnelSink};
use std::task::{Context, Poll};

/// Where an answer goes; `TunnelResponder`, or something in memory for tests.
pub(crate) trait Responder: Send + Unpin {
    /// The answer's body.
    type Sink: Sink + Unpin;
    /// An origin is asked from now on.
    fn asking(&mut self) {}
    /// A 1xx other than 101.
    fn informational(&mut self, head: ResponseHead);
    /// The answer's head.
    fn respond(self, head: ResponseHead, length: BodyLength, from: AnsweredBy) -> Result<Self::Sink, StreamError>;
    /// A TCP stream is open: there is no head, and bytes go both ways.
    fn connected(self) -> Result<Self::Sink, StreamError>;
    /// No answer: the origin could not be reached. `code` is for an edge of ours, `reason` for people.
    fn fail(self, code: &'static str, reason: &str);
    /// Ready once nobody waits for the answer.
    fn poll_canceled(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Responder for TunnelResponder {
    type Sink = TunnelSink;
    fn asking(&mut self) {
        TunnelResponder::asking(self);
    }
    fn informational(&mut self, head: ResponseHead) {
        TunnelResponder::informational(self, head);
    }
    fn respond(self, head: ResponseHead, length: BodyLength, from: AnsweredBy) -> Result<TunnelSink, StreamError> {
        TunnelResponder::respond(self, head, length, from)
    }
    fn connected(self) -> Result<TunnelSink, StreamError> {
        TunnelResponder::connected(self)
    }
    fn fail(self, code: &'static str, reason: &str) {
        TunnelResponder::fail(self, code, reason);
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
