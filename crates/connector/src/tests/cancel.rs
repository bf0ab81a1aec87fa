//! The client goes away.

use super::{Origin, World, request};
use crate::Event;
use qanat_http::BodyLength;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Case 22.
#[tokio::test]
async fn a_client_that_leaves_before_the_answer_closes_the_origin_connection_at_once() {
    let (seen, mut told) = mpsc::unbounded_channel();
    let origin = Origin::start(move |_, mut peer| {
        let seen = seen.clone();
        async move {
            peer.head().await;
            seen.send("request").unwrap();
            peer.closed().await;
            seen.send("closed").unwrap();
        }
    })
    .await;
    let world = World::to(&origin);
    let mut took = vec![];
    for _ in 0..20 {
        let exchange = world.send(request("GET", "/slow", BodyLength::Absent));
        assert_eq!(told.recv().await, Some("request"));
        let left = Instant::now();
        exchange.cancel();
        assert_eq!(told.recv().await, Some("closed"));
        took.push(left.elapsed());
        let answer = exchange.end().await;
        assert_eq!((answer.status, answer.failed), (0, None));
    }
    assert!(took.iter().min().unwrap() < &Duration::from_millis(100), "{took:?}");
    assert!(world.events().iter().all(|e| matches!(e, Event::RequestCanceled(_))));
    assert_eq!((world.count("requests_canceled"), world.count("request_errors")), (20, 0));
    assert_eq!((world.count("requests_open"), world.count("origin_connections_open")), (0, 0));
}

#[tokio::test]
async fn a_client_that_leaves_mid_answer_closes_it_too() {
    let (seen, mut told) = mpsc::unbounded_channel();
    let origin = Origin::start(move |_, mut peer| {
        let seen = seen.clone();
        async move {
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").await;
            peer.closed().await;
            seen.send(()).unwrap();
        }
    })
    .await;
    let world = World::to(&origin);
    let exchange = world.send(request("GET", "/", BodyLength::Absent));
    exchange.until(|a| a.body == b"hello").await;
    exchange.cancel();
    told.recv().await.unwrap();
    exchange.end().await;
    assert!(matches!(world.events()[..], [Event::RequestCanceled(_)]));
}

#[tokio::test]
async fn a_request_body_that_breaks_is_never_taken_for_a_whole_one() {
    let (seen, mut told) = mpsc::unbounded_channel();
    let origin = Origin::start(move |_, mut peer| {
        let seen = seen.clone();
        async move {
            peer.head().await;
            seen.send(peer.until("0\r\n\r\n").await).unwrap();
        }
    })
    .await;
    let world = World::to(&origin);
    let exchange = world.send(request("POST", "/", BodyLength::Unknown));
    exchange.data("half");
    exchange.break_body();
    assert!(!told.recv().await.unwrap().ends_with("0\r\n\r\n"));
    exchange.over().await;
    assert_eq!((world.count("request_errors"), world.count("requests_canceled")), (0, 1));
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_the_edges_fault() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.head().await;
        peer.closed().await;
    })
    .await;
    let world = World::to(&origin);
    let exchange = world.send(request("POST", "/", BodyLength::Exact(10)));
    exchange.data("half");
    let answer = exchange.end().await;
    assert_eq!(answer.status, 0);
    assert_eq!(world.count("request_errors"), 0);
}
