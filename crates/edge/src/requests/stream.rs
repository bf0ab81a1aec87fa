//! One request's way through the tunnel and back: open a stream, relay both directions in the request's own task, retry what
//! provably wasn't seen, and tell everybody who must know how it ended.

use crate::cause::{Cause, origin_cause};
use crate::client::Client;
use crate::events::{Event, RequestFailed, now};
use crate::management::Asked;
use crate::public_side::PublicSide;
use crate::requests::answer::{AnswerBody, clean, length_for_client};
use crate::requests::grpc::{Messages, Watched};
use crate::requests::head::{self, Admitted};
use crate::requests::linger::Linger;
use crate::requests::pace::Pace;
use crate::requests::page;
use crate::requests::upload::UploadWatch;
use crate::settings::HttpMode;
use crate::tunnels::connection::Connection;
use crate::tunnels::tunnel::{Entered, Picked};
use bytes::Bytes;
use qanat_http::h1::ParsedRequest;
use qanat_http::{
    BodyLength, Headers, Owner, Relay, RelayError, RequestHead, ResponseHead, Sink, Source, Stalled, Standing,
    StreamError, Version,
};
use qanat_transport::{
    OpenError, OpenStream, RequestKind, ResponseError, ResponseEvent, TunnelRequest, TunnelResponse,
};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;
use uuid::Uuid;

/// Most streams tried for one request that never reached a connector.
const MOST_OPENS: usize = 4;
/// How long a request waits for a connection that has registered but not taken its configuration yet.
const CONFIGURATION_WAIT: Duration = Duration::from_secs(3);
/// Before 100 Continue is sent, the origin may answer without the body for so long.
const CONTINUE_PAUSE: Duration = Duration::from_millis(100);
/// A refusal in the middle of a request body waits for its own body for so long, towards a client of HTTP/2.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);

/// The client's sending side.
pub(crate) trait Upload: Source {
    /// Ready once the client is known to be gone. Polled when nobody reads the body.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Whether the client is known to be gone though its bytes lie unread. Asked now and then while they can't be taken.
    fn has_left(&self) -> bool;
    /// Reads on and drops what comes, also after `stop`: how many bytes, or `None` once nothing more comes.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>>;
}

/// The client's receiving side.
pub(crate) trait Download: Send {
    /// Where the answer's body goes.
    type Sink: Sink;
    /// How long the client may take nothing.
    const MOST_STALLED: Duration;
    /// Sends a 1xx, where the client's version has it.
    fn informational(&mut self, head: &ResponseHead);
    /// Sends on what `informational` left in a buffer.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;
    /// Begins the answer; `Absent`: it has no body. 101 only for a WebSocket.
    fn respond(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), StreamError>;
    /// The answer's body; only after `respond`.
    fn sink(&mut self) -> &mut Self::Sink;
    /// Ready once the client is known to be gone. Only before `respond`.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Trailers reach the client.
    fn carries_trailers(&self) -> bool;
    /// The request broke its framing: nothing may follow on the connection. Before `respond`.
    fn end_connection(&mut self) {}
}

/// How far a request got on a connection that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The connector provably never saw it, or told that no origin did.
    No,
    /// Its head.
    Head,
    /// Bytes of its body.
    Body,
}

/// Whether another connection may be tried: the only place that decides it (semantics.md).
pub(crate) fn may_retry(sent: Sent, method: &[u8], has_body: bool, retried: bool) -> bool {
    match sent {
        Sent::No => true,
        Sent::Head => !retried && !has_body && is_idempotent(method),
        Sent::Body => false,
    }
}

/// RFC 9110 9.2.2.
fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// Why a request has no whole answer from its origin.
struct Failed {
    cause: Cause,
    detail: String,
    /// The answer had begun: it can only be cut.
    answering: bool,
    connection: Option<Uuid>,
}

impl Failed {
    fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into(), answering: false, connection: None }
    }
}

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

/// One request and what is known of it.
pub(crate) struct Request<'a> {
    pub(crate) side: &'a Arc<PublicSide>,
    pub(crate) client: &'a Client,
    ray: Bytes,
    started: std::time::Instant,
}

impl<'a> Request<'a> {
    pub(crate) fn new(side: &'a Arc<PublicSide>, client: &'a Client) -> Self {
        Self { side, client, ray: side.ray(), started: std::time::Instant::now() }
    }

    /// Serves it, from the parsed head to the end of its answer.
    pub(crate) async fn serve<U: Upload, D: Download>(
        self,
        parsed: ParsedRequest,
        upload: &mut U,
        download: &mut D,
        sleep: Pin<&mut Sleep>,
    ) -> Outcome {
        let counters = &self.side.counters;
        counters.requests.add(1);
        let _open = counters.requests_open.hold();
        // Dropped first: at no time are fewer open that came early than there are.
        let _late = self.side.drain.late();
        let ParsedRequest { mut head, length, expect_continue, host_differs, .. } = parsed;
        let admitted = match head::admit(self.side, self.client, &head, host_differs) {
            Ok(admitted) => admitted,
            Err((cause, why)) => return self.fail(Failed::new(cause, why), &head, None, download).await,
        };
        if !self.client.is_tls() && self.side.settings.http_mode == HttpMode::Redirect {
            let answer = self.side.redirect(&admitted.hostname, &head.target);
            return send_whole(download, &answer, BodyLength::Exact(0), Bytes::new()).await;
        }
        head::prepare(self.side, self.client, &mut head, &self.ray);
        if let Some(asked) = &admitted.management {
            asked.rewrite(&mut head);
        }
        let kind = if head.websocket { RequestKind::WebSocket } else { RequestKind::Http };
        let is_grpc = page::is_grpc(&head.headers);
        let visitor = self.visitor(&head);
        let mut exchange = Exchange {
            side: self.side,
            request: TunnelRequest { kind, head, length },
            upload,
            download,
            pace: Pace::new(
                sleep,
                self.side.settings.response_timeout,
                Standing::new(&self.side.backlog, Owner { tunnel: admitted.tunnel_id.as_u128(), visitor }),
                D::MOST_STALLED,
            ),
            grpc: is_grpc.then(|| Messages::new(self.side.settings.grpc_idle_timeout)),
            expects: expect_continue,
            up: Relay::new(),
            watch: UploadWatch::new(self.side.settings.response_timeout),
            visitor,
        };
        match exchange.run(&admitted).await {
            Ok(outcome) => outcome,
            Err(failed) => {
                let Exchange { request, download, .. } = exchange;
                self.fail(failed, &request.head, Some(&admitted), download).await
            }
        }
    }

    /// A number for who asks: behind a listed proxy not the proxy's.
    fn visitor(&self, prepared: &RequestHead) -> u128 {
        let told = || std::str::from_utf8(prepared.headers.get("cf-connecting-ip")?).ok()?.parse().ok();
        let address = if self.client.trusted { told() } else { None };
        crate::limits::number(address.unwrap_or(self.client.address))
    }

    /// Tells of the failure, and answers with its page while that can still be done.
    async fn fail<D: Download>(
        self,
        failed: Failed,
        head: &RequestHead,
        admitted: Option<&Admitted>,
        download: &mut D,
    ) -> Outcome {
        let cause = failed.cause;
        if cause == Cause::ClientClosed {
            self.side.counters.client_closed.add(1);
            tracing::debug!(ray = ?self.ray, "the client went away");
            if failed.answering {
                download.sink().reset();
            }
            return Outcome::Cut;
        }
        self.report(&failed, cause.status(), head, admitted);
        if failed.answering {
            download.sink().reset();
            return Outcome::Cut;
        }
        if matches!(cause, Cause::BadRequest | Cause::HeadTooLarge | Cause::BodyTooSlow) {
            download.end_connection();
        }
        let failure = page::Failure {
            cause,
            status: cause.status(),
            ray: &self.ray,
            detail: &failed.detail,
            location: &self.side.settings.location,
        };
        let is_management =
            cause == Cause::ManagementDenied || admitted.is_some_and(|admitted| admitted.management.is_some());
        let form = if is_management { page::Form::Management } else { page::form_of(&head.headers) };
        answer_page(download, form, &head.method, &failure).await
    }

    /// Answers a head that could not be parsed. `head` holds what is known of it: as a rule nothing.
    pub(crate) async fn refuse<D: Download>(
        self,
        cause: Cause,
        status: u16,
        detail: &str,
        download: &mut D,
    ) -> Outcome {
        self.side.counters.requests.add(1);
        let head = RequestHead {
            method: Bytes::new(),
            target: Bytes::new(),
            authority: Bytes::new(),
            version: qanat_http::Version::Http11,
            headers: Headers::new(),
            websocket: false,
        };
        self.report(&Failed::new(cause, detail), status, &head, None);
        let failure = page::Failure { cause, status, ray: &self.ray, detail, location: &self.side.settings.location };
        answer_page(download, page::Form::Html, b"GET", &failure).await
    }

    fn report(&self, failed: &Failed, status: u16, head: &RequestHead, admitted: Option<&Admitted>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.side.counters.requests_failed.add(1);
        self.side.events.push(Event::RequestFailed(RequestFailed {
            request_id: text(&self.ray),
            hostname: text(admitted.map_or(&head.authority, |a| &a.hostname)),
            method: text(&head.method),
            path: text(head.target.split(|b| *b == b'?').next().unwrap_or_default()),
            tunnel_id: admitted.map(|a| a.tunnel_id),
            connection_id: failed.connection,
            status,
            cause: failed.cause.code(),
            fault: failed.cause.fault().name(),
            detail: failed.detail.clone(),
            started_at: now() - self.started.elapsed().as_secs_f64(),
            duration: self.started.elapsed(),
            client_ip: self.client.address,
        }));
    }
}

async fn answer_page<D: Download>(
    download: &mut D,
    form: page::Form,
    method: &[u8],
    failure: &page::Failure<'_>,
) -> Outcome {
    let (head, body) = page::render(form, failure);
    let length = match body.len() {
        _ if method == b"HEAD" || form == page::Form::Grpc => BodyLength::Absent,
        n => BodyLength::Exact(n as u64),
    };
    let body = if length == BodyLength::Absent { Bytes::new() } else { body };
    send_whole(download, &head, length, body).await
}

/// Sends an answer whose body is at hand.
pub(crate) async fn send_whole<D: Download>(
    download: &mut D,
    head: &ResponseHead,
    length: BodyLength,
    body: Bytes,
) -> Outcome {
    if download.respond(head, length).is_err() {
        return Outcome::Cut;
    }
    let mut body = qanat_http::Whole::new(body);
    let sent = qanat_http::relay(&mut body, download.sink());
    match tokio::time::timeout(D::MOST_STALLED, sent).await {
        Ok(Ok(_)) => Outcome::Answered,
        _ => {
            download.sink().reset();
            Outcome::Cut
        }
    }
}

/// A request under way.
struct Exchange<'a, U, D> {
    side: &'a Arc<PublicSide>,
    request: TunnelRequest,
    upload: &'a mut U,
    download: &'a mut D,
    pace: Pace<'a>,
    /// Of a gRPC request: where its body stands.
    grpc: Option<Messages>,
    /// 100 Continue is owed before the body is read.
    expects: bool,
    /// The request body's way.
    up: Relay,
    watch: UploadWatch,
    /// Who asks, for what is shared out.
    visitor: u128,
}

/// The connections that have failed this request.
#[derive(Default)]
struct Tried {
    links: Vec<u64>,
    /// A connector whose origin refused: its other connections lead to the same one.
    connectors: Vec<Uuid>,
    retried: bool,
}

impl<U: Upload, D: Download> Exchange<'_, U, D> {
    async fn run(&mut self, admitted: &Admitted) -> Result<Outcome, Failed> {
        if self.side.tables.tunnel(&admitted.tunnel_id).is_some_and(|entry| entry.deleted) {
            return Err(Failed::new(Cause::TunnelDeleted, format!("tunnel {} was deleted", admitted.tunnel_id)));
        }
        let registry = &self.side.registry;
        let known = registry.tunnel(&admitted.tunnel_id).or_else(|| registry.expected(&admitted.tunnel_id));
        let Some(tunnel) = known else {
            return Err(Failed::new(Cause::NoConnection, "the tunnel never had a connection"));
        };
        let Some(entered) = tunnel.enter(self.side.settings.max_streams_per_tunnel, self.visitor) else {
            return Err(Failed::new(Cause::Overloaded, "the tunnel has too many open requests"));
        };
        let mut tried = Tried::default();
        let asked = admitted.management.as_ref();
        let mut last: Option<Failed> = None;
        loop {
            let connection = match self.connection(&entered, &tried, asked).await {
                Ok(connection) => connection,
                Err(none) => return Err(last.unwrap_or(none)),
            };
            let (sent, mut failed) = match self.open(&connection).await {
                Ok(mut open) => match self.answer(&connection, &mut open).await {
                    Ok(response) => {
                        let finished = self.finish(&connection, open, response).await;
                        return finished.map_err(|failed| Failed { connection: Some(connection.id), ..failed });
                    }
                    Err((sent, failed)) => {
                        self.count_dropped_trailers(&open.sink);
                        (sent, failed)
                    }
                },
                Err(refused) => refused,
            };
            failed.connection = Some(connection.id);
            let has_body =
                !matches!(self.request.length, BodyLength::Absent | BodyLength::Exact(0) | BodyLength::Opaque);
            let again = matches!(failed.cause, Cause::ConnectionLost | Cause::OriginRefused | Cause::Overloaded)
                && tried.links.len() + 1 < MOST_OPENS
                && may_retry(sent, &self.request.head.method, has_body, tried.retried);
            if !again {
                return Err(failed);
            }
            tried.links.push(connection.link.serial());
            tried.retried |= sent != Sent::No;
            if failed.cause == Cause::OriginRefused {
                tried.connectors.push(connection.connector_id);
            }
            self.side.counters.retries.add(1);
            last = Some(failed);
        }
    }

    /// A connection that wasn't tried yet; for the management of a connector one that leads to it.
    async fn connection(&mut self, tunnel: &Entered, tried: &Tried, asked: Option<&Asked>) -> Result<Picked, Failed> {
        let is_grpc = self.grpc.is_some();
        let untried = |c: &Connection| {
            !tried.links.contains(&c.link.serial())
                && !tried.connectors.contains(&c.connector_id)
                && asked.is_none_or(|asked| asked.allows(c))
        };
        let find = |tunnel: &Entered| tunnel.pick(|c| untried(c) && (!is_grpc || c.carries_trailers));
        if let Some(found) = find(tunnel) {
            return Ok(found);
        }
        if is_grpc && tunnel.pick(untried).is_some() {
            return Err(Failed::new(Cause::GrpcNeedsHttp2, "no connection of the tunnel carries trailers"));
        }
        let waited = {
            let expected = self.side.registry.expected_for();
            let mut wait = pin!(tokio::time::timeout(CONFIGURATION_WAIT, tunnel.wait(expected)));
            let (upload, download) = (&mut *self.upload, &mut *self.download);
            poll_fn(|cx| match wait.as_mut().poll(cx) {
                Poll::Ready(waited) => Poll::Ready(Ok(waited.unwrap_or(false))),
                Poll::Pending if is_gone(upload, download, cx) => Poll::Ready(Err(gone())),
                Poll::Pending => Poll::Pending,
            })
            .await?
        };
        let none = || Failed::new(Cause::NoConnection, "the tunnel has no live connection");
        if waited { find(tunnel).ok_or_else(none) } else { Err(none()) }
    }

    async fn open(&mut self, connection: &Connection) -> Result<OpenStream, (Sent, Failed)> {
        let opened = {
            let mut opening = pin!(connection.link.open(&self.request));
            let (upload, download, pace) = (&mut *self.upload, &mut *self.download, &mut self.pace);
            let watch = &mut self.watch;
            poll_fn(|cx| match opening.as_mut().poll(cx) {
                Poll::Ready(opened) => Poll::Ready(Ok(opened)),
                Poll::Pending if is_gone(upload, download, cx) => Poll::Ready(Err(gone())),
                Poll::Pending => {
                    let stalled = watch.poll(cx, None, &connection.choke, || upload.has_left());
                    let waited = if stalled.is_ready() { stalled } else { pace.poll_waiting(cx, None) };
                    waited.map(|cause| Err(Failed::new(cause, "while opening a stream")))
                }
            })
            .await
        };
        match opened {
            Err(failed) => Err((Sent::No, failed)),
            Ok(Ok(open)) => Ok(open),
            Ok(Err(error @ OpenError::Closed(_))) => {
                Err((Sent::No, Failed::new(Cause::ConnectionLost, error.to_string())))
            }
            Ok(Err(error @ OpenError::Exhausted)) => Err((Sent::No, Failed::new(Cause::Overloaded, error.to_string()))),
            Ok(Err(OpenError::Invalid(what))) => Err((Sent::No, Failed::new(Cause::BadRequest, what))),
        }
    }

    /// Waits for the answer's head; meanwhile the request body moves.
    async fn answer(
        &mut self,
        connection: &Connection,
        open: &mut OpenStream,
    ) -> Result<TunnelResponse, (Sent, Failed)> {
        // A WebSocket's bytes count only after 101 (S11).
        let is_websocket = self.request.head.websocket;
        let mut uploading = !is_websocket && self.has_body();
        let mut hold =
            if self.expects && uploading { Some(Box::pin(tokio::time::sleep(CONTINUE_PAUSE))) } else { None };
        let mut early = false;
        loop {
            let OpenStream { sink, response } = &mut *open;
            let (upload, download, pace, up) = (&mut *self.upload, &mut *self.download, &mut self.pace, &mut self.up);
            let (expects, grpc, watch) = (&mut self.expects, &mut self.grpc, &mut self.watch);
            let event = {
                let mut next = pin!(response.next());
                let mut unflushed = early;
                poll_fn(|cx| {
                    if let Poll::Ready(event) = next.as_mut().poll(cx) {
                        return Poll::Ready(Ok(event));
                    }
                    if hold.as_mut().is_some_and(|h| h.as_mut().poll(cx).is_ready()) {
                        hold = None;
                        *expects = false;
                        download.informational(&ResponseHead { status: 100, headers: Headers::new() });
                        unflushed = true;
                    }
                    if unflushed {
                        match download.poll_flush(cx) {
                            Poll::Ready(Ok(())) => unflushed = false,
                            Poll::Ready(Err(_)) => return Poll::Ready(Err(gone())),
                            Poll::Pending => {}
                        }
                    }
                    if uploading && hold.is_none() {
                        let mut watched = Watched { inner: &mut *upload, messages: grpc.as_mut() };
                        match up.poll(cx, &mut watched, sink) {
                            Poll::Pending => {
                                let left = watch.poll(cx, Some(up), &connection.choke, || upload.has_left());
                                if let Poll::Ready(cause) = left {
                                    return Poll::Ready(Err(Failed::new(cause, "")));
                                }
                            }
                            Poll::Ready(Ok(_)) => {
                                uploading = false;
                                pace.touch();
                            }
                            // Whoever reads the answer learns why: an early one, or the stream's end.
                            Poll::Ready(Err(RelayError::Sink(_))) => {
                                uploading = false;
                                pace.touch();
                            }
                            Poll::Ready(Err(RelayError::Source(error))) => {
                                return Poll::Ready(Err(upload_failed(error)));
                            }
                        }
                    }
                    if !uploading && upload.poll_gone(cx).is_ready() || download.poll_gone(cx).is_ready() {
                        return Poll::Ready(Err(gone()));
                    }
                    if uploading && let Some(messages) = grpc {
                        return match pace.poll_tick(cx) {
                            Poll::Ready(()) => match messages.check(tokio::time::Instant::now(), up.is_blocked()) {
                                Some(cause) => Poll::Ready(Err(Failed::new(cause, "a gRPC message came too slowly"))),
                                None => Poll::Pending,
                            },
                            Poll::Pending => Poll::Pending,
                        };
                    }
                    pace.poll_waiting(cx, (uploading && hold.is_none()).then_some(&*up))
                        .map(|cause| Err(Failed::new(cause, "")))
                })
                .await
            };
            match event {
                Ok(Ok(ResponseEvent::Final(response))) => return Ok(response),
                // Whoever holds the body back answers 100: that is us. A 101 is no interim head (RFC 9110 15.2.2).
                Ok(Ok(ResponseEvent::Informational(head))) if matches!(head.status, 100 | 101) => {}
                Ok(Ok(ResponseEvent::Informational(mut head))) => {
                    if !is_websocket {
                        early = true;
                        clean(&mut head);
                        self.side.counters.informational.add(1);
                        self.download.informational(&head);
                    }
                }
                Ok(Err(error)) => {
                    let failed = response_failed(error);
                    let sent = match self.up.bytes() {
                        0 if failed.cause == Cause::OriginRefused => Sent::No,
                        0 => Sent::Head,
                        _ => Sent::Body,
                    };
                    // A relay that has begun can't begin again on another stream.
                    let begun = self.up.is_done() && self.has_body();
                    return Err((if begun { Sent::Body } else { sent }, failed));
                }
                Err(failed) => {
                    open.sink.reset();
                    open.response.cancel();
                    return Err((Sent::Body, failed));
                }
            }
        }
    }

    /// Trailers of the request that the tunnel's form can't carry.
    fn count_dropped_trailers(&self, sink: &impl Sink) {
        if sink.has_dropped_trailers() {
            self.side.counters.trailers_dropped.add(1);
        }
    }

    fn has_body(&self) -> bool {
        !matches!(self.request.length, BodyLength::Absent | BodyLength::Exact(0))
    }

    /// Sends the answer on; the request body goes on as long as somebody reads it.
    async fn finish(
        &mut self,
        connection: &Connection,
        open: OpenStream,
        response: TunnelResponse,
    ) -> Result<Outcome, Failed> {
        let OpenStream { mut sink, response: mut stream } = open;
        let TunnelResponse { mut head, length, body, .. } = response;
        let switching = head.status == 101;
        if switching && !self.request.head.websocket {
            sink.reset();
            return Err(Failed::new(Cause::OriginBadResponse, "101 to a request without Upgrade"));
        }
        let looks_switched = self.request.head.version == Version::Http2 && (200..300).contains(&head.status);
        if self.request.head.websocket && !switching && looks_switched {
            // RFC 8441 5: any 2xx tells a client of HTTP/2 that it has its WebSocket.
            sink.reset();
            stream.cancel();
            return Err(Failed::new(Cause::OriginBadResponse, format!("{} in place of a WebSocket", head.status)));
        }
        clean(&mut head);
        let length = length_for_client(&self.request.head.method, head.status, length);
        let mut body = AnswerBody::new(body, length, self.download.carries_trailers() && !switching);
        if self.request.head.version == Version::Http2 && head.status >= 300 && self.has_body() && !self.upload.is_end()
        {
            // Told so, some clients end their body at once and short of its length, which resets the stream: what isn't out by
            // then is lost to them.
            let _ = tokio::time::timeout(REFUSAL_PAUSE, poll_fn(|cx| body.poll_ahead(cx))).await;
        }
        if let Err(error) = self.download.respond(&head, length) {
            stream.cancel();
            return Err(match error {
                StreamError::Malformed(what) => Failed::new(Cause::OriginBadResponse, what),
                _ => gone(),
            });
        }
        let _websocket = switching.then(|| self.side.counters.websockets_open.hold());
        // Still held back: the client has its answer without 100 and need not send the body.
        let mut uploading = if self.request.head.websocket {
            switching
        } else {
            self.has_body() && !self.up.is_done() && !self.expects
        };
        if self.request.head.websocket && !switching {
            // Refused: no request body was promised, so its end is a clean one.
            finish_quietly(&mut sink);
        }
        // Nobody wants the rest of the body: it is dropped as it comes, for a client that sends all of it before it reads.
        let mut dropping = !self.request.head.websocket && self.has_body() && !uploading;
        let mut unwanted = Linger::new();
        let mut down = Relay::new();
        let mut lingering = false;
        let (upload, download, pace, up) = (&mut *self.upload, &mut *self.download, &mut self.pace, &mut self.up);
        let watch = &mut self.watch;
        pace.start_answer();
        let mut bodiless = length == BodyLength::Absent;
        if bodiless {
            pace.start_linger(false);
        }
        let ended = poll_fn(|cx| {
            if !down.is_done() {
                match down.poll(cx, &mut body, download.sink()) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(_)) if !uploading => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(_)) => {
                        lingering = true;
                        pace.start_linger(switching);
                    }
                    Poll::Ready(Err(RelayError::Source(error))) => return Poll::Ready(Err(download_failed(error))),
                    Poll::Ready(Err(RelayError::Sink(error))) => return Poll::Ready(Err(unsent(error))),
                }
            }
            if uploading {
                match up.poll(cx, upload, &mut sink) {
                    Poll::Pending => match watch.poll(cx, Some(up), &connection.choke, || upload.has_left()) {
                        Poll::Pending => {}
                        // The answer is whole already; nobody waits for the rest of the body.
                        Poll::Ready(_) if lingering => return Poll::Ready(Ok(())),
                        Poll::Ready(cause) => {
                            return Poll::Ready(Err(Failed { answering: true, ..Failed::new(cause, "") }));
                        }
                    },
                    Poll::Ready(Ok(_) | Err(RelayError::Sink(_))) => {
                        uploading = false;
                        dropping = !switching;
                        if lingering {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    // The answer is whole already; the connection can't be used again, that is all.
                    Poll::Ready(Err(RelayError::Source(_))) if lingering => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(RelayError::Source(error))) => {
                        let failed = upload_failed(error);
                        return Poll::Ready(Err(Failed { answering: true, ..failed }));
                    }
                }
            }
            if dropping && unwanted.poll(cx, |cx| upload.poll_rest(cx)).is_ready() {
                dropping = false;
            }
            if !uploading && !dropping && !switching && upload.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Failed { answering: true, ..gone() }));
            }
            if bodiless && !lingering && pace.poll_linger(cx, up).is_ready() {
                // The end of a body that isn't there is not waited for long.
                bodiless = false;
                body.give_up();
                cx.waker().wake_by_ref();
            }
            if lingering {
                return pace.poll_linger(cx, up).map(Ok);
            }
            if bodiless {
                return Poll::Pending;
            }
            pace.poll_answering(cx, &down, &mut body).map(|stalled| match stalled {
                Stalled::Sink => Err(Failed { answering: true, ..Failed::new(Cause::ClientTooSlow, "") }),
                Stalled::Source(error) => Err(download_failed(error)),
            })
        })
        .await;
        let counters = &self.side.counters;
        counters.bytes_in.add(up.bytes());
        counters.bytes_out.add(down.bytes());
        if body.trailers_dropped {
            counters.trailers_dropped.add(1);
        }
        self.count_dropped_trailers(&sink);
        match ended {
            Ok(()) => {
                if uploading {
                    sink.reset();
                }
                Ok(if switching { Outcome::Switched } else { Outcome::Answered })
            }
            Err(failed) => {
                tracing::debug!(connection = %connection.id, cause = failed.cause.code(), "answer cut");
                sink.reset();
                body.stop();
                stream.cancel();
                Err(failed)
            }
        }
    }
}

/// Ends a sink without data; what doesn't go out at once is left to the transport.
fn finish_quietly(sink: &mut impl Sink) {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    if !matches!(sink.poll_finish(&mut cx, &mut None), Poll::Ready(Ok(()))) {
        sink.reset();
    }
}

fn is_gone<U: Upload, D: Download>(upload: &mut U, download: &mut D, cx: &mut Context<'_>) -> bool {
    upload.poll_gone(cx).is_ready() || download.poll_gone(cx).is_ready()
}

fn gone() -> Failed {
    Failed::new(Cause::ClientClosed, "")
}

/// The request body broke.
fn upload_failed(error: StreamError) -> Failed {
    let cause = match error {
        StreamError::Malformed(_) => Cause::BadRequest,
        StreamError::TooLarge(_) => Cause::HeadTooLarge,
        StreamError::TimedOut => Cause::BodyTooSlow,
        StreamError::Reset | StreamError::ConnectionLost(_) | StreamError::Truncated => Cause::ClientClosed,
    };
    Failed::new(cause, error.to_string())
}

/// The answer's body broke on its way from the origin.
fn download_failed(error: StreamError) -> Failed {
    let cause = match error {
        StreamError::ConnectionLost(_) => Cause::ConnectionLost,
        StreamError::Malformed(_) | StreamError::TooLarge(_) => Cause::TunnelProtocolError,
        StreamError::Reset | StreamError::Truncated | StreamError::TimedOut => Cause::OriginResetMidBody,
    };
    Failed { answering: true, ..Failed::new(cause, error.to_string()) }
}

/// The client took no more of the answer.
fn unsent(error: StreamError) -> Failed {
    // The sink refuses a body that isn't as long as announced; all else is the client's doing.
    let cause = match error {
        StreamError::Truncated | StreamError::Malformed(_) => Cause::OriginResetMidBody,
        _ => Cause::ClientClosed,
    };
    Failed { answering: true, ..Failed::new(cause, error.to_string()) }
}

/// No answer came.
fn response_failed(error: ResponseError) -> Failed {
    let cause = match &error {
        ResponseError::Origin(text) => origin_cause(text),
        // Its connector gave up on this request; the connection lives, so another one would fare no better.
        ResponseError::Reset => Cause::OriginError,
        ResponseError::ConnectionLost(_) => Cause::ConnectionLost,
        ResponseError::Malformed(_) => Cause::TunnelProtocolError,
        ResponseError::BadAnswer(_) => Cause::OriginBadResponse,
        ResponseError::TooLarge(_) | ResponseError::TooManyFields(_) => Cause::ResponseHeadTooLarge,
    };
    Failed::new(cause, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_never_seen_is_tried_again_and_what_may_have_been_only_when_harmless() {
        assert!(may_retry(Sent::No, b"POST", true, true));
        assert!(may_retry(Sent::Head, b"GET", false, false));
        assert!(may_retry(Sent::Head, b"DELETE", false, false));
        assert!(!may_retry(Sent::Head, b"GET", false, true), "once");
        assert!(!may_retry(Sent::Head, b"POST", false, false), "not idempotent");
        assert!(!may_retry(Sent::Head, b"PUT", true, false), "a body that may be under way");
    }

    proptest! {
        #[test]
        fn nothing_is_repeated_of_which_a_body_byte_was_sent(method in "[A-Z]{3,7}", has_body: bool, retried: bool) {
            prop_assert!(!may_retry(Sent::Body, method.as_bytes(), has_body, retried));
            if may_retry(Sent::Head, method.as_bytes(), has_body, retried) {
                prop_assert!(is_idempotent(method.as_bytes()) && !has_body && !retried);
            }
        }
    }
}
