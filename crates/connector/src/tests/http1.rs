//! Message forms and ends of HTTP/1.1 origins.

use super::{Origin, With, World, request};
use crate::{Event, OriginFailed, OriginSettings, ServiceKind};
use qanat_http::BodyLength;
use qanat_transport::AnsweredBy;
use std::sync::Arc;
use tokio::sync::Notify;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin that answers 200 with the head it saw as the body.
async fn echo() -> Origin {
    Origin::start(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len())).await;
        }
    })
    .await
}

#[tokio::test]
async fn the_origin_sees_the_request_as_the_client_sent_it() {
    let origin = echo().await;
    let world = World::to(&origin);
    let request = request("GET", "/a%2Fb//c?x=%20&y", BodyLength::Absent)
        .with("accept", "*/*")
        .with("X-A", "1")
        .with("x-empty", "")
        .with("X-A", "2")
        .with("etag", "x");
    let answer = world.send(request).end().await;
    assert_eq!(
        answer.text(),
        "GET /a%2Fb//c?x=%20&y HTTP/1.1\r\nHost: app.example.test\r\nAccept: */*\r\nX-A: 1\r\nX-Empty: \r\nX-A: 2\r\nETag: x\r\n\
         Cf-Warp-Tag-Id: 00000000-0000-0000-0000-000000000007\r\n\r\n"
    );
    assert_eq!((answer.status, answer.from, answer.finished), (200, Some(AnsweredBy::Origin), true));
    assert_eq!(world.count("responses_200"), 1);
}

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let origin = Origin::fixed(OK).await;
    let world = World::to(&origin);
    for _ in 0..20 {
        assert_eq!(world.get("/").await.text(), "ok");
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!((world.count("origin_connections_reused"), world.count("origin_connections_open")), (19, 1));
}

/// Case 37, 46.
#[tokio::test]
async fn the_answer_passes_unchanged() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.write(
            b"HTTP/1.1 599 \r\nSet-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nX-E:\r\nSet-Cookie: b=2\r\n\
              Vary: A\r\nVary: B\r\nX-Lat: caf\xe9\r\nRetry-After: 7\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"e\":1}",
        )
        .await;
        peer.closed().await;
    })
    .await;
    let answer = World::to(&origin).get("/").await;
    let lines: Vec<_> = answer.headers.iter().map(|h| (h.name.as_ref(), h.value.as_ref())).collect();
    let expected: Vec<(&[u8], &[u8])> = vec![
        (b"Set-Cookie", b"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        (b"X-E", b""),
        (b"Set-Cookie", b"b=2"),
        (b"Vary", b"A"),
        (b"Vary", b"B"),
        (b"X-Lat", b"caf\xe9"),
        (b"Retry-After", b"7"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"7"),
    ];
    assert_eq!(lines, expected);
    assert_eq!((answer.status, answer.text().as_str(), answer.length), (599, "{\"e\":1}", Some(BodyLength::Exact(7))));
}

#[tokio::test]
async fn early_hints_come_before_the_answer_and_never_in_its_place() {
    let origin = Origin::fixed(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let world = World::to(&origin);
    for _ in 0..3 {
        let answer = world.get("/").await;
        assert_eq!((answer.informational.as_slice(), answer.status), ([103].as_slice(), 200));
    }
    assert_eq!(origin.connections(), 1);
}

/// Case 29.
#[tokio::test]
async fn head_has_no_body_and_keeps_its_length() {
    for (answer, length, connections) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n", Some("1048576"), 1),
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 120\r\n\r\n", Some("120"), 1),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None, 3),
    ] {
        let origin = Origin::fixed(answer).await;
        let world = World::to(&origin);
        for _ in 0..3 {
            let answer = world.send(request("HEAD", "/f", BodyLength::Absent)).end().await;
            assert_eq!((answer.header("content-length").as_deref(), answer.length), (length, Some(BodyLength::Absent)));
            assert!(answer.finished && answer.body.is_empty());
        }
        assert_eq!(origin.connections(), connections, "{answer}");
    }
}

/// Case 30.
#[tokio::test]
async fn stray_bytes_after_a_bodiless_answer_never_reach_another_request() {
    for bad in [
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ] {
        let origin = Origin::start(move |_, mut peer| async move {
            while let Some(head) = peer.head().await {
                let page = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage";
                peer.write(if head.starts_with("GET /bad") { bad } else { page }).await;
            }
        })
        .await;
        let world = World::to(&origin);
        for _ in 0..30 {
            let answer = world.get("/bad").await;
            assert!(matches!(answer.status, 200 | 204 | 304) && answer.finished, "{answer:?}");
            assert_eq!(world.get("/page").await.text(), "page");
        }
    }
}

/// Case 57.
#[tokio::test]
async fn hop_by_hop_fields_go_neither_way() {
    let origin = Origin::start(|_, mut peer| async move {
        let head = peer.head().await.unwrap();
        peer.write(format!(
            "HTTP/1.1 200 OK\r\nConnection: X-B, keep-alive\r\nX-B: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
             Upgrade: h2c\r\ncf-cloudflared-response-meta: evil\r\nCf-Int-X: 1\r\nX-C: 1\r\nContent-Length: {}\r\n\r\n{head}",
            head.len()
        ))
        .await;
        peer.closed().await;
    })
    .await;
    let request = request("GET", "/", BodyLength::Absent)
        .with("Connection", "close, X-A, X-Forwarded-For")
        .with("X-A", "1")
        .with("Keep-Alive", "5")
        .with("Proxy-Connection", "x")
        .with("Proxy-Authorization", "b")
        .with("TE", "trailers, gzip")
        .with("Upgrade", "h2c")
        .with("HTTP2-Settings", "AAMAAABk")
        .with("X-Kept", "1");
    let answer = World::to(&origin).send(request).end().await;
    let seen = answer.text();
    assert!(
        seen.contains("X-Kept: 1\r\n") && seen.contains("TE: trailers\r\n") && seen.contains("Connection: TE\r\n"),
        "{seen}"
    );
    for gone in ["X-A", "Keep-Alive", "Proxy-", "h2c", "Settings", "gzip", "close"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    let names: Vec<_> = answer.headers.iter().map(|h| h.name.as_ref()).collect();
    assert_eq!(names, [b"X-C".as_slice(), b"Content-Length"]);
}

/// Case 66.
#[tokio::test]
async fn trailers_pass_both_ways_but_for_unsafe_ones() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        let body = peer.until("0\r\n").await + &peer.until("\r\n\r\n").await;
        peer.write(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nX-Sum: 2\r\nContent-Length: 9\r\n\r\n", body.len())).await;
        peer.closed().await;
    })
    .await;
    let mut exchange = World::to(&origin).send(request("POST", "/", BodyLength::Unknown).with("TE", "trailers"));
    exchange.data("hello");
    exchange.trailers("x-sum", "1");
    exchange.finish();
    let answer = exchange.end().await;
    assert_eq!(answer.text(), "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n");
    let trailers: Vec<_> = answer.trailers.iter().map(|t| (t.name.as_ref(), t.value.as_ref())).collect();
    assert_eq!(trailers, [(b"X-Sum".as_slice(), b"2".as_slice())]);
}

#[tokio::test]
async fn trailers_that_the_tunnel_cannot_carry_are_counted() {
    let origin = Origin::start(|_, mut peer| async move {
        for trailer in ["", "X-Sum: 1\r\n"] {
            peer.head().await;
            peer.write(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailer}\r\n")).await;
        }
        peer.closed().await;
    })
    .await;
    let world = World::to(&origin);
    for dropped in [0, 1] {
        let exchange = world.send(request("GET", "/", BodyLength::Absent));
        exchange.answer.lock().unwrap().drops_trailers = true;
        assert_eq!(exchange.end().await.status, 200);
        assert_eq!(world.count("trailers_dropped"), dropped);
    }
}

/// Case 21.
#[tokio::test]
async fn an_origin_that_dies_mid_body_resets_the_client() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX",
    ] {
        for abort in [true, false] {
            // What was sent has to be read before a reset throws it away.
            let read = Arc::new(Notify::new());
            let gate = read.clone();
            let origin = Origin::start(move |_, mut peer| {
                let gate = gate.clone();
                async move {
                    peer.head().await;
                    peer.write(answer).await;
                    gate.notified().await;
                    if abort {
                        peer.abort();
                    }
                }
            })
            .await;
            let world = World::to(&origin);
            let exchange = world.send(request("GET", "/", BodyLength::Absent));
            exchange.until(|a| a.body == b"hello").await;
            read.notify_one();
            let answer = exchange.end().await;
            assert_eq!(
                (answer.status, answer.text().as_str(), answer.finished, answer.reset),
                (200, "hello", false, true)
            );
            assert_eq!(world.failure().0, "origin_reset_mid_body");
            assert_eq!(world.count("origin_connections_open"), 0);
        }
    }
}

#[tokio::test]
async fn a_body_until_close_ends_cleanly() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it").await;
    })
    .await;
    let answer = World::to(&origin).get("/").await;
    assert_eq!(
        (answer.text().as_str(), answer.finished, answer.length),
        ("all of it", true, Some(BodyLength::Unknown))
    );
}

#[tokio::test]
async fn what_an_origin_may_not_say_is_a_bad_response() {
    for (bytes, code) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "origin_bad_response"),
        ("SSH-2.0-OpenSSH_9\r\n", "origin_bad_response"),
        ("HTTP/1.1 200 OK\r\nA: b\r\n", "origin_bad_response"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "origin_bad_response"),
        ("", "origin_closed"),
    ] {
        let origin = Origin::start(move |_, mut peer| async move {
            peer.head().await;
            peer.write(bytes).await;
        })
        .await;
        let world = World::to(&origin);
        let answer = world.get("/").await;
        let text = answer.failed.expect("no answer");
        assert!(text.starts_with(crate::UNREACHABLE), "{text}");
        assert_eq!(world.failure(), (code, text), "{bytes}");
    }
}

#[tokio::test]
async fn a_head_above_the_limit_is_named() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.write(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(200_000))).await;
        peer.closed().await;
    })
    .await;
    let world = World::to(&origin);
    assert!(world.get("/").await.failed.is_some());
    assert_eq!(world.failure().0, "response_head_too_large");
}

#[tokio::test]
async fn a_refused_connection_is_told_as_the_stock_connector_does() {
    let gone = Origin::fixed(OK).await.address;
    let world = World::new(ServiceKind::Http, format!("http://{gone}"), OriginSettings::default());
    let answer = super::eventually_refused(&world).await;
    let text = answer.failed.unwrap();
    assert!(text.starts_with("Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: dial tcp 127.0.0.1:"), "{text}");
    assert!(text.contains("connect: connection refused"), "{text}");
    let events = world.events();
    assert!(
        matches!(events.last(), Some(Event::OriginFailed(OriginFailed { code: "origin_refused", rule: 0, .. }))),
        "{events:?}"
    );
}

/// Case 31.
#[tokio::test]
async fn the_host_header_of_the_rule_replaces_the_public_one() {
    let origin = echo().await;
    let settings = OriginSettings { http_host_header: Some("internal.local".into()), ..OriginSettings::default() };
    let world = World::new(ServiceKind::Http, format!("http://{}", origin.address), settings);
    let answer = world.send(request("GET", "/", BodyLength::Absent).with("X-Forwarded-Host", "evil")).end().await;
    let seen = answer.text();
    assert!(
        seen.contains("Host: internal.local\r\n") && seen.contains("X-Forwarded-Host: app.example.test\r\n"),
        "{seen}"
    );
    assert!(!seen.contains("evil"));
}

/// Case 48.
#[tokio::test]
async fn a_unix_socket_is_an_origin_and_may_be_replaced() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = std::env::temp_dir().join(format!("qanat {}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("app.sock");
    let serve = |answer: &'static str| {
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buf = [0; 4096];
            let n = stream.read(&mut buf).await.unwrap();
            assert!(buf[..n].starts_with(b"GET / HTTP/1.1\r\nHost: app.example.test\r\n"));
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{answer}").as_bytes()).await.unwrap();
        })
    };
    let world = World::new(ServiceKind::Unix, path.to_str().unwrap(), OriginSettings::default());
    let missing = world.get("/").await.failed.unwrap();
    assert!(
        missing.contains(path.to_str().unwrap()) && missing.contains("no such file or directory (os error 2)"),
        "{missing}"
    );
    for answer in ["1", "2"] {
        let serving = serve(answer);
        assert_eq!(world.get("/").await.text(), answer);
        serving.await.unwrap();
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// S12.
#[tokio::test]
async fn what_could_split_a_request_ends_the_stream_and_never_reaches_the_origin() {
    let origin = Origin::fixed(OK).await;
    let world = World::to(&origin);
    let mut hostile = Vec::new();
    for (name, value) in
        [("X", "a\r\nEvil: 1"), ("X", "a\nb"), ("X", "a\0b"), ("X Y", "a"), ("X:Y", "a"), ("", "a"), ("X\r\nY", "a")]
    {
        hostile.push(request("GET", "/", BodyLength::Absent).with(name, value));
    }
    for method in ["", "G T", "GET /evil HTTP/1.1\r\n", "G\0"] {
        hostile.push(request(method, "/", BodyLength::Absent));
    }
    for target in ["", "x", "/a b", "/a\r\nEvil: 1", "http://other/", "/\0"] {
        hostile.push(request("GET", target, BodyLength::Absent));
    }
    for authority in ["a b", "a\r\nb", "user@host", "a/b"] {
        let mut bad = request("GET", "/", BodyLength::Absent);
        bad.head.authority = authority.into();
        hostile.push(bad);
    }
    let count = hostile.len() as u64;
    for request in hostile {
        let answer = world.send(request.clone()).end().await;
        assert!(answer.dropped && answer.status == 0 && answer.failed.is_none(), "{request:?}");
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(world.count("malformed_requests"), count);
    assert_eq!(world.get("/").await.text(), "ok");
}
