//! semantics.md, row by row, on both transports: a real edge, a fake connector.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use bytes::Bytes;
use http::HeaderMap;
use qanat_http::BodyLength;
use qanat_transport::{Protocol, RequestKind};
use std::time::{Duration, Instant};
use support::client::{self, a_moment, ask, h1, h2, post, request};
use support::{HOST, on_both, on_both_with};
use tokio::io::AsyncWriteExt;

#[test]
fn a_request_and_its_answer_pass_over_http1() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        for target in ["/", "/a%2f..//;x?q=%20&a=b", "/x?y"] {
            let answer = client.get(target).await;
            assert_eq!((answer.status, answer.text()), (200, format!("hello {target}")));
            let seen = connector.last();
            assert_eq!(seen.head.target, target, "byte for byte");
            assert_eq!((&seen.head.method[..], &seen.head.authority[..]), (&b"GET"[..], HOST.as_bytes()));
            assert_eq!((seen.kind, seen.length), (RequestKind::Http, BodyLength::Absent), "nothing is invented");
            assert!(answer.value("connection").is_none(), "kept alive");
        }
        assert_eq!(lab.count("requests"), 3);
        assert_eq!(lab.count("requests_failed"), 0);
    });
}

#[test]
fn a_request_and_its_answer_pass_over_http2() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let client = h2(lab).await;
        let answer = ask(&client, request("GET", "/a%2f?b").body(()).unwrap()).await.unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "hello /a%2f?b".to_owned()));
        assert_eq!(connector.last().length, BodyLength::Absent, "END_STREAM on the head is no body");
        let many = (0..50).map(|n| ask(&client, request("GET", &format!("/{n}")).body(()).unwrap()));
        for (n, answer) in futures_util::future::join_all(many).await.into_iter().enumerate() {
            assert_eq!(answer.unwrap().text(), format!("hello /{n}"));
        }
    });
}

#[test]
fn request_bodies_keep_their_form() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        let last = |n: usize| connector.seen.bodies.lock().unwrap()[n].clone();
        client.send(format!("POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello")).await;
        assert_eq!(client.answer().await.text(), "hello");
        assert_eq!(connector.last().length, BodyLength::Exact(5));
        client
            .send(format!("PATCH /echo HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"))
            .await;
        a_moment().await;
        client.send("2;x=y\r\nde\r\n0\r\n\r\n").await;
        assert_eq!(client.answer().await.text(), "abcde");
        assert_eq!(connector.last().length, BodyLength::Unknown);
        client.send(format!("PUT /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(client.answer().await.text(), "");
        assert_eq!(connector.last().length, BodyLength::Exact(0), "stays as it is");
        // Case 6: a content coding of that name is nobody's business here.
        let client = h2(lab).await;
        let body = "b;chunk-signature=0\r\nhello world\r\n0;chunk-signature=0\r\n\r\n";
        let put = request("PUT", "/echo").header("content-encoding", "aws-chunked").body(()).unwrap();
        assert_eq!(post(&client, put, body, None).await.unwrap().text(), body);
        assert_eq!(connector.last().length, BodyLength::Unknown);
        assert_eq!(connector.last().head.headers.get("content-encoding").unwrap(), "aws-chunked");
        let sized = request("PUT", "/echo").header("content-length", "3").body(()).unwrap();
        assert_eq!(post(&client, sized, "abc", None).await.unwrap().text(), "abc");
        assert_eq!(connector.last().length, BodyLength::Exact(3));
        assert!(last(0).2.is_ok() && last(1).2.is_ok());
    });
}

#[test]
fn large_bodies_pass_both_ways_whole() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut client = h1(lab).await;
        let head = format!("POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n", body.len());
        client.send(head).await;
        client.send(&body).await;
        assert_eq!(client.answer().await.body, body);
        assert_eq!(client.get("/large").await.body.len(), 8 * 1024 * 1024);
        let client = h2(lab).await;
        let answer =
            post(&client, request("POST", "/stream-echo").body(()).unwrap(), body.clone(), None).await.unwrap();
        assert_eq!(answer.body, body);
        assert_eq!(connector.seen.bodies.lock().unwrap()[0].0, body);
    });
}

#[test]
fn repeated_and_odd_header_fields_survive() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        client
            .send(format!("GET /headers HTTP/1.1\r\nHost: {HOST}\r\nX-A: 1\r\nX-B:\r\nX-A: 2\r\nDNT: 1\r\n\r\n"))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.values("set-cookie"), ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"]);
        assert_eq!(answer.values("vary"), ["A", "B"]);
        assert_eq!(answer.value("x-e").as_deref(), Some(""));
        assert!(answer.head.contains("X-Lat: caf\u{fffd}"));
        assert!(answer.head.contains("X-CUSTOM-id: 1") || lab.protocol == Protocol::Http2);
        for gone in ["cf-int-secret", "cf-cloudflared-response-meta", "connection", "x-hop"] {
            assert_eq!(answer.value(gone), None, "{gone}");
        }
        let seen = connector.last().head.headers;
        assert_eq!(seen.get_all("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(seen.get("x-b").unwrap(), "");
        let client = h2(lab).await;
        let get = request("GET", "/headers").header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
        let answer = ask(&client, get).await.unwrap();
        assert_eq!(answer.head.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(answer.head.headers()["x-lat"].as_bytes(), b"caf\xe9");
        assert_eq!(connector.last().head.headers.get_all("cookie").collect::<Vec<_>>(), ["a=1; b=2"]);
    });
}

/// Case 29.
#[test]
fn head_204_and_304_have_no_body_and_the_connection_goes_on() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        let mut client = h1(lab).await;
        client.send(format!("HEAD /head HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let start = Instant::now();
        let answer = client.answer_to("HEAD").await;
        assert_eq!(answer.value("content-length").as_deref(), Some("1048576"));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        for status in [204, 304] {
            let answer = client.get(&format!("/{status}")).await;
            assert_eq!((answer.status, answer.value("etag").as_deref()), (status, Some("\"e\"")));
            assert_eq!((answer.value("content-length"), answer.value("transfer-encoding")), (None, None));
        }
        assert_eq!(client.get("/next").await.text(), "hello /next");
        let client = h2(lab).await;
        let answer = ask(&client, request("HEAD", "/head").body(()).unwrap()).await.unwrap();
        assert_eq!((answer.head.headers()["content-length"].as_bytes(), answer.body.len()), (&b"1048576"[..], 0));
        assert_eq!(ask(&client, request("GET", "/304").body(()).unwrap()).await.unwrap().status(), 304);
        assert_eq!(lab.count("requests_failed"), 0);
    });
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        let mut client = h1(lab).await;
        client.send(format!("POST /early HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000000\r\n\r\nabc")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (413, "too large".to_owned()));
        // Whatever it goes on sending is never taken for a request.
        let _ = client.io.write_all(&vec![b'x'; 200_000]).await;
        let end = client.rest().await;
        assert!(end.is_empty(), "{}", String::from_utf8_lossy(&end));
        let client = h2(lab).await;
        let answer =
            post(&client, request("POST", "/early").body(()).unwrap(), vec![b'x'; 5_000_000], None).await.unwrap();
        assert_eq!((answer.status(), answer.text()), (413, "too large".to_owned()));
        assert_eq!(ask(&client, request("GET", "/next").body(()).unwrap()).await.unwrap().text(), "hello /next");
        assert_eq!(lab.count("requests_failed"), 0);
    });
}

/// Case 21.
#[test]
fn a_cut_answer_is_never_taken_for_a_whole_one() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        client.send(format!("GET /cut HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!(client.head().await.0, 200);
        assert_eq!(client.line().await.as_deref(), Some("5"));
        assert_eq!(client.bytes(7).await, b"hello\r\n");
        connector.seen.release.notify_one();
        assert_eq!(client.rest().await, b"", "no last chunk, nothing appended");
        assert_eq!(lab.why().await.0, "origin_reset_mid_body");
        let mut client = h1(lab).await;
        connector.seen.release.notify_one();
        let answer = client.get("/short").await;
        assert!(!answer.whole && answer.body.len() == 50);
        let client = h2(lab).await;
        for target in ["/cut", "/short"] {
            let mut sender = client.clone().ready().await.unwrap();
            let (response, _) = sender.send_request(request("GET", target).body(()).unwrap(), true).unwrap();
            let mut body = response.await.unwrap().into_body();
            assert!(!body.data().await.unwrap().unwrap().is_empty());
            connector.seen.release.notify_one();
            let error = loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => panic!("{target}: a clean end"),
                }
            };
            assert!(error.is_reset(), "{target}: {error}");
        }
        // HTTP/1.0, where only the connection's end ends the body.
        let mut client = client::plain(lab).await;
        client.send(format!("GET /cut HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
        client.head().await;
        client.bytes(5).await;
        connector.seen.release.notify_one();
        let mut byte = [0];
        let end = tokio::io::AsyncReadExt::read(&mut client.io, &mut byte).await;
        assert!(end.is_err(), "a TCP reset, not a clean end: {end:?}");
    });
}

/// Also of an answer whose end is known before anything of it has left. Case 21.
#[test]
fn what_there_was_of_a_cut_answer_reaches_the_client() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        for _ in 0..10 {
            let answer = h1(lab).await.get("/stub").await;
            assert_eq!((answer.status, answer.body.len(), answer.whole), (200, 50, false));
            let mut old = client::plain(lab).await;
            old.send(format!("GET /stub HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
            assert_eq!(old.head().await.0, 200);
            assert_eq!(old.bytes(50).await, [b'x'; 50]);
            let mut sender = h2(lab).await.ready().await.unwrap();
            let (response, _) = sender.send_request(request("GET", "/stub").body(()).unwrap(), true).unwrap();
            let mut body = response.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), [b'x'; 50][..]);
            assert!(body.data().await.unwrap().unwrap_err().is_reset());
        }
    });
}

#[test]
fn a_client_that_goes_away_ends_the_call() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        for (n, target) in ["/hang", "/drip", "/quiet"].into_iter().enumerate() {
            let mut client = h1(lab).await;
            client.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            if target != "/hang" {
                client.head().await;
            }
            lab.until(|| connector.requests().len() == 2 * n + 1).await;
            let gone = Instant::now();
            drop(client);
            lab.until(|| connector.canceled() == 2 * n + 1).await;
            assert!(gone.elapsed() < Duration::from_secs(5), "{target} h1: {:?}", gone.elapsed());
            let client = h2(lab).await;
            let mut sender = client.clone().ready().await.unwrap();
            let (response, stream) = sender.send_request(request("GET", target).body(()).unwrap(), true).unwrap();
            lab.until(|| connector.requests().len() == 2 * n + 2).await;
            let (waiting, body) =
                if target == "/hang" { (Some(response), None) } else { (None, Some(response.await.unwrap())) };
            let gone = Instant::now();
            drop((waiting, body, stream, sender, client));
            lab.until(|| connector.canceled() == 2 * n + 2).await;
            assert!(gone.elapsed() < Duration::from_secs(5), "{target} h2: {:?}", gone.elapsed());
        }
        lab.until(|| lab.count("client_closed") == 6).await;
        assert_eq!(lab.count("requests_failed"), 0, "a departure is no error");
        lab.until(|| lab.count("requests_open") == 0).await;
    });
}

#[test]
fn a_reset_of_one_http2_stream_ends_that_call_only() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let client = h2(lab).await;
        let mut sender = client.clone().ready().await.unwrap();
        let (response, mut stream) = sender.send_request(request("POST", "/hang").body(()).unwrap(), false).unwrap();
        lab.until(|| connector.requests().len() == 1).await;
        stream.send_reset(h2::Reason::CANCEL);
        lab.until(|| connector.canceled() == 1).await;
        assert!(response.await.is_err());
        assert_eq!(ask(&client, request("GET", "/next").body(()).unwrap()).await.unwrap().text(), "hello /next");
    });
}

#[test]
fn an_upload_that_breaks_off_is_never_taken_for_a_whole_one() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        client.send(format!("POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\n12345")).await;
        lab.until(|| connector.requests().len() == 1).await;
        drop(client);
        lab.until(|| connector.seen.bodies.lock().unwrap().len() == 1).await;
        assert!(connector.seen.bodies.lock().unwrap()[0].2.is_err());
        let mut client = h1(lab).await;
        client
            .send(format!("POST /echo HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"))
            .await;
        lab.until(|| connector.requests().len() == 2).await;
        client.send("zz\r\n").await;
        assert_eq!(client.answer().await.status, 400);
        client.rest().await;
        lab.until(|| connector.seen.bodies.lock().unwrap().len() == 2).await;
        assert!(connector.seen.bodies.lock().unwrap()[1].2.is_err());
    });
}

/// On a plain connection the end of the client's sending side is a half-close.
#[test]
fn a_plain_client_may_half_close() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = client::plain(lab).await;
        client.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        client.io.shutdown().await.unwrap();
        lab.until(|| connector.requests().len() == 1).await;
        a_moment().await;
        connector.seen.release.notify_one();
        assert_eq!(client.answer().await.text(), "slow");
        assert_eq!(client.rest().await, b"");
    });
}

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\n";

/// Cases 1 and 2.
#[test]
fn a_websocket_over_http1() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        // The first frame comes with the head: it counts only after 101.
        client.send(format!("GET /ws HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}\r\nfirst")).await;
        let (status, head) = client.head().await;
        assert_eq!(status, 101);
        let head = head.to_ascii_lowercase();
        for line in [
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
            "sec-websocket-protocol: chat",
        ] {
            assert!(head.contains(line), "{line} in {head}");
        }
        assert_eq!(client.bytes(5).await, b"first");
        client.send("second").await;
        assert_eq!(client.bytes(6).await, b"second");
        let seen = connector.last();
        assert_eq!(seen.kind, RequestKind::WebSocket);
        assert_eq!(seen.head.headers.get("sec-websocket-key").unwrap(), "dGhlIHNhbXBsZSBub25jZQ==");
        // Half-close: the end goes through, what comes back still arrives.
        client.send("last").await;
        client.io.shutdown().await.unwrap();
        assert_eq!(client.rest().await, b"last");
        lab.until(|| connector.seen.bodies.lock().unwrap().len() == 1).await;
        assert!(connector.seen.bodies.lock().unwrap()[0].2.is_ok());
        lab.until(|| lab.count("websockets_open") == 0).await;
    });
}

#[test]
fn a_websocket_over_http2() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let client = h2(lab).await;
        // The setting comes with the server's first frame.
        ask(&client, request("GET", "/").body(()).unwrap()).await.unwrap();
        assert!(client.is_extended_connect_protocol_enabled());
        let mut connect = request("CONNECT", "/ws").header("sec-websocket-version", "13").body(()).unwrap();
        connect.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let mut sender = client.clone().ready().await.unwrap();
        let (response, mut stream) = sender.send_request(connect, false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(
            response.headers().get("sec-websocket-accept").is_none() && response.headers().get("upgrade").is_none()
        );
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        stream.send_data("ping".into(), false).unwrap();
        let mut body = response.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "ping");
        let seen = connector.last();
        assert_eq!((seen.kind, &seen.head.method[..]), (RequestKind::WebSocket, &b"GET"[..]));
        assert!(seen.head.headers.contains("sec-websocket-key"), "the origin's handshake needs one");
        stream.send_data("end".into(), true).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "end");
        while let Some(data) = body.data().await {
            assert_eq!(data.unwrap(), "");
        }
    });
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        let mut client = h1(lab).await;
        // S11: the bytes behind a refused Upgrade are requests.
        client
            .send(format!(
                "GET /ws-refused HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}\r\nGET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (403, "no sockets here".to_owned()));
        assert_eq!(client.answer().await.text(), "hello /next");
        let client = h2(lab).await;
        ask(&client, request("GET", "/").body(()).unwrap()).await.unwrap();
        let mut connect = request("CONNECT", "/ws-refused").body(()).unwrap();
        connect.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let mut sender = client.clone().ready().await.unwrap();
        let (response, _stream) = sender.send_request(connect, false).unwrap();
        let answer = client::read(response).await.unwrap();
        assert_eq!((answer.status(), answer.text()), (403, "no sockets here".to_owned()));
    });
}

#[test]
fn early_hints_reach_those_who_know_them() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        let mut client = h1(lab).await;
        client.send(format!("GET /early-hints HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let (status, head) = client.head().await;
        assert_eq!(status, 103);
        assert!(head.to_ascii_lowercase().contains("link: </a.css>; rel=preload"));
        assert_eq!(client.answer().await.text(), "ok");
        let mut old = client::plain(lab).await;
        old.send(format!("GET /early-hints HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!(old.answer().await.status, 200);
        let client = h2(lab).await;
        let mut sender = client.clone().ready().await.unwrap();
        let (mut response, _) = sender.send_request(request("GET", "/early-hints").body(()).unwrap(), true).unwrap();
        let hint = std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(hint.status(), 103);
        assert_eq!(client::read(response).await.unwrap().text(), "ok");
    });
}

/// Case 20.
#[test]
fn expect_100_continue() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        client
            .send(format!("PUT /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"))
            .await;
        assert_eq!(client.head().await.0, 100);
        client.send("body").await;
        assert_eq!(client.answer().await.text(), "body");
        assert!(!connector.last().head.headers.contains("expect"));
        // The origin answers without reading: no 100, and the connection ends, since nobody knows whether the body comes.
        client
            .send(format!(
                "PUT /early-401 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.value("connection").as_deref()), (401, Some("close")));
        assert_eq!(client.rest().await, b"");
        let mut old = client::plain(lab).await;
        old.send(format!(
            "PUT /echo HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody"
        ))
        .await;
        assert_eq!(old.answer().await.text(), "body");
    });
}

#[test]
fn http_1_0_gets_what_it_understands() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        let mut client = client::plain(lab).await;
        client.send(format!("GET /trailers HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.body, b"ok", "no chunks, no trailers");
        assert_eq!(answer.value("connection").as_deref(), Some("close"));
        lab.until(|| lab.count("trailers_dropped") == 1).await;
        let mut client = client::plain(lab).await;
        client.send(format!("GET /a HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.value("connection").as_deref(), Some("keep-alive"));
        client.send(format!("GET /b HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!(client.answer().await.text(), "hello /b");
    });
}

/// Case 66.
#[test]
fn harmless_trailers_pass_both_ways() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        client
            .send(format!(
                "POST /trailers HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nab\r\n0\r\n\
                 x-sum: 1\r\ncontent-length: 9\r\ncf-connecting-ip: evil\r\nCf-Cloudflared-Proxy-Src: x\r\n\r\n"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.value("x-sum").as_deref()), ("ok".to_owned(), Some("1")));
        assert_eq!((answer.value("cf-int-x"), answer.value("set-cookie")), (None, None));
        let client = h2(lab).await;
        let mut trailers = HeaderMap::new();
        for (name, value) in [("x-sum", "2"), ("host", "evil"), ("x-forwarded-for", "evil"), ("authorization", "evil")]
        {
            trailers.insert(name, value.parse().unwrap());
        }
        let answer = post(&client, request("POST", "/trailers").body(()).unwrap(), "ab", Some(trailers)).await.unwrap();
        let got = answer.trailers.unwrap();
        assert_eq!((got.len(), &got["x-sum"]), (1, &http::HeaderValue::from_static("1")));
        let bodies = connector.seen.bodies.lock().unwrap();
        for (n, sum) in [(0, "1"), (1, "2")] {
            let (body, trailers, end) = &bodies[n];
            assert!(body == b"ab" && end.is_ok());
            let trailers = trailers.as_ref().unwrap();
            assert_eq!(
                (trailers.len(), trailers.get("x-sum").unwrap()),
                (1, &bytes::Bytes::from_static(sum.as_bytes()))
            );
        }
    });
}

#[test]
fn request_trailers_that_the_tunnel_cannot_carry_are_dropped_and_counted() {
    on_both(async |lab| {
        let connector = lab.connector_with(&[], 1).await;
        let mut client = h1(lab).await;
        client
            .send(format!(
                "POST /trailers HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-sum: 1\r\n\r\n"
            ))
            .await;
        assert_eq!(client.answer().await.text(), "ok");
        let carried = lab.protocol == Protocol::Http2;
        let (body, trailers, end) = connector.seen.bodies.lock().unwrap()[0].clone();
        assert!(body == b"ab" && end.is_ok() && trailers.is_some() == carried);
        // The next request's end comes after the count.
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        client.answer().await;
        assert_eq!(lab.count("trailers_dropped"), u64::from(!carried));
    });
}

/// Case 4.
#[test]
fn grpc_passes_where_trailers_do_and_says_why_not_elsewhere() {
    on_both(async |lab| {
        let connector = lab.connector_with(&[], 1).await;
        let client = h2(lab).await;
        let call = || {
            request("POST", "/grpc")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())
                .unwrap()
        };
        let answer = post(&client, call(), &b"\0\0\0\0\0"[..], None).await.unwrap();
        if lab.protocol == Protocol::Http2 {
            assert_eq!(answer.trailers.unwrap()["grpc-status"], "5");
            assert_eq!(connector.last().head.headers.get("te").unwrap(), "trailers");
        } else {
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.head.headers()["grpc-status"], "14");
            let message = answer.head.headers()["grpc-message"].to_str().unwrap();
            assert!(message.contains("grpc_needs_http2"), "{message}");
            assert_eq!(lab.why().await.0, "grpc_needs_http2");
            // One that carries trailers is preferred as soon as it is there.
            let ours = lab.connector_with(&["qanat_trailers"], 2).await;
            lab.until(|| lab.count("tunnel_connections_open") == 2).await;
            let answer = post(&client, call(), &b"\0\0\0\0\0"[..], None).await.unwrap();
            assert_eq!(answer.trailers.unwrap()["grpc-status"], "5");
            assert_eq!(ours.requests().len(), 1);
        }
    });
}

#[test]
fn events_are_passed_on_as_they_come() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        let mut client = h1(lab).await;
        client.send(format!("GET /quiet HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        client.head().await;
        assert_eq!(client.line().await.as_deref(), Some("9"));
        assert_eq!(client.bytes(9).await, b"data: 1\n\n");
    });
}

#[test]
fn one_slow_reader_does_not_stall_the_others() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        let client = h2(lab).await;
        let mut sender = client.clone().ready().await.unwrap();
        let (stuck, _) = sender.send_request(request("GET", "/large").body(()).unwrap(), true).unwrap();
        let stuck = stuck.await.unwrap();
        let mut slow = h1(lab).await;
        slow.send(format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        a_moment().await;
        for _ in 0..20 {
            assert_eq!(ask(&client, request("GET", "/x").body(()).unwrap()).await.unwrap().text(), "hello /x");
        }
        drop(stuck);
        assert_eq!(slow.answer().await.body.len(), 8 * 1024 * 1024);
    });
}

/// Case 70: 502 with a reason to whoever asked, the call ended behind it, and nothing of the opaque bytes in the answers of this
/// client or of another one on the same connection to the connector.
#[test]
fn a_switch_that_nobody_asked_for_is_a_bad_answer() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut victim = h1(lab).await;
        let mut client = h1(lab).await;
        let h2_client = h2(lab).await;
        ask(&h2_client, request("GET", "/").body(()).unwrap()).await.unwrap();
        let mut ended = 0;
        let answer = client.get("/switch/unasked").await;
        assert_eq!((answer.status, answer.value("x-qanat-error").as_deref()), (502, Some("origin_bad_response")));
        assert_eq!(client.get("/next").await.text(), "hello /next");
        assert_eq!(ask(&h2_client, request("GET", "/switch/unasked").body(()).unwrap()).await.unwrap().status(), 502);
        for path in ["/switch/other", "/switch/no-accept", "/switch/wrong-accept"] {
            client
                .send(format!(
                    "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}\r\nGET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
                ))
                .await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.value("x-qanat-error").as_deref()), (502, Some("origin_bad_response")));
            assert_eq!(client.answer().await.text(), "hello /next", "{path}");
            let mut connect = request("CONNECT", path).body(()).unwrap();
            connect.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
            let (response, _stream) = h2_client.clone().ready().await.unwrap().send_request(connect, false).unwrap();
            let answer = client::read(response).await.unwrap();
            assert_eq!(
                (answer.status(), answer.head.headers()["x-qanat-error"].to_str().unwrap()),
                (502, "origin_bad_response"),
                "{path}"
            );
            ended += 2;
            assert_eq!(victim.get("/mine").await.text(), "hello /mine");
        }
        lab.until(|| connector.canceled() == ended + 2).await;
    });
}

/// An old connector's or a stock one's 200 over HTTP/2 is a 101 only when its fields prove it.
#[test]
fn an_upgrade_refused_with_200_is_no_websocket() {
    for features in [&["qanat_trailers", "qanat_status"][..], &["qanat_trailers"], &[]] {
        on_both(async |lab| {
            let _connector = lab.connector_with(features, 1).await;
            let mut client = h1(lab).await;
            for path in ["/refused-with/h2c", "/refused-with/accept"] {
                client
                    .send(format!(
                        "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}\r\nGET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
                    ))
                    .await;
                let answer = client.answer().await;
                assert_eq!((answer.status, answer.text()), (200, "no sockets".to_owned()), "{path} {features:?}");
                assert_eq!(client.answer().await.text(), "hello /next", "{path} {features:?}");
            }
        });
    }
}

/// A connector's answer has limits as a request has, in fields and trailers; its link and everybody else's requests live on.
#[test]
fn answers_have_limits() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        let mut victim = h1(lab).await;
        let (mut old, modern) = (h1(lab).await, h2(lab).await);
        for (fields, expected) in [(511, 200), (512, 200), (513, 502)] {
            let target = format!("/many-fields?n={fields}");
            let answer = old.get(&target).await;
            assert_eq!(answer.status, expected, "{fields}");
            if expected == 502 {
                assert_eq!(answer.value("x-qanat-error").as_deref(), Some("response_head_too_large"));
            }
            assert_eq!(ask(&modern, request("GET", &target).body(()).unwrap()).await.unwrap().status(), expected);
            assert_eq!(victim.get("/mine").await.text(), "hello /mine");
        }
        let answer = old.get("/nominations").await;
        assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
        assert!(answer.value("y-99").is_some() && answer.value("x-99-7").is_none());
        for (size, whole) in [(8 * 1024, true), (17 * 1024, false)] {
            let answer = ask(&modern, request("GET", &format!("/large-trailers?n={size}")).body(()).unwrap()).await;
            assert_eq!(answer.is_ok_and(|a| a.error.is_none() && a.trailers.is_some()), whole, "{size}");
        }
        assert_eq!(victim.get("/mine").await.text(), "hello /mine");
        assert_eq!(lab.count("tunnel_connections_open"), 1);
    });
}

#[test]
fn an_answer_that_never_comes_is_a_504() {
    on_both_with(
        |s| s.response_timeout = Duration::from_millis(300),
        async |lab| {
            let connector = lab.connector().await;
            let answer = h1(lab).await.get("/hang").await;
            assert_eq!((answer.status, answer.value("x-qanat-error").as_deref()), (504, Some("response_timeout")));
            lab.until(|| connector.canceled() == 1).await;
            let client = h2(lab).await;
            assert_eq!(ask(&client, request("GET", "/hang").body(()).unwrap()).await.unwrap().status(), 504);
        },
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    on_both(async |lab| {
        let _connector = lab.connector().await;
        let mut client = h1(lab).await;
        let get = |n| format!("GET /{n} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        client.send((0..20).map(get).collect::<String>()).await;
        for n in 0..20 {
            assert_eq!(client.answer().await.text(), format!("hello /{n}"));
        }
    });
}

/// S28: before an answer, silence between gRPC messages has its limit; a long-lived call that was answered has none.
#[test]
fn a_silent_grpc_upload_has_an_end_and_an_answered_one_none() {
    on_both_with(
        |s| (s.response_timeout, s.grpc_idle_timeout) = (Duration::from_millis(300), Duration::from_millis(200)),
        async |lab| {
            let connector = lab.connector().await;
            let client = h2(lab).await;
            let call = async |path: &str| {
                let head = request("POST", path).header("content-type", "application/grpc").header("te", "trailers");
                let mut sender = client.clone().ready().await.unwrap();
                let (response, mut stream) = sender.send_request(head.body(()).unwrap(), false).unwrap();
                stream.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), false).unwrap();
                (response, stream)
            };
            let (response, mut stream) = call("/stream-echo").await;
            let mut body = response.await.unwrap().into_body();
            let (silent, _open) = call("/hang").await;
            assert!(client::read(silent).await.unwrap().head.headers().contains_key("grpc-status"));
            assert_eq!(lab.why().await, ("body_too_slow", 408));
            lab.until(|| connector.canceled() == 1).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            stream.send_data(Bytes::from_static(b"\0\0\0\0\x01!"), true).unwrap();
            let mut got = Vec::new();
            while let Some(data) = body.data().await {
                got.extend_from_slice(&data.unwrap());
            }
            assert_eq!(got, b"\0\0\0\0\x02hi\0\0\0\0\x01!");
        },
    );
}
