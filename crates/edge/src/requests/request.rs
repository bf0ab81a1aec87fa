//! One request from its parsed head to the end of its answer, and what everybody who must know is told of one that failed.

use crate::access::{Entry, Way};
use crate::cause::Cause;
use crate::challenges::Challenges;
use crate::client::Client;
use crate::events::{Event, Hop, RequestFailed, now};
use crate::limits;
use crate::public_side::PublicSide;
use crate::requests::account::Account;
use crate::requests::attempts;
use crate::requests::body::RequestBody;
use crate::requests::ends::{Download, Upload};
use crate::requests::exchange::{Exchange, Outcome};
use crate::requests::failed::Failed;
use crate::requests::grpc::Messages;
use crate::requests::head::{self, Admitted};
use crate::requests::pace::Pace;
use crate::requests::page;
use crate::router::hostname_of;
use crate::settings::HttpMode;
use crate::trace::Trace;
use crate::traffic::Label;
use bytes::Bytes;
use qanat_http::h1::ParsedRequest;
use qanat_http::{BodyLength, Headers, Owner, RequestHead, ResponseHead, Sink, Standing, Version};
use qanat_transport::{Entrance, RequestKind, TunnelRequest};
use std::pin::Pin;
use tokio::time::Sleep;

/// What the log tells of a request beside its head.
pub(super) struct Ended<'a> {
    host: &'a [u8],
    /// 0: it has none, since the client left.
    status: u16,
    pub(super) bytes_in: u64,
    bytes_out: u64,
    way: Way<'a>,
    trace: Option<&'a Trace>,
    /// Its route, unless it has none.
    label: Option<&'a Label>,
}

impl<'a> Ended<'a> {
    /// The edge's own answer, without any tunnel.
    pub(super) fn made(host: &'a [u8], status: u16, bytes_out: u64, cause: Option<Cause>) -> Self {
        let way = Way { cause: cause.map(Cause::code), ..Way::default() };
        Self { host, status, bytes_in: 0, bytes_out, way, trace: None, label: None }
    }
}

/// One request and what is known of it.
pub(crate) struct Request<'a> {
    pub(super) side: &'a PublicSide,
    pub(super) client: &'a Client,
    pub(super) ray: Bytes,
    started: std::time::Instant,
}

impl<'a> Request<'a> {
    pub(crate) fn new(side: &'a PublicSide, client: &'a Client) -> Self {
        Self { side, client, ray: side.ray(), started: std::time::Instant::now() }
    }

    /// Seconds since it began.
    pub(super) fn took(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
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
        if Challenges::may_be(&parsed.head.target)
            && let Some(answer) = self.key_authorization(&parsed.head, parsed.host_differs)
        {
            let outcome = self.answer_challenge(&parsed.head.method, answer, download).await;
            self.log(&parsed.head, Ended::made(&parsed.head.authority, 200, 0, None));
            return outcome;
        }
        if let Some(control) = &self.side.control
            && control.is_meant(&parsed.head.authority)
            && !parsed.host_differs
        {
            return Box::pin(self.ask_control(control, parsed, upload, download, sleep)).await;
        }
        let ParsedRequest { mut head, length, expect_continue, host_differs, .. } = parsed;
        let mut admitted = match head::admit(self.side, self.client, &head, host_differs) {
            Ok(admitted) => admitted,
            Err((cause, why)) => {
                let failed = Failed::new(cause, why);
                let hops = vec![("edge", 0.0, self.started.elapsed().as_secs_f64(), failed.why())];
                let (outcome, page) = self.fail(failed, &head, None, hops, download).await;
                let (status, bytes) = page.unwrap_or_default();
                self.log(&head, Ended::made(&head.authority, status, bytes, Some(cause)));
                return outcome;
            }
        };
        let is_https = head::is_https(self.client, &head.headers);
        let zone = self.side.tables.zones.find(&admitted.hostname);
        let wants_https = zone.as_ref().and_then(|zone| zone.always_use_https);
        if !is_https && wants_https.unwrap_or(self.side.settings.http_mode == HttpMode::Redirect) {
            let mut answer = self.side.redirect(&admitted.hostname, &head.target);
            answer.headers.push(&b"Cf-Ray"[..], self.ray.clone());
            let outcome = send_whole(download, &answer, BodyLength::Exact(0), Bytes::new()).await;
            self.log(&head, Ended::made(&admitted.hostname, answer.status, 0, None));
            return outcome;
        }
        head::prepare(self.side, self.client, &mut head, &self.ray);
        let trace = Trace::begin(&mut head.headers, self.side.settings.trace_sample);
        let entrance = match &admitted.management {
            Some(asked) => {
                asked.rewrite(&mut head);
                Entrance::Management
            }
            None => Entrance::Public,
        };
        let kind = if head.websocket { RequestKind::WebSocket } else { RequestKind::Http };
        let is_grpc = page::is_grpc(&head.headers);
        let visitor = self.visitor(&head);
        let leads = admitted.leads.clone();
        let cookie = admitted.lead(&leads, visitor, &head);
        let owner = Owner { tunnel: admitted.tunnel_id.as_u128(), visitor };
        let patience = self.side.settings.response_timeout;
        let mut exchange = Exchange {
            side: self.side,
            body: RequestBody::new(
                upload,
                length.has_body(),
                expect_continue,
                is_grpc.then(|| Messages::new(self.side.settings.grpc_idle_timeout)),
                patience,
            ),
            request: TunnelRequest { kind, head, length, entrance },
            download,
            pace: Pace::new(sleep, patience, Standing::new(&self.side.backlog, owner), D::MAX_STALLED),
            visitor,
            account: Account::new(
                &self.side.traffic,
                admitted.label.clone(),
                self.started,
                self.side.access.is_on() || self.side.listing.is_on(),
            ),
            cookie,
            ray: self.ray.clone(),
            zone,
            is_https,
        };
        let ended = attempts::run(&mut exchange, &mut admitted).await;
        let is_stream = matches!(ended, Ok(Outcome::Switched));
        exchange.account.end(admitted.tunnel_id, ended.as_ref().map(|_| ()), is_stream);
        let Exchange { request, download, account, .. } = exchange;
        let cause = ended.as_ref().err().map(|failed| failed.cause);
        let (outcome, page) = match ended {
            Ok(outcome) => (outcome, None),
            Err(failed) => {
                let hops = account.hops(&failed);
                self.fail(failed, &request.head, Some(&admitted), hops, download).await
            }
        };
        let (status, bytes_in, bytes_out) = account.told();
        let (status, made) = page.unwrap_or((status.unwrap_or_default(), 0));
        self.log(
            &request.head,
            Ended {
                host: &admitted.hostname,
                status,
                bytes_in,
                bytes_out: bytes_out + made,
                way: account.way(admitted.tunnel_id, cause),
                trace: trace.as_ref(),
                label: admitted.label.as_ref(),
            },
        );
        outcome
    }

    /// What a CA gets that asks for a pending order's token. All others go the way of any request.
    fn key_authorization(&self, head: &RequestHead, host_differs: bool) -> Option<Bytes> {
        if host_differs || !matches!(&head.method[..], b"GET" | b"HEAD") {
            return None;
        }
        let hostname = hostname_of(&head.authority)?;
        if let Some(certificate) = &self.client.certificate
            && !std::str::from_utf8(&hostname).is_ok_and(|name| certificate.covers(name))
        {
            return None;
        }
        self.side.tables.challenges.load().key_authorization(&hostname, &head.target)
    }

    async fn answer_challenge<D: Download>(&self, method: &[u8], answer: Bytes, download: &mut D) -> Outcome {
        let mut headers = Headers::new();
        headers.push(&b"Content-Type"[..], &b"application/octet-stream"[..]);
        headers.push(&b"Cache-Control"[..], &b"no-store"[..]);
        headers.push(&b"Cf-Ray"[..], self.ray.clone());
        let head = ResponseHead { status: 200, headers };
        if method == b"HEAD" {
            return send_whole(download, &head, BodyLength::Absent, Bytes::new()).await;
        }
        send_whole(download, &head, BodyLength::Exact(answer.len() as u64), answer).await
    }

    /// A number for who asks: behind a listed proxy not the proxy's.
    fn visitor(&self, prepared: &RequestHead) -> u128 {
        let told = || std::str::from_utf8(prepared.headers.get("cf-connecting-ip")?).ok()?.parse().ok();
        let address = if self.client.trusted { told() } else { None };
        limits::number(address.unwrap_or(self.client.address))
    }

    /// Tells of the failure, and answers with its page while that can still be done: with the page's status and length then.
    pub(super) async fn fail<D: Download>(
        &self,
        failed: Failed,
        head: &RequestHead,
        admitted: Option<&Admitted>,
        hops: Vec<Hop>,
        download: &mut D,
    ) -> (Outcome, Option<(u16, u64)>) {
        let cause = failed.cause;
        if cause == Cause::ClientClosed {
            self.side.counters.client_closed.add(1);
            tracing::debug!(ray = ?self.ray, "the client went away");
            if failed.answering {
                download.sink().reset();
            }
            return (Outcome::Cut, None);
        }
        self.report(&failed, cause.status(), head, admitted, hops);
        if failed.answering {
            download.sink().reset();
            return (Outcome::Cut, None);
        }
        if matches!(cause, Cause::BadRequest | Cause::HeadTooLarge | Cause::BodyTooSlow) {
            download.end_connection();
        }
        let hostname = hostname_of(&head.authority).unwrap_or_default();
        let zone = self.side.tables.zones.find(&hostname);
        let failure = page::Failure {
            cause,
            status: cause.status(),
            ray: &self.ray,
            detail: &failed.detail,
            location: &self.side.settings.location,
            hostname: &hostname,
            client: &self.client.text,
            zone: zone.as_deref(),
            is_https: head::is_https(self.client, &head.headers),
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
        let failed = Failed::new(cause, detail);
        let hops = vec![("edge", 0.0, self.started.elapsed().as_secs_f64(), failed.why())];
        self.report(&failed, status, &head, None, hops);
        let failure = page::Failure {
            cause,
            status,
            ray: &self.ray,
            detail,
            location: &self.side.settings.location,
            hostname: b"",
            client: &self.client.text,
            zone: None,
            is_https: self.client.is_tls(),
        };
        let (outcome, page) = answer_page(download, page::Form::Html, b"GET", &failure).await;
        let (status, bytes) = page.unwrap_or_default();
        self.log(&head, Ended::made(b"", status, bytes, Some(cause)));
        outcome
    }

    /// The line of the access log, once all is over.
    pub(super) fn log(&self, head: &RequestHead, ended: Ended<'_>) {
        let access = &self.side.access;
        let logged = access.wants(ended.way.cause.is_some());
        let listed = self.side.listing.wants(ended.label);
        if !logged && ended.trace.is_none() && listed.is_none() {
            return;
        }
        let (path, query) = access.split(&head.target);
        let took = self.started.elapsed().as_secs_f64();
        let entry = Entry {
            time: now() - took,
            request_id: &self.ray,
            client_ip: head
                .headers
                .get("cf-connecting-ip")
                .filter(|_| self.client.trusted)
                .unwrap_or(&self.client.text),
            method: &head.method,
            scheme: if head::is_https(self.client, &head.headers) { "https" } else { "http" },
            host: ended.host,
            path,
            query,
            protocol: match head.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
                Version::Http2 => "HTTP/2",
            },
            status: ended.status,
            bytes_in: ended.bytes_in,
            bytes_out: ended.bytes_out,
            duration_s: took,
            way: ended.way,
            user_agent: head.headers.get("user-agent").map(|value| &value[..]).unwrap_or_default(),
            referer: head.headers.get("referer").map(|value| access.referer(value)).unwrap_or_default(),
            trace: ended.trace,
        };
        if logged || entry.trace.is_some() {
            access.enter(&entry, logged);
        }
        if let Some(hostname) = listed {
            self.side.listing.enter(&hostname, entry, &head.target, &head.headers);
        }
    }

    pub(super) fn report(
        &self,
        failed: &Failed,
        status: u16,
        head: &RequestHead,
        admitted: Option<&Admitted>,
        hops: Vec<Hop>,
    ) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.side.counters.requests_failed.add(1);
        self.side.failures.count(failed.cause);
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
            duration_s: self.started.elapsed().as_secs_f64(),
            client_ip: self.client.address,
            hops,
        }));
    }
}

async fn answer_page<D: Download>(
    download: &mut D,
    form: page::Form,
    method: &[u8],
    failure: &page::Failure<'_>,
) -> (Outcome, Option<(u16, u64)>) {
    let (head, body) = page::render(form, failure);
    let length = match body.len() {
        _ if method == b"HEAD" || form == page::Form::Grpc => BodyLength::Absent,
        n => BodyLength::Exact(n as u64),
    };
    let body = if length == BodyLength::Absent { Bytes::new() } else { body };
    let made = (head.status, body.len() as u64);
    (send_whole(download, &head, length, body).await, Some(made))
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
    match tokio::time::timeout(D::MAX_STALLED, sent).await {
        Ok(Ok(_)) => Outcome::Answered,
        _ => {
            download.sink().reset();
            Outcome::Cut
        }
    }
}
