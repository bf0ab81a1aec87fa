//! The answering side of a stream that the edge opened.

use super::peer::Peer;
use crate::http2::head::{self as http2_head, Answered};
use crate::quic::head::{self as quic_head, GatherError, Gathered, HeadReader};
use crate::quic::stream::QuicSource;
use crate::stream::{SourceKind, StreamGuard};
use crate::turns::OpenRequest;
use crate::{AnsweredBy, RequestKind, ResponseError, ResponseEvent, TunnelRequest, TunnelResponse, TunnelSource};
use bytes::Bytes;
use http::StatusCode;
use qanat_http::h2::{H2Source, stream_error};
use qanat_http::{BodyLength, Headers, Interim, ResponseHead, check_websocket_answer};
use qanat_wire::connect::ConnectResponse;
use quinn::RecvStream;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

pub(crate) struct QuicResponse {
    pub(crate) peer: Arc<Peer>,
    pub(crate) recv: RecvStream,
    pub(crate) reader: HeadReader<ConnectResponse>,
    pub(crate) informational: bool,
    pub(crate) _open: OpenRequest,
}

pub(crate) struct Http2Response {
    pub(crate) peer: Arc<Peer>,
    pub(crate) future: h2::client::ResponseFuture,
    pub(crate) guard: StreamGuard,
}

pub(crate) enum ResponseState {
    Quic(QuicResponse),
    Http2(Http2Response),
    /// The answer was given, failed or cancelled.
    Over,
}

/// The answering side of a stream.
pub struct ResponseStream {
    state: ResponseState,
    kind: RequestKind,
    head_request: bool,
    /// Of the WebSocket that was asked for.
    key: Option<Bytes>,
    interim: Interim,
}

impl ResponseStream {
    pub(crate) fn new(state: ResponseState, request: &TunnelRequest) -> Self {
        let key = match request.kind {
            RequestKind::WebSocket => request.head.headers.get("sec-websocket-key").cloned().or(Some(Bytes::new())),
            RequestKind::Http | RequestKind::Tcp => None,
        };
        Self {
            state,
            kind: request.kind,
            head_request: request.head.method == "HEAD",
            key,
            interim: Interim::of_connector(),
        }
    }

    /// The next head. Call until `Final` or an error. Cancel-safe.
    pub async fn next(&mut self) -> Result<ResponseEvent, ResponseError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The client went away: STOP_SENDING, and on HTTP/2 RST_STREAM CANCEL as soon as the sink is gone too (a request without
    /// body has none). Also done on drop before the end. The sending direction is the sink's: reset or drop it.
    pub fn cancel(&mut self) {
        self.state = ResponseState::Over;
    }

    /// The next head, for callers that poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseEvent, ResponseError>> {
        let event = match &mut self.state {
            ResponseState::Quic(_) => ready!(self.poll_quic(cx)),
            ResponseState::Http2(_) => ready!(self.poll_http2(cx)),
            ResponseState::Over => Err(ResponseError::Reset),
        };
        let broken = matches!(
            event,
            Err(ResponseError::Malformed(_) | ResponseError::TooLarge(_) | ResponseError::TooManyFields(_))
        );
        if broken {
            match &self.state {
                ResponseState::Quic(QuicResponse { peer, .. }) | ResponseState::Http2(Http2Response { peer, .. }) => {
                    peer.count_protocol_error();
                }
                ResponseState::Over => {}
            }
        }
        if event.is_err() {
            self.state = ResponseState::Over;
        }
        Poll::Ready(event)
    }

    /// S19.
    fn count_informational(&mut self, fields: &Headers) -> Result<(), ResponseError> {
        if self.interim.take(fields) { Ok(()) } else { Err(ResponseError::BadAnswer("too many 1xx heads too fast")) }
    }

    /// Case 70: 101 only to who asked, for what was asked, by an origin that knew the key.
    fn check_switch(&self, head: &ResponseHead) -> Result<(), ResponseError> {
        match &self.key {
            _ if head.status != 101 => Ok(()),
            Some(key) => check_websocket_answer(&head.headers, key).map_err(ResponseError::BadAnswer),
            None => Err(ResponseError::BadAnswer("101 to a request that asked for no upgrade")),
        }
    }

    fn is_bodiless(&self, status: u16) -> bool {
        self.head_request || matches!(status, 204 | 304)
    }

    fn poll_quic(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseEvent, ResponseError>> {
        let ResponseState::Quic(response) = &mut self.state else { return Poll::Pending };
        let gathered = ready!(response.reader.poll(&mut response.recv, cx)).map_err(|error| match error {
            GatherError::Stream(error) => error.into(),
            GatherError::Ended => ResponseError::Malformed("the stream ended before the answer's head".into()),
            GatherError::Malformed(what) => ResponseError::Malformed(what),
            GatherError::TooLarge(limit) => ResponseError::TooLarge(limit),
        })?;
        let Gathered::Head(head, rest) = gathered else {
            return Poll::Ready(Err(ResponseError::Malformed("an RPC signature on a data stream".into())));
        };
        let head = quic_head::decode_response(head)?;
        if let Some(reason) = head.error {
            return Poll::Ready(Err(ResponseError::Origin { code: head.code, reason, took: head.took }));
        }
        let status = match head.status {
            Some(status) => status,
            None if self.kind == RequestKind::Tcp => 200,
            None => return Poll::Ready(Err(ResponseError::Malformed("no status".into()))),
        };
        if status < 200 && status != 101 {
            if !response.informational {
                return Poll::Ready(Err(ResponseError::Malformed(format!("an unasked status {status}"))));
            }
            response.reader.again(rest);
            self.count_informational(&head.headers)?;
            let head = ResponseHead { status, headers: head.headers };
            return Poll::Ready(Ok(ResponseEvent::Informational(head)));
        }
        let took = head.took;
        let event = self.final_quic(ResponseHead { status, headers: head.headers }, head.length, head.framed, rest, cx);
        Poll::Ready(event.map(|response| ResponseEvent::Final(TunnelResponse { took, ..response })))
    }

    fn final_quic(
        &mut self,
        head: ResponseHead,
        told: Option<u64>,
        framed: bool,
        rest: Bytes,
        cx: &mut Context<'_>,
    ) -> Result<TunnelResponse, ResponseError> {
        let status = head.status;
        self.check_switch(&head)?;
        let ResponseState::Quic(response) = std::mem::replace(&mut self.state, ResponseState::Over) else {
            return Err(ResponseError::Reset);
        };
        let mut source = QuicSource::new(response.recv, rest).with_window(response.peer.stream_window());
        let mut length = match told {
            _ if status == 101 || self.kind == RequestKind::Tcp => BodyLength::Opaque,
            _ if self.is_bodiless(status) => BodyLength::Absent,
            Some(length) => BodyLength::Exact(length),
            None => BodyLength::Unknown,
        };
        source = match length {
            BodyLength::Opaque => source,
            _ if framed => source.framed(),
            BodyLength::Absent => source.counted(0),
            BodyLength::Exact(length) => source.counted(length),
            BodyLength::Unknown => source,
        };
        let body = if source.try_end(cx) {
            if length == BodyLength::Unknown {
                length = BodyLength::Exact(0);
            }
            SourceKind::Empty
        } else {
            SourceKind::Quic(source)
        };
        let body = TunnelSource(body);
        Ok(TunnelResponse { head, length, from: AnsweredBy::Origin, body, took: None })
    }

    fn poll_http2(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseEvent, ResponseError>> {
        let ResponseState::Http2(response) = &mut self.state else { return Poll::Pending };
        if let Poll::Ready(Some(early)) = response.future.poll_informational(cx) {
            let early = early.map_err(|error| ResponseError::from(stream_error(&error)))?;
            if early.status() == StatusCode::SWITCHING_PROTOCOLS {
                // RFC 9113 8.6: HTTP/2 has no 101.
                return Poll::Ready(Err(ResponseError::Malformed("status 101 over HTTP/2".into())));
            }
            let headers =
                http2_head::decode_headers(early.headers().get(http2_head::fields::RESPONSE_HEADERS), &mut None)?;
            let head = ResponseHead { status: early.status().as_u16(), headers };
            self.count_informational(&head.headers)?;
            return Poll::Ready(Ok(ResponseEvent::Informational(head)));
        }
        let answer = ready!(Pin::new(&mut response.future).poll(cx));
        let (parts, body) = answer.map_err(|error| ResponseError::from(stream_error(&error)))?.into_parts();
        let end_stream = body.is_end_stream();
        let decoded = http2_head::decode_response(&parts, self.key.as_deref(), response.peer.features(), end_stream)?;
        let (head, length, from, took) = match decoded {
            Answered::Head { head, length, from, took } => (head, length, from, took),
            Answered::Failed { code, reason, took } => {
                return Poll::Ready(Err(ResponseError::Origin { code, reason, took }));
            }
        };
        self.check_switch(&head)?;
        let ResponseState::Http2(response) = std::mem::replace(&mut self.state, ResponseState::Over) else {
            return Poll::Ready(Err(ResponseError::Reset));
        };
        let length = match length {
            _ if head.status == 101 || self.kind == RequestKind::Tcp => BodyLength::Opaque,
            _ if self.is_bodiless(head.status) => BodyLength::Absent,
            Some(length) => BodyLength::Exact(length),
            None if end_stream => BodyLength::Exact(0),
            None => BodyLength::Unknown,
        };
        let body = match end_stream && !matches!(length, BodyLength::Exact(1..)) {
            true => SourceKind::Empty,
            false => SourceKind::Counted {
                source: H2Source::new(body, length).with_window(response.peer.stream_window() as usize),
                _guard: response.guard,
            },
        };
        Poll::Ready(Ok(ResponseEvent::Final(TunnelResponse { head, length, from, body: TunnelSource(body), took })))
    }
}
