//! Which connections are used again, and what happens when the origin closes one just then (case 56).

use super::{Origin, World, eventually, request};
use crate::{IngressTable, OriginSettings, Rule, ServiceKind};
use qanat_http::BodyLength;
use std::sync::Arc;
use tokio::sync::mpsc;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Serves one request a connection, and closes when the second comes in: the race, every time.
async fn closes_on_reuse() -> Origin {
    Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.write(OK).await;
        peer.head().await;
    })
    .await
}

#[tokio::test]
async fn a_get_lost_on_a_reused_connection_is_repeated_on_a_new_one() {
    let origin = closes_on_reuse().await;
    let world = World::to(&origin);
    for _ in 0..50 {
        assert_eq!(world.get("/").await.text(), "ok");
    }
    assert!(world.events().is_empty());
}

#[tokio::test]
async fn a_post_lost_on_a_reused_connection_is_not_run_twice() {
    let origin = closes_on_reuse().await;
    let world = World::to(&origin);
    assert_eq!(world.get("/").await.text(), "ok");
    let exchange = world.send(request("POST", "/", BodyLength::Exact(2)));
    exchange.data("hi");
    let text = exchange.end().await.failed.unwrap();
    assert!(text.contains("reused connection closed by origin"), "{text}");
    assert_eq!(origin.connections(), 1);
    assert_eq!(world.failure().0, "reused_connection_closed");
}

#[tokio::test]
async fn a_put_whose_body_was_begun_is_not_repeated() {
    let origin = closes_on_reuse().await;
    let world = World::to(&origin);
    assert_eq!(world.get("/").await.text(), "ok");
    let exchange = world.send(request("PUT", "/", BodyLength::Exact(2)));
    exchange.data("hi");
    assert!(exchange.end().await.failed.is_some());
}

#[tokio::test]
async fn a_new_connection_that_is_lost_is_not_tried_again() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
    })
    .await;
    let world = World::to(&origin);
    assert!(world.get("/").await.failed.is_some());
    assert_eq!((origin.connections(), world.failure().0), (1, "origin_closed"));
}

#[tokio::test]
async fn a_connection_the_origin_closed_is_noticed_before_it_is_used() {
    let (closed, mut told) = mpsc::unbounded_channel();
    let origin = Origin::start(move |_, mut peer| {
        let closed = closed.clone();
        async move {
            peer.head().await;
            peer.write(OK).await;
            drop(peer);
            closed.send(()).unwrap();
        }
    })
    .await;
    let world = World::to(&origin);
    for _ in 0..40 {
        let exchange = world.send(request("POST", "/", BodyLength::Exact(0)));
        assert_eq!(exchange.end().await.text(), "ok");
        told.recv().await.unwrap();
    }
    assert_eq!(origin.connections(), 40);
    assert!(world.events().is_empty());
}

#[tokio::test]
async fn connection_close_and_http_1_0_are_obeyed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let origin = Origin::fixed(answer).await;
        let world = World::to(&origin);
        for _ in 0..3 {
            assert_eq!(world.get("/").await.text(), "ok");
        }
        assert_eq!((origin.connections(), world.count("origin_connections_open")), (3, 0));
    }
}

#[tokio::test]
async fn the_origins_idle_limit_is_followed() {
    let origin = Origin::fixed("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 2\r\n\r\nok").await;
    let world = World::to(&origin);
    for _ in 0..3 {
        assert_eq!(world.get("/").await.text(), "ok");
    }
    assert_eq!(origin.connections(), 3);
    world.data_path().origins.sweep(std::time::Instant::now());
    assert_eq!(world.count("origin_connections_open"), 0);
}

#[tokio::test]
async fn no_more_idle_connections_than_allowed_are_kept() {
    let all = std::sync::Arc::new(tokio::sync::Barrier::new(8));
    let origin = Origin::start(move |_, mut peer| {
        let all = all.clone();
        async move {
            peer.head().await;
            all.wait().await;
            peer.write(OK).await;
            peer.closed().await;
        }
    })
    .await;
    let settings = OriginSettings { keep_alive_connections: 2, ..OriginSettings::default() };
    let world = World::new(ServiceKind::Http, format!("http://{}", origin.address), settings);
    let running: Vec<_> = (0..8).map(|_| world.send(request("GET", "/", BodyLength::Absent))).collect();
    for exchange in running {
        assert_eq!(exchange.end().await.text(), "ok");
    }
    assert_eq!(origin.connections(), 8);
    eventually(|| (world.count("origin_connections_open") == 2).then_some(())).await;
}

#[tokio::test]
async fn a_table_swap_keeps_the_connections_of_the_same_origin() {
    let origin = Origin::fixed(OK).await;
    let world = World::to(&origin);
    assert_eq!(world.get("/").await.text(), "ok");
    let rule = crate::Rule {
        hostname: String::new(),
        path: String::new(),
        kind: ServiceKind::Http,
        target: format!("http://{}", origin.address),
        service: "again".into(),
        origin: OriginSettings::default(),
    };
    world.connector.swap_ingress(std::sync::Arc::new(crate::IngressTable::compile(vec![rule]).unwrap()));
    assert_eq!(world.get("/").await.text(), "ok");
    assert_eq!(origin.connections(), 1);
}

fn table_to(target: String) -> Arc<IngressTable> {
    let (hostname, path, service) = (String::new(), String::new(), target.clone());
    let rule = Rule { hostname, path, kind: ServiceKind::Http, target, service, origin: OriginSettings::default() };
    Arc::new(IngressTable::compile(vec![rule]).unwrap())
}

#[tokio::test]
async fn an_origin_that_is_named_no_more_serves_what_is_open_and_then_has_no_connection_left() {
    let (let_go, gate) = tokio::sync::watch::channel(false);
    let old = Origin::start(move |_, mut peer| {
        let mut gate = gate.clone();
        async move {
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbe").await;
            gate.wait_for(|open| *open).await.unwrap();
            peer.write("gun").await;
            peer.head().await;
        }
    })
    .await;
    let new = Origin::start(|_, mut peer| async move {
        while peer.head().await.is_some() {
            peer.write(OK).await;
        }
    })
    .await;
    let world = World::to(&old);
    let exchange = world.send(request("GET", "/", BodyLength::Absent));
    exchange.until(|answer| answer.body == b"be").await;

    world.connector.swap_ingress(table_to(format!("http://{}", new.address)));
    assert_eq!(world.get("/").await.text(), "ok", "the new table");
    assert_eq!(world.count("origin_connections_open"), 2);
    let_go.send_replace(true);
    assert_eq!(exchange.end().await.text(), "begun");
    eventually(|| (world.count("origin_connections_open") == 1).then_some(())).await;

    world.connector.swap_ingress(table_to(format!("http://{}", new.address)));
    assert_eq!(world.get("/").await.text(), "ok");
    assert_eq!((world.count("origin_connections_reused"), new.connections()), (1, 1), "a named one keeps its own");
    world.connector.swap_ingress(table_to("http://127.0.0.1:9".into()));
    eventually(|| (world.count("origin_connections_open") == 0).then_some(())).await;
}
