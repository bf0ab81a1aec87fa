//! What the edge counts of requests, by hostname, tunnel and node.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use bytes::Bytes;
use qanat_edge::{Passed, Route, Totals, TunnelEntry};
use qanat_transport::Registration;
use support::client::{h1, plain};
use support::connector::{FakeConnector, registration};
use support::{HOST, Lab, on_both, secret, tunnel_entry, tunnel_id};
use uuid::Uuid;

fn of(lab: &Lab, hostname: &str, token_id: Option<&str>) -> Totals {
    let found = |p: &Passed| p.hostname == hostname && p.token_id.as_deref() == token_id;
    lab.edge.traffic().into_iter().find(found).map(|p| p.totals).unwrap_or_default()
}

#[test]
fn a_request_is_counted_for_its_route_and_node_with_its_fate_bytes_and_times() {
    on_both(async |lab| {
        lab.connector().await;
        let mut client = h1(lab).await;
        for (path, status) in [("/headers", 200), ("/204", 204), ("/early", 413), ("/refused", 502)] {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            assert_eq!(client.answer().await.status, status, "{path}");
        }
        lab.until(|| of(lab, HOST, Some("")).requests == 4).await;
        let totals = of(lab, HOST, Some(""));
        assert_eq!((totals.statuses, totals.edge_made), ([0, 2, 0, 1, 0], 1));
        assert_eq!((totals.refused, totals.timed_out, totals.cut, totals.client_failed), (1, 0, 0, 0));
        assert_eq!((totals.bytes_in, totals.bytes_out), (0, 11));
        for latency in [&totals.queue, &totals.first_byte, &totals.total] {
            assert_eq!(latency.counts.iter().sum::<u64>(), 3, "what has an answer of its origin");
        }
        assert!(totals.total.sum >= totals.queue.sum);
        assert_eq!((totals.opened, totals.waiting), (4, 0));
        client.send(format!("GET /hang HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        lab.until(|| of(lab, HOST, Some("")).waiting == 1).await;
        drop(client);
        lab.until(|| of(lab, HOST, Some("")).waiting == 0).await;
        assert_eq!(of(lab, HOST, Some("")).opened, 5, "nobody waits for it any more");
    });
}

#[test]
fn the_time_behind_the_edge_is_split_by_hop_where_the_connector_tells_it() {
    for (features, told) in [(&[][..], 0), (&["qanat_took"][..], 1)] {
        on_both(async |lab| {
            let _connector = lab.connector_with(features, 1).await;
            let mut client = h1(lab).await;
            client.send(format!("GET /204 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 204);
            assert!(!answer.head.to_ascii_lowercase().contains("qanat"));
            lab.until(|| of(lab, HOST, Some("")).requests == 1).await;
            let totals = of(lab, HOST, Some(""));
            let counted = [&totals.tunnel, &totals.connector].map(|latency| latency.counts.iter().sum::<u64>());
            assert_eq!(counted, [told, told], "{features:?}");
            assert!(totals.origin.counts.iter().all(|count| *count == 0), "this connector asks no origin");
        });
    }
}

#[test]
fn requests_of_a_watched_hostname_are_listed_when_they_have_ended_and_no_others() {
    on_both(async |lab| {
        lab.connector().await;
        let mut client = h1(lab).await;
        let mut ask = async |path: &str| {
            let fields = "Authorization: Bearer S3CRET\r\nCookie: a=S3CRET\r\nAccept: text/html";
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n")).await;
            client.answer().await.status
        };
        assert_eq!(ask("/204").await, 204);
        lab.until(|| of(lab, HOST, Some("")).requests == 1).await;
        lab.edge.list_requests(vec![HOST.to_owned(), "unknown.test".to_owned()]);
        assert_eq!((ask("/204?token=S3CRET").await, ask("/refused").await), (204, 502));
        let mut listed = Vec::new();
        lab.until(|| {
            listed.extend(lab.edge.listed_requests());
            listed.len() == 2
        })
        .await;
        lab.edge.list_requests(vec![]);
        assert_eq!(ask("/204").await, 204);
        lab.until(|| of(lab, HOST, Some("")).requests == 4).await;
        assert!(lab.edge.listed_requests().is_empty());
        let told: Vec<serde_json::Value> = listed.iter().map(|json| serde_json::from_slice(json).unwrap()).collect();
        assert!(!format!("{told:?}").contains("S3CRET"));
        let facts =
            |n: usize| (told[n]["path"].as_str().unwrap(), told[n]["status"].as_u64(), told[n]["cause"].as_str());
        assert_eq!([facts(0), facts(1)], [("/204", Some(204), None), ("/refused", Some(502), Some("origin_refused"))]);
        assert_eq!(
            (&told[0]["hostname"], &told[0]["node"], &told[0]["query"]),
            (&HOST.into(), &"default".into(), &"token=*".into())
        );
    });
}

#[test]
fn the_lines_of_live_connections_are_told() {
    on_both(async |lab| {
        assert!(lab.edge.lines().is_empty());
        lab.connector().await;
        lab.until(|| lab.edge.lines().iter().any(|line| line.rtt.is_some())).await;
        let lines = lab.edge.lines();
        assert_eq!((lines.len(), lines[0].key_exchange), (1, "X25519MLKEM768"));
    });
}

#[test]
fn a_wildcard_is_one_series_whatever_visitors_ask_for_and_nobody_elses_hostname_makes_one() {
    on_both(async |lab| {
        lab.connector().await;
        let mut client = plain(lab).await;
        for n in 0..20 {
            client.send(format!("GET /204 HTTP/1.1\r\nHost: h{n}.elsewhere.test\r\n\r\n")).await;
            assert_eq!(client.answer().await.status, 204);
        }
        client.send("GET /204 HTTP/1.1\r\nHost: unknown.test\r\n\r\n".to_owned()).await;
        assert_eq!(client.answer().await.status, 404);
        lab.until(|| of(lab, "*.elsewhere.test", Some("")).requests == 20).await;
        assert_eq!(lab.edge.traffic().len(), 1);
    });
}

#[test]
fn what_no_connection_takes_and_a_try_that_another_node_makes_good_are_told_apart() {
    on_both(async |lab| {
        let nowhere = Uuid::from_u128(77);
        lab.edge.put_tunnel(TunnelEntry { tunnel_id: nowhere, ..tunnel_entry() });
        let routes = [("down.elsewhere.test", nowhere), (HOST, tunnel_id())];
        let routes = routes.map(|(hostname, id)| Route::to(hostname, Some(id)));
        lab.edge.change_routes(&routes, &[]).unwrap();
        let mut client = plain(lab).await;
        client.send("GET / HTTP/1.1\r\nHost: down.elsewhere.test\r\n\r\n".to_owned()).await;
        assert_eq!(client.answer().await.status, 530);
        lab.until(|| of(lab, "down.elsewhere.test", None).edge_made == 1).await;
        lab.edge.put_tunnel(TunnelEntry {
            secrets: vec![secret("", support::SECRET), secret("host", b"of host")],
            ..tunnel_entry()
        });
        lab.connector().await;
        let asked = Registration { secret: Bytes::from_static(b"of host"), ..registration(Uuid::from_u128(2), 0, &[]) };
        let _named = FakeConnector::start_as(lab, asked).await.unwrap();
        lab.until(|| lab.count("tunnel_connections_open") == 2).await;
        let mut client = h1(lab).await;
        let both = || ["", "host"].map(|token| of(lab, HOST, Some(token)));
        let mut sent = 0;
        // A connection takes requests a moment after it has registered.
        while !both().iter().all(|totals| totals.refused > 0) {
            client.send(format!("GET /refused HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            assert_eq!(client.answer().await.status, 502);
            sent += 1;
            lab.until(|| both().iter().map(|t| t.requests).sum::<u64>() == sent).await;
        }
        let refused: u64 = both().iter().map(|totals| totals.refused).sum();
        assert!(refused > sent, "each node's refusal counts, the request once");
    });
}
