//! Requests through a real tunnel connection, over both transports: the rows of semantics.md that are the connector's.

#![allow(clippy::unwrap_used)]

use crate::support;

use bytes::Bytes;
use qanat_connector::{Event, OriginFailed};
use qanat_http::{BodyLength, Frame, Headers, Sink, Source, StreamError};
use qanat_transport::{AnsweredBy, OpenStream, Protocol, RequestKind, ResponseError, ResponseEvent, TunnelRequest};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::{Answering, Edge, PROTOCOLS, Running, choice, eventually, read, request, rules, settings, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// An edge, a connector and the way to an origin made of a script.
struct Tunnel {
    edge: Edge,
    running: Running,
}

impl Tunnel {
    async fn to<F, Fut>(protocol: Protocol, script: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::at(protocol, origin(script).await).await
    }

    async fn at(protocol: Protocol, origin: SocketAddr) -> Self {
        let edge = Edge::start().await;
        let running = Running::start(settings(&edge, choice(protocol), 1));
        running.connector.swap_ingress(rules(format!("http://{origin}")));
        running.ready(1).await;
        Self { edge, running }
    }

    async fn open(&self, request: &TunnelRequest) -> OpenStream {
        self.edge.open(request).await
    }
}

async fn origin<F, Fut>(script: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream));
        }
    });
    address
}

/// Reads up to and with `end`.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        match stream.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(text).unwrap()
}

async fn send(sink: &mut impl Sink, data: impl Into<Bytes>) -> Result<(), StreamError> {
    within(poll_fn(|cx| sink.poll_ready(cx))).await?;
    sink.send(data.into());
    within(poll_fn(|cx| sink.poll_flush(cx))).await
}

async fn finish(sink: &mut impl Sink, trailers: Headers) -> Result<(), StreamError> {
    let mut trailers = Some(trailers).filter(|t| !t.is_empty());
    within(poll_fn(|cx| sink.poll_finish(cx, &mut trailers))).await
}

async fn piece(body: &mut impl Source) -> String {
    match within(poll_fn(|cx| body.poll_frame(cx))).await {
        Some(Ok(Frame::Data(data))) => String::from_utf8_lossy(&data).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn heads_and_bodies_arrive_as_they_were_sent() {
    for protocol in PROTOCOLS {
        let tunnel = Tunnel::to(protocol, |mut stream| async move {
            loop {
                let head = until(&mut stream, "\r\n\r\n").await;
                if head.is_empty() {
                    return;
                }
                let body = match () {
                    () if head.contains("chunked") => until(&mut stream, "0\r\n\r\n").await,
                    () if head.contains("Content-Length: 5") => until(&mut stream, "hello").await,
                    () => String::new(),
                };
                let seen = head + &body;
                let answer = format!(
                    "HTTP/1.1 299 Odd\r\nSet-Cookie: a\r\nX-E:\r\nSet-Cookie: b\r\nContent-Length: {}\r\n\r\n{seen}",
                    seen.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        })
        .await;
        for (method, length, expected) in [
            ("GET", BodyLength::Absent, "\r\n\r\n"),
            ("PUT", BodyLength::Exact(0), "Content-Length: 0\r\n\r\n"),
            ("POST", BodyLength::Exact(5), "Content-Length: 5\r\n\r\nhello"),
            ("PATCH", BodyLength::Unknown, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ] {
            let mut asked = request(method, "/a%2F//b?x=%20", length);
            asked.head.headers.push("X-A", "1");
            asked.head.headers.push("X-A", "2");
            let mut stream = tunnel.open(&asked).await;
            if !length.is_nothing() {
                send(&mut stream.sink, "hello").await.unwrap();
                finish(&mut stream.sink, Headers::new()).await.unwrap();
            }
            let answer = stream.answer().await.unwrap();
            assert_eq!((answer.head.status, answer.from), (299, AnsweredBy::Origin));
            assert_eq!(answer.head.headers.get_all("set-cookie").collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(answer.head.headers.get("x-e").unwrap(), "");
            let (seen, end) = read(answer.body).await;
            end.unwrap();
            assert!(
                seen.starts_with(&format!("{method} /a%2F//b?x=%20 HTTP/1.1\r\nHost: app.example.test\r\n")),
                "{seen}"
            );
            assert!(seen.ends_with(expected), "{protocol:?} {seen}");
            assert!(seen.to_ascii_lowercase().contains("x-a: 1\r\nx-a: 2\r\n"), "{seen}");
            assert!(
                !seen.to_ascii_lowercase().contains("accept-encoding")
                    && !seen.to_ascii_lowercase().contains("user-agent")
            );
            // The edge has the whole answer a moment before the connection to the origin is free again.
            eventually(|| (tunnel.running.connector.counters()["requests_open"] == 0).then_some(())).await;
        }
        assert_eq!(tunnel.running.connector.counters()["origin_connections_dialled"], 1);
    }
}

#[tokio::test]
async fn a_large_body_each_way_at_once_is_whole() {
    const SIZE: usize = 16 << 20;
    for protocol in PROTOCOLS {
        let tunnel = Tunnel::to(protocol, |mut stream| async move {
            until(&mut stream, "\r\n\r\n").await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut reading, mut writing) = stream.split();
            let mut limited = (&mut reading).take(SIZE as u64);
            tokio::io::copy(&mut limited, &mut writing).await.unwrap();
        })
        .await;
        let mut stream = tunnel.open(&request("POST", "/", BodyLength::Exact(SIZE as u64))).await;
        let answer = stream.answer().await.unwrap();
        let mut sink = stream.sink;
        let sending = tokio::spawn(async move {
            for _ in 0..SIZE / 65536 {
                send(&mut sink, vec![b'x'; 65536]).await.unwrap();
            }
            finish(&mut sink, Headers::new()).await.unwrap();
        });
        let (body, end) = read(answer.body).await;
        end.unwrap();
        assert_eq!(body.len(), SIZE);
        sending.await.unwrap();
    }
}

/// Case 3.
#[tokio::test]
async fn events_are_passed_on_as_they_come() {
    for protocol in PROTOCOLS {
        let (go, gate) = mpsc::unbounded_channel::<()>();
        let gate = std::sync::Arc::new(tokio::sync::Mutex::new(gate));
        let tunnel = Tunnel::to(protocol, move |mut stream| {
            let gate = gate.clone();
            async move {
                until(&mut stream, "\r\n\r\n").await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await.unwrap();
                while gate.lock().await.recv().await.is_some() {
                    stream.write_all(b"data: 1\n\n").await.unwrap();
                }
            }
        })
        .await;
        let mut stream = tunnel.open(&request("GET", "/sse", BodyLength::Absent)).await;
        let mut answer = stream.answer().await.unwrap();
        let mut took = vec![];
        for _ in 0..5 {
            let asked = Instant::now();
            go.send(()).unwrap();
            assert_eq!(piece(&mut answer.body).await, "data: 1\n\n");
            took.push(asked.elapsed());
        }
        // The least of them: what is held back on purpose is so each time, what a busy machine holds back is not.
        assert!(took.iter().min().unwrap() < &Duration::from_millis(100), "{took:?}");
    }
}

/// Case 66, 46.
#[tokio::test]
async fn trailers_and_early_hints_cross_both_transports() {
    for protocol in PROTOCOLS {
        let tunnel = Tunnel::to(protocol, |mut stream| async move {
            until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").await.unwrap();
            let body = until(&mut stream, "0\r\n").await + &until(&mut stream, "\r\n\r\n").await;
            assert_eq!(body.to_ascii_lowercase(), "2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n");
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\nHost: evil\r\n\r\n")
                .await
                .unwrap();
        })
        .await;
        let mut asked = request("POST", "/", BodyLength::Unknown);
        asked.head.headers.push("TE", "trailers");
        asked.head.headers.push("Trailer", "x-sum");
        let mut stream = tunnel.open(&asked).await;
        match within(stream.response.next()).await.unwrap() {
            ResponseEvent::Informational(head) => assert_eq!(head.status, 103),
            ResponseEvent::Final(_) => panic!("{protocol:?}: the hint is missing"),
        }
        send(&mut stream.sink, "hi").await.unwrap();
        let mut trailers = Headers::new();
        trailers.push("x-sum", "1");
        finish(&mut stream.sink, trailers).await.unwrap();
        let answer = stream.answer().await.unwrap();
        let (body, end) = read(answer.body).await;
        let trailers = end.unwrap();
        assert_eq!((body.as_str(), trailers.get("x-sum").map(|v| v.as_ref())), ("ok", Some(&b"2"[..])), "{protocol:?}");
        assert!(!trailers.contains("host"));
    }
}

#[tokio::test]
async fn an_origin_that_cannot_be_reached_is_told_at_once() {
    for protocol in PROTOCOLS {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let tunnel = Tunnel::at(protocol, nobody).await;
        let mut stream = tunnel.open(&request("GET", "/", BodyLength::Absent)).await;
        match stream.answer().await {
            Err(ResponseError::Origin { reason, .. }) => {
                assert!(reason.contains("refused") || protocol == Protocol::Http2, "{reason}")
            }
            other => panic!("{protocol:?}: {:?}", other.map(|a| a.head)),
        }
        let failed =
            |e: &Event| matches!(e, Event::OriginFailed(OriginFailed { code: "origin_refused", .. })).then_some(());
        tunnel.running.event(failed).await;
    }
}

/// Case 21.
#[tokio::test]
async fn an_origin_that_dies_mid_body_never_looks_like_an_end() {
    for protocol in PROTOCOLS {
        for head in ["Content-Length: 100\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
            let tunnel = Tunnel::to(protocol, move |mut stream| async move {
                until(&mut stream, "\r\n\r\n").await;
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes()).await.unwrap();
            })
            .await;
            let mut stream = tunnel.open(&request("GET", "/", BodyLength::Absent)).await;
            // A reset may overtake the head, as it may with a stock connector: then the edge has nothing to pass on.
            match stream.answer().await {
                Ok(answer) => {
                    let (body, end) = read(answer.body).await;
                    assert!("hello".starts_with(&body) && end.is_err(), "{protocol:?} {end:?}");
                }
                Err(error) => assert!(matches!(error, ResponseError::Reset), "{protocol:?} {error:?}"),
            }
            let broken = |e: &Event| {
                matches!(e, Event::OriginFailed(OriginFailed { code: "origin_reset_mid_body", .. })).then_some(())
            };
            tunnel.running.event(broken).await;
        }
    }
}

/// Case 22: before the answer and in the middle of it.
#[tokio::test]
async fn a_client_that_leaves_closes_the_origin_connection_within_100_ms() {
    for protocol in PROTOCOLS {
        // Three times each, and the soonest counts: others may need the machine's cores as well.
        let mut took = [vec![], vec![]];
        for answers in [false, true].repeat(3) {
            let (seen, mut told) = mpsc::unbounded_channel();
            let tunnel = Tunnel::to(protocol, move |mut stream| {
                let seen = seen.clone();
                async move {
                    until(&mut stream, "\r\n\r\n").await;
                    if answers {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").await.unwrap();
                    }
                    seen.send(()).unwrap();
                    let _ = stream.read_u8().await;
                    seen.send(()).unwrap();
                }
            })
            .await;
            let mut stream = tunnel.open(&request("GET", "/slow", BodyLength::Absent)).await;
            within(told.recv()).await.unwrap();
            let mut body = None;
            if answers {
                let mut answer = stream.answer().await.unwrap();
                piece(&mut answer.body).await;
                body = Some(answer.body);
            }
            let left = Instant::now();
            stream.response.cancel();
            drop(stream);
            drop(body);
            within(told.recv()).await.unwrap();
            took[usize::from(answers)].push(left.elapsed());
            tunnel.running.event(|e| matches!(e, Event::RequestCanceled(_)).then_some(())).await;
            assert_eq!(tunnel.running.count(|e| matches!(e, Event::OriginFailed(_))), 0);
        }
        for took in took {
            assert!(took.iter().min().unwrap() < &Duration::from_millis(100), "{protocol:?} {took:?}");
        }
    }
}

#[tokio::test]
async fn a_lost_tunnel_connection_aborts_the_origin_call() {
    for protocol in PROTOCOLS {
        let (seen, mut told) = mpsc::unbounded_channel();
        let mut tunnel = Tunnel::to(protocol, move |mut stream| {
            let seen = seen.clone();
            async move {
                until(&mut stream, "\r\n\r\n").await;
                seen.send(()).unwrap();
                let _ = stream.read_u8().await;
                seen.send(()).unwrap();
            }
        })
        .await;
        let _stream = tunnel.open(&request("GET", "/", BodyLength::Absent)).await;
        within(told.recv()).await.unwrap();
        tunnel.edge.stop().await;
        within(told.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_before_the_whole_body_is_delivered_and_the_upload_stopped() {
    for protocol in PROTOCOLS {
        let tunnel = Tunnel::to(protocol, |mut stream| async move {
            until(&mut stream, "\r\n\r\n").await;
            stream
                .write_all(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
                .await
                .unwrap();
        })
        .await;
        let mut stream = tunnel.open(&request("POST", "/", BodyLength::Unknown)).await;
        send(&mut stream.sink, "begin").await.unwrap();
        let answer = stream.answer().await.unwrap();
        let (body, end) = read(answer.body).await;
        assert_eq!((answer.head.status, body.as_str(), end.is_ok()), (413, "big", true), "{protocol:?}");
        // The sending side learns that nobody reads.
        let stopped = async {
            loop {
                if send(&mut stream.sink, vec![0; 16384]).await.is_err() {
                    return;
                }
            }
        };
        within(stopped).await;
    }
}

/// Cases 1, 2; key and accept are those of RFC 6455 1.3.
#[tokio::test]
async fn a_websocket_crosses_both_transports_and_half_closes() {
    for protocol in PROTOCOLS {
        let tunnel = Tunnel::to(protocol, |mut stream| async move {
            let head = until(&mut stream, "\r\n\r\n").await;
            for field in ["Upgrade: websocket\r\n", "Connection: Upgrade\r\n", "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"] {
                assert!(head.contains(field), "{head}");
            }
            if head.starts_with("GET /no") {
                stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
                return;
            }
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
                .await
                .unwrap();
            let got = until(&mut stream, "ping").await;
            stream.write_all(got.as_bytes()).await.unwrap();
            assert_eq!(until(&mut stream, "\0").await, "", "the client's end arrives");
            stream.write_all(b"bye").await.unwrap();
        })
        .await;
        let upgrade = |target| {
            let mut asked = request("GET", target, BodyLength::Opaque);
            asked.kind = RequestKind::WebSocket;
            asked.head.websocket = true;
            asked.head.headers.push("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
            asked
        };
        let mut stream = tunnel.open(&upgrade("/yes")).await;
        let mut answer = stream.answer().await.unwrap();
        assert_eq!(
            (answer.head.status, answer.head.headers.get("sec-websocket-accept").unwrap().as_ref()),
            (101, &b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="[..])
        );
        send(&mut stream.sink, "ping").await.unwrap();
        assert_eq!(piece(&mut answer.body).await, "ping");
        finish(&mut stream.sink, Headers::new()).await.unwrap();
        let (rest, end) = read(answer.body).await;
        assert_eq!((rest.as_str(), end.is_ok()), ("bye", true), "{protocol:?}");

        let mut stream = tunnel.open(&upgrade("/no")).await;
        let answer = stream.answer().await.unwrap();
        assert_eq!(answer.head.status, 403);
        assert_eq!(read(answer.body).await.0, "no");
    }
}

/// Case 29.
#[tokio::test]
async fn head_keeps_its_length_and_has_no_body() {
    for protocol in PROTOCOLS {
        let tunnel = Tunnel::to(protocol, |mut stream| async move {
            while !until(&mut stream, "\r\n\r\n").await.is_empty() {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n").await.unwrap();
            }
        })
        .await;
        for _ in 0..2 {
            let mut stream = tunnel.open(&request("HEAD", "/f", BodyLength::Absent)).await;
            let answer = stream.answer().await.unwrap();
            assert_eq!(answer.head.headers.get("content-length").unwrap(), "1048576");
            let (body, end) = read(answer.body).await;
            assert!(body.is_empty() && end.is_ok(), "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_slow_reader_stalls_nobody_else() {
    for protocol in PROTOCOLS {
        let tunnel = Tunnel::to(protocol, |mut stream| async move {
            loop {
                let head = until(&mut stream, "\r\n\r\n").await;
                if head.is_empty() {
                    return;
                }
                let size = if head.starts_with("GET /big") { 64 << 20 } else { 2 };
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                let chunk = vec![b'x'; 65536.min(size)];
                for _ in 0..size.div_ceil(65536) {
                    if stream.write_all(&chunk).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        let mut slow = tunnel.open(&request("GET", "/big", BodyLength::Absent)).await;
        let _unread = slow.answer().await.unwrap();
        for _ in 0..20 {
            assert_eq!(tunnel.edge.get("/small").await, (200, "xx".into()), "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_table_swapped_in_while_requests_flow_fails_none() {
    for protocol in PROTOCOLS {
        let serve = |letter: &'static str| {
            origin(move |mut stream| async move {
                while !until(&mut stream, "\r\n\r\n").await.is_empty() {
                    stream
                        .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{letter}").as_bytes())
                        .await
                        .unwrap();
                }
            })
        };
        let (a, b) = (serve("a").await, serve("b").await);
        let tunnel = Tunnel::at(protocol, a).await;
        let mut last = "a".to_owned();
        for round in 0..200 {
            if round % 20 == 10 {
                let next = if last == "a" { b } else { a };
                tunnel.running.connector.swap_ingress(rules(format!("http://{next}")));
                last = if last == "a" { "b".into() } else { "a".into() };
            }
            assert_eq!(tunnel.edge.get("/").await, (200, last.clone()));
        }
        eventually(|| (tunnel.running.connector.counters()["requests_open"] == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn before_the_first_table_everything_is_503() {
    for protocol in PROTOCOLS {
        let edge = Edge::start().await;
        let _running = Running::start(settings(&edge, choice(protocol), 1));
        let mut stream = edge.open(&request("GET", "/", BodyLength::Absent)).await;
        let answer = stream.answer().await.unwrap();
        assert_eq!(answer.head.status, 503);
    }
}

/// What stock edges do for private networks, over both transports.
#[tokio::test]
async fn a_tcp_stream_reaches_the_address_that_the_edge_names() {
    for protocol in PROTOCOLS {
        let address = origin(|mut stream| async move {
            let (mut reading, mut writing) = stream.split();
            let _ = tokio::io::copy(&mut reading, &mut writing).await;
            let _ = writing.write_all(b"done").await;
        })
        .await;
        let tunnel = Tunnel::at(protocol, address).await;
        let mut asked = request("GET", "/", BodyLength::Opaque);
        (asked.kind, asked.head.authority) = (RequestKind::Tcp, address.to_string().into());
        let mut stream = tunnel.open(&asked).await;
        send(&mut stream.sink, "hello").await.unwrap();
        let answer = stream.answer().await.unwrap();
        assert_eq!((answer.head.status, answer.length), (200, BodyLength::Opaque));
        finish(&mut stream.sink, Headers::new()).await.unwrap();
        let (text, end) = read(answer.body).await;
        end.unwrap();
        assert_eq!(text, "hellodone", "{protocol:?}");

        asked.head.authority = "127.0.0.1:1".into();
        let refused = tunnel.open(&asked).await.answer().await.map(|answer| answer.head.status);
        assert!(matches!(refused, Err(ResponseError::Origin { .. })), "{protocol:?} {refused:?}");
    }
}
