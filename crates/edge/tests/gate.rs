//! What must never get through: S9 to S13, S16 to S18, S30, S54 to S57, on both transports, against a connector that records.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use qanat_edge::HttpMode;
use std::time::Duration;
use support::client::{self, ask, h1, h2, post, request};
use support::connector::FakeConnector;
use support::{HOST, Lab, on_both, on_both_with};

/// After each of these, on one connection, comes `GET /smuggled`.
fn bad_requests() -> Vec<(&'static str, String)> {
    let host = format!("Host: {HOST}\r\n");
    let post = |lines: &str, body: &str| format!("POST /first HTTP/1.1\r\n{host}{lines}\r\n{body}");
    vec![
        ("both lengths", post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nX")),
        ("both lengths, turned", post("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", "0\r\n\r\nX")),
        ("te with tab", post("Transfer-Encoding: chunked\t, x\r\n", "0\r\n\r\n")),
        ("te xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        ("te list", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        ("te twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        ("te identity", post("Transfer-Encoding: identity\r\n", "")),
        ("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!")),
        ("two equal lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
        ("length list", post("Content-Length: 5, 5\r\n", "hello")),
        ("length signed", post("Content-Length: +5\r\n", "hello")),
        ("length hex", post("Content-Length: 0x5\r\n", "hello")),
        ("length empty", post("Content-Length:\r\n", "")),
        ("length with underscore", post("Content-Length: 1_0\r\n", "hellohello")),
        ("space before colon", post("Content-Length : 5\r\n", "hello")),
        ("obs-fold", post("X-A: b\r\n c\r\n", "")),
        ("bare LF", format!("GET /first HTTP/1.1\nHost: {HOST}\r\n\r\n")),
        ("bare CR", post("X-A: b\rc\r\n", "")),
        ("NUL", post("X-A: b\0c\r\n", "")),
        ("empty name", post(": b\r\n", "")),
        ("name with space", post("X A: b\r\n", "")),
        ("te on 1.0", format!("POST /first HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("no host", "GET /first HTTP/1.1\r\n\r\n".to_owned()),
        ("two hosts", format!("GET /first HTTP/1.1\r\n{host}{host}\r\n")),
        ("connect", format!("CONNECT {HOST}:443 HTTP/1.1\r\n{host}\r\n")),
        ("version", format!("GET /first HTTP/3.7\r\n{host}\r\n")),
        ("expect with more", post("Content-Length: 5\r\nExpect: y 100-continue\r\n", "hello")),
    ]
}

/// The head is fine, the body isn't.
fn bad_bodies() -> Vec<(&'static str, String)> {
    let chunked =
        |body: &str| format!("POST /echo HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    vec![
        ("extension with LF", chunked("5;x\nhello\r\n0\r\n\r\n")),
        ("17 digits", chunked("00000000000000005\r\nhello\r\n0\r\n\r\n")),
        ("signed size", chunked("+5\r\nhello\r\n0\r\n\r\n")),
        ("size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n")),
        ("no CRLF after data", chunked("5\r\nhelloX\r\n0\r\n\r\n")),
        ("LF after size", chunked("5\nhello\r\n0\r\n\r\n")),
    ]
}

/// Case 49, S9, S10: 400 and close, and what follows is never a request.
#[test]
fn smuggling_bytes_end_the_connection() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        for (what, bytes) in bad_requests() {
            let before = connector.requests().len();
            let mut client = client::plain(lab).await;
            client.send(format!("{bytes}GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            let status = client.answer().await.status;
            assert!(matches!(status, 400 | 405 | 417 | 505), "{what}: {status}");
            let rest = String::from_utf8_lossy(&client.rest().await).into_owned();
            assert_eq!(rest, "", "{what}: a second answer");
            assert_eq!(connector.requests().len(), before, "{what}: nothing reaches the connector");
        }
        for (what, bytes) in bad_bodies() {
            let mut client = client::plain(lab).await;
            client.send(format!("{bytes}GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            assert_eq!(client.answer().await.status, 400, "{what}");
            let rest = String::from_utf8_lossy(&client.rest().await).into_owned();
            assert_eq!(rest, "", "{what}: a second answer");
        }
        assert!(connector.requests().iter().all(|r| r.head.target != "/smuggled"));
        assert!(
            connector.seen.bodies.lock().unwrap().iter().all(|(_, _, end)| end.is_err()),
            "no bad body looks whole"
        );
        assert_eq!(h1(lab).await.get("/fine").await.text(), "hello /fine", "everyone else is served on");
    });
}

/// S11: an answer made without the body, then a pipelined request that must not be a part of it.
#[test]
fn an_unread_body_is_never_taken_for_a_request() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        // Small and whole: dropped, the connection goes on.
        let mut client = client::plain(lab).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        client.send(format!("POST / HTTP/1.1\r\nHost: unknown.example.test\r\nContent-Length: {}\r\n\r\n{smuggled}GET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n", smuggled.len())).await;
        assert_eq!(client.answer().await.status, 404);
        assert_eq!(client.answer().await.text(), "hello /next");
        // Large: the connection ends.
        let mut client = client::plain(lab).await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: unknown.example.test\r\nContent-Length: 1000000\r\n\r\n{}",
                smuggled.repeat(2000)
            ))
            .await;
        assert_eq!(client.answer().await.status, 404);
        assert!(!String::from_utf8_lossy(&client.rest().await).contains("HTTP/1.1"));
        assert!(connector.requests().iter().all(|r| r.head.target != "/smuggled"));
    });
}

fn is_forbidden(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    name.starts_with("cf-cloudflared-")
        || name.starts_with("cf-int-")
        || name.starts_with("cf-proxy-")
        || name.starts_with("cf-warp-tag")
        || name == "cf-trace-id"
        || name.starts_with("cf-access-")
}

fn assert_clean(connector: &FakeConnector, what: &str) {
    let seen = connector.last();
    for header in &seen.head.headers {
        let name = String::from_utf8_lossy(&header.name).into_owned();
        assert!(!is_forbidden(&name), "{what}: {name}");
        assert_ne!(header.value, "evil", "{what}: {name}");
    }
    for (name, value) in [("cf-connecting-ip", "127.0.0.1"), ("x-forwarded-for", "127.0.0.1"), ("cdn-loop", "qanat")] {
        assert_eq!(seen.head.headers.get_all(name).collect::<Vec<_>>(), [value], "{what}: {name}");
    }
    assert_eq!(seen.head.headers.get_all("cf-ray").count(), 1, "{what}");
    assert!(seen.head.headers.get("cf-ray").unwrap().ends_with(b"-lab"), "{what}");
}

/// S54, S56, S17: each name, in each spelling, over each version; the connector sees none of it.
#[test]
fn what_only_an_edge_may_say_never_comes_from_a_client() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut one = h1(lab).await;
        let two = h2(lab).await;
        for name in [
            "Cf-Cloudflared-Proxy-Connection-Upgrade",
            "Cf-Cloudflared-Proxy-Src",
            "Cf-Warp-Tag-Id",
            "Cf-Ray",
            "cf-trace-id",
            "cf-int-anything",
            "cf-proxy-anything",
            "CF-Connecting-IP",
            "Cf-Access-Jwt-Assertion",
            "X-Real-IP",
            "True-Client-IP",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "Forwarded",
        ] {
            let spellings = [name.to_owned(), name.to_lowercase(), name.to_uppercase(), name.replace('-', "_")];
            for spelled in spellings {
                for value in ["evil", "control-stream", "update-configuration"] {
                    one.send(format!(
                        "POST /x HTTP/1.1\r\nHost: {HOST}\r\n{spelled}: {value}\r\n{spelled}: evil\r\nConnection: {spelled}, keep-alive\r\n\
                         Content-Length: 0\r\n\r\n"
                    ))
                    .await;
                    let answer = one.answer().await;
                    assert_eq!(answer.text(), "hello /x", "{spelled}: {value}");
                    assert_clean(&connector, &spelled);
                }
                let get = request("GET", "/x")
                    .header(spelled.to_lowercase(), "evil")
                    .header(spelled.to_lowercase(), "control-stream");
                assert_eq!(ask(&two, get.body(()).unwrap()).await.unwrap().text(), "hello /x");
                assert_clean(&connector, &spelled);
            }
        }
        // Plain connections say so.
        let mut plain = client::plain(lab).await;
        plain.get("/x").await;
        assert_eq!(connector.last().head.headers.get("x-forwarded-proto").unwrap(), "http");
        one.get("/x").await;
        assert_eq!(connector.last().head.headers.get("x-forwarded-proto").unwrap(), "https");
        assert_eq!(connector.last().head.headers.get("cf-visitor").unwrap(), "{\"scheme\":\"https\"}");
    });
}

/// Case 57, S18.
#[test]
fn hop_by_hop_fields_end_here() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        client
            .send(format!(
                "GET /x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close, X-Forwarded-For, CF-Connecting-IP, Cookie, X-A\r\nX-A: 1\r\n\
                 Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers, gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\
                 Proxy-Authorization: b\r\nCookie: c\r\n\r\n"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.value("connection").as_deref()), (200, Some("close")));
        assert_clean(&connector, "connection games");
        let seen = connector.last().head.headers;
        for gone in
            ["x-a", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "proxy-authorization", "connection"]
        {
            assert!(!seen.contains(gone), "{gone}");
        }
        assert_eq!((seen.get("te").unwrap(), seen.get("cookie").unwrap()), (&"trailers".into(), &"c".into()));
        let client = h2(lab).await;
        let get = request("GET", "/x").header("connection", "close").body(()).unwrap();
        assert!(ask(&client, get).await.is_err(), "malformed in HTTP/2");
    });
}

/// S55.
#[test]
fn the_management_hostname_is_refused_however_it_is_spelled() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        for host in [
            "management.argotunnel.com",
            "Management.ARGOTUNNEL.com",
            "management.argotunnel.com:443",
            "management.argotunnel.com.",
            "management.fed.argotunnel.com",
            "Management.Fed.ArgoTunnel.com.:443",
        ] {
            let mut client = client::plain(lab).await;
            client.send(format!("GET /ping HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(client.answer().await.status, 421, "{host}");
            client.send(format!("GET http://{host}/ping HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(client.answer().await.status, 421, "{host}, absolute");
            let mut secure = h1(lab).await;
            secure.send(format!("GET /ping HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(secure.answer().await.status, 421, "{host}");
            let get = http::Request::get(format!("https://{host}/ping")).body(()).unwrap();
            assert_eq!(ask(&h2(lab).await, get).await.unwrap().status(), 421, "{host}");
        }
        assert!(connector.requests().is_empty());
    });
}

/// S57, S12.
#[test]
fn names_that_are_no_tokens_never_become_metadata() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        for name in ["a:b", "a b", "a\u{e9}", "a(b", "HttpHeader:Host", ":authority"] {
            let mut client = client::plain(lab).await;
            client.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n{name}: 1\r\n\r\n")).await;
            let (status, _) = client.head().await;
            if status == 200 {
                // `a:b: 1` is the field `a` with the value `b: 1`: legal, and nothing else.
                assert!(connector.last().head.headers.iter().all(|h| !h.name.contains(&b':')), "{name}");
            } else {
                assert_eq!(status, 400, "{name}");
            }
        }
    });
}

/// S13.
#[test]
fn connect_is_refused() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        client.send(format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 405);
        let client = h2(lab).await;
        let connect = http::Request::builder().method("CONNECT").uri(format!("{HOST}:443")).body(()).unwrap();
        let answer = ask(&client, connect).await;
        assert!(answer.is_err() || answer.unwrap().status() == 405);
        ask(&client, request("GET", "/").body(()).unwrap()).await.unwrap();
        let mut other = request("CONNECT", "/x").body(()).unwrap();
        other.extensions_mut().insert(h2::ext::Protocol::from_static("connect-udp"));
        let answer = ask(&client, other).await.unwrap();
        assert_eq!(answer.status(), 405);
        assert_eq!(connector.requests().len(), 1);
    });
}

/// S16.
#[test]
fn heads_have_limits() {
    on_both_with(
        |s| (s.max_request_line_bytes, s.max_header_bytes, s.max_header_fields) = (1000, 4000, 20),
        async |lab| {
            let _connector = lab.connector().await;
            let get = async |target: usize, fields: usize, value: usize| {
                let mut client = h1(lab).await;
                let lines: String = (0..fields).map(|n| format!("x-{n}: {}\r\n", "v".repeat(value))).collect();
                client.send(format!("GET /{} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n", "a".repeat(target))).await;
                client.answer().await.status
            };
            assert_eq!(get(900, 1, 1).await, 200);
            assert_eq!(get(1100, 1, 1).await, 414);
            assert_eq!(get(1, 19, 1).await, 200);
            assert_eq!(get(1, 20, 1).await, 431);
            assert_eq!(get(1, 5, 1000).await, 431);
            let client = h2(lab).await;
            let ask_with = async |target: usize, fields: usize| {
                let mut builder = request("GET", &format!("/{}", "a".repeat(target)));
                for n in 0..fields {
                    builder = builder.header(format!("x-{n}"), "v");
                }
                ask(&client, builder.body(()).unwrap()).await.map(|a| a.status())
            };
            assert_eq!(ask_with(900, 20).await.unwrap(), 200);
            assert_eq!(ask_with(1100, 1).await.unwrap(), 414);
            assert_eq!(ask_with(1, 21).await.unwrap(), 431);
        },
    );
}

/// Cases 38 and 53.
#[test]
fn hostnames_that_are_not_served_here() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = client::plain(lab).await;
        client.send("GET / HTTP/1.1\r\nHost: nobody.example.test\r\nAccept: application/problem+json\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.value("content-type").as_deref()), (404, Some("application/problem+json")));
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((problem["cause"].as_str(), problem["hop"].as_str()), (Some("unknown_hostname"), Some("client")));
        assert_eq!(lab.why().await, ("unknown_hostname", 404));
        let two = h2(lab).await;
        let status = async |authority: &str| {
            ask(&two, http::Request::get(format!("https://{authority}/")).body(()).unwrap()).await.unwrap().status()
        };
        assert_eq!(status("b.wild.example.test").await, 200, "the certificate covers it");
        assert_eq!(connector.last().head.authority, "b.wild.example.test");
        assert_eq!(status("x.elsewhere.test").await, 421, "known, but not in the certificate");
        assert_eq!(status("a.b.wild.example.test").await, 421, "a certificate's wildcard is one label");
        assert_eq!(status("other.example.test").await, 404, "covered, but no route");
        let differing = request("GET", "/").header("host", "b.wild.example.test").body(()).unwrap();
        let answer = ask(&two, differing).await;
        assert!(answer.is_err() || answer.unwrap().status() == 400);
        let mut plain = client::plain(lab).await;
        plain.send(format!("GET http://{HOST}/abs HTTP/1.1\r\nHost: b.wild.example.test\r\n\r\n")).await;
        assert_eq!(plain.answer().await.status, 421, "they must agree");
        plain.send(format!("GET http://{HOST}/abs?x HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!(plain.answer().await.text(), "hello /abs?x");
    });
}

/// S3.
#[test]
fn an_unknown_server_name_gets_its_alert() {
    let lab = Lab::start(qanat_transport::Protocol::Quic, |_| {});
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for name in ["nobody.example.test", "wild.example.test", "a.b.wild.example.test", "127.0.0.1"] {
            let error = client::dial_as(&lab, name, &[b"h2"]).await.expect_err(name).to_string();
            assert!(error.contains("UnrecognisedName"), "{name}: {error}");
        }
        for name in ["APP.example.test", "a.wild.example.test"] {
            assert!(client::dial_as(&lab, name, &[]).await.is_ok(), "{name}");
        }
        assert!(client::dial_as(&lab, HOST, &[b"spdy"]).await.is_err());
        lab.until(|| lab.count("handshakes_failed") == 5).await;
    });
}

/// S28.
#[test]
fn a_slow_head_is_cut_and_an_idle_connection_closed() {
    on_both_with(
        |s| (s.header_timeout, s.keep_alive_timeout) = (Duration::from_millis(300), Duration::from_millis(600)),
        async |lab| {
            let _connector = lab.connector().await;
            let mut client = h1(lab).await;
            client.send("GET / HTTP/1.1\r\nHo").await;
            assert_eq!(client.answer().await.status, 408);
            assert_eq!(lab.why().await.0, "head_too_slow");
            let mut idle = h1(lab).await;
            assert_eq!(idle.rest().await, b"");
            let mut kept = h1(lab).await;
            assert_eq!(kept.get("/a").await.status, 200);
            assert_eq!(kept.rest().await, b"");
            lab.until(|| lab.count("connections_open") == 0).await;
        },
    );
}

#[test]
fn connections_of_one_address_are_limited() {
    on_both_with(
        |s| {
            s.max_connections_per_address = 2;
            s.shared_networks = Vec::new();
        },
        async |lab| {
            let _connector = lab.connector().await;
            let (mut a, _b) = (h1(lab).await, h1(lab).await);
            assert!(client::dial_as(lab, HOST, &[]).await.is_err());
            lab.until(|| lab.count("connections_refused") == 1).await;
            assert_eq!(a.get("/x").await.status, 200);
            drop(a);
            lab.until(|| lab.count("connections_open") == 1).await;
            assert!(client::dial_as(lab, HOST, &[]).await.is_ok());
        },
    );
}

#[test]
fn the_plain_listener_redirects_known_hostnames_only() {
    on_both_with(
        |s| s.http_mode = HttpMode::Redirect,
        async |lab| {
            let connector = lab.connector().await;
            let mut client = client::plain(lab).await;
            let answer = client.get("/a%2f?b=c").await;
            let port = lab.https().port();
            assert_eq!(
                (answer.status, answer.value("location")),
                (308, Some(format!("https://{HOST}:{port}/a%2f?b=c")))
            );
            client.send(format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc")).await;
            assert_eq!(client.answer().await.status, 308);
            client.send("GET / HTTP/1.1\r\nHost: nobody.example.test\r\n\r\n").await;
            assert_eq!(client.answer().await.status, 404);
            assert!(connector.requests().is_empty());
            assert_eq!(lab.count("requests_failed"), 1, "a redirect is no failure");
        },
    );
}

/// Case 49 over HTTP/2.
#[test]
fn http2_bodies_must_be_as_long_as_they_say() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let client = h2(lab).await;
        let long = request("POST", "/echo").header("content-length", "5").body(()).unwrap();
        let answer = post(&client, long, "0123456789", None).await;
        assert!(answer.is_err() || answer.unwrap().status() == 400);
        let te = request("POST", "/echo").header("transfer-encoding", "chunked").body(()).unwrap();
        let answer = post(&h2(lab).await, te, "x", None).await;
        assert!(answer.is_err() || answer.unwrap().status() == 400);
        for (body, _, end) in connector.seen.bodies.lock().unwrap().iter() {
            assert!(end.is_err(), "{body:?}");
        }
    });
}

/// S22, S24: streams that are reset before their answer, again and again.
#[test]
fn rapid_resets_end_the_connection_and_nobody_elses() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let attacker = h2(lab).await;
        let mut ended = false;
        for _ in 0..5000 {
            let Ok(mut sender) = attacker.clone().ready().await else {
                ended = true;
                break;
            };
            let Ok((_response, mut stream)) = sender.send_request(request("GET", "/hang").body(()).unwrap(), true)
            else {
                ended = true;
                break;
            };
            tokio::time::sleep(Duration::from_millis(1)).await;
            stream.send_reset(h2::Reason::CANCEL);
        }
        assert!(ended, "it went on for ever");
        assert_eq!(h1(lab).await.get("/x").await.text(), "hello /x");
        lab.until(|| lab.count("requests_open") == 0).await;
        let begun = connector.requests().iter().filter(|r| r.head.target == "/hang").count();
        lab.until(|| connector.canceled() == begun).await;
    });
}
