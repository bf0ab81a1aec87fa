//! Probes: requests of the edge's own, through a node that is named.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use bytes::Bytes;
use qanat_edge::{Event, Probe, ProbeAnswered, TunnelEntry};
use qanat_transport::Entrance;
use qanat_transport::Registration;
use std::time::Duration;
use support::client::h1;
use support::connector::{FakeConnector, registration};
use support::{HOST, Lab, SOON, on_both, secret, tunnel_entry, tunnel_id};
use uuid::Uuid;

fn probe(probe_id: u64, path: &str) -> Probe {
    Probe {
        probe_id,
        tunnel_id: tunnel_id(),
        token_id: None,
        hostname: HOST.to_owned(),
        is_tls: true,
        path: path.to_owned(),
        method: "GET".to_owned(),
        headers: vec![("Accept".to_owned(), "text/plain".to_owned())],
        timeout: SOON,
        max_body: 1024,
        to_connector: false,
        is_websocket: false,
    }
}

async fn answered(lab: &Lab, probe_id: u64) -> ProbeAnswered {
    lab.event(|event| match event {
        Event::ProbeAnswered(answer) if answer.probe_id == probe_id => Some(answer.clone()),
        _ => None,
    })
    .await
}

async fn ask(lab: &Lab, probe: Probe) -> ProbeAnswered {
    let id = probe.probe_id;
    lab.edge.probe(probe).unwrap();
    answered(lab, id).await
}

#[test]
fn a_probe_goes_through_its_node_as_a_visitors_request_would_and_counts_as_none() {
    on_both(async |lab| {
        let two =
            TunnelEntry { secrets: vec![secret("", support::SECRET), secret("host", b"of host")], ..tunnel_entry() };
        lab.edge.put_tunnel(two);
        let own = lab.connector().await;
        let asked = Registration { secret: Bytes::from_static(b"of host"), ..registration(Uuid::from_u128(2), 0, &[]) };
        let named = FakeConnector::start_as(lab, asked).await.unwrap();
        lab.until(|| lab.count("tunnel_connections_open") == 2).await;
        for (id, token, connector) in [(1, "", &own), (2, "host", &named)] {
            let answer = ask(lab, Probe { token_id: Some(token.to_owned()), ..probe(id, "/headers?a=b") }).await;
            assert_eq!((answer.status, answer.cause, &answer.body[..]), (200, "", &b"ok"[..]), "{answer:?}");
            assert_eq!((answer.token_id.as_deref(), answer.tunnel_id), (Some(token), tunnel_id()));
            assert!(answer.headers.iter().any(|(name, value)| name == "X-CUSTOM-id" && value == "1"));
            assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("cf-int")), "as a visitor gets them");
            let seen = connector.last().head;
            let all = |name: &str| {
                seen.headers.get_all(name).map(|v| String::from_utf8_lossy(v).into_owned()).collect::<Vec<_>>()
            };
            assert_eq!((&seen.method[..], &seen.target[..]), (&b"GET"[..], &b"/headers?a=b"[..]));
            assert_eq!(seen.authority, HOST);
            assert_eq!(all("cf-connecting-ip"), ["192.0.0.8"]);
            assert_eq!(all("x-forwarded-for"), ["192.0.0.8"]);
            assert_eq!(all("x-forwarded-proto"), ["https"]);
            assert_eq!(all("accept"), ["text/plain"]);
            assert_eq!(all("user-agent"), [concat!("qanat-probe/", env!("CARGO_PKG_VERSION"))]);
            assert!(all("cf-ray")[0].ends_with("-lab"));
            assert_eq!(connector.requests().len(), 1, "through no other node");
        }
        assert_eq!((lab.count("requests"), lab.count("bytes_out")), (0, 0));
    });
}

#[test]
fn what_stands_in_the_way_is_told_by_the_codes_of_requests() {
    on_both(async |lab| {
        let nobody = ask(lab, probe(1, "/echo")).await;
        assert_eq!((nobody.cause, nobody.connection_id), ("no_connection", None));
        let connector = lab.connector().await;
        let elsewhere = ask(lab, Probe { token_id: Some("host".to_owned()), ..probe(2, "/echo") }).await;
        assert_eq!((elsewhere.cause, elsewhere.token_id.as_deref()), ("no_connection", Some("host")));
        let late = ask(lab, Probe { timeout: Duration::from_millis(300), ..probe(5, "/hang") }).await;
        assert_eq!(late.cause, "response_timeout");
        // On a busy machine its time may be over before the connector has seen it.
        let hanging = || connector.requests().iter().filter(|r| r.head.target == "/hang").count();
        lab.until(|| connector.canceled() == hanging()).await;
        for (id, path, cause) in [(3, "/refused", "origin_refused"), (4, "/switch/unasked", "origin_bad_response")] {
            let answer = ask(lab, probe(id, path)).await;
            assert_eq!((answer.cause, answer.status), (cause, 0), "{answer:?}");
            assert!(answer.connection_id.is_some());
        }
        let long = ask(lab, Probe { max_body: 10, ..probe(6, "/large") }).await;
        assert_eq!((long.cause, long.status, long.body.len()), ("", 200, 10));
    });
}

#[test]
fn what_speaks_no_http_is_asked_as_a_websocket_and_let_go_at_once() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let as_websocket = |id, path| Probe { is_websocket: true, ..probe(id, path) };
        let answer = ask(lab, as_websocket(1, "/ws")).await;
        assert_eq!((answer.status, answer.cause, answer.body.len()), (101, "", 0), "{answer:?}");
        let last = connector.last();
        assert!(last.head.websocket && last.head.headers.get("sec-websocket-key").is_some());
        assert_eq!(ask(lab, as_websocket(2, "/ws-refused")).await.status, 403);
        assert_eq!(ask(lab, as_websocket(3, "/refused")).await.cause, "origin_refused");
    });
}

#[test]
fn a_connector_that_has_a_management_is_asked_itself() {
    on_both(async |lab| {
        let question = Probe { to_connector: true, ..probe(1, "/echo") };
        lab.connector().await;
        assert_eq!(ask(lab, question.clone()).await.cause, "no_connection");
        let able = lab.connector_with(&["management_logs", "qanat_management"], 7).await;
        lab.until(|| lab.count("tunnel_connections_open") == 2).await;
        assert_eq!(ask(lab, Probe { probe_id: 2, ..question }).await.status, 200);
        assert_eq!(able.last().entrance, Entrance::Management);
        ask(lab, Probe { token_id: Some(String::new()), ..probe(3, "/echo") }).await;
        assert!(able.requests().iter().skip(1).all(|request| request.entrance == Entrance::Public));
    });
}

#[test]
fn probes_are_bounded_and_hold_no_visitor_up() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        for id in 0..300 {
            lab.edge.probe(probe(id, "/slow")).unwrap();
        }
        for id in 256..300 {
            assert_eq!(answered(lab, id).await.cause, "probe_busy");
        }
        let mut client = h1(lab).await;
        client.send(format!("GET /204 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 204);
        lab.until(|| connector.requests().iter().filter(|r| r.head.target == "/slow").count() == 256).await;
        for _ in 0..256 {
            connector.seen.release.notify_one();
            connector.seen.release.notify_waiters();
        }
        for id in 0..256 {
            connector.seen.release.notify_waiters();
            assert_eq!(answered(lab, id).await.status, 200);
        }
        assert_eq!(ask(lab, probe(300, "/204")).await.status, 204, "there is room again");
    });
}

#[test]
fn what_no_request_can_say_is_refused_by_field() {
    let lab = Lab::start(qanat_transport::Protocol::Quic, |_| {});
    let bad = [
        ("hostname", Probe { hostname: "a b".to_owned(), ..probe(1, "/") }),
        ("path", probe(1, "x")),
        ("path", probe(1, "/a b")),
        ("method", Probe { method: "G T".to_owned(), ..probe(1, "/") }),
        ("method", Probe { method: "CONNECT".to_owned(), ..probe(1, "/") }),
        ("headers", Probe { headers: vec![("a".to_owned(), "b\r\nc: d".to_owned())], ..probe(1, "/") }),
    ];
    for (field, probe) in bad {
        let refused = lab.edge.probe(probe).unwrap_err().to_string();
        assert!(refused.contains(field), "{refused}");
    }
}
