//! Connections whose line is cut, long or lossy: what goes to them, and what becomes of what waits there.

#![allow(clippy::unwrap_used)]

use crate::support::client::h1;
use crate::support::connector::{FakeConnector, registration};
use crate::support::relay::Relay;
use crate::support::{HOST, Lab, on_both};
use qanat_edge::Event;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A connector behind a cable of its own: so long each way, and so many datagrams in a hundred lost.
async fn behind(lab: &Lab, id: u128, delay_ms: u64, lost: u64) -> (Relay, Arc<FakeConnector>) {
    let relay = Relay::to(lab.edge.addresses().tunnel, Duration::from_millis(delay_ms), lost).await;
    let registration = registration(Uuid::from_u128(id), 0, &[]);
    let connector = FakeConnector::start_at(lab, relay.address, registration).await.unwrap();
    (relay, connector)
}

fn doubts(event: &Event) -> Option<bool> {
    if let Event::ConnectionSuspect(doubt) = event { Some(doubt.suspect) } else { None }
}

#[test]
fn what_waits_on_a_cut_link_and_may_be_repeated_goes_elsewhere_and_the_rest_when_it_is_mended() {
    on_both(async |lab| {
        let (relay, cut_off) = behind(lab, 1, 0, 0).await;
        let mut post = h1(lab).await;
        post.send(format!("POST /slow HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n\r\nx")).await;
        let mut get = h1(lab).await;
        get.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        lab.until(|| cut_off.requests().len() == 2).await;
        let replica = lab.connector_with(&[], 2).await;
        lab.until(|| lab.count("tunnel_connections_open") == 2).await;
        // A permit is kept: whoever waits next is let through.
        replica.seen.release.notify_one();
        relay.cut(true);
        assert!(lab.event(doubts).await);
        assert_eq!(get.answer().await.text(), "slow", "an idempotent one moves");
        let mut new = h1(lab).await;
        for _ in 0..20 {
            assert_eq!(new.get("/new").await.status, 200);
        }
        relay.cut(false);
        lab.event(|event| doubts(event).filter(|suspect| !suspect)).await;
        assert_eq!(lab.count("tunnel_connections_suspect"), 0);
        assert_eq!(cut_off.requests().len(), 2, "nothing new went there");
        cut_off.seen.release.notify_one();
        cut_off.seen.release.notify_one();
        assert_eq!(post.answer().await.text(), "slow", "it waited");
        while cut_off.requests().len() == 2 {
            assert_eq!(new.get("/new").await.status, 200, "it is trusted again");
        }
    });
}

#[test]
fn the_only_connection_is_used_though_it_is_suspect() {
    on_both(async |lab| {
        let (relay, connector) = behind(lab, 1, 0, 0).await;
        assert_eq!(h1(lab).await.get("/x").await.status, 200);
        relay.cut(true);
        let mut waits = h1(lab).await;
        waits.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        assert!(lab.event(doubts).await);
        let mut comes = h1(lab).await;
        comes.send(format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n")).await;
        lab.until(|| lab.count("requests_open") == 2).await;
        relay.cut(false);
        assert_eq!((waits.answer().await.status, comes.answer().await.status), (200, 200));
        assert_eq!(connector.requests().len(), 3, "each once");
    });
}

/// How few false alarms there are is for crates/transport/src/judge.rs to say, whose time is simulated: here machines halt.
#[test]
fn on_long_and_lossy_lines_no_request_is_lost() {
    on_both(async |lab| {
        for (delay_ms, lost, requests) in [(150, 0, 3), (1, 5, 100)] {
            let lines = [behind(lab, 1, delay_ms, lost).await, behind(lab, 2, delay_ms, lost).await];
            lab.until(|| lab.count("tunnel_connections_open") == 2).await;
            let clients = (0..4).map(async |_| {
                let mut client = h1(lab).await;
                for _ in 0..requests {
                    assert_eq!(client.get("/x").await.status, 200);
                }
            });
            futures_util::future::join_all(clients).await;
            lines.iter().for_each(|(_, connector)| connector.link.close());
            lab.until(|| lab.count("tunnel_connections_open") == 0).await;
        }
        assert_eq!(lab.count("requests_failed"), 0);
        assert_eq!(lab.count("tunnel_connections_suspect"), 0);
    });
}
