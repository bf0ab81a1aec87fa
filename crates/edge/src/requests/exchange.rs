//! A request under way: its two directions, its limits, and how it may end.

use crate::public_side::PublicSide;
use crate::requests::account::Account;
use crate::requests::body::RequestBody;
use crate::requests::ends::{Download, Upload};
use crate::requests::pace::Pace;
use crate::zones::Zone;
use bytes::Bytes;
use qanat_http::Sink;
use qanat_transport::TunnelRequest;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client has a whole answer.
    Answered,
    /// It was switched to a WebSocket, which is over.
    Switched,
    /// The client is gone or its answer was cut.
    Cut,
}

/// One request that a tunnel answers.
pub(super) struct Exchange<'a, U, D> {
    pub(super) side: &'a PublicSide,
    pub(super) request: TunnelRequest,
    pub(super) body: RequestBody<'a, U>,
    pub(super) download: &'a mut D,
    pub(super) pace: Pace<'a>,
    /// Who asks, for what is shared out.
    pub(super) visitor: u128,
    pub(super) account: Account<'a>,
    /// A line that its answer has to set, so that the visitor stays with its target.
    pub(super) cookie: Option<Bytes>,
    /// Its id, which its answer tells.
    pub(super) ray: Bytes,
    /// What its zone wants, if anything.
    pub(super) zone: Option<Arc<Zone>>,
    /// The visitor's own connection is encrypted.
    pub(super) is_https: bool,
}

impl<U: Upload, D: Download> Exchange<'_, U, D> {
    /// Ready once the client is known to be gone, while the request waits for its turn and nobody reads its body.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.body.poll_left(cx).is_ready() { Poll::Ready(()) } else { self.download.poll_gone(cx) }
    }

    /// Its time limits count from now on.
    pub(super) fn restart(&mut self) {
        self.body.restart();
        self.pace.restart();
    }

    /// Trailers of the request that the tunnel's form can't carry.
    pub(super) fn count_dropped_trailers(&self, sink: &impl Sink) {
        if sink.has_dropped_trailers() {
            self.side.counters.trailers_dropped.add(1);
        }
    }
}
