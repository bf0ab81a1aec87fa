//! `http_status:` and `hello_world` (case 65), and what is answered without any rule.

use super::websocket::upgrade;
use super::{With, World, request};
use crate::{OriginSettings, ServiceKind};
use qanat_http::BodyLength;
use qanat_transport::AnsweredBy;

fn status(code: &str) -> World {
    World::new(ServiceKind::Status, code, OriginSettings::default())
}

#[tokio::test]
async fn a_status_is_itself_for_every_method_and_reads_no_body() {
    for (code, method, length, body_length) in [
        ("404", "GET", BodyLength::Exact(0), Some("0")),
        ("404", "HEAD", BodyLength::Absent, Some("0")),
        ("204", "GET", BodyLength::Absent, None),
        ("304", "GET", BodyLength::Absent, None),
        ("503", "OPTIONS", BodyLength::Exact(0), Some("0")),
        ("999", "GET", BodyLength::Exact(0), Some("0")),
    ] {
        let world = status(code);
        let target = if method == "OPTIONS" { "*" } else { "/" };
        let answer = world.send(request(method, target, BodyLength::Absent)).end().await;
        assert_eq!((answer.status.to_string().as_str(), answer.length), (code, Some(length)));
        assert_eq!(answer.header("content-length").as_deref(), body_length);
        assert!(answer.finished && answer.body.is_empty() && answer.from == Some(AnsweredBy::Origin));
        assert!(world.events().is_empty(), "not an origin's failure");
    }
    let exchange = status("404").send(request("POST", "/", BodyLength::Exact(50 << 20)));
    exchange.data("a");
    let answer = exchange.over().await;
    assert_eq!((answer.status, answer.stopped), (404, true));
}

#[tokio::test]
async fn an_upgrade_gets_the_status_and_grpc_a_trailers_only_error() {
    let answer = status("404").send(upgrade("/")).over().await;
    assert_eq!((answer.status, answer.finished), (404, true));
    let answer = status("503")
        .send(request("POST", "/p.S/M", BodyLength::Unknown).with("content-type", "application/grpc+proto"))
        .over()
        .await;
    assert_eq!((answer.status, answer.header("grpc-status").unwrap().as_str()), (200, "14"));
    assert_eq!(answer.header("content-type").unwrap(), "application/grpc+proto");
    let answer = World::new(ServiceKind::HelloWorld, "", OriginSettings::default())
        .send(request("POST", "/p.S/M", BodyLength::Unknown).with("content-type", "application/grpc"))
        .over()
        .await;
    assert_eq!((answer.status, answer.header("grpc-status").unwrap().as_str(), answer.body.len()), (200, "12", 0));
}

#[tokio::test]
async fn without_rules_everything_is_503_from_the_connector() {
    let world = World::with_rules(vec![]);
    let answer = world.get("/").await;
    assert_eq!((answer.status, answer.from), (503, Some(AnsweredBy::Connector)));
}

#[tokio::test]
async fn hello_world_has_its_pages() {
    let world = World::new(ServiceKind::HelloWorld, "", OriginSettings::default());
    let page = world.get("/?a=%3Cb%3E").await;
    assert_eq!((page.status, page.header("content-type").unwrap().as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.text().contains("Hello") && page.text().contains("app.example.test"));
    assert_eq!(page.header("content-length").unwrap(), page.body.len().to_string());
    let uptime = world.get("/uptime").await.text();
    assert!(uptime.starts_with("{\"startTime\":\"2") && uptime.contains("Z\",\"uptime\":\""), "{uptime}");
    assert_eq!(world.get("/_health").await.text(), "ok");
    assert_eq!(world.get("/ws").await.status, 400);
    let head = world.send(request("HEAD", "/", BodyLength::Absent)).end().await;
    assert!(head.body.is_empty() && head.header("content-length").is_some_and(|l| l != "0"));
}

#[tokio::test]
async fn hello_world_streams_events_until_the_client_leaves() {
    let world = World::new(ServiceKind::HelloWorld, "", OriginSettings::default());
    let exchange = world.send(request("GET", "/sse?freq=10ms", BodyLength::Absent));
    let answer = exchange.until(|a| a.text().contains("data: 3\n\n")).await;
    assert_eq!(answer.header("content-type").unwrap(), "text/event-stream; charset=utf-8");
    exchange.cancel();
    exchange.over().await;
}

#[tokio::test]
async fn hello_world_echoes_a_websocket() {
    let world = World::new(ServiceKind::HelloWorld, "", OriginSettings::default());
    let exchange = world.send(upgrade("/ws"));
    let answer = exchange.until(|a| a.status == 101).await;
    assert_eq!(answer.header("sec-websocket-accept").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    // "hi", masked with 0.
    exchange.data(&b"\x81\x82\0\0\0\0hi"[..]);
    exchange.until(|a| a.body == b"\x81\x02hi").await;
    // Ping, then close with 1000.
    exchange.data(&b"\x89\x81\0\0\0\0p"[..]);
    exchange.until(|a| a.body.ends_with(b"\x8a\x01p")).await;
    exchange.data(&b"\x88\x82\0\0\0\0\x03\xe8"[..]);
    let answer = exchange.until(|a| a.finished).await;
    assert!(answer.body.ends_with(b"\x88\x02\x03\xe8"), "{:?}", answer.body);
    exchange.over().await;
}
