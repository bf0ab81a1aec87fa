//! One request on one HTTP/1.1 connection to an origin, both directions in the caller's task.

use super::attempt::{Attempt, MAX_LINGER, MAX_STALLED, TOO_MUCH_INTERIM, clean_answer};
use super::call::{Asked, Call, End, Responder};
use crate::OriginError;
use crate::origin::{H1Connection, Half, Origin};
use bytes::Bytes;
use qanat_http::h1::{Body, HeadError, ParsedResponse, Writer, parse_response};
use qanat_http::{
    BodyLength, Headers, Interim, Limits, Relay, RelayError, RequestHead, ResponseHead, Sent, Sink, Source, Stalled,
    StreamError, Watch, Whole, check_websocket_answer,
};
use qanat_transport::AnsweredBy;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// How long a body is held back for the origin's 100 (as the stock connector does).
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// Serves one call. Also says whether the connection may be kept, and the origin's `Keep-Alive: timeout` then.
pub(super) async fn exchange<B: Source + Unpin, R: Responder>(
    origin: &Origin,
    connection: &mut H1Connection,
    whole: Option<Bytes>,
    call: &mut Call<B, R>,
) -> (Attempt, Option<Option<Duration>>) {
    let (body, mut asked) = call.split();
    match whole {
        Some(bytes) => with_body(origin, connection, &mut Whole::new(bytes), &mut asked).await,
        None => with_body(origin, connection, body, &mut asked).await,
    }
}

async fn with_body<S: Source + ?Sized, R: Responder>(
    origin: &Origin,
    connection: &mut H1Connection,
    body: &mut S,
    call: &mut Asked<'_, R>,
) -> (Attempt, Option<Option<Duration>>) {
    let written_before = connection.reader.get_ref().written();
    connection.writer.start_request(call.head, call.length, &Headers::new());
    let mut upload = Upload::new(call);
    let mut interim = Interim::of_origin();
    let mut heard = false;
    let (parsed, early) = loop {
        let step = poll_fn(|cx| poll_head(cx, connection, body, &mut upload, call)).await;
        let parsed = match step {
            Step::Head(parsed) => parsed,
            Step::Canceled => {
                body.stop();
                return (Attempt::End(End::Canceled), None);
            }
            Step::BadHead(error) => return (Attempt::End(End::Failed(bad_head(origin, error))), None),
            Step::Stalled => {
                let address = origin.address();
                return (Attempt::End(End::Failed(OriginError::UploadStalled { address })), None);
            }
            Step::BadBody(error) => return (Attempt::End(End::Failed(OriginError::Client(error))), None),
            Step::Lost { reason, partial } => {
                let address = origin.address();
                if partial {
                    let reason = format!("it ended within the head: {reason}");
                    return (Attempt::End(End::Failed(OriginError::BadResponse { address, reason })), None);
                }
                let sent = if heard || upload.bytes() > 0 {
                    Sent::Body
                } else if connection.reader.get_ref().written() > written_before {
                    Sent::Head
                } else {
                    Sent::No
                };
                return (Attempt::Lost { sent, error: OriginError::Closed { address, reason } }, None);
            }
        };
        if !parsed.is_informational() {
            let early = !upload.is_complete(&mut connection.writer);
            break (parsed, early);
        }
        heard = true;
        if !interim.take(&parsed.head.headers) {
            let (address, reason) = (origin.address(), TOO_MUCH_INTERIM.to_owned());
            return (Attempt::End(End::Failed(OriginError::BadResponse { address, reason })), None);
        }
        upload.go_on();
        if parsed.head.status != 100
            && let Some(responder) = &mut call.responder
        {
            let mut head = parsed.head;
            clean_answer(&mut head);
            responder.informational(head);
        }
    };
    answer(origin, connection, body, upload, parsed, early, call).await
}

fn bad_head(origin: &Origin, error: HeadError) -> OriginError {
    let (address, reason) = (origin.address(), error.to_string());
    match error.response_code() {
        "response_head_too_large" => OriginError::HeadTooLarge { address, reason },
        _ => OriginError::BadResponse { address, reason },
    }
}

enum Step {
    Head(ParsedResponse),
    Canceled,
    BadHead(HeadError),
    /// The client's body broke.
    BadBody(StreamError),
    /// The origin takes none of it.
    Stalled,
    /// The origin closed; after some bytes of a head or before the first.
    Lost {
        reason: String,
        partial: bool,
    },
}

/// Sends the request and waits for the next head. An upload that the origin cuts off is no failure yet: it may have answered.
fn poll_head<S: Source + ?Sized, R: Responder>(
    cx: &mut Context<'_>,
    connection: &mut H1Connection,
    body: &mut S,
    upload: &mut Upload,
    call: &mut Asked<'_, R>,
) -> Poll<Step> {
    if call.poll_canceled(cx).is_ready() {
        return Poll::Ready(Step::Canceled);
    }
    if let Poll::Ready(Err(error)) = upload.poll(cx, body, &mut connection.writer, call.upload) {
        return Poll::Ready(Step::BadBody(error));
    }
    if upload.state == UploadState::Stalled {
        return Poll::Ready(Step::Stalled);
    }
    loop {
        if !connection.reader.buffer().is_empty() {
            match parse_response(connection.reader.buffer_mut(), &call.head.method, &Limits::ANSWERS) {
                Ok(Some(parsed)) => return Poll::Ready(Step::Head(parsed)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Step::BadHead(error)),
            }
        }
        let reason = match ready!(connection.reader.poll_fill(cx)) {
            Ok(0) => upload.cut.take().unwrap_or_else(|| "EOF".into()),
            Ok(_) => continue,
            Err(error) => error.to_string(),
        };
        return Poll::Ready(Step::Lost { reason, partial: !connection.reader.buffer().is_empty() });
    }
}

/// Case 70: a 101 only to who asked, for what was asked, with the accept of the key that was sent.
fn check_switch(asked: &RequestHead, answer: &ResponseHead) -> Result<(), &'static str> {
    if !asked.websocket {
        return Err("101 without an upgrade being asked for");
    }
    let key = asked.headers.get("sec-websocket-key").map(|key| &key[..]).unwrap_or_default();
    check_websocket_answer(&answer.headers, key)
}

/// Relays the answer whose head has come.
async fn answer<S: Source + ?Sized, R: Responder>(
    origin: &Origin,
    connection: &mut H1Connection,
    body: &mut S,
    mut upload: Upload,
    parsed: ParsedResponse,
    early: bool,
    call: &mut Asked<'_, R>,
) -> (Attempt, Option<Option<Duration>>) {
    let ParsedResponse { mut head, length, framing, reusable, keep_alive_timeout, .. } = parsed;
    let status = head.status;
    if status == 101
        && let Err(reason) = check_switch(call.head, &head)
    {
        let (address, reason) = (origin.address(), reason.to_owned());
        return (Attempt::End(End::Failed(OriginError::BadResponse { address, reason })), None);
    }
    clean_answer(&mut head);
    let Ok(mut sink) = call.respond(head, length, AnsweredBy::Origin) else {
        body.stop();
        return (Attempt::End(End::Canceled), None);
    };
    if status == 101 {
        upload = Upload::opaque();
    }
    upload.give_up_waiting(body);
    let H1Connection { reader, writer, .. } = connection;
    let mut answer_body = Body::of_answer(&mut *reader, framing, &Limits::ANSWERS);
    let mut download = Relay::new();
    let outcome = poll_fn(|cx| {
        if !upload.is_over()
            && let Poll::Ready(Err(_)) = upload.poll(cx, body, writer, call.upload)
        {
            // The client's body broke: nobody is left to read the answer.
            sink.reset();
            return Poll::Ready(Err(RelayError::Sink(StreamError::Reset)));
        }
        if length == BodyLength::Absent {
            return sink.poll_finish(cx, &mut None).map_ok(|()| 0).map_err(RelayError::Sink);
        }
        download.poll(cx, &mut answer_body, &mut sink)
    })
    .await;
    *call.trailers_dropped |= sink.has_dropped_trailers();
    let whole = answer_body.is_complete();
    drop(answer_body);
    let end = match outcome {
        Ok(_) => End::Answered(status),
        Err(RelayError::Sink(_)) => End::Canceled,
        Err(RelayError::Source(error)) => End::Broken { status, reason: error.to_string() },
    };
    if !matches!(end, End::Answered(_)) {
        body.stop();
        return (Attempt::End(end), None);
    }
    if !upload.is_over() {
        linger(&mut upload, body, writer, call.upload, status == 101).await;
    }
    let keep = reusable && whole && !early && upload.is_complete(writer);
    (Attempt::End(end), keep.then_some(keep_alive_timeout))
}

/// The answer is complete, the upload is not: it goes on as long as the origin takes it. A WebSocket's other direction has no
/// time limit: its end is its own.
async fn linger<S: Source + ?Sized>(
    upload: &mut Upload,
    body: &mut S,
    writer: &mut Writer<Half>,
    watch: &mut Watch,
    unlimited: bool,
) {
    let mut stalled = Box::pin(sleep(MAX_LINGER));
    let mut seen = upload.bytes();
    poll_fn(|cx| {
        if upload.poll(cx, body, writer, watch).is_ready() {
            return Poll::Ready(());
        }
        if upload.bytes() > seen {
            seen = upload.bytes();
            stalled.as_mut().reset(tokio::time::Instant::now() + MAX_LINGER);
        }
        if unlimited { Poll::Pending } else { stalled.as_mut().poll(cx) }
    })
    .await;
    if !upload.is_over() {
        body.stop();
        writer.reset();
    }
}

/// The request's way to the origin.
struct Upload {
    relay: Relay,
    state: UploadState,
    /// Announced length.
    exact: Option<u64>,
    /// Why the origin takes no more.
    cut: Option<String>,
    patience: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum UploadState {
    /// Only a head: it is to be flushed and finished.
    Head,
    /// A WebSocket's head: flushed, and left open for what follows a 101.
    Handshake,
    /// The body waits for a 100.
    HeldBack,
    /// The body moves.
    Body,
    /// All of it was written.
    Complete,
    /// The origin takes no more.
    Cut,
    /// It took none for too long.
    Stalled,
}

impl Upload {
    fn new<R>(call: &Asked<'_, R>) -> Self {
        let exact = if let BodyLength::Exact(n) = call.length { Some(n) } else { None };
        let state = match call.length {
            _ if call.head.websocket => UploadState::Handshake,
            BodyLength::Absent | BodyLength::Exact(0) => UploadState::Head,
            _ if call.head.headers.has_token("expect", "100-continue") => UploadState::HeldBack,
            _ => UploadState::Body,
        };
        let patience = (state == UploadState::HeldBack).then(|| Box::pin(sleep(CONTINUE_PATIENCE)));
        Self { relay: Relay::new(), state, exact, cut: None, patience }
    }

    /// After a 101.
    fn opaque() -> Self {
        Self { relay: Relay::new(), state: UploadState::Body, exact: None, cut: None, patience: None }
    }

    fn bytes(&self) -> u64 {
        self.relay.bytes()
    }

    fn is_over(&self) -> bool {
        matches!(self.state, UploadState::Complete | UploadState::Cut | UploadState::Stalled)
    }

    /// True when the whole request was written and its connection stands before the next one.
    fn is_complete(&mut self, writer: &mut Writer<Half>) -> bool {
        self.state == UploadState::Complete && writer.is_reusable()
    }

    /// The origin wants the body.
    fn go_on(&mut self) {
        if self.state == UploadState::HeldBack {
            self.state = UploadState::Body;
            self.patience = None;
        }
    }

    /// The answer came instead of a 100 or a 101: nothing more is sent.
    fn give_up_waiting<S: Source + ?Sized>(&mut self, body: &mut S) {
        if matches!(self.state, UploadState::HeldBack | UploadState::Handshake) {
            self.state = UploadState::Cut;
            body.stop();
        }
    }

    /// Moves on. Ready when it is over; an error is the client's: its body broke.
    fn poll<S: Source + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut S,
        writer: &mut Writer<Half>,
        watch: &mut Watch,
    ) -> Poll<Result<(), StreamError>> {
        loop {
            let written = match self.state {
                UploadState::Complete | UploadState::Cut | UploadState::Stalled => return Poll::Ready(Ok(())),
                UploadState::Head => ready!(writer.poll_finish(cx, &mut None)),
                UploadState::Handshake => {
                    // An upgrade has no body: what the client sends before the answer waits.
                    return match ready!(writer.poll_flush(cx)) {
                        Ok(()) => Poll::Pending,
                        Err(error) => self.cut_off(error, body),
                    };
                }
                UploadState::HeldBack => {
                    if let Poll::Ready(Err(error)) = writer.poll_flush(cx) {
                        return self.cut_off(error, body);
                    }
                    if let Some(patience) = &mut self.patience {
                        ready!(patience.as_mut().poll(cx));
                    }
                    self.go_on();
                    continue;
                }
                UploadState::Body => match self.relay.poll(cx, body, writer) {
                    Poll::Ready(Ok(_)) => Ok(()),
                    Poll::Ready(Err(RelayError::Source(error))) => return Poll::Ready(Err(error)),
                    // More or fewer bytes than announced: the edge's doing, not the origin's.
                    Poll::Ready(Err(RelayError::Sink(
                        error @ (StreamError::Truncated | StreamError::Malformed(_)),
                    ))) => {
                        return Poll::Ready(Err(error));
                    }
                    Poll::Ready(Err(RelayError::Sink(error))) => Err(error),
                    // The end needs no waiting for where the length says it.
                    Poll::Pending if self.exact == Some(self.relay.bytes()) => {
                        ready!(writer.poll_finish(cx, &mut None))
                    }
                    Poll::Pending => {
                        return match ready!(watch.poll(cx, &self.relay, body, MAX_STALLED)) {
                            Stalled::Source(error) => Poll::Ready(Err(error)),
                            Stalled::Sink => {
                                self.state = UploadState::Stalled;
                                body.stop();
                                Poll::Ready(Ok(()))
                            }
                        };
                    }
                },
            };
            return match written {
                Ok(()) => {
                    self.state = UploadState::Complete;
                    Poll::Ready(Ok(()))
                }
                Err(error) => self.cut_off(error, body),
            };
        }
    }

    fn cut_off<S: Source + ?Sized>(&mut self, error: StreamError, body: &mut S) -> Poll<Result<(), StreamError>> {
        self.cut = Some(error.to_string());
        self.state = UploadState::Cut;
        body.stop();
        Poll::Ready(Ok(()))
    }
}
