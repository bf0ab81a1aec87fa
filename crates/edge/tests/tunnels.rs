//! Connections of connectors: who may register, what is pushed, what happens when they go; and the edge's own end.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use bytes::Bytes;
use qanat_edge::{Event, Route, TunnelEntry};
use qanat_transport::{RegisterError, Registration};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::client::{Answer, H1, ask, h1, h2, post, request};
use support::connector::{FakeConnector, dial, registration};
use support::{HOST, Lab, on_both, secret, tunnel_entry, tunnel_id};
use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

async fn refused(lab: &Lab, registration: Registration) -> (qanat_transport::RegistrationRefusal, &'static str) {
    lab.forget_events();
    let refusal = match FakeConnector::start_as(lab, registration).await {
        Err(RegisterError::Refused(refusal)) => refusal,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was accepted"),
    };
    let code = lab.event(|e| if let Event::RegistrationRefused(r) = e { Some(r.code) } else { None }).await;
    (refusal, code)
}

async fn get<S: AsyncRead + AsyncWrite + Unpin>(client: &mut H1<S>, host: &str) -> Answer {
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    client.answer().await
}

#[test]
fn a_registration_is_told_and_decided_by_the_table() {
    on_both(async |lab| {
        let connector =
            FakeConnector::start(lab, &["allow_remote_config", "qanat_trailers"], Uuid::from_u128(7), 2).await.unwrap();
        let registered =
            lab.event(|e| if let Event::ConnectionRegistered(r) = e { Some(r.clone()) } else { None }).await;
        assert_eq!((registered.connector_id, registered.connection_index), (connector.id, 2));
        assert_eq!((registered.protocol, registered.version.as_str()), (lab.protocol, "test"));
        assert_eq!(registered.origin_ip.to_string(), "127.0.0.1");
        assert_eq!(registered.features, ["allow_remote_config", "qanat_trailers"]);
        let asked = registration(Uuid::from_u128(8), 0, &[]);
        let wrong = Registration { secret: Bytes::from_static(b"wrong"), ..asked.clone() };
        let (refusal, code) = refused(lab, wrong).await;
        assert!(refusal.should_retry && refusal.retry_after >= Duration::from_secs(30), "it must not hammer");
        assert_eq!(code, "wrong_secret");
        assert!(!refusal.cause.contains("wrong_"), "{}", refusal.cause);
        let unknown = Registration { tunnel_id: Uuid::from_u128(9), ..asked.clone() };
        assert_eq!(refused(lab, unknown).await.1, "unknown_tunnel");
        let account = Registration { account_tag: "f".repeat(32), ..asked.clone() };
        assert_eq!(refused(lab, account).await.1, "wrong_account");
        lab.edge.put_tunnel(TunnelEntry { deleted: true, ..tunnel_entry() });
        assert_eq!(refused(lab, asked).await.1, "deleted_tunnel");
        assert_eq!(lab.count("tunnel_connections_open"), 1, "those that are there stay until disconnect");
        assert_eq!(lab.edge.disconnect(tunnel_id(), None, None), 1);
        let (id, reason) = lab
            .event(|e| if let Event::ConnectionLost(l) = e { Some((l.connection_id, l.reason.clone())) } else { None })
            .await;
        assert_eq!((id, reason.as_str()), (registered.connection_id, "disconnected"));
        connector.link.closed().await;
    });
}

#[test]
fn a_named_token_is_told_and_taken_away_alone() {
    on_both(async |lab| {
        let two =
            TunnelEntry { secrets: vec![secret("", support::SECRET), secret("host", b"of host")], ..tunnel_entry() };
        lab.edge.put_tunnel(two);
        let own = lab.connector().await;
        let asked = Registration { secret: Bytes::from_static(b"of host"), ..registration(Uuid::from_u128(2), 0, &[]) };
        let named = FakeConnector::start_as(lab, asked.clone()).await.unwrap();
        let token = lab
            .event(|e| match e {
                Event::ConnectionRegistered(r) if r.connector_id == named.id => Some(r.token_id.clone()),
                _ => None,
            })
            .await;
        assert_eq!(token, "host");
        lab.edge.put_tunnel(tunnel_entry());
        assert_eq!(lab.edge.disconnect(tunnel_id(), None, Some("host")), 1);
        named.link.closed().await;
        assert_eq!(refused(lab, asked).await.1, "wrong_secret");
        assert_eq!(get(&mut h1(lab).await, HOST).await.status, 200);
        assert_eq!(own.requests().len(), 1);
    });
}

#[test]
fn a_deleted_tunnels_hostname_is_gone_and_says_so() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        assert_eq!(get(&mut client, HOST).await.status, 200);
        lab.edge.put_tunnel(TunnelEntry { deleted: true, ..tunnel_entry() });
        let answer = get(&mut client, HOST).await;
        assert_eq!((answer.status, answer.value("x-qanat-error").as_deref()), (410, Some("tunnel_deleted")));
        assert!(answer.text().contains("was deleted"), "{}", answer.text());
        assert_eq!(lab.why().await, ("tunnel_deleted", 410));
        assert_eq!(connector.requests().len(), 1);
    });
}

#[test]
fn routes_change_one_by_one_while_requests_go_on() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        let route = || Route::to("other.example.test", Some(tunnel_id()));
        let mut client = h1(lab).await;
        let other = "other.example.test";
        assert_eq!(get(&mut client, other).await.status, 404);
        lab.edge.change_routes(&[route()], &[]).unwrap();
        assert_eq!(get(&mut client, other).await.status, 200);
        let refused = lab.edge.change_routes(&[], &[other.to_owned(), "no host".to_owned()]);
        assert_eq!(refused.unwrap_err().code(), "route_conflict");
        assert_eq!(get(&mut client, other).await.status, 200, "whole or not at all");
        lab.edge.change_routes(&[], &[other.to_owned()]).unwrap();
        assert_eq!((get(&mut client, other).await.status, get(&mut client, HOST).await.status), (404, 200));
    });
}

/// Case 38.
#[test]
fn a_tunnel_without_connections_answers_530_at_once() {
    on_both(async |lab| {
        let mut client = h1(lab).await;
        let start = Instant::now();
        let answer = client.get("/").await;
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(answer.status, 530);
        assert_eq!(
            (answer.value("cache-control").as_deref(), answer.value("x-qanat-error").as_deref()),
            (Some("no-store"), Some("no_connection"))
        );
        let ray = answer.value("cf-ray").unwrap();
        assert!(answer.text().contains("1033") && answer.text().contains(&ray));
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept: application/json\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")).await;
        let answer = client.answer().await;
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status, problem["code"].as_u64(), problem["retryable"].as_bool()),
            (530, Some(1033), Some(true))
        );
        client.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!(client.answer_to("HEAD").await.status, 530);
        assert_eq!(lab.why().await, ("no_connection", 530));
        let _connector = lab.connector().await;
        assert_eq!(client.get("/back").await.text(), "hello /back", "it recovers");
    });
}

#[test]
fn the_same_index_replaces_the_older_connection() {
    on_both(async |lab| {
        let old = lab.connector().await;
        let new = lab.connector_with(&[], 1).await;
        old.link.closed().await;
        let reason = lab.event(|e| if let Event::ConnectionLost(l) = e { Some(l.reason.clone()) } else { None }).await;
        assert_eq!(reason, "replaced");
        lab.until(|| lab.count("tunnel_connections_open") == 1).await;
        assert_eq!(h1(lab).await.get("/x").await.status, 200);
        assert_eq!((old.requests().len(), new.requests().len()), (0, 1));
    });
}

#[test]
fn requests_spread_over_connections_and_replicas() {
    on_both(async |lab| {
        let mut connectors = Vec::new();
        for (id, index) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
            connectors.push(FakeConnector::start(lab, &[], Uuid::from_u128(id), index).await.unwrap());
        }
        lab.until(|| lab.count("tunnel_connections_open") == 4).await;
        let served = || connectors.iter().map(|c| c.requests().len()).collect::<Vec<_>>();
        // The second visitor sits at the other of the edge's two workers.
        let (mut one, mut other) = (h1(lab).await, h1(lab).await);
        for _ in 0..100 {
            assert_eq!(one.get("/x").await.status, 200);
        }
        let replicas = [0, 2].map(|first| served()[first..first + 2].iter().sum::<usize>());
        assert!(replicas.iter().all(|n| *n > 20), "a visitor's requests go to both replicas: {:?}", served());
        for _ in 0..100 {
            assert_eq!(other.get("/x").await.status, 200);
        }
        assert!(served().iter().all(|n| *n > 5), "{:?}", served());
    });
}

#[test]
fn a_configuration_is_pushed_at_registration_and_when_it_changes() {
    on_both(async |lab| {
        let with = |version, json: &'static str| TunnelEntry {
            configuration_version: version,
            configuration: Some(Bytes::from_static(json.as_bytes())),
            ..tunnel_entry()
        };
        lab.edge.put_tunnel(with(3, r#"{"ingress":[{"service":"http_status:404"}]}"#));
        let connector = lab.connector().await;
        lab.until(|| connector.seen.configurations.lock().unwrap().len() == 1).await;
        let applied = async |version: i32| {
            lab.event(|e| match e {
                Event::ConfigurationApplied(a) if a.pushed_version == version => Some(a.clone()),
                _ => None,
            })
            .await
        };
        assert_eq!((applied(3).await.version, applied(3).await.error.as_str()), (3, ""));
        let start = Instant::now();
        lab.edge.put_tunnel(with(4, r#"{"ingress":[{"service":"http_status:403"}]}"#));
        lab.until(|| connector.seen.configurations.lock().unwrap().len() == 2).await;
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        {
            let pushed = connector.seen.configurations.lock().unwrap();
            let json: serde_json::Value = serde_json::from_slice(&pushed[1].1).unwrap();
            assert_eq!((pushed[1].0, json["ingress"][0]["service"].as_str()), (4, Some("http_status:403")));
        }
        applied(4).await;
        lab.edge.put_tunnel(with(4, "{}"));
        lab.edge.swap_tunnels(vec![with(2, "{}")]);
        *connector.seen.refuse_configuration.lock().unwrap() = Some("ingress[0]: bad".to_owned());
        lab.edge.swap_tunnels(vec![with(5, "{}")]);
        let refused = applied(5).await;
        assert_eq!(refused.version, -1);
        assert!(!refused.error.is_empty());
        let versions: Vec<i32> = connector.seen.configurations.lock().unwrap().iter().map(|(v, _)| *v).collect();
        assert_eq!(versions, [3, 4, 5], "never an old one, never twice");
    });
}

#[test]
fn nothing_is_pushed_to_a_locally_managed_tunnel() {
    on_both(async |lab| {
        lab.edge.put_tunnel(TunnelEntry {
            remotely_managed: false,
            configuration_version: 3,
            configuration: Some(Bytes::from_static(b"{}")),
            ..tunnel_entry()
        });
        let connector = lab.connector().await;
        connector.link.send_local_configuration(Bytes::from_static(br#"{"ingress":[]}"#)).await.unwrap();
        let told = lab
            .event(|e| if let Event::LocalConfiguration(l) = e { Some(l.configuration.clone()) } else { None })
            .await;
        assert_eq!(told, &br#"{"ingress":[]}"#[..]);
        assert_eq!(h1(lab).await.get("/x").await.status, 200);
        assert!(connector.seen.configurations.lock().unwrap().is_empty());
    });
}

#[test]
fn a_draining_connector_gets_nothing_new_and_finishes_what_is_open() {
    on_both(async |lab| {
        let leaving = lab.connector_with(&[], 1).await;
        let mut open = h1(lab).await;
        open.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        lab.until(|| leaving.requests().len() == 1).await;
        leaving.link.unregister().await.unwrap();
        lab.event(|e| matches!(e, Event::ConnectionDraining(_)).then_some(())).await;
        let mut other = h1(lab).await;
        assert_eq!(other.get("/none").await.status, 530, "at once");
        let _replica = lab.connector_with(&[], 2).await;
        lab.until(|| lab.count("tunnel_connections_open") == 2).await;
        for _ in 0..10 {
            assert_eq!(other.get("/new").await.status, 200);
        }
        assert_eq!(leaving.requests().len(), 1);
        leaving.seen.release.notify_one();
        assert_eq!(open.answer().await.text(), "slow");
        // Its last request has ended: the edge closes it, the connector only waits for that.
        let closed = tokio::time::timeout(Duration::from_secs(10), leaving.link.closed()).await.unwrap();
        assert!(closed.starts_with("closed by the edge"), "{closed}");
        let reason = lab.event(|e| if let Event::ConnectionLost(l) = e { Some(l.reason.clone()) } else { None }).await;
        assert_eq!(reason, "unregistered");
    });
}

#[test]
fn a_lost_connection_is_replaced_where_nothing_can_happen_twice() {
    on_both(async |lab| {
        let dying = lab.connector_with(&[], 1).await;
        let mut get = h1(lab).await;
        get.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let mut post = h1(lab).await;
        post.send(format!("POST /slow HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n\r\nx")).await;
        let mut cut = h1(lab).await;
        cut.send(format!("GET /quiet HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        cut.head().await;
        lab.until(|| dying.requests().len() == 3).await;
        let replica = lab.connector_with(&[], 2).await;
        lab.until(|| lab.count("tunnel_connections_open") == 2).await;
        // A permit is kept: whoever waits next is let through.
        replica.seen.release.notify_one();
        dying.link.close();
        assert_eq!(get.answer().await.text(), "slow", "an idempotent one moves");
        let answer = post.answer().await;
        assert_eq!((answer.status, answer.value("x-qanat-error").as_deref()), (502, Some("connection_lost")));
        let rest = cut.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "mid-answer: cut");
        assert_eq!(replica.requests().len(), 1);
        assert!(lab.count("retries") >= 1);
    });
}

#[test]
fn what_a_lost_connection_leaves_goes_to_another_connector_first() {
    on_both(async |lab| {
        let dying = lab.connector_with(&[], 1).await;
        let mut client = h1(lab).await;
        client.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        lab.until(|| dying.requests().len() == 1).await;
        let replica = lab.connector_with(&[], 2).await;
        let mut sisters = Vec::new();
        for index in 1..4 {
            sisters.push(FakeConnector::start(lab, &[], Uuid::from_u128(1), index).await.unwrap());
        }
        lab.until(|| lab.count("tunnel_connections_open") == 5).await;
        replica.seen.release.notify_one();
        dying.link.close();
        assert_eq!(client.answer().await.text(), "slow");
        assert_eq!(
            replica.requests().len(),
            1,
            "where one connection of a connector is lost, its others may be about to"
        );
    });
}

#[test]
fn a_refused_origin_is_a_502_after_the_replicas_were_tried() {
    on_both(async |lab| {
        let first = lab.connector_with(&[], 1).await;
        let answer = h1(lab).await.get("/refused").await;
        assert_eq!(answer.status, 502);
        let code = answer.value("x-qanat-error").unwrap();
        assert!(!answer.text().contains("127.0.0.1:1"), "the connector's text is not for the public");
        // The stock HTTP/2 transport carries no reason.
        if lab.protocol == qanat_transport::Protocol::Quic {
            assert_eq!(code, "origin_refused");
            let same = FakeConnector::start(lab, &[], Uuid::from_u128(1), 1).await.unwrap();
            let other = lab.connector_with(&[], 2).await;
            lab.until(|| lab.count("tunnel_connections_open") == 3).await;
            h1(lab).await.get("/refused").await;
            let counts = (first.requests().len() - 1 + same.requests().len(), other.requests().len());
            assert_eq!(counts, (1, 1), "once on each connector");
        } else {
            assert_eq!(code, "origin_error");
        }
        assert_eq!(lab.why().await.1, 502);
    });
}

#[test]
fn an_end_of_the_edge_loses_no_open_request() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut slow = h1(lab).await;
        slow.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let mut idle = h1(lab).await;
        idle.get("/x").await;
        let two = h2(lab).await;
        let three = tokio::spawn(async move {
            let first = ask(&two, request("GET", "/slow").body(()).unwrap()).await;
            let later = ask(&two, request("GET", "/x").body(()).unwrap()).await;
            (first.unwrap().text(), later.is_err())
        });
        lab.until(|| connector.requests().len() == 3).await;
        // Everybody is told to go, and served: who asks on a connection that he has, and who comes anew.
        tokio::task::block_in_place(|| lab.edge.leave(Duration::ZERO, Duration::ZERO));
        let answer = idle.get("/x").await;
        assert_eq!((answer.status, answer.value("connection").as_deref()), (200, Some("close")));
        assert_eq!(idle.rest().await, b"");
        let mut late = h1(lab).await;
        assert_eq!(late.get("/x").await.value("connection").as_deref(), Some("close"));
        let new = h2(lab).await;
        assert_eq!(ask(&new, request("GET", "/x").body(()).unwrap()).await.unwrap().status(), 200);
        lab.until(|| lab.count("requests_open") == 2).await;
        let waiting = Instant::now();
        let limit = Duration::from_millis(50);
        tokio::task::block_in_place(|| lab.edge.leave(Duration::ZERO, limit));
        assert!(waiting.elapsed() >= limit, "what was open before is waited for");
        connector.seen.release.notify_waiters();
        let answer = slow.answer().await;
        assert_eq!((answer.text(), answer.value("connection").as_deref()), ("slow".to_owned(), Some("close")));
        let (text, refused) = three.await.unwrap();
        assert_eq!(text, "slow");
        assert!(refused, "GOAWAY");
        let closing = Instant::now();
        tokio::task::block_in_place(|| lab.edge.close(Duration::from_secs(10)));
        assert!(closing.elapsed() < Duration::from_secs(5), "nothing was open: {:?}", closing.elapsed());
        tokio::time::timeout(Duration::from_secs(5), connector.link.closed()).await.unwrap();
    });
}

#[test]
fn a_connector_that_never_registers_is_nobodys_problem() {
    on_both(async |lab| {
        let idle = dial(lab).await;
        let _connector = lab.connector().await;
        assert_eq!(h1(lab).await.get("/x").await.status, 200);
        assert_eq!(lab.count("tunnel_connections_open"), 1);
        drop(idle);
    });
}

#[test]
fn a_tunnels_open_requests_are_limited() {
    support::on_both_with(
        |s| s.max_streams_per_tunnel = 2,
        async |lab| {
            let connector = lab.connector().await;
            let two = h2(lab).await;
            let open: Vec<_> = (0..2)
                .map(|_| {
                    let two = two.clone();
                    tokio::spawn(async move { ask(&two, request("GET", "/hang").body(()).unwrap()).await })
                })
                .collect();
            lab.until(|| connector.requests().len() == 2).await;
            let answer = ask(&two, request("GET", "/x").body(()).unwrap()).await.unwrap();
            assert_eq!((answer.status(), answer.head.headers()["x-qanat-error"].as_bytes()), (503, &b"overloaded"[..]));
            for task in open {
                task.abort();
            }
            lab.until(|| connector.seen.canceled.load(Ordering::SeqCst) == 2).await;
            lab.until(|| lab.count("requests_open") == 0).await;
            assert_eq!(post(&two, request("POST", "/echo").body(()).unwrap(), "x", None).await.unwrap().text(), "x");
        },
    );
}
