//! Upgrades (cases 1, 2, 31, 48).

use super::{Exchange, Origin, With, World, request};
use crate::{OriginSettings, ServiceKind};
use qanat_http::BodyLength;
use qanat_transport::{RequestKind, TunnelRequest};
use tokio::io::AsyncWriteExt;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

pub(super) fn upgrade(target: &'static str) -> TunnelRequest {
    let mut request = request("GET", target, BodyLength::Opaque)
        .with("Sec-WebSocket-Key", KEY)
        .with("sec-websocket-protocol", "a, b");
    request.kind = RequestKind::WebSocket;
    request.head.websocket = true;
    request
}

fn world(origin: &Origin, scheme: &str) -> World {
    World::new(ServiceKind::Http, format!("{scheme}://{}", origin.address), OriginSettings::default())
}

#[tokio::test]
async fn the_origin_gets_a_whole_upgrade_with_http_and_ws_services() {
    let origin = Origin::start(|_, mut peer| async move {
        let head = peer.head().await.unwrap();
        let expected = "GET /live HTTP/1.1\r\nHost: app.example.test\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Version: 13\r\n\
             Cf-Warp-Tag-Id: 00000000-0000-0000-0000-000000000007\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(head, expected);
        // The first frame travels with the head.
        peer.write(format!("{SWITCHING}hi")).await;
        let got = peer.bytes(4).await;
        peer.write(got).await;
        peer.closed().await;
        peer.write("bye").await;
    })
    .await;
    for scheme in ["http", "ws"] {
        let world = world(&origin, scheme);
        let exchange = world.send(upgrade("/live"));
        let answer = exchange.until(|a| a.body == b"hi").await;
        assert_eq!((answer.status, answer.length), (101, Some(BodyLength::Opaque)));
        assert_eq!(answer.header("sec-websocket-accept").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(
            (answer.header("upgrade").unwrap(), answer.header("connection").unwrap()),
            ("websocket".into(), "Upgrade".into())
        );
        exchange.data("ping");
        exchange.until(|a| a.body == b"hiping").await;
        // Half-close travels; the other direction goes on.
        let answer = exchange.end().await;
        assert_eq!((answer.text().as_str(), answer.finished, answer.reset), ("hipingbye", true, false));
        assert_eq!(world.count("responses_101"), 1);
    }
}

#[tokio::test]
async fn an_origin_that_half_closes_still_hears_the_client() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.write(SWITCHING).await;
        peer.stream.shutdown().await.unwrap();
        assert_eq!(peer.bytes(4).await, b"last");
    })
    .await;
    let exchange: Exchange = world(&origin, "http").send(upgrade("/"));
    exchange.until(|a| a.finished).await;
    exchange.data("last");
    assert!(!exchange.end().await.reset);
}

#[tokio::test]
async fn a_refused_upgrade_passes_as_plain_http() {
    let origin = Origin::fixed("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Why: auth\r\n\r\nno").await;
    let world = world(&origin, "http");
    for _ in 0..2 {
        let answer = world.send(upgrade("/")).over().await;
        assert_eq!((answer.status, answer.text().as_str(), answer.finished), (403, "no", true));
        assert_eq!(answer.header("x-why").unwrap(), "auth");
    }
}

/// Case 70: 502 with a reason, and the origin's connection closed.
#[tokio::test]
async fn a_101_that_is_not_what_was_asked_for_is_a_bad_response() {
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    const WRONG: &str = "Sec-WebSocket-Accept: AAAALMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    for (asked, fields, reason) in [
        (upgrade("/"), format!("Upgrade: other\r\n{ACCEPT}"), "101 without `Upgrade: websocket`"),
        (upgrade("/"), ACCEPT.to_owned(), "101 without `Upgrade: websocket`"),
        (upgrade("/"), "Upgrade: websocket\r\n".to_owned(), "without Sec-WebSocket-Accept"),
        (upgrade("/"), format!("Upgrade: websocket\r\n{WRONG}"), "wrong Sec-WebSocket-Accept"),
        (
            request("GET", "/", BodyLength::Absent),
            format!("Upgrade: websocket\r\n{ACCEPT}"),
            "101 without an upgrade being asked for",
        ),
    ] {
        let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{fields}\r\n");
        let origin = Origin::start(move |_, mut peer| {
            let (seen, head) = (seen.clone(), head.clone());
            async move {
                peer.head().await;
                peer.write(head).await;
                peer.closed().await;
                seen.send(()).unwrap();
            }
        })
        .await;
        let world = world(&origin, "http");
        let answer = world.send(asked).over().await;
        assert!(answer.failed.is_some_and(|text| text.contains(reason)), "{fields}");
        told.recv().await.unwrap();
        assert_eq!(world.failure().0, "origin_bad_response");
    }
}

#[tokio::test]
async fn an_origin_that_dies_resets_the_websocket() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.write(SWITCHING).await;
        peer.bytes(1).await;
        peer.abort();
    })
    .await;
    let world = world(&origin, "http");
    let exchange = world.send(upgrade("/"));
    exchange.until(|a| a.status == 101).await;
    exchange.data("x");
    let answer = exchange.over().await;
    assert!(answer.reset && !answer.finished);
}

#[tokio::test]
async fn a_client_that_leaves_a_websocket_closes_the_origin_connection() {
    let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::start(move |_, mut peer| {
        let seen = seen.clone();
        async move {
            peer.head().await;
            peer.write(SWITCHING).await;
            peer.closed().await;
            seen.send(()).unwrap();
        }
    })
    .await;
    let world = world(&origin, "http");
    let exchange = world.send(upgrade("/"));
    exchange.until(|a| a.status == 101).await;
    exchange.cancel();
    told.recv().await.unwrap();
    exchange.over().await;
}
