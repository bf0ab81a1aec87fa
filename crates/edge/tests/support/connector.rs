//! A connector that answers by the path and remembers every request.

use super::{ACCOUNT, Lab, SECRET, tunnel_id};
use bytes::Bytes;
use qanat_http::{BodyLength, Frame, Headers, ResponseHead, Sink, Source, StreamError, relay};
use qanat_transport::{
    AnsweredBy, Applied, DialSettings, EdgeLink, Incoming, IncomingRequest, RegisterError, Registration, TunnelRequest,
    TunnelSink, connector_tls,
};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// Bytes, trailers and end of a request body.
pub type ReadBody = (Vec<u8>, Option<Headers>, Result<(), StreamError>);

#[derive(Default)]
pub struct Seen {
    pub requests: Mutex<Vec<TunnelRequest>>,
    pub bodies: Mutex<Vec<ReadBody>>,
    pub configurations: Mutex<Vec<(i32, Bytes)>>,
    pub canceled: AtomicUsize,
    pub release: Notify,
    /// What a push is answered with when it isn't applied.
    pub refuse_configuration: Mutex<Option<String>>,
}

pub struct FakeConnector {
    pub link: EdgeLink,
    pub id: Uuid,
    pub seen: Arc<Seen>,
}

pub fn registration(id: Uuid, index: u8, features: &[&str]) -> Registration {
    Registration {
        account_tag: ACCOUNT.to_owned(),
        secret: Bytes::from_static(SECRET),
        tunnel_id: tunnel_id(),
        connection_index: index,
        connector_id: id,
        features: features.iter().map(|f| (*f).to_owned()).collect(),
        version: "test".to_owned(),
        arch: "linux_amd64".to_owned(),
        origin_local_ip: None,
        replace_existing: false,
        previous_attempts: 0,
    }
}

pub async fn dial(lab: &Lab) -> EdgeLink {
    dial_at(lab, lab.edge.addresses().tunnel).await
}

async fn dial_at(lab: &Lab, address: SocketAddr) -> EdgeLink {
    let settings = DialSettings {
        tls: connector_tls(Some(lab.tunnel_ca.as_bytes())).unwrap(),
        timeout: Duration::from_secs(10),
        max_head: 128 * 1024,
        flow: qanat_transport::Flow::default(),
        route: qanat_transport::Route::default(),
        rpc_timeout: Duration::from_secs(5),
        bind: None,
    };
    EdgeLink::dial(lab.protocol, address, &settings).await.unwrap()
}

impl FakeConnector {
    pub async fn start(lab: &Lab, features: &[&str], id: Uuid, index: u8) -> Result<Arc<Self>, RegisterError> {
        Self::start_as(lab, registration(id, index, features)).await
    }

    pub async fn start_as(lab: &Lab, registration: Registration) -> Result<Arc<Self>, RegisterError> {
        Self::start_at(lab, lab.edge.addresses().tunnel, registration).await
    }

    /// By another address.
    pub async fn start_at(
        lab: &Lab,
        address: SocketAddr,
        registration: Registration,
    ) -> Result<Arc<Self>, RegisterError> {
        let link = dial_at(lab, address).await;
        let id = registration.connector_id;
        let connector = Arc::new(Self { link: link.clone(), id, seen: Arc::default() });
        tokio::spawn({
            let seen = connector.seen.clone();
            let link = link.clone();
            async move {
                while let Some(incoming) = link.accept().await {
                    match incoming {
                        Incoming::Request(request) => {
                            seen.requests.lock().unwrap().push(request.request.clone());
                            tokio::spawn(answer(request, seen.clone()));
                        }
                        Incoming::Configuration(push) => {
                            seen.configurations.lock().unwrap().push((push.version, push.configuration));
                            let error = seen.refuse_configuration.lock().unwrap().clone();
                            let version = if error.is_some() { -1 } else { push.version };
                            let _ = push.answer.send(Applied { version, error });
                        }
                    }
                }
            }
        });
        connector.link.register(registration).await?;
        Ok(connector)
    }

    pub fn requests(&self) -> Vec<TunnelRequest> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub fn last(&self) -> TunnelRequest {
        self.requests().pop().expect("no request came")
    }

    pub fn canceled(&self) -> usize {
        self.seen.canceled.load(Ordering::SeqCst)
    }
}

pub fn head(status: u16, lines: &[(&'static str, &'static str)]) -> ResponseHead {
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.push(*name, *value);
    }
    ResponseHead { status, headers }
}

async fn read_all(body: &mut impl Source) -> ReadBody {
    let (mut bytes, mut trailers) = (Vec::new(), None);
    loop {
        match poll_fn(|cx| body.poll_frame(cx)).await {
            Some(Ok(Frame::Data(data))) => bytes.extend_from_slice(&data),
            Some(Ok(Frame::Trailers(t))) => trailers = Some(t),
            Some(Err(error)) => return (bytes, trailers, Err(error)),
            None => return (bytes, trailers, Ok(())),
        }
    }
}

async fn send(sink: &mut TunnelSink, data: impl Into<Bytes>) -> Result<(), StreamError> {
    poll_fn(|cx| sink.poll_ready(cx)).await?;
    sink.send(data.into());
    poll_fn(|cx| sink.poll_flush(cx)).await
}

async fn finish(sink: &mut TunnelSink, trailers: Option<Headers>) {
    let mut trailers = trailers;
    let _ = poll_fn(|cx| sink.poll_finish(cx, &mut trailers)).await;
}

async fn answer(incoming: IncomingRequest, seen: Arc<Seen>) {
    let IncomingRequest { request, mut body, mut responder } = incoming;
    let target = String::from_utf8(request.head.target.to_vec()).unwrap();
    let path = target.split('?').next().unwrap().to_owned();
    let from = AnsweredBy::Origin;
    let plain = [("Content-Type", "text/plain"), ("X-Origin", "fake")];
    let whole = async |responder: qanat_transport::TunnelResponder, head: ResponseHead, text: Bytes| {
        let mut sink = responder.respond(head, BodyLength::Exact(text.len() as u64), from).unwrap();
        if !text.is_empty() {
            let _ = send(&mut sink, text).await;
        }
        finish(&mut sink, None).await;
    };
    let with_length = |mut head: ResponseHead, n: usize| {
        head.headers.push("Content-Length", n.to_string());
        head
    };
    match path.as_str() {
        "/echo" => {
            let read = read_all(&mut body).await;
            let text = Bytes::from(read.0.clone());
            seen.bodies.lock().unwrap().push(read);
            whole(responder, with_length(head(200, &plain), text.len()), text).await;
        }
        // Chunked, one piece per read.
        "/stream-echo" => {
            let mut sink = responder.respond(head(200, &plain), BodyLength::Unknown, from).unwrap();
            let _ = relay(&mut body, &mut sink).await;
        }
        "/headers" => {
            let lines = [
                ("Set-Cookie", "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
                ("X-E", ""),
                ("Set-Cookie", "b=2"),
                ("Vary", "A"),
                ("Vary", "B"),
                ("X-CUSTOM-id", "1"),
                ("cf-int-secret", "x"),
                ("Cf-Cloudflared-Response-Meta", "x"),
                ("Connection", "x-hop"),
                ("X-Hop", "x"),
                ("Content-Length", "2"),
            ];
            let mut answer = head(200, &lines);
            answer.headers.push("X-Lat", Bytes::from_static(b"caf\xe9"));
            whole(responder, answer, "ok".into()).await;
        }
        "/head" => {
            let answer = head(200, &[("Content-Length", "1048576")]);
            if request.head.method == "HEAD" {
                let mut sink = responder.respond(answer, BodyLength::Absent, from).unwrap();
                finish(&mut sink, None).await;
            } else {
                whole(responder, answer, vec![b'x'; 1_048_576].into()).await;
            }
        }
        "/204" | "/304" => {
            let status = path[1..].parse().unwrap();
            let mut sink = responder.respond(head(status, &[("ETag", "\"e\"")]), BodyLength::Absent, from).unwrap();
            finish(&mut sink, None).await;
        }
        "/early" => {
            let text = Bytes::from_static(b"too large");
            whole(responder, with_length(head(413, &plain), text.len()), text).await;
            body.stop();
        }
        "/early-401" => {
            let text = Bytes::from_static(b"who are you");
            whole(responder, with_length(head(401, &plain), text.len()), text).await;
            body.stop();
        }
        "/cut" => {
            let mut sink = responder.respond(head(200, &plain), BodyLength::Unknown, from).unwrap();
            let _ = send(&mut sink, "hello").await;
            seen.release.notified().await;
            sink.reset();
        }
        // As an old connector does: a clean end before the announced length.
        "/short" => {
            let answer = with_length(head(200, &plain), 100);
            let mut sink = responder.respond(answer, BodyLength::Exact(100), from).unwrap();
            let _ = send(&mut sink, vec![b'x'; 50]).await;
            seen.release.notified().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            finish(&mut sink, None).await;
        }
        // The same at once.
        "/stub" => {
            let answer = with_length(head(200, &plain), 100);
            let mut sink = responder.respond(answer, BodyLength::Exact(100), from).unwrap();
            let _ = send(&mut sink, vec![b'x'; 50]).await;
            finish(&mut sink, None).await;
        }
        "/hang" => {
            poll_fn(|cx| responder.poll_canceled(cx)).await;
            seen.canceled.fetch_add(1, Ordering::SeqCst);
        }
        "/drip" => {
            let mut sink = responder
                .respond(head(200, &[("Content-Type", "text/event-stream")]), BodyLength::Unknown, from)
                .unwrap();
            let mut n = 0;
            loop {
                n += 1;
                if send(&mut sink, format!("data: {n}\n\n")).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            seen.canceled.fetch_add(1, Ordering::SeqCst);
        }
        // One event, then nothing for ever: its end must be noticed without a write.
        "/quiet" => {
            let mut sink = responder
                .respond(head(200, &[("Content-Type", "text/event-stream")]), BodyLength::Unknown, from)
                .unwrap();
            let _ = send(&mut sink, "data: 1\n\n").await;
            poll_fn(|cx| sink.poll_stopped(cx)).await;
            seen.canceled.fetch_add(1, Ordering::SeqCst);
        }
        "/ws" => {
            let lines = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Protocol", "chat")];
            let mut switched = head(101, &lines);
            let key = request.head.headers.get("sec-websocket-key").unwrap();
            switched.headers.push("Sec-WebSocket-Accept", qanat_http::websocket_accept(key));
            let mut sink = responder.respond(switched, BodyLength::Opaque, from).unwrap();
            let echoed = relay(&mut body, &mut sink).await;
            seen.bodies.lock().unwrap().push((vec![], None, echoed.map(|_| ()).map_err(|_| StreamError::Reset)));
        }
        "/ws-refused" => {
            let text = Bytes::from_static(b"no sockets here");
            whole(responder, with_length(head(403, &plain), text.len()), text).await;
        }
        "/early-hints" => {
            responder.informational(head(103, &[("Link", "</a.css>; rel=preload")]));
            whole(responder, with_length(head(200, &plain), 2), "ok".into()).await;
        }
        "/trailers" => {
            let read = read_all(&mut body).await;
            seen.bodies.lock().unwrap().push(read);
            let mut sink = responder.respond(head(200, &plain), BodyLength::Unknown, from).unwrap();
            let _ = send(&mut sink, "ok").await;
            let mut trailers = Headers::new();
            for (name, value) in [("x-sum", "1"), ("content-length", "9"), ("cf-int-x", "1"), ("set-cookie", "x")] {
                trailers.push(name, value);
            }
            finish(&mut sink, Some(trailers)).await;
        }
        "/grpc" => {
            let mut sink = responder
                .respond(head(200, &[("content-type", "application/grpc")]), BodyLength::Unknown, from)
                .unwrap();
            let _ = send(&mut sink, &b"\0\0\0\0\0"[..]).await;
            let mut trailers = Headers::new();
            trailers.push("grpc-status", "5");
            trailers.push("grpc-message", "gone");
            finish(&mut sink, Some(trailers)).await;
        }
        "/refused" => responder.fail(
            "origin_refused",
            "Unable to reach the origin service. The service may be down or it may not be responding to traffic from \
             cloudflared: dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        "/slow" => {
            seen.release.notified().await;
            whole(responder, with_length(head(200, &plain), 4), "slow".into()).await;
        }
        "/large" => {
            let n = 8 * 1024 * 1024;
            let mut sink =
                responder.respond(with_length(head(200, &plain), n), BodyLength::Exact(n as u64), from).unwrap();
            for _ in 0..n / 65536 {
                if send(&mut sink, vec![b'x'; 65536]).await.is_err() {
                    return;
                }
            }
            finish(&mut sink, None).await;
        }
        // 101 as an origin must not send it; the raw bytes behind it must never be taken for HTTP, nor the client's.
        "/switch/unasked" | "/switch/other" | "/switch/no-accept" | "/switch/wrong-accept" => {
            let upgrade = if path.ends_with("other") { "other" } else { "websocket" };
            let mut switched = head(101, &[("Upgrade", upgrade), ("Connection", "Upgrade")]);
            match path.as_str() {
                "/switch/no-accept" => {}
                "/switch/wrong-accept" => {
                    switched.headers.push("Sec-WebSocket-Accept", "AAAALMBiTxaQ9kYGzzhZRbK+xOo=");
                }
                _ => {
                    let key = request.head.headers.get("sec-websocket-key").cloned().unwrap_or_default();
                    switched.headers.push("Sec-WebSocket-Accept", qanat_http::websocket_accept(&key));
                }
            }
            let mut sink = responder.respond(switched, BodyLength::Opaque, from).unwrap();
            let _ = send(&mut sink, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged").await;
            poll_fn(|cx| sink.poll_stopped(cx)).await;
            seen.canceled.fetch_add(1, Ordering::SeqCst);
        }
        // A WebSocket refused with fields that look like one.
        "/refused-with/h2c" | "/refused-with/accept" => {
            let line = if path.ends_with("h2c") {
                ("Upgrade", "h2,h2c")
            } else {
                ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            };
            whole(responder, with_length(head(200, &[line]), 10), "no sockets".into()).await;
        }
        "/many-fields" => {
            let mut answer = head(200, &[]);
            let fields: usize = target.rsplit('=').next().unwrap().parse().unwrap();
            for n in 0..fields - 1 {
                answer.headers.push(format!("x-{n}"), "1");
            }
            whole(responder, with_length(answer, 2), "ok".into()).await;
        }
        // A field for each of many nominations, as a connector of somebody else's might send them.
        "/nominations" => {
            let mut answer = head(200, &[]);
            for n in 0..100 {
                let names: Vec<String> = (0..20).map(|m| format!("x-{n}-{m}")).collect();
                answer.headers.push("Connection", names.join(","));
            }
            for n in 0..100 {
                answer.headers.push(format!("x-{n}-7"), "hop");
                answer.headers.push(format!("y-{n}"), "end");
            }
            whole(responder, with_length(answer, 2), "ok".into()).await;
        }
        "/large-trailers" => {
            let size: usize = target.rsplit('=').next().unwrap().parse().unwrap();
            let mut sink = responder.respond(head(200, &plain), BodyLength::Unknown, from).unwrap();
            let _ = send(&mut sink, "ok").await;
            let mut trailers = Headers::new();
            trailers.push("x-t", vec![b'v'; size]);
            finish(&mut sink, Some(trailers)).await;
        }
        _ => {
            let text = Bytes::from(format!("hello {target}"));
            whole(responder, with_length(head(200, &plain), text.len()), text).await;
        }
    }
}
