//! Streams that the edge opens over QUIC, as the connector takes them.

use super::context::LinkContext;
use super::incoming::IncomingRequest;
use super::responder::TunnelResponder;
use super::rpc;
use crate::quic::head::{self as quic_head, GatherError, Gathered, HeadReader};
use crate::quic::stream::{QuicSink, QuicSource};
use crate::stream::{SinkKind, SourceKind};
use crate::{TunnelSink, TunnelSource};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream};
use qanat_http::BodyLength;
use qanat_wire::connect::{self, ConnectRequest};
use quinn::{RecvStream, SendStream};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Timeout;

/// Streams whose head has not come yet.
const MAX_WAITING: usize = 1024;
/// How long a head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes streams and reads their heads. The usual head lies there whole and costs no task and no allocation of its own.
pub(crate) struct QuicAcceptor {
    connection: quinn::Connection,
    context: Arc<LinkContext>,
    waiting: FuturesUnordered<Pin<Box<Timeout<Opening>>>>,
}

impl QuicAcceptor {
    pub(crate) fn new(connection: quinn::Connection, context: Arc<LinkContext>) -> Self {
        Self { connection, context, waiting: FuturesUnordered::new() }
    }

    /// The next request; `None` when the connection has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<IncomingRequest> {
        let Self { connection, context, waiting } = self;
        let accept = connection.accept_bi();
        tokio::pin!(accept);
        poll_fn(|cx| {
            loop {
                while !waiting.is_empty() {
                    match Pin::new(&mut *waiting).poll_next(cx) {
                        Poll::Ready(Some(Ok(Some(request)))) => return Poll::Ready(Some(request)),
                        Poll::Ready(Some(Ok(None))) => {}
                        Poll::Ready(Some(Err(_))) => context.reject("its head did not come in time"),
                        Poll::Ready(None) | Poll::Pending => break,
                    }
                }
                let (send, recv) = match accept.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => stream,
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                };
                accept.set(connection.accept_bi());
                let mut opening = Opening::new(send, recv, context.clone());
                match Pin::new(&mut opening).poll(cx) {
                    Poll::Ready(Some(request)) => return Poll::Ready(Some(request)),
                    Poll::Ready(None) => {}
                    Poll::Pending if waiting.len() < MAX_WAITING => {
                        waiting.push(Box::pin(tokio::time::timeout(HEAD_TIMEOUT, opening)));
                    }
                    Poll::Pending => context.reject("too many streams without a head"),
                }
            }
        })
        .await
    }
}

/// A stream whose head is being read. Gives the request, or nothing when it was an RPC stream or had to be reset.
struct Opening {
    stream: Option<(SendStream, RecvStream)>,
    reader: HeadReader<ConnectRequest>,
    context: Arc<LinkContext>,
}

impl Opening {
    fn new(send: SendStream, recv: RecvStream, context: Arc<LinkContext>) -> Self {
        let reader = HeadReader::new(context.max_head, connect::decode_request);
        Self { stream: Some((send, recv)), reader, context }
    }

    fn accept(
        &mut self,
        gathered: Gathered<ConnectRequest>,
        cx: &mut Context<'_>,
    ) -> Result<Option<IncomingRequest>, String> {
        let Some((send, recv)) = self.stream.take() else { return Ok(None) };
        let (head, rest) = match gathered {
            Gathered::Head(head, rest) => (head, rest),
            Gathered::Rpc(rest) => {
                let source = TunnelSource(SourceKind::Quic(QuicSource::new(recv, rest)));
                let sink = TunnelSink(SinkKind::Quic(QuicSink::new(send, Bytes::new(), false)));
                rpc::serve(source, sink, self.context.pushes.clone(), self.context.rpc_timeout);
                return Ok(None);
            }
        };
        let sink = QuicSink::new(send, Bytes::new(), false).of_request().with_patience(self.context.write_timeout);
        let decoded = quic_head::decode_request(head)?;
        let source = QuicSource::new(recv, rest).with_window(self.context.stream_window());
        let mut source = match decoded.request.length {
            BodyLength::Opaque => source,
            _ if decoded.framed => source.framed(),
            BodyLength::Absent => source.counted(0),
            BodyLength::Exact(length) => source.counted(length),
            BodyLength::Unknown => source,
        };
        let ended = source.try_end(cx) || decoded.request.length.is_nothing();
        let body = TunnelSource(if ended { SourceKind::Empty } else { SourceKind::Quic(source) });
        let responder = TunnelResponder::quic(sink, decoded.accept, decoded.request.head.method == "HEAD");
        Ok(Some(IncomingRequest { request: decoded.request, body, responder }))
    }
}

impl Drop for Opening {
    /// `quinn` would end the stream cleanly.
    fn drop(&mut self) {
        if let Some((mut send, _)) = self.stream.take() {
            let _ = send.reset(0u32.into());
        }
    }
}

impl Future for Opening {
    type Output = Option<IncomingRequest>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some((_, recv)) = &mut this.stream else { return Poll::Ready(None) };
        let gathered = match this.reader.poll(recv, cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(gathered)) => this.accept(gathered, cx),
            // The edge changed its mind, or is gone.
            Poll::Ready(Err(GatherError::Stream(_))) => return Poll::Ready(None),
            Poll::Ready(Err(GatherError::Ended)) => Err("it ended before its head was whole".into()),
            Poll::Ready(Err(GatherError::Malformed(what))) => Err(what),
            Poll::Ready(Err(GatherError::TooLarge(limit))) => Err(format!("its head has more than {limit} bytes")),
        };
        Poll::Ready(gathered.unwrap_or_else(|why| {
            this.context.reject(&why);
            None
        }))
    }
}
