//! Request bodies towards HTTP/1.1 origins.

use super::{Origin, With, World, request};
use crate::{OriginSettings, ServiceKind};
use bytes::Bytes;
use qanat_http::BodyLength;

/// An origin that answers with the framing fields it saw, a blank line and the body it read.
async fn reader() -> Origin {
    Origin::start(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            let field = |name: &str| {
                head.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim_start_matches(": ").to_owned())
            };
            let seen = match (field("Content-Length"), field("Transfer-Encoding")) {
                (Some(n), None) => {
                    let body = peer.bytes(n.parse().unwrap()).await;
                    format!("length {n}\n{}", String::from_utf8_lossy(&body))
                }
                (None, Some(coding)) => format!("{coding}\n{}", peer.until("0\r\n\r\n").await),
                (None, None) => "none\n".into(),
                both => format!("both {both:?}"),
            };
            peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{seen}", seen.len())).await;
        }
    })
    .await
}

/// Cases 5, 6, 7.
#[tokio::test]
async fn the_body_is_announced_as_it_was() {
    let origin = reader().await;
    let world = World::to(&origin);
    for (method, length, body, expected) in [
        ("PUT", BodyLength::Exact(0), "", "length 0\n"),
        ("POST", BodyLength::Exact(5), "hello", "length 5\nhello"),
        ("PATCH", BodyLength::Unknown, "hello", "chunked\n5\r\nhello\r\n0\r\n\r\n"),
        ("PUT", BodyLength::Unknown, "", "chunked\n0\r\n\r\n"),
        ("DELETE", BodyLength::Absent, "", "none\n"),
    ] {
        let exchange = world.send(request(method, "/", length).with("content-encoding", "aws-chunked"));
        if !body.is_empty() {
            exchange.data(body);
        }
        assert_eq!(exchange.end().await.text(), expected);
    }
    assert_eq!(origin.connections(), 1, "a request with a body leaves the connection usable");
}

#[tokio::test]
async fn a_large_upload_arrives_whole_in_both_forms() {
    let origin = Origin::start(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            let mut sum = 0u64;
            if head.contains("chunked") {
                loop {
                    let size = peer.until("\r\n").await;
                    let size = usize::from_str_radix(size.trim(), 16).unwrap();
                    sum += peer.bytes(size).await.len() as u64;
                    peer.until("\r\n").await;
                    if size == 0 {
                        break;
                    }
                }
            } else {
                sum = peer.bytes(8 << 20).await.len() as u64;
            }
            let sum = sum.to_string();
            peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{sum}", sum.len())).await;
        }
    })
    .await;
    let world = World::to(&origin);
    for length in [BodyLength::Unknown, BodyLength::Exact(8 << 20)] {
        let exchange = world.send(request("POST", "/", length));
        for _ in 0..512 {
            exchange.data(Bytes::from(vec![7; 16 * 1024]));
        }
        assert_eq!(exchange.end().await.text(), (8 << 20).to_string());
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn without_chunked_encoding_a_length_is_found_or_asked_for() {
    let origin = reader().await;
    let settings = OriginSettings { disable_chunked_encoding: true, ..OriginSettings::default() };
    let world = World::new(ServiceKind::Http, format!("http://{}", origin.address), settings);
    let exchange = world.send(request("POST", "/", BodyLength::Unknown));
    exchange.data("hel");
    exchange.data("lo");
    assert_eq!(exchange.end().await.text(), "length 5\nhello");
    let exchange = world.send(request("POST", "/", BodyLength::Exact(2)));
    exchange.data("ok");
    assert_eq!(exchange.end().await.text(), "length 2\nok");
    let exchange = world.send(request("POST", "/", BodyLength::Unknown));
    exchange.data(vec![0; (1 << 20) + 1]);
    let answer = exchange.over().await;
    assert_eq!((answer.status, answer.stopped), (411, true));
    assert!(answer.text().contains("disableChunkedEncoding"), "{}", answer.text());
}

#[tokio::test]
async fn an_answer_before_the_whole_body_is_passed_on_at_once() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        // Goes on reading, as RFC 9112 9.6 asks of it, until the body ends.
        let rest = peer.bytes(10).await;
        assert_eq!(rest, b"0123456789");
        peer.closed().await;
    })
    .await;
    let world = World::to(&origin);
    let mut exchange = world.send(request("POST", "/", BodyLength::Exact(10)));
    exchange.data("01234");
    let answer = exchange.until(|a| a.finished).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.stopped), (413, "big", false));
    exchange.data("56789");
    exchange.finish();
    exchange.end().await;
    assert_eq!(world.count("origin_connections_open"), 0, "a connection with an early answer is not kept (S14)");
    assert!(world.events().is_empty());
}

#[tokio::test]
async fn an_origin_that_answers_and_closes_stops_the_upload() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    })
    .await;
    let world = World::to(&origin);
    let exchange = world.send(request("POST", "/", BodyLength::Unknown));
    exchange.until(|a| a.finished).await;
    while !exchange.so_far().stopped {
        exchange.data(vec![0; 65536]);
        tokio::task::yield_now().await;
    }
    let answer = exchange.over().await;
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[tokio::test]
async fn expectations_are_the_origins_to_meet() {
    let origin = Origin::start(|number, mut peer| async move {
        let head = peer.head().await.unwrap();
        assert!(head.contains("Expect: 100-continue"));
        if number == 0 {
            peer.write("HTTP/1.1 100 Continue\r\n\r\n").await;
            assert_eq!(peer.bytes(5).await, b"hello");
            peer.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
        } else {
            peer.write("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").await;
            assert_eq!(peer.bytes(1).await, b"", "the body is not sent");
        }
    })
    .await;
    let world = World::to(&origin);
    for (status, stopped) in [(200, false), (417, true)] {
        let exchange = world.send(request("POST", "/", BodyLength::Exact(5)).with("Expect", "100-continue"));
        exchange.data("hello");
        let answer = exchange.over().await;
        assert_eq!((answer.status, answer.stopped), (status, stopped));
        assert!(answer.informational.is_empty());
    }
}
