//! Origins over HTTP/2 (`http2Origin`): trailers, multiplexing, cancellation (case 4).

use super::tls::Authority;
use super::websocket::upgrade;
use super::{With, World, request};
use crate::{OriginSettings, ServiceKind};
use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use qanat_http::BodyLength;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

struct H2Origin {
    address: SocketAddr,
    ca: Authority,
    connections: Arc<AtomicUsize>,
}

impl H2Origin {
    async fn start<F, Fut>(handle: F) -> Self
    where
        F: Fn(Request<h2::RecvStream>, SendResponse<Bytes>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let ca = Authority::new();
        let acceptor = TlsAcceptor::from(ca.server(&["localhost"], &["h2"]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                let (acceptor, handle) = (acceptor.clone(), handle.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(handle(request, respond));
                    }
                });
            }
        });
        Self { address, ca, connections }
    }

    fn world(&self) -> World {
        let settings =
            OriginSettings { http2_origin: true, ca_pool_pem: Some(self.ca.pem().into()), ..OriginSettings::default() };
        World::new(ServiceKind::Http, format!("https://localhost:{}", self.address.port()), settings)
    }
}

fn grpc_trailers(status: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers.insert("x-custom", "1".parse().unwrap());
    trailers
}

#[tokio::test]
async fn grpc_streams_both_ways_and_its_trailers_arrive() {
    let origin = H2Origin::start(|request, mut respond| async move {
        assert_eq!(request.uri().to_string(), "https://app.example.test/p.S/M");
        assert_eq!(
            (request.headers()["te"].as_bytes(), &request.headers()["cf-warp-tag-id"]),
            (&b"trailers"[..], &"00000000-0000-0000-0000-000000000007".parse::<http::HeaderValue>().unwrap())
        );
        let mut send = respond
            .send_response(Response::builder().header("content-type", "application/grpc").body(()).unwrap(), false)
            .unwrap();
        let mut body = request.into_body();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            send.send_data(data, false).unwrap();
        }
        send.send_trailers(grpc_trailers("0")).unwrap();
    })
    .await;
    let world = origin.world();
    let mut exchange = world.send(
        request("POST", "/p.S/M", BodyLength::Unknown).with("te", "trailers").with("content-type", "application/grpc"),
    );
    for (number, message) in ["one", "two", "three"].into_iter().enumerate() {
        exchange.data(message);
        let expected = ["one", "onetwo", "onetwothree"][number];
        exchange.until(|a| a.text() == expected).await;
    }
    exchange.finish();
    let answer = exchange.end().await;
    assert_eq!((answer.status, answer.trailers.get("grpc-status").unwrap().as_ref()), (200, &b"0"[..]));
    assert_eq!(answer.trailers.get("x-custom").unwrap(), "1");
}

#[tokio::test]
async fn a_trailers_only_answer_keeps_its_status() {
    let origin = H2Origin::start(|_, mut respond| async move {
        let response = Response::builder().header("grpc-status", "5").header("grpc-message", "gone").body(()).unwrap();
        respond.send_response(response, true).unwrap();
    })
    .await;
    let answer = origin.world().send(request("POST", "/", BodyLength::Unknown)).end().await;
    assert_eq!((answer.header("grpc-status").unwrap().as_str(), answer.finished), ("5", true));
}

#[tokio::test]
async fn requests_share_one_connection() {
    // No answer ends before all requests are there.
    let all = Arc::new(tokio::sync::Barrier::new(50));
    let origin = H2Origin::start(move |_, mut respond| {
        let all = all.clone();
        async move {
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            all.wait().await;
            send.send_data("ok".into(), true).unwrap();
        }
    })
    .await;
    let world = origin.world();
    let running: Vec<_> = (0..50).map(|_| world.send(request("GET", "/", BodyLength::Absent))).collect();
    for exchange in running {
        let answer = exchange.end().await;
        assert_eq!(answer.text(), "ok", "{answer:?}");
    }
    assert_eq!(origin.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_stream_and_nothing_else() {
    let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
    let origin = H2Origin::start(move |request, mut respond| {
        let seen = seen.clone();
        async move {
            if request.uri().path() == "/ok" {
                respond.send_response(Response::new(()), true).unwrap();
                return;
            }
            seen.send(None).unwrap();
            let reason = poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
            seen.send(Some(reason)).unwrap();
        }
    })
    .await;
    let world = origin.world();
    let exchange = world.send(request("GET", "/", BodyLength::Absent));
    assert_eq!(told.recv().await.unwrap(), None);
    exchange.cancel();
    assert_eq!(told.recv().await.unwrap(), Some(h2::Reason::CANCEL));
    exchange.over().await;
    assert_eq!(world.get("/ok").await.status, 200);
    assert_eq!(origin.connections.load(SeqCst), 1);
}

/// The origin gives all streams of a connection 64 KiB together, as the first body takes.
#[tokio::test]
async fn a_body_that_an_origin_leaves_unread_goes_once_another_visitors_waits_for_room() {
    let full = Arc::new(AtomicUsize::new(0));
    let seen = full.clone();
    let origin = H2Origin::start(move |mut request, mut respond| {
        let seen = seen.clone();
        async move {
            if request.uri().path() == "/unread" {
                while request.body_mut().flow_control().used_capacity() < 65_535 {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                seen.fetch_add(1, SeqCst);
                let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
                return;
            }
            while let Some(Ok(data)) = request.body_mut().data().await {
                request.body_mut().flow_control().release_capacity(data.len()).unwrap();
            }
            respond.send_response(Response::new(()), true).unwrap();
        }
    })
    .await;
    let world = origin.world();
    let unread = world.send(request("POST", "/unread", BodyLength::Exact(200_000)));
    unread.data(vec![0; 100_000]);
    super::eventually(|| (full.load(SeqCst) == 1).then_some(())).await;
    let mut waits = world.send(request("POST", "/read", BodyLength::Exact(1000)));
    waits.data(vec![0; 1000]);
    waits.finish();
    assert_eq!(waits.end().await.status, 200);
    let failed = unread.end().await.failed.unwrap();
    assert!(failed.contains("left the request's body unread"), "{failed}");
}

#[tokio::test]
async fn an_origin_that_resets_mid_body_resets_the_client() {
    let read = Arc::new(tokio::sync::Notify::new());
    let gate = read.clone();
    let origin = H2Origin::start(move |_, mut respond| {
        let gate = gate.clone();
        async move {
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            send.send_data("hello".into(), false).unwrap();
            gate.notified().await;
            send.send_reset(h2::Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let world = origin.world();
    let exchange = world.send(request("GET", "/", BodyLength::Absent));
    exchange.until(|a| a.body == b"hello").await;
    read.notify_one();
    let answer = exchange.end().await;
    assert_eq!((answer.text().as_str(), answer.reset, answer.finished), ("hello", true, false));
    assert_eq!(world.failure().0, "origin_reset_mid_body");
}

#[tokio::test]
async fn an_answer_before_the_whole_body_is_delivered() {
    let origin = H2Origin::start(|_, mut respond| async move {
        respond.send_response(Response::builder().status(413).body(()).unwrap(), true).unwrap();
    })
    .await;
    let world = origin.world();
    let exchange = world.send(request("POST", "/", BodyLength::Unknown));
    exchange.data(vec![0; 1 << 20]);
    let answer = exchange.until(|a| a.finished).await;
    assert_eq!(answer.status, 413);
    exchange.end().await;
}

/// RFC 8441 is not asked of origins: an upgrade goes over HTTP/1.1.
#[tokio::test]
async fn a_websocket_asks_for_http_1() {
    let origin = H2Origin::start(|_, mut respond| async move {
        respond.send_response(Response::new(()), true).unwrap();
    })
    .await;
    let world = origin.world();
    assert_eq!(world.get("/").await.status, 200);
    // This origin speaks h2 only, so that the upgrade fails, but by a dial of its own.
    assert!(world.send(upgrade("/")).over().await.failed.is_some());
    assert_eq!(origin.connections.load(SeqCst), 2);
}

#[tokio::test]
async fn an_origin_without_h2_is_spoken_to_in_http_1() {
    let ca = Authority::new();
    let acceptor = TlsAcceptor::from(ca.server(&["localhost"], &["http/1.1"]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut buf = [0; 4096];
        while let Ok(1..) = stream.read(&mut buf).await {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh1").await.unwrap();
        }
    });
    let settings =
        OriginSettings { http2_origin: true, ca_pool_pem: Some(ca.pem().into()), ..OriginSettings::default() };
    let world = World::new(ServiceKind::Http, format!("https://localhost:{}", address.port()), settings);
    for _ in 0..3 {
        assert_eq!(world.get("/").await.text(), "h1");
    }
}

/// Cases 70 and 73, S19: HTTP/2 has no 101, and interim heads don't come by the thousand.
#[tokio::test]
async fn a_101_or_too_many_interim_heads_over_http2_are_a_bad_response() {
    for (status, number, expected) in [(101, 1, None), (103, 3000, None), (103, 20, Some(200))] {
        let origin = H2Origin::start(move |_, mut respond| async move {
            for _ in 0..number {
                let _ = respond.send_informational(Response::builder().status(status).body(()).unwrap());
            }
            let _ = respond.send_response(Response::new(()), true);
            poll_fn(|cx| respond.poll_reset(cx)).await.ok();
        })
        .await;
        let world = origin.world();
        let answer = world.get("/").await;
        match expected {
            Some(status) => assert_eq!((answer.status, answer.informational.len()), (status, number)),
            None => assert_eq!(world.failure().0, "origin_bad_response", "{status}"),
        }
        // The connection serves others.
        assert_eq!(origin.connections.load(SeqCst), 1);
    }
}
