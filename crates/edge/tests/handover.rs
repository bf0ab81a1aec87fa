//! One edge takes over from another, both in one process with duplicates of the same sockets: what is open goes on, what comes is the
//! new one's, and nobody notices.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use qanat_transport::Protocol;
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use support::client::{ask, h1, h2, request};
use support::connector::{FakeConnector, registration};
use support::{HOST, Lab, on_both};
use uuid::Uuid;

const OURS: [&str; 4] = ["qanat_trailers", "qanat_informational", "qanat_status", "qanat_return"];
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn connection(lab: &Lab, connector: u128, index: u8) -> Arc<FakeConnector> {
    FakeConnector::start_as(lab, registration(Uuid::from_u128(connector), index, &OURS)).await.unwrap()
}

/// A connection of a connector that comes back whenever it ends, as ours do.
async fn keep(lab: &Lab, connector: u128, index: u8) {
    loop {
        connection(lab, connector, index).await.link.closed().await;
    }
}

/// `work`, and `others` as long as it lasts.
async fn beside<T>(work: impl Future<Output = T>, others: impl Future) -> T {
    let (mut work, mut others) = (pin!(work), pin!(others));
    tokio::select! {
        biased;
        done = &mut work => done,
        _ = &mut others => panic!("the others ended"),
    }
}

async fn opened(lab: &Lab, connections: u64) {
    lab.until(|| lab.count("tunnel_connections_open") == connections).await;
}

/// Ends an edge, in a test that is a future.
fn end(lab: &Lab) {
    tokio::task::block_in_place(|| lab.edge.close(Duration::ZERO));
}

#[test]
fn connections_go_on_while_another_process_accepts() {
    on_both(async |first| {
        let old = connection(first, 1, 0).await;
        let by_https = registration(Uuid::from_u128(3), 0, &OURS);
        let by_https = FakeConnector::start_at(first, first.https(), by_https).await.unwrap();
        opened(first, 2).await;
        let mut visitor = h1(first).await;
        assert_eq!(visitor.get("/").await.status, 200);
        visitor.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let has_it =
            |connector: &FakeConnector| connector.requests().iter().any(|request| request.head.target == "/slow");
        first.until(|| has_it(&old) || has_it(&by_https)).await;
        let slow = if has_it(&old) { &old } else { &by_https };
        let mut socket = h1(first).await;
        socket.send(format!("GET /ws HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}\r\nfirst")).await;
        assert_eq!(socket.head().await.0, 101);
        assert_eq!(socket.bytes(5).await, b"first");

        let second = first.successor();
        assert_eq!(first.edge.addresses().tunnel, second.edge.addresses().tunnel);
        first.edge.handover().stop_accepting(false);
        second.edge.open();
        let new = connection(first, 2, 0).await;
        opened(&second, 1).await;
        assert_eq!((first.count("tunnel_connections_open"), second.count("registrations")), (2, 1));

        // The old one's requests end where they began, and go on to be served there.
        slow.seen.release.notify_one();
        assert_eq!(visitor.answer().await.text(), "slow");
        let large = visitor.get("/large").await;
        assert_eq!((large.status, large.body.len()), (200, 8 << 20));
        socket.send("second").await;
        assert_eq!(socket.bytes(6).await, b"second");
        assert_eq!(h1(first).await.get("/echo").await.status, 200, "a new visitor");
        assert_eq!((new.requests().len(), new.last().head.target), (1, "/echo".into()));
        // With nothing open on either, requests go to both.
        drop(socket);
        first.until(|| first.count("requests_open") == 0).await;
        for connector in [&old, &by_https] {
            let before = connector.requests().len();
            while connector.requests().len() == before {
                assert_eq!(visitor.get("/echo").await.status, 200);
            }
        }
        let passed = |lab: &Lab, name| (lab.count(name) > 0) == (lab.protocol == Protocol::Quic);
        assert!(passed(&second, "packets_passed") && passed(first, "packets_taken"));
        assert_eq!(second.count("packets_not_passed"), 0);
        end(&second);
    });
}

#[test]
fn packets_reach_their_process_across_two_upgrades_until_it_ends() {
    on_both(async |first| {
        let of_first = connection(first, 1, 0).await;
        opened(first, 1).await;
        let mut by_first = h1(first).await;
        assert_eq!(by_first.get("/").await.status, 200);

        let second = first.successor();
        first.edge.handover().stop_accepting(false);
        second.edge.open();
        let of_second = connection(first, 2, 0).await;
        opened(&second, 1).await;
        let mut by_second = h1(first).await;
        assert_eq!(by_second.get("/").await.status, 200);

        let third = second.successor();
        second.edge.handover().stop_accepting(false);
        third.edge.open();
        let of_third = connection(first, 3, 0).await;
        opened(&third, 1).await;
        for visitor in [&mut by_first, &mut by_second, &mut h1(first).await] {
            assert_eq!(visitor.get("/large").await.body.len(), 8 << 20);
        }
        let served = |connector: &FakeConnector| connector.requests().len();
        assert_eq!((served(&of_first), served(&of_second), served(&of_third)), (2, 2, 1));

        // The oldest leaves: its connector hears of it, the others go on.
        end(first);
        of_first.link.closed().await;
        assert_eq!(by_second.get("/").await.status, 200);
        end(&second);
        of_second.link.closed().await;
        assert_eq!(h1(&third).await.get("/").await.status, 200);
        end(&third);
    });
}

/// Requests one after the other over HTTP/1.1; a connection that is told to end is followed by another.
async fn load_h1(lab: &Lab, answered: &Cell<usize>) {
    loop {
        let mut visitor = h1(lab).await;
        loop {
            let answer = visitor.get("/echo").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answered.set(answered.get() + 1);
            if answer.value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                break;
            }
        }
    }
}

/// The same over HTTP/2; what a GOAWAY leaves unprocessed is asked for again.
async fn load_h2(lab: &Lab, answered: &Cell<usize>) {
    loop {
        let requests = h2(lab).await;
        loop {
            match ask(&requests, request("GET", "/echo").body(()).unwrap()).await {
                Ok(answer) => assert_eq!((answer.status(), answer.error.is_none()), (200, true)),
                Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => break,
                Err(error) => panic!("{error:?}"),
            }
            answered.set(answered.get() + 1);
        }
    }
}

/// As `qanat edge` does it.
async fn upgrade(old: &Lab, new: &Lab) {
    old.edge.handover().stop_accepting(true);
    new.edge.open_tunnels();
    let before = old.edge.handover().connected_tunnels();
    old.edge.handover().send_connectors_away(Duration::from_millis(1));
    old.until(|| before.keys().all(|id| new.edge.handover().connected_tunnels().contains_key(id))).await;
    new.edge.handover().expect(before.into_keys().collect(), Duration::from_secs(10));
    new.edge.open();
    let edge = old.edge.clone();
    tokio::task::spawn_blocking(move || edge.handover().drain(Duration::from_millis(500), support::SOON))
        .await
        .unwrap();
}

#[test]
fn no_request_fails_while_one_process_follows_another() {
    on_both(async |first| {
        let answered = Cell::new(0);
        let connectors = futures_util::future::join_all((0..4).map(|index| keep(first, 1, index)));
        let load = async {
            let h1s = futures_util::future::join_all((0..4).map(|_| load_h1(first, &answered)));
            let h2s = futures_util::future::join_all((0..4).map(|_| load_h2(first, &answered)));
            tokio::join!(h1s, h2s)
        };
        let upgrades = async {
            opened(first, 4).await;
            let mut ended: Option<Lab> = None;
            beside(
                async {
                    for _ in 0..3 {
                        let old = ended.as_ref().unwrap_or(first);
                        let before = answered.get();
                        old.until(|| answered.get() > before + 20).await;
                        let new = old.successor();
                        upgrade(old, &new).await;
                        assert_eq!((old.count("requests_failed"), old.count("connections_open")), (0, 0));
                        assert_eq!(old.count("tunnel_connections_open"), 0);
                        end(old);
                        opened(&new, 4).await;
                        ended = Some(new);
                    }
                    let last = ended.as_ref().unwrap();
                    let before = answered.get();
                    last.until(|| answered.get() > before + 20).await;
                    assert_eq!(last.count("requests_failed"), 0);
                },
                load,
            )
            .await;
            end(&ended.unwrap());
        };
        beside(upgrades, connectors).await;
    });
}
