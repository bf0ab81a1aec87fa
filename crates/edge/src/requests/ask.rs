//! A request for the control plane's hostname: handed to the control API as it comes, by a connection of its own, and the answer handed
//! back. No tunnel has a part in it, and nobody else's request.

use crate::cause::Cause;
use crate::control::{Control, may_redirect};
use crate::requests::answer::{AnswerBody, clean, length_for_client};
use crate::requests::body::RequestBody;
use crate::requests::ends::{Download, Upload};
use crate::requests::exchange::Outcome;
use crate::requests::failed::Failed;
use crate::requests::head;
use crate::requests::pace::Pace;
use crate::requests::page;
use crate::requests::request::{Ended, Request, send_whole};
use bytes::Bytes;
use qanat_http::h1::{Body, ParsedRequest, ParsedResponse, Reader, Writer, parse_response};
use qanat_http::{
    BodyLength, Choke, Headers, Limits, Owner, Relay, RelayError, RequestHead, ResponseHead, Sink, Stalled, Standing,
    StreamError, Version, check_websocket_answer,
};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Sleep, timeout};

/// The API's socket takes connections at once, unless its queue is full.
const CONNECT: Duration = Duration::from_secs(5);
/// What the API is told of a client, and nobody else can tell it: its address.
const CLIENT: &str = "Qanat-Client";
/// Browsers ask by https alone from the first answer on (RFC 6797), for a year.
const HSTS: (&[u8], &[u8]) = (b"Strict-Transport-Security", b"max-age=31536000");
/// Before the request has a tunnel, its bytes in memory are nobody's but the visitor's.
const NO_TUNNEL: u128 = 0;

impl Request<'_> {
    /// Has the API answer it.
    pub(super) async fn ask_control<U: Upload, D: Download>(
        self,
        control: &Control,
        parsed: ParsedRequest,
        upload: &mut U,
        download: &mut D,
        sleep: Pin<&mut Sleep>,
    ) -> Outcome {
        let ParsedRequest { mut head, length, expect_continue, .. } = parsed;
        let hostname = crate::router::hostname_of(&head.authority).unwrap_or_default();
        if !head::is_https(self.client, &head.headers) {
            if may_redirect(&head) {
                let mut answer = self.side.redirect(&hostname, &head.target);
                answer.headers.push(&b"Cf-Ray"[..], self.ray.clone());
                let outcome = send_whole(download, &answer, BodyLength::Exact(0), Bytes::new()).await;
                self.log(&head, Ended::made(&hostname, answer.status, 0, None));
                return outcome;
            }
            return self.fail_control(Failed::new(Cause::ControlNeedsTls, ""), &head, download).await;
        }
        if let Some(certificate) = &self.client.certificate
            && !std::str::from_utf8(&hostname).is_ok_and(|name| certificate.covers(name))
        {
            return self.fail_control(Failed::new(Cause::Misdirected, ""), &head, download).await;
        }
        let address = prepare(&self, &mut head);
        let place = match control.admit(address, length) {
            Ok(place) => place,
            Err(cause) => return self.fail_control(Failed::new(cause, ""), &head, download).await,
        };
        let owner = Owner { tunnel: NO_TUNNEL, visitor: crate::limits::number(address) };
        let patience = self.side.settings.response_timeout;
        let mut body = RequestBody::new(upload, length.has_body(), expect_continue, None, patience);
        let mut pace = Pace::new(sleep, patience, Standing::new(&self.side.backlog, owner), D::MAX_STALLED);
        let length = if head.websocket { BodyLength::Opaque } else { length };
        let mut told = Told::default();
        let ended = match Call::open(control, &head, length).await {
            Ok(call) => call.serve(&head, &mut body, &mut *download, &mut pace, &mut told).await,
            Err(failed) => Err(failed),
        };
        drop(place);
        self.side.counters.bytes_in.add(body.bytes());
        self.side.counters.bytes_out.add(told.bytes_out);
        match ended {
            Ok(outcome) => {
                let mut ended = Ended::made(&hostname, told.status, told.bytes_out, None);
                ended.bytes_in = body.bytes();
                self.log(&head, ended);
                outcome
            }
            Err(failed) => self.fail_control(failed, &head, download).await,
        }
    }

    /// As `fail`, in the form that the API's clients read.
    async fn fail_control<D: Download>(self, failed: Failed, head: &RequestHead, download: &mut D) -> Outcome {
        let cause = failed.cause;
        let hops = vec![("edge", 0.0, self.took(), failed.why())];
        if cause == Cause::ClientClosed || failed.answering {
            let (outcome, _) = self.fail(failed, head, None, hops, download).await;
            self.log(head, Ended::made(&head.authority, 0, 0, Some(cause)));
            return outcome;
        }
        if matches!(cause, Cause::BadRequest | Cause::HeadTooLarge | Cause::BodyTooSlow | Cause::BodyTooLarge) {
            download.end_connection();
        }
        self.report(&failed, cause.status(), head, None, hops);
        let failure = page::Failure {
            cause,
            status: cause.status(),
            ray: &self.ray,
            detail: &failed.detail,
            location: &self.side.settings.location,
            hostname: &[],
            client: &self.client.text,
            zone: None,
            is_https: self.client.is_tls(),
        };
        let (mut answer, _) = page::render(page::Form::Json, &failure);
        let body = envelope(cause, &failed.detail);
        answer.headers.set(&b"Content-Type"[..], &b"application/json"[..]);
        answer.headers.set(&b"Content-Length"[..], body.len().to_string());
        harden(&mut answer.headers);
        let (length, body) = match &head.method[..] {
            b"HEAD" => (BodyLength::Absent, Bytes::new()),
            _ => (BodyLength::Exact(body.len() as u64), body),
        };
        let bytes = body.len() as u64;
        let outcome = send_whole(download, &answer, length, body).await;
        self.log(head, Ended::made(&head.authority, answer.status, bytes, Some(cause)));
        outcome
    }
}

/// As the API's own failures look (api.md 0.2).
fn envelope(cause: Cause, detail: &str) -> Bytes {
    let is_own_doing = matches!(cause, Cause::BadRequest | Cause::HeadTooLarge);
    let more = if is_own_doing { detail } else { cause.advice() };
    let error = serde_json::json!({
        "code": 10_000 + u32::from(cause.status()),
        "message": format!("{}. {more}", cause.title()),
    });
    serde_json::json!({"success": false, "errors": [error], "messages": [], "result": null}).to_string().into()
}

/// Takes off what a client may not say, and says who it is: its address, which is that of who asked a listed proxy.
fn prepare(request: &Request<'_>, parsed: &mut RequestHead) -> IpAddr {
    head::prepare(request.side, request.client, parsed, &request.ray);
    let told = parsed.headers.get("cf-connecting-ip").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let address = told.unwrap_or(request.client.address);
    for name in ["x-forwarded-for", "x-forwarded-proto", "cf-visitor", "cdn-loop"] {
        parsed.headers.remove(name);
    }
    parsed.headers.set(CLIENT, address.to_string());
    address
}

/// What every answer under this hostname says to browsers.
fn harden(headers: &mut Headers) {
    headers.set(HSTS.0, HSTS.1);
    headers.set(&b"X-Content-Type-Options"[..], &b"nosniff"[..]);
}

/// What the log tells of an answer.
#[derive(Default)]
struct Told {
    status: u16,
    bytes_out: u64,
}

/// One connection to the API, for one request.
struct Call {
    reader: Reader<OwnedReadHalf>,
    way: Way,
}

/// Its sending half.
struct Way {
    writer: Writer<OwnedWriteHalf>,
    length: BodyLength,
    max_body: u64,
    /// The head, or all of a request without body, has left.
    is_sent: bool,
}

impl Way {
    /// Sends what there is to send, before the answer and beside it.
    fn poll<U: Upload>(&mut self, cx: &mut Context<'_>, body: &mut RequestBody<'_, U>) -> Poll<Result<(), Failed>> {
        if !self.is_sent {
            let sent = match self.length {
                BodyLength::Absent | BodyLength::Exact(0) => self.writer.poll_finish(cx, &mut None),
                _ => self.writer.poll_flush(cx),
            };
            // Whoever waits for the answer learns why nothing can be sent.
            self.is_sent = sent.is_ready();
        }
        let sent = body.poll_send(cx, &mut self.writer, &Choke::default());
        if body.bytes() > self.max_body && self.length != BodyLength::Opaque {
            return Poll::Ready(Err(Failed::new(Cause::BodyTooLarge, "")));
        }
        sent
    }
}

impl Call {
    async fn open(control: &Control, head: &RequestHead, length: BodyLength) -> Result<Self, Failed> {
        let failed = |reason: String| Failed::new(Cause::ControlUnavailable, reason);
        let socket = match timeout(CONNECT, UnixStream::connect(&control.socket)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("it takes no connection".to_owned())),
        };
        let (read, write) = socket.into_split();
        let mut writer = Writer::new(write);
        writer.start_request(head, length, &Headers::new());
        let way = Way { writer, length, max_body: control.max_body, is_sent: false };
        Ok(Self { reader: Reader::new(read), way })
    }

    async fn serve<U: Upload, D: Download>(
        mut self,
        head: &RequestHead,
        body: &mut RequestBody<'_, U>,
        download: &mut D,
        pace: &mut Pace<'_>,
        told: &mut Told,
    ) -> Result<Outcome, Failed> {
        let parsed = self.answer(head, body, download, pace).await?;
        self.reply(head, parsed, body, download, pace, told).await
    }

    /// Waits for the answer's head; meanwhile the request body moves.
    async fn answer<U: Upload, D: Download>(
        &mut self,
        head: &RequestHead,
        body: &mut RequestBody<'_, U>,
        download: &mut D,
        pace: &mut Pace<'_>,
    ) -> Result<ParsedResponse, Failed> {
        body.start();
        let mut is_unflushed = false;
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(parsed) = self.poll_head(cx, head) {
                    match parsed {
                        Ok(parsed) if parsed.is_informational() => continue,
                        parsed => return Poll::Ready(parsed),
                    }
                }
                break;
            }
            if body.poll_continue(cx).is_ready() {
                download.informational(&ResponseHead { status: 100, headers: Headers::new() });
                is_unflushed = true;
            }
            if is_unflushed && let Poll::Ready(flushed) = download.poll_flush(cx) {
                is_unflushed = false;
                if flushed.is_err() {
                    return Poll::Ready(Err(Failed::gone()));
                }
            }
            match self.way.poll(cx, body) {
                Poll::Ready(Ok(())) => pace.touch(),
                Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed)),
                Poll::Pending => {}
            }
            if !body.is_under_way() && body.poll_gone(cx).is_ready() || download.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Failed::gone()));
            }
            pace.poll_waiting(cx, body.is_moving().then(|| body.relay())).map(|cause| Err(Failed::new(cause, "")))
        })
        .await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, asked: &RequestHead) -> Poll<Result<ParsedResponse, Failed>> {
        let failed = |reason: String| Poll::Ready(Err(Failed::new(Cause::ControlUnavailable, reason)));
        loop {
            if !self.reader.buffer().is_empty() {
                match parse_response(self.reader.buffer_mut(), &asked.method, &Limits::ANSWERS) {
                    Ok(Some(parsed)) => return Poll::Ready(Ok(parsed)),
                    Ok(None) => {}
                    Err(error) => return failed(error.to_string()),
                }
            }
            match ready!(self.reader.poll_fill(cx)) {
                Ok(0) => return failed("it closed without an answer".to_owned()),
                Ok(_) => {}
                Err(error) => return failed(error.to_string()),
            }
        }
    }

    /// Relays the answer whose head has come, flushed as it comes.
    async fn reply<U: Upload, D: Download>(
        &mut self,
        asked: &RequestHead,
        parsed: ParsedResponse,
        body: &mut RequestBody<'_, U>,
        download: &mut D,
        pace: &mut Pace<'_>,
        told: &mut Told,
    ) -> Result<Outcome, Failed> {
        let ParsedResponse { mut head, length, framing, .. } = parsed;
        let is_switch = head.status == 101;
        check_switch(asked, &head)?;
        clean(&mut head);
        harden(&mut head.headers);
        let length = length_for_client(&asked.method, head.status, length);
        if let Err(error) = download.respond(&head, length) {
            return Err(match error {
                StreamError::Malformed(what) => Failed::new(Cause::ControlUnavailable, what),
                _ => Failed::gone(),
            });
        }
        if is_switch {
            body.switch();
        } else {
            body.answered();
        }
        pace.start_answer();
        let Self { reader, way } = self;
        let source = Body::of_answer(reader, framing, &Limits::ANSWERS);
        let mut source = AnswerBody::new(source, length, false);
        let mut relay = Relay::new();
        let mut is_whole = false;
        let ended = poll_fn(|cx| {
            if !is_whole {
                match relay.poll(cx, &mut source, download.sink()) {
                    // The rest of a request body is dropped by who reads the client.
                    Poll::Ready(Ok(_)) if !is_switch || !body.is_moving() => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(_)) => {
                        is_whole = true;
                        pace.start_linger(true);
                    }
                    Poll::Ready(Err(RelayError::Source(error))) => return Poll::Ready(Err(broken(&error))),
                    Poll::Ready(Err(RelayError::Sink(error))) => return Poll::Ready(Err(Failed::unsent(&error))),
                    Poll::Pending => {}
                }
            }
            match way.poll(cx, body) {
                Poll::Ready(_) if is_whole => return Poll::Ready(Ok(())),
                Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed.while_answering())),
                Poll::Ready(Ok(())) if !is_switch => body.answered(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if !is_switch && body.poll_unwanted(cx).is_ready() {
                return Poll::Ready(Err(Failed::gone().while_answering()));
            }
            if is_whole {
                return pace.poll_linger(cx, body.relay()).map(Ok);
            }
            pace.poll_answering(cx, &relay, &mut source).map(|stalled| match stalled {
                Stalled::Sink => Err(Failed::new(Cause::ClientTooSlow, "").while_answering()),
                Stalled::Source(error) => Err(broken(&error)),
            })
        })
        .await;
        (told.status, told.bytes_out) = (head.status, relay.bytes());
        if body.is_moving() {
            way.writer.reset();
        }
        ended.map(|()| if is_switch { Outcome::Switched } else { Outcome::Answered })
    }
}

/// The API broke off its answer.
fn broken(error: &StreamError) -> Failed {
    Failed::new(Cause::ControlUnavailable, error.to_string()).while_answering()
}

/// A 101 is for who asked for one.
fn check_switch(asked: &RequestHead, head: &ResponseHead) -> Result<(), Failed> {
    let bad = |why: &str| Err(Failed::new(Cause::ControlUnavailable, why));
    if head.status == 101 {
        let key = asked.headers.get("sec-websocket-key").map(|key| &key[..]).unwrap_or_default();
        if !asked.websocket {
            return bad("101 without an upgrade being asked for");
        }
        return check_websocket_answer(&head.headers, key).or_else(bad);
    }
    if asked.websocket && asked.version == Version::Http2 && (200..300).contains(&head.status) {
        return bad("an answer in place of a WebSocket");
    }
    Ok(())
}
