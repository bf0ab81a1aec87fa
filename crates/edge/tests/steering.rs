//! Which node of a tunnel serves: the active one, and after a promotion the next; what waits meanwhile, and what is cut.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use bytes::Bytes;
use qanat_edge::{HoldOrder, Route, Sticky, TunnelEntry};
use qanat_transport::Registration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::client::{Answer, H1, a_moment, ask, h1, h2, plain, post, request};
use support::connector::{FakeConnector, registration};
use support::{HOST, Lab, on_both, on_both_with, secret, tunnel_entry, tunnel_id};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

/// The tunnel with two nodes, `a` and `b`.
fn row(epoch: u64, active: Option<&str>, fenced: &[&str]) -> TunnelEntry {
    TunnelEntry {
        secrets: vec![secret("", support::SECRET), secret("a", b"of a"), secret("b", b"of b")],
        active_token_id: active.map(str::to_owned),
        epoch,
        fenced_token_ids: fenced.iter().map(|f| (*f).to_owned()).collect(),
        ..tunnel_entry()
    }
}

async fn node(lab: &Lab, name: &str) -> Arc<FakeConnector> {
    let before = lab.count("registrations");
    let id = Uuid::from_u128(name.bytes().map(u128::from).sum());
    let secret = Bytes::from(format!("of {name}"));
    let features = ["qanat_trailers", "qanat_informational", "qanat_status"];
    let asked = Registration { secret, ..registration(id, 0, &features) };
    let connector = FakeConnector::start_as(lab, asked).await.unwrap();
    lab.until(|| lab.count("registrations") > before).await;
    connector
}

fn order(hostname: &str, most: usize) -> HoldOrder {
    HoldOrder {
        name: "promotion".to_owned(),
        hostnames: vec![hostname.to_owned()],
        tunnel_ids: vec![],
        timeout: Duration::from_secs(25),
        most,
    }
}

fn error(answer: &Answer) -> (u16, Option<String>) {
    (answer.status, answer.value("x-qanat-error"))
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn only_the_active_node_serves_and_an_older_epoch_changes_nothing() {
    on_both(async |lab| {
        lab.edge.put_tunnel(row(1, Some("a"), &[]));
        let (a, b) = (node(lab, "a").await, node(lab, "b").await);
        let mut client = h1(lab).await;
        let served = async |client: &mut H1<_>| {
            let before = (a.requests().len(), b.requests().len());
            for _ in 0..10 {
                assert_eq!(client.get("/").await.status, 200);
            }
            let mut websocket = h1(lab).await;
            websocket.send(format!("GET /ws HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}")).await;
            assert_eq!(websocket.head().await.0, 101);
            (a.requests().len() - before.0, b.requests().len() - before.1)
        };
        assert_eq!(served(&mut client).await, (11, 0));
        lab.edge.put_tunnel(row(2, Some("b"), &[]));
        assert_eq!(served(&mut client).await, (0, 11));
        lab.edge.put_tunnel(row(1, Some("a"), &[]));
        assert_eq!(served(&mut client).await, (0, 11), "that promotion is over");
        lab.edge.swap_tunnels(vec![row(3, Some("a"), &["b"])]);
        assert_eq!(served(&mut client).await, (11, 0));
        a.link.close();
        lab.until(|| lab.count("tunnel_connections_open") == 1).await;
        lab.edge.put_tunnel(row(4, None, &[]));
        assert_eq!(served(&mut client).await, (0, 11));
        let a = node(lab, "a").await;
        lab.edge.put_tunnel(row(4, None, &["b"]));
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(a.requests().len(), 1);
    });
}

/// Promotions to and fro under load. What the node that was active gets, it got before the promotion was acknowledged.
#[test]
fn after_a_promotion_nothing_more_goes_to_the_node_before_and_no_request_fails() {
    on_both(async |lab| {
        lab.edge.put_tunnel(row(1, Some("a"), &[]));
        let nodes = [node(lab, "a").await, node(lab, "b").await];
        let over = AtomicBool::new(false);
        let load = async || {
            let (mut slow, quick) = (h1(lab).await, h2(lab).await);
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                let answers = tokio::join!(
                    slow.get("/"),
                    ask(&quick, request("GET", "/").body(()).unwrap()),
                    post(&quick, request("POST", "/echo").body(()).unwrap(), "body", None),
                );
                assert_eq!(
                    (answers.0.status, answers.1.unwrap().status(), answers.2.unwrap().text()),
                    (200, 200, "body".to_owned())
                );
                count += 3;
            }
            count
        };
        let promotions = async {
            for epoch in 2..30 {
                let (active, old) = if epoch % 2 == 0 { ("b", &nodes[0]) } else { ("a", &nodes[1]) };
                let old_name = if epoch % 2 == 0 { "a" } else { "b" };
                lab.edge.put_tunnel(row(epoch, Some(active), &[]));
                // What was under way there ends; it was sent before.
                lab.until(|| lab.edge.open_requests(tunnel_id(), Some(old_name)) == 0).await;
                let before = old.requests().len();
                let served = lab.count("requests");
                lab.until(|| lab.count("requests") > served + 20).await;
                assert_eq!(old.requests().len(), before, "epoch {epoch}");
            }
            over.store(true, Ordering::Relaxed);
        };
        let (one, two, ()) = tokio::join!(load(), load(), promotions);
        let seen: usize = nodes.iter().map(|n| n.requests().len()).sum();
        assert_eq!((lab.count("requests_failed"), seen), (0, one + two));
        assert_eq!(lab.edge.open_requests(tunnel_id(), None), 0);
    });
}

#[test]
fn without_the_active_node_requests_wait_for_it_or_for_another() {
    on_both(async |lab| {
        lab.edge.put_tunnel(row(1, Some("a"), &[]));
        let b = node(lab, "b").await;
        let (mut one, mut two) = (h1(lab).await, h1(lab).await);
        let waiting = async {
            let (one, two) = tokio::join!(one.get("/1"), two.get("/2"));
            assert_eq!((one.status, two.status), (200, 200));
        };
        let promote = async {
            lab.until(|| lab.count("requests_open") == 2).await;
            a_moment().await;
            assert_eq!((b.requests().len(), lab.edge.open_requests(tunnel_id(), None)), (0, 0), "they have no node");
            lab.edge.put_tunnel(row(2, Some("b"), &[]));
        };
        tokio::join!(waiting, promote);
        assert_eq!(b.requests().len(), 2);
        lab.edge.put_tunnel(row(3, Some("a"), &[]));
        let (answer, a) = tokio::join!(one.get("/3"), node(lab, "a"));
        assert_eq!((answer.status, a.requests().len()), (200, 1), "it came back");
    });
}

#[test]
fn the_wait_for_an_active_node_ends_and_a_tunnel_without_any_answers_at_once() {
    on_both_with(
        |settings| settings.standby_wait = Duration::from_millis(200),
        async |lab| {
            lab.edge.put_tunnel(row(1, Some("a"), &[]));
            let b = node(lab, "b").await;
            let mut client = h1(lab).await;
            let answer = client.get("/").await;
            assert_eq!(error(&answer), (530, Some("no_active_node".to_owned())));
            assert!(answer.text().contains("1033"), "{}", answer.text());
            assert_eq!(lab.why().await, ("no_active_node", 530));
            b.link.close();
            lab.until(|| lab.count("tunnel_connections_open") == 0).await;
            assert_eq!(error(&client.get("/").await), (530, Some("no_connection".to_owned())));
        },
    );
}

/// With a second party: another hostname of the same tunnel, and one of the same client.
#[test]
fn held_requests_wait_in_order_and_another_hostname_does_not_notice() {
    on_both(async |lab| {
        lab.edge.put_tunnel(row(1, Some("a"), &[]));
        let (a, b) = (node(lab, "a").await, node(lab, "b").await);
        lab.edge.change_routes(&[Route::to("other.example.test", Some(tunnel_id()))], &[]).unwrap();
        lab.edge.hold(order(HOST, 100));
        let client = h2(lab).await;
        let mut held = Vec::new();
        for n in 0..10 {
            let mut client = client.clone().ready().await.unwrap();
            let body = n % 2 == 1;
            let target = format!("/echo?{n}");
            let asked = request(if body { "POST" } else { "GET" }, &target).body(()).unwrap();
            let (response, mut stream) = client.send_request(asked, !body).unwrap();
            if body {
                stream.send_data(Bytes::from(format!("body {n}")), true).unwrap();
            }
            held.push(response);
            lab.until(|| lab.count("requests_held") == n + 1).await;
        }
        let (mut one, mut two) = (h1(lab).await, plain(lab).await);
        one.send(format!("POST /echo?10 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nbody!")).await;
        lab.until(|| lab.count("requests_held") == 11).await;
        two.send(format!("GET /ws?11 HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}")).await;
        lab.until(|| lab.count("requests_held") == 12).await;
        // The second party.
        let mut other = h1(lab).await;
        for _ in 0..5 {
            other.send("GET /other HTTP/1.1\r\nHost: other.example.test\r\n\r\n").await;
            assert_eq!(other.answer().await.status, 200);
        }
        let asked =
            http::Request::get("https://other.example.test/other").version(http::Version::HTTP_2).body(()).unwrap();
        assert_eq!(ask(&client, asked).await.unwrap().status(), 200);
        assert_eq!((a.requests().len(), lab.count("requests_held")), (6, 12), "nothing of the others has gone");
        lab.edge.put_tunnel(row(2, Some("b"), &[]));
        lab.until(|| lab.edge.open_requests(tunnel_id(), None) == 0).await;
        assert_eq!(lab.edge.release("promotion"), 12);
        for (n, response) in held.into_iter().enumerate() {
            let answer = support::client::read(response).await.unwrap();
            let body = if n % 2 == 1 { format!("body {n}") } else { String::new() };
            assert_eq!((answer.status(), answer.text()), (200, body));
        }
        assert_eq!(one.answer().await.text(), "body!");
        assert_eq!(two.head().await.0, 101);
        let targets: Vec<_> =
            b.requests().iter().map(|r| String::from_utf8_lossy(&r.head.target).into_owned()).collect();
        let order: Vec<_> = targets.iter().map(|t| t.split_once('?').unwrap().1.parse::<u32>().unwrap()).collect();
        assert_eq!(order, (0..12).collect::<Vec<_>>());
        assert_eq!((a.requests().len(), lab.count("requests_failed"), lab.count("requests_held")), (6, 0, 0));
        assert_eq!(lab.edge.release("promotion"), 0);
    });
}

#[test]
fn a_hold_has_an_end_and_a_limit_and_who_leaves_is_noticed() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        lab.edge.hold(HoldOrder { tunnel_ids: vec![tunnel_id()], hostnames: vec![], ..order("", 3) });
        let mut kept = h1(lab).await;
        kept.send(format!("GET /kept HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        lab.until(|| lab.count("requests_held") == 1).await;
        // One leaves with its body unread, one cancels its stream.
        let mut leaves = h1(lab).await;
        leaves.send(format!("POST /left HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\n")).await;
        leaves.send(vec![b'x'; 300_000]).await;
        let client = h2(lab).await;
        let mut ready = client.clone().ready().await.unwrap();
        let (response, stream) = ready.send_request(request("GET", "/left").body(()).unwrap(), true).unwrap();
        lab.until(|| lab.count("requests_held") == 3).await;
        let refused = ask(&client, request("GET", "/").body(()).unwrap()).await.unwrap();
        assert_eq!(
            (refused.status(), &refused.head.headers()["x-qanat-error"]),
            (503, &"held_too_many".parse().unwrap())
        );
        assert!(refused.head.headers().contains_key("retry-after"));
        let _ = leaves.io.shutdown().await;
        drop((leaves, response, stream));
        lab.until(|| lab.count("requests_held") == 1 && lab.count("client_closed") == 2).await;
        assert_eq!(connector.requests().len(), 0);
        // The same name again, with a shorter time: who waits waits in that one, then goes on.
        lab.edge.hold(HoldOrder { timeout: Duration::from_millis(100), ..order(HOST, 3) });
        assert_eq!(kept.answer().await.text(), "hello /kept");
        assert_eq!(connector.requests().len(), 1);
        assert_eq!(kept.get("/after").await.status, 200, "it is over, released or not");
        assert_eq!(lab.edge.release("promotion"), 0);
    });
}

#[test]
fn what_is_held_goes_where_the_tables_lead_by_then() {
    on_both(async |lab| {
        let target = Uuid::from_u128(0xdef);
        lab.edge.put_tunnel(TunnelEntry { tunnel_id: target, ..tunnel_entry() });
        let old = lab.connector().await;
        let asked = Registration { tunnel_id: target, ..registration(Uuid::from_u128(2), 0, &[]) };
        let new = FakeConnector::start_as(lab, asked).await.unwrap();
        lab.until(|| lab.count("registrations") == 2).await;
        lab.edge.hold(order("*.wild.example.test", 10));
        let host = "a.wild.example.test";
        let mut client = H1 { io: support::client::dial_as(lab, host, &[b"http/1.1"]).await.unwrap(), rest: vec![] };
        client.send(format!("GET /moved HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        lab.until(|| lab.count("requests_held") == 1).await;
        let route = Route::to("*.wild.example.test", Some(target));
        lab.edge.change_routes(&[route], &[]).unwrap();
        assert_eq!(lab.edge.release("promotion"), 1);
        assert_eq!(client.answer().await.text(), "hello /moved");
        assert_eq!((old.requests().len(), new.requests().len()), (0, 1));
    });
}

#[test]
fn a_cut_ends_what_is_open_on_a_node_and_what_may_be_repeated_goes_to_the_next() {
    on_both(async |lab| {
        lab.edge.put_tunnel(row(1, Some("a"), &[]));
        let (a, b) = (node(lab, "a").await, node(lab, "b").await);
        let mut websocket = h1(lab).await;
        websocket.send(format!("GET /ws HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}")).await;
        assert_eq!(websocket.head().await.0, 101);
        let (mut stream, mut get, mut posted) = (h1(lab).await, h1(lab).await, h1(lab).await);
        stream.send(format!("GET /quiet HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        stream.head().await;
        get.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        posted.send(format!("POST /slow HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n")).await;
        lab.until(|| a.requests().len() == 4).await;
        let open =
            |token| (lab.edge.open_requests(tunnel_id(), Some(token)), lab.edge.open_websockets(tunnel_id(), None));
        assert_eq!(open("a"), (4, 1));
        lab.edge.put_tunnel(row(2, Some("b"), &[]));
        assert_eq!(open("a"), (4, 1), "they end where they began");
        assert_eq!(lab.edge.cut(tunnel_id(), Some("a"), true), 1);
        assert!(websocket.rest().await.is_empty());
        assert_eq!((open("a"), open("b")), ((3, 0), (0, 0)));
        assert_eq!(lab.edge.cut(tunnel_id(), Some("b"), false), 0, "another node's");
        b.seen.release.notify_one();
        assert_eq!(lab.edge.cut(tunnel_id(), Some("a"), false), 3);
        assert_eq!(get.answer().await.text(), "slow");
        assert_eq!(error(&posted.answer().await), (502, Some("request_cut".to_owned())));
        assert!(!stream.rest().await.ends_with(b"0\r\n\r\n"), "its answer is not whole");
        lab.until(|| open("a") == (0, 0)).await;
        assert_eq!((a.requests().len(), b.requests().len(), lab.count("tunnel_connections_open")), (4, 1, 2));
    });
}

/// Two tunnels behind one hostname; the second party is a visitor of another hostname of the first.
async fn two_tunnels(lab: &Lab) -> (Arc<FakeConnector>, Arc<FakeConnector>, Uuid) {
    let second = Uuid::from_u128(0xdef);
    lab.edge.put_tunnel(TunnelEntry { tunnel_id: second, ..tunnel_entry() });
    let one = lab.connector().await;
    let features = ["qanat_trailers", "qanat_informational", "qanat_status"];
    let asked = Registration { tunnel_id: second, ..registration(Uuid::from_u128(2), 0, &features) };
    let two = FakeConnector::start_as(lab, asked).await.unwrap();
    lab.until(|| lab.count("registrations") == 2).await;
    (one, two, second)
}

fn split(second: Uuid, weights: [u32; 2], sticky: Sticky) -> Route {
    Route { targets: vec![(tunnel_id(), weights[0]), (second, weights[1])], sticky, ..Route::to(HOST, None) }
}

#[test]
fn a_split_follows_its_weights_under_load_and_a_lost_target_leaves_its_requests_to_the_other() {
    on_both(async |lab| {
        let (one, two, second) = two_tunnels(lab).await;
        let (loses, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let load = async || {
            let (mut slow, quick) = (h1(lab).await, h2(lab).await);
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                // An answer that has begun is cut with its connection, and what has a body isn't repeated.
                let waits = loses.load(Ordering::Relaxed);
                let other = async {
                    if waits {
                        return ask(&quick, request("GET", "/slow").body(()).unwrap()).await.unwrap().status();
                    }
                    let asked = request("POST", "/echo").body(()).unwrap();
                    let answer = post(&quick, asked, "body", None).await.unwrap();
                    assert_eq!(answer.text(), "body");
                    answer.status()
                };
                let answers = tokio::join!(slow.get(if waits { "/slow" } else { "/" }), other);
                assert_eq!((answers.0.status, answers.1), (200, 200));
                count += 2;
            }
            count
        };
        let steps = async {
            for weights in [[99, 1], [50, 50], [0, 100], [100, 0], [50, 50]] {
                lab.edge.change_routes(&[split(second, weights, Sticky::None)], &[]).unwrap();
                let started = lab.count("requests");
                lab.until(|| lab.count("requests") > started + 10).await;
                let before = (one.requests().len(), two.requests().len());
                lab.until(|| lab.count("requests") > started + 150).await;
                let got = (one.requests().len() - before.0, two.requests().len() - before.1);
                match weights {
                    [0, _] => assert!(got.0 == 0 && got.1 > 50, "{got:?}"),
                    [_, 0] => assert!(got.1 == 0 && got.0 > 50, "{got:?}"),
                    [50, 50] => assert!(got.0 > 30 && got.1 > 30, "{got:?}"),
                    _ => assert!(got.0 > 100, "{got:?}"),
                }
            }
            loses.store(true, Ordering::Relaxed);
            lab.until(|| two.last().head.target == "/slow").await;
            assert_eq!(lab.edge.disconnect(second, None, None), 1);
            let started = lab.count("requests");
            lab.until(|| lab.count("requests") > started + 50).await;
            over.store(true, Ordering::Relaxed);
        };
        let one_answers = async {
            loop {
                one.seen.release.notify_one();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let sent = tokio::select! {
            (sent, ()) = async { tokio::join!(load(), steps) } => sent,
            () = one_answers => unreachable!(),
        };
        assert!(lab.count("requests_failed") == 0 && sent > 700, "{sent}");
    });
}

#[test]
fn a_visitor_stays_by_its_cookie_which_is_no_tunnels_id() {
    on_both(async |lab| {
        let (one, two, second) = two_tunnels(lab).await;
        lab.edge.change_routes(&[split(second, [1, 1], Sticky::Cookie)], &[]).unwrap();
        let mut client = h1(lab).await;
        let mut seen = (0, 0);
        while seen.0 == 0 || seen.1 == 0 {
            let cookie = client.get("/").await.value("set-cookie").unwrap();
            assert!(
                cookie.ends_with("; Path=/; HttpOnly; Secure; SameSite=Lax") && !cookie.contains(&second.to_string())
            );
            let pair = cookie.split(';').next().unwrap();
            let before = (one.requests().len(), two.requests().len());
            for _ in 0..5 {
                client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: a=b; {pair}\r\n\r\n")).await;
                let answer = client.answer().await;
                assert_eq!((answer.status, answer.value("set-cookie")), (200, None));
            }
            let got = (one.requests().len() - before.0, two.requests().len() - before.1);
            assert!(got == (5, 0) || got == (0, 5), "{got:?}");
            seen = (seen.0 + got.0, seen.1 + got.1);
        }
        lab.edge.change_routes(&[split(second, [1, 1], Sticky::Address)], &[]).unwrap();
        let before = (one.requests().len(), two.requests().len());
        for _ in 0..5 {
            assert_eq!(client.get("/").await.value("set-cookie"), None);
        }
        let got = (one.requests().len() - before.0, two.requests().len() - before.1);
        assert!(got == (5, 0) || got == (0, 5), "{got:?}");
    });
}
