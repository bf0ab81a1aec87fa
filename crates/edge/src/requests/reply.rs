//! The answer on its way to the client, while the rest of the request body goes on as long as somebody wants it.

use crate::cause::Cause;
use crate::requests::answer::{AnswerBody, clean, length_for_client};
use crate::requests::body::RequestBody;
use crate::requests::ends::{Download, Upload};
use crate::requests::exchange::{Exchange, Outcome};
use crate::requests::failed::Failed;
use crate::requests::pace::Pace;
use crate::tunnels::tunnel::Picked;
use qanat_http::{BodyLength, Relay, RelayError, ResponseHead, Sent, Sink, Source, Stalled, StreamError, Version};
use qanat_transport::{OpenStream, TunnelRequest, TunnelResponse, TunnelSink};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A refusal in the middle of a request body waits for its own body for so long, towards a client of HTTP/2.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);

/// Sends the answer whose head has come on this stream.
pub(super) async fn send<U: Upload, D: Download>(
    exchange: &mut Exchange<'_, U, D>,
    connection: &Picked,
    open: OpenStream,
    response: TunnelResponse,
) -> Result<Outcome, Failed> {
    let OpenStream { mut sink, response: mut stream } = open;
    let TunnelResponse { mut head, length, body: source, .. } = response;
    let is_switch = head.status == 101;
    if let Err(failed) = check_switch(&exchange.request, &head) {
        sink.reset();
        stream.cancel();
        return Err(failed);
    }
    clean(&mut head);
    head.headers.set(&b"Cf-Ray"[..], exchange.ray.clone());
    if let Some(zone) = &exchange.zone {
        zone.secure(&mut head.headers, exchange.is_https);
    }
    if let Some(cookie) = exchange.cookie.take() {
        head.headers.push(&b"Set-Cookie"[..], cookie);
    }
    let Exchange { side, request, body, download, pace, account, .. } = exchange;
    let length = length_for_client(&request.head.method, head.status, length);
    let mut source = AnswerBody::new(source, length, download.carries_trailers() && !is_switch);
    let is_cut_short = request.head.version == Version::Http2 && request.length.has_body() && !body.is_end();
    if is_cut_short && head.status >= 300 {
        // Told so, some clients end their body at once and short of its length, which resets the stream: what isn't out by
        // then is lost to them.
        let _ = tokio::time::timeout(REFUSAL_PAUSE, poll_fn(|cx| source.poll_ahead(cx))).await;
    }
    if let Err(error) = download.respond(&head, length) {
        stream.cancel();
        let failed = match error {
            StreamError::Malformed(what) => Failed::new(Cause::OriginBadResponse, what),
            _ => Failed::gone(),
        };
        return Err(failed.after(Sent::Body));
    }
    let _websocket = is_switch.then(|| (side.counters.websockets_open.hold(), connection.hold_websocket()));
    if is_switch {
        body.switch();
    } else {
        body.answered();
        if request.head.websocket {
            // Refused: no request body was promised, so its end is a clean one.
            finish_quietly(&mut sink);
        }
    }
    pace.start_answer();
    let stand = if length == BodyLength::Absent { Stand::Due } else { Stand::Moving };
    if stand == Stand::Due {
        pace.start_linger(false);
    }
    let download = &mut **download;
    let mut reply = Reply { body, sink, source, download, relay: Relay::new(), stand, is_switch, pace, connection };
    let ended = poll_fn(|cx| reply.poll(cx)).await;
    let Reply { body, mut sink, mut source, relay, .. } = reply;
    side.counters.bytes_in.add(body.bytes());
    side.counters.bytes_out.add(relay.bytes());
    account.passed(body.bytes(), relay.bytes());
    if source.trailers_dropped {
        side.counters.trailers_dropped.add(1);
    }
    let is_cut = ended.is_err() || body.is_moving();
    exchange.count_dropped_trailers(&sink);
    if is_cut {
        sink.reset();
    }
    match ended {
        Ok(()) => Ok(if is_switch { Outcome::Switched } else { Outcome::Answered }),
        Err(failed) => {
            tracing::debug!(connection = %connection.id, cause = failed.cause.code(), "answer cut");
            source.stop();
            stream.cancel();
            Err(failed)
        }
    }
}

/// A 101 is for who asked for one, and for a WebSocket over HTTP/2 nothing else may look like it.
fn check_switch(request: &TunnelRequest, head: &ResponseHead) -> Result<(), Failed> {
    let bad = |why: String| Err(Failed::new(Cause::OriginBadResponse, why).after(Sent::Body));
    if head.status == 101 && !request.head.websocket {
        return bad("101 to a request without Upgrade".to_owned());
    }
    if request.head.websocket && request.head.version == Version::Http2 && (200..300).contains(&head.status) {
        // RFC 8441 5: any 2xx tells a client of HTTP/2 that it has its WebSocket.
        return bad(format!("{} in place of a WebSocket", head.status));
    }
    Ok(())
}

/// Where the answer's body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It has none, or all that was announced of it has come and the request body has not ended. The end is not waited for long.
    Due,
    /// It is relayed.
    Moving,
    /// The client has all of it; the request body goes on.
    Whole,
}

/// An answer that has begun, and its request's body.
struct Reply<'e, 'a, U, D> {
    body: &'e mut RequestBody<'a, U>,
    sink: TunnelSink,
    source: AnswerBody,
    download: &'e mut D,
    relay: Relay,
    stand: Stand,
    is_switch: bool,
    pace: &'e mut Pace<'a>,
    connection: &'e Picked,
}

impl<U: Upload, D: Download> Reply<'_, '_, U, D> {
    /// Ready at the end of both directions, or of what there is still to be waited for.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.connection.is_cut(self.is_switch) {
            return Poll::Ready(Err(Failed::new(Cause::RequestCut, "").while_answering()));
        }
        if let Poll::Ready(ended) = self.poll_down(cx) {
            return Poll::Ready(ended);
        }
        if let Poll::Ready(ended) = self.poll_up(cx) {
            return Poll::Ready(ended);
        }
        self.poll_limits(cx)
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.stand == Stand::Whole {
            return Poll::Pending;
        }
        match std::task::ready!(self.relay.poll(cx, &mut self.source, self.download.sink())) {
            Ok(_) if !self.body.is_moving() => Poll::Ready(Ok(())),
            Ok(_) => {
                self.stand = Stand::Whole;
                self.pace.start_linger(self.is_switch);
                Poll::Pending
            }
            Err(RelayError::Source(error)) => Poll::Ready(Err(Failed::download(&error))),
            Err(RelayError::Sink(error)) => Poll::Ready(Err(Failed::unsent(&error))),
        }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        match self.body.poll_send(cx, &mut self.sink, &self.connection.choke) {
            Poll::Pending => {}
            // Nobody waits for the rest of the body, whatever became of it.
            Poll::Ready(_) if self.stand == Stand::Whole => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) if self.is_switch => {}
            Poll::Ready(Ok(())) => self.body.answered(),
            Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed.while_answering())),
        }
        if !self.is_switch && self.body.poll_unwanted(cx).is_ready() {
            return Poll::Ready(Err(Failed::gone().while_answering()));
        }
        Poll::Pending
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.stand == Stand::Moving && !self.is_switch && self.source.is_due() && !self.body.is_sent() {
            // A stock connector's stream ends with the request body, which its origin may never read.
            self.stand = Stand::Due;
            self.pace.start_linger(false);
        }
        match self.stand {
            Stand::Due => {
                if self.pace.poll_linger(cx, self.body.relay()).is_ready() {
                    self.stand = Stand::Moving;
                    self.source.give_up();
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Stand::Moving => self.pace.poll_answering(cx, &self.relay, &mut self.source).map(|stalled| match stalled {
                Stalled::Sink => Err(Failed::new(Cause::ClientTooSlow, "").while_answering()),
                Stalled::Source(error) => Err(Failed::download(&error)),
            }),
            Stand::Whole => self.pace.poll_linger(cx, self.body.relay()).map(Ok),
        }
    }
}

/// Ends a sink without data; what doesn't go out at once is left to the transport.
fn finish_quietly(sink: &mut impl Sink) {
    let mut cx = Context::from_waker(Waker::noop());
    if !matches!(sink.poll_finish(&mut cx, &mut None), Poll::Ready(Ok(()))) {
        sink.reset();
    }
}
