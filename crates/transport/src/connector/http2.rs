//! Requests of the edge over HTTP/2, as the connector takes them. One task drives the connection.

use super::context::LinkContext;
use super::incoming::IncomingRequest;
use super::responder::TunnelResponder;
use super::rpc;
use crate::features::Features;
use crate::http2;
use crate::http2::head::{self as http2_head, Asked};
use crate::stream::{SinkKind, SourceKind};
use crate::{TunnelSink, TunnelSource};
use bytes::{Bytes, BytesMut};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use qanat_http::h2::{H2Sink, H2Source};
use qanat_http::{BodyLength, Frame, Sink, Source};
use qanat_wire::configuration::{self, MAX_CONFIGURATION};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

const LAST_WORDS: Duration = Duration::from_secs(1);

type Control = Option<oneshot::Sender<(TunnelSource, TunnelSink)>>;

/// Runs the connection until it ends and says why.
#[allow(clippy::too_many_arguments, reason = "each is one end of a channel")]
pub(crate) async fn drive<T: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<T, Bytes>,
    context: Arc<LinkContext>,
    requests: mpsc::Sender<IncomingRequest>,
    control: oneshot::Sender<(TunnelSource, TunnelSink)>,
    close: CancellationToken,
    control_ended: CancellationToken,
    ended: watch::Sender<Option<String>>,
    pulse: http2::Pulse,
) {
    let mut control = Some(control);
    let (told, mut rtts) = watch::channel(None);
    let heartbeat = http2::heartbeat(connection.ping_pong(), told, pulse);
    tokio::pin!(heartbeat);
    let reason = loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => take(request, respond, &context, &requests, &mut control),
                Some(Err(error)) if error.is_io() => break format!("closed by the edge: {error}"),
                Some(Err(error)) => break error.to_string(),
                None => break "closed by the edge".into(),
            },
            () = close.cancelled() => break "closed".into(),
            () = control_ended.cancelled() => break "closed by the edge: the control stream ended".into(),
            () = &mut heartbeat => break "timed out".into(),
            Ok(()) = rtts.changed() => {
                let suits = rtts.borrow_and_update().map_or(0, |rtt| context.lines.suits(rtt));
                if suits > context.stream_window() && connection.set_initial_window_size(suits).is_ok() {
                    context.stream_window.store(suits, Ordering::Relaxed);
                }
            }
        }
    };
    ended.send_replace(Some(reason));
    if close.is_cancelled() || control_ended.is_cancelled() {
        connection.abrupt_shutdown(Reason::NO_ERROR);
        let rest = async { while let Some(Ok(_)) = connection.accept().await {} };
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
    }
}

fn take(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    context: &Arc<LinkContext>,
    requests: &mpsc::Sender<IncomingRequest>,
    control: &mut Control,
) {
    let (parts, body) = request.into_parts();
    match http2_head::decode_request(parts, body.is_end_stream()) {
        Ok(Asked::Request { request, accept }) => {
            let length = request.length;
            let source = match body.is_end_stream() && !matches!(length, BodyLength::Exact(1..)) {
                true => SourceKind::Empty,
                false => SourceKind::Http2(H2Source::new(body, length).with_window(context.stream_window() as usize)),
            };
            let responder = TunnelResponder::http2(respond, accept, request.head.method == "HEAD");
            let incoming = IncomingRequest { request, body: TunnelSource(source), responder };
            if let Err(refused) = requests.try_send(incoming) {
                refused.into_inner().responder.refuse();
            }
        }
        Ok(Asked::Control) => {
            let Some(control) = control.take() else {
                context.reject("a second control stream");
                respond.send_reset(Reason::PROTOCOL_ERROR);
                return;
            };
            if let Ok(stream) = respond.send_response(Response::new(()), false) {
                let source = SourceKind::Http2(H2Source::new(body, BodyLength::Unknown));
                let sink = SinkKind::Http2(H2Sink::new(stream, Reason::CANCEL));
                let _ = control.send((TunnelSource(source), TunnelSink(sink)));
            }
        }
        Ok(Asked::Return { within }) => {
            context.farewell.get_or_init(|| within);
            let _ = respond.send_response(Response::new(()), true);
        }
        Ok(Asked::Configuration { accept }) => {
            let context = context.clone();
            tokio::spawn(async move {
                let configured = configure(body, respond, accept, &context);
                let _ = tokio::time::timeout(context.rpc_timeout, configured).await;
            });
        }
        Err(why) => {
            context.reject(why);
            respond.send_reset(Reason::PROTOCOL_ERROR);
        }
    }
}

async fn configure(body: RecvStream, mut respond: SendResponse<Bytes>, accept: Features, context: &LinkContext) {
    let mut source = H2Source::new(body, BodyLength::Unknown);
    let mut document = BytesMut::new();
    while let Some(Ok(frame)) = poll_fn(|cx| source.poll_frame(cx)).await {
        if let Frame::Data(data) = frame {
            document.extend_from_slice(&data);
        }
        if document.len() > MAX_CONFIGURATION + 1024 {
            break;
        }
    }
    let applied = match configuration::decode_push(&document) {
        Ok((version, json)) if source.is_end() => rpc::ask(&context.pushes, version, json).await,
        _ => {
            context.reject("a malformed configuration update");
            None
        }
    };
    let Some(applied) = applied else {
        let _ = respond.send_response(http2_head::encode_failure(None, None), true);
        return;
    };
    let reason = accept.has(Features::REASON);
    let answer = configuration::encode_answer(applied.version, applied.error.as_deref(), reason);
    let head = Response::builder().header(http::header::CONTENT_LENGTH, answer.len()).body(());
    let Ok(Ok(stream)) = head.map(|head| respond.send_response(head, false)) else { return };
    let mut sink = H2Sink::new(stream, Reason::CANCEL);
    if poll_fn(|cx| sink.poll_ready(cx)).await.is_ok() {
        sink.send(answer);
        let _ = poll_fn(|cx| sink.poll_finish(cx, &mut None)).await;
    }
}
