//! Requests and answers between our edge and our connector, on both transports.
#![allow(clippy::unwrap_used)]

use crate::support;

use bytes::Bytes;
use qanat_http::{BodyLength, Sink, Source, StreamError};
use qanat_transport::*;
use std::future::poll_fn;
use std::time::Duration;
use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn heads_pass_byte_for_byte() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        let mut asked = get("/a//b/../%2e%2E;v=1?q=%2f&x={}|[]^");
        asked.head.headers = headers(&[("X-A", b"1"), ("X-Lat", b"caf\xe9"), ("X-A", b"2"), ("X-Empty", b"")]);
        let mut open = link.open(&asked).await.unwrap();
        assert!(open.sink.is_ended());
        let incoming = accept(&connector).await;
        let head = &incoming.request.head;
        assert_eq!((&head.method, &head.target), (&asked.head.method, &asked.head.target));
        assert_eq!(head.authority, "App.example.test", "a peer of ours gets the host as it is");
        assert_eq!((incoming.request.length, incoming.body.is_end()), (BodyLength::Absent, true));
        assert_eq!(head.headers.get_all("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((&head.headers.get("x-lat").unwrap()[..], head.headers.len()), (&b"caf\xe9"[..], 4));

        let lines: &[(&str, &[u8])] = &[
            ("Set-Cookie", b"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
            ("X-E", b""),
            ("Set-Cookie", b"b=2"),
            ("Vary", b"A"),
            ("X-Lat", b"caf\xe9"),
            ("Cf-Cloudflared-Response-Meta", b"{}"),
            ("Cf-Int-X", b"1"),
        ];
        let answered = qanat_http::ResponseHead { status: 299, headers: lines.iter().map(line).collect() };
        let sink = incoming.responder.respond(answered, BodyLength::Exact(0), AnsweredBy::Origin);
        finish(&mut sink.unwrap(), None).await.unwrap();
        let got = answer(&mut open).await;
        assert_eq!((got.head.status, got.length, got.from), (299, BodyLength::Exact(0), AnsweredBy::Origin));
        let got: Vec<_> = got.head.headers.iter().filter(|h| h.name != "Content-Length").cloned().collect();
        assert_eq!(
            got,
            lines[..5].iter().map(line).collect::<Vec<_>>(),
            "order and spelling kept, control names dropped"
        );
    }
}

fn line((name, value): &(&'static str, &'static [u8])) -> qanat_http::Header {
    qanat_http::Header { name: Bytes::from_static(name.as_bytes()), value: Bytes::from_static(value) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_connector_gets_the_host_in_lower_case_and_none_of_ours() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, false).await;
        let asked = request(RequestKind::Http, "POST", "/", BodyLength::Unknown);
        let mut open = link.open(&asked).await.unwrap();
        let mut incoming = accept(&connector).await;
        assert_eq!(incoming.request.head.authority, "app.example.test");
        incoming.responder.informational(response(103, &[]));
        let sink = incoming.responder.respond(response(200, &[]), BodyLength::Unknown, AnsweredBy::Origin);
        let mut sink = sink.unwrap();
        send(&mut sink, "x").await.unwrap();
        finish(&mut sink, Some(headers(&[("X-Trailer", b"1")]))).await.unwrap();
        let (body, trailers) = read(&mut answer(&mut open).await.body).await.unwrap();
        assert_eq!((&body[..], trailers.is_some()), (&b"x"[..], protocol == Protocol::Http2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_sent_on_as_received_but_to_a_stock_connector_as_its_rules_are_written() {
    for protocol in BOTH {
        for (ours, sent) in [(true, "App.Example.Test.:8443"), (false, "app.example.test:8443")] {
            let edge = Edge::start();
            let (link, connector) = edge.connect(protocol, ours).await;
            let mut asked = request(RequestKind::Http, "GET", "/", BodyLength::Absent);
            asked.head.authority = Bytes::from_static(b"App.Example.Test.:8443");
            let _open = link.open(&asked).await.unwrap();
            assert_eq!(accept(&connector).await.request.head.authority, sent);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_arrive_as_they_were_announced() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        for length in [BodyLength::Exact(5), BodyLength::Unknown, BodyLength::Exact(0), BodyLength::Absent] {
            let mut open = link.open(&request(RequestKind::Http, "PUT", "/", length)).await.unwrap();
            let body = matches!(length, BodyLength::Exact(5) | BodyLength::Unknown);
            assert_eq!(open.sink.is_ended(), !body);
            if body {
                send(&mut open.sink, "hello").await.unwrap();
            }
            finish(&mut open.sink, None).await.unwrap();
            let mut incoming = accept(&connector).await;
            assert_eq!(incoming.request.length, length);
            assert!(!incoming.request.head.headers.contains("transfer-encoding"));
            assert_eq!(read(&mut incoming.body).await.unwrap().0, if body { "hello" } else { "" });
            let told = [("Content-Length", &b"77"[..])];
            let sink = match length {
                BodyLength::Absent => incoming.responder.respond(response(304, &told), length, AnsweredBy::Origin),
                length => incoming.responder.respond(response(200, &[]), length, AnsweredBy::Origin),
            };
            let mut sink = sink.unwrap();
            if body {
                send(&mut sink, "12345").await.unwrap();
            }
            finish(&mut sink, None).await.unwrap();
            let mut got = answer(&mut open).await;
            assert_eq!(got.length, length);
            if length == BodyLength::Absent {
                assert_eq!(got.head.headers.get("content-length").unwrap(), "77");
            }
            assert_eq!(read(&mut got.body).await.unwrap().0, if body { "12345" } else { "" });
        }
        let mut open = link.open(&request(RequestKind::Http, "HEAD", "/", BodyLength::Absent)).await.unwrap();
        let told = response(200, &[("Content-Length", b"9")]);
        let sink = accept(&connector).await.responder.respond(told, BodyLength::Exact(9), AnsweredBy::Origin);
        finish(&mut sink.unwrap(), None).await.unwrap();
        let mut got = answer(&mut open).await;
        assert_eq!(
            (got.length, got.head.headers.get("content-length").unwrap().as_ref()),
            (BodyLength::Absent, &b"9"[..])
        );
        assert_eq!(read(&mut got.body).await.unwrap().0, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_overtake_the_request_body() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        let mut open = link.open(&request(RequestKind::Http, "POST", "/", BodyLength::Unknown)).await.unwrap();
        let mut incoming = accept(&connector).await;
        let sink = incoming.responder.respond(response(200, &[]), BodyLength::Unknown, AnsweredBy::Origin);
        let mut sink = sink.unwrap();
        send(&mut sink, "early").await.unwrap();
        let mut got = answer(&mut open).await;
        send(&mut open.sink, "late").await.unwrap();
        finish(&mut open.sink, None).await.unwrap();
        assert_eq!(read(&mut incoming.body).await.unwrap().0, "late");
        finish(&mut sink, None).await.unwrap();
        assert_eq!(read(&mut got.body).await.unwrap().0, "early");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_reading_the_body_is_whole() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        let OpenStream { mut sink, response: mut answers } =
            link.open(&request(RequestKind::Http, "POST", "/", BodyLength::Exact(50_000_000))).await.unwrap();
        let mut incoming = accept(&connector).await;
        incoming.body.stop();
        drop(incoming.body);
        let out = incoming.responder.respond(response(413, &[]), BodyLength::Exact(3), AnsweredBy::Origin);
        let mut out = out.unwrap();
        send(&mut out, "big").await.unwrap();
        finish(&mut out, None).await.unwrap();
        drop(out);
        let upload = async {
            loop {
                if send(&mut sink, vec![0; 60_000]).await.is_err() {
                    break;
                }
            }
        };
        let download = async {
            let Ok(ResponseEvent::Final(mut got)) = within(answers.next()).await else { panic!("no answer") };
            assert_eq!(got.head.status, 413);
            read(&mut got.body).await
        };
        let ((), read) = within(async { tokio::join!(upload, download) }).await;
        assert_eq!(read.unwrap().0, "big", "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_both_ways_and_a_slow_reader_stops_the_writer() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        serve_echo(connector);
        let body: Bytes = (0..12_000_000_u32).map(|i| (i / 7) as u8).collect::<Vec<_>>().into();
        assert!(within(echo(&link, "/", &body)).await.unwrap() == body, "{protocol:?}");

        // Nobody reads the answer: what can be written is bounded, and another stream is served meanwhile.
        let mut open = link.open(&request(RequestKind::Http, "POST", "/", BodyLength::Unknown)).await.unwrap();
        let mut written = 0_usize;
        while let Ok(sent) =
            tokio::time::timeout(std::time::Duration::from_millis(500), send(&mut open.sink, vec![1; 65_536])).await
        {
            sent.unwrap();
            written += 65_536;
            assert!(written < 16 * 1024 * 1024, "{protocol:?}: nothing holds the writer back");
        }
        assert_eq!(within(echo(&link, "/", &Bytes::from_static(b"other"))).await.unwrap(), "other");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_bytes_both_ways_and_half_closes() {
    for (protocol, qanat) in [(BOTH[0], false), (BOTH[0], true), (BOTH[1], false), (BOTH[1], true)] {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, qanat).await;
        let asked = websocket();
        let mut open = link.open(&asked).await.unwrap();
        let mut incoming = accept(&connector).await;
        assert_eq!((incoming.request.kind, incoming.request.head.websocket), (RequestKind::WebSocket, true));
        assert_eq!((incoming.request.length, incoming.body.is_end()), (BodyLength::Opaque, false));
        assert_eq!(incoming.request.head.headers.len(), 1, "no marker of the protocol shows");
        let lines: [(&str, &[u8]); 3] = [
            ("Upgrade", b"websocket"),
            ("Connection", b"Upgrade"),
            ("Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        let sink = incoming.responder.respond(response(101, &lines), BodyLength::Opaque, AnsweredBy::Origin);
        let mut sink = sink.unwrap();
        poll_fn(|cx| sink.poll_flush(cx)).await.unwrap();
        let mut got = answer(&mut open).await;
        assert_eq!((got.head.status, got.length), (101, BodyLength::Opaque));
        assert_eq!(got.head.headers.len(), 3);
        send(&mut open.sink, "ping").await.unwrap();
        finish(&mut open.sink, None).await.unwrap();
        assert_eq!(read(&mut incoming.body).await.unwrap().0, "ping");
        send(&mut sink, "pong").await.unwrap();
        finish(&mut sink, None).await.unwrap();
        assert_eq!(read(&mut got.body).await.unwrap().0, "pong");

        let mut open = link.open(&asked).await.unwrap();
        let sink =
            accept(&connector).await.responder.respond(response(200, &[]), BodyLength::Exact(2), AnsweredBy::Origin);
        let mut sink = sink.unwrap();
        send(&mut sink, "no").await.unwrap();
        finish(&mut sink, None).await.unwrap();
        let mut got = answer(&mut open).await;
        assert_eq!((got.head.status, got.length), (200, BodyLength::Exact(2)), "an upgrade refused with 200");
        assert_eq!(read(&mut got.body).await.unwrap().0, "no");
    }
}

fn websocket() -> TunnelRequest {
    let mut asked = request(RequestKind::WebSocket, "GET", "/ws", BodyLength::Opaque);
    asked.head.headers = headers(&[("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==")]);
    asked
}

/// Case 70: opaque only behind a 101 to the WebSocket that was asked for. What a stock connector's 200 over HTTP/2 was can only be
/// told by its fields; ours says it.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_switch_that_was_asked_for_is_one() {
    const ACCEPT: (&str, &[u8]) = ("Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    const WRONG: (&str, &[u8]) = ("Sec-WebSocket-Accept", b"AAAALMBiTxaQ9kYGzzhZRbK+xOo=");
    const UPGRADE: (&str, &[u8]) = ("Upgrade", b"websocket");
    const OTHER: (&str, &[u8]) = ("Upgrade", b"h2,h2c");
    for (protocol, qanat) in [(BOTH[0], false), (BOTH[0], true), (BOTH[1], false), (BOTH[1], true)] {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, qanat).await;
        let tells = protocol == Protocol::Quic || qanat;
        for (asked, status, lines) in [
            (get("/"), 101, &[UPGRADE, ACCEPT][..]),
            (websocket(), 101, &[OTHER, ACCEPT]),
            (websocket(), 101, &[UPGRADE]),
            (websocket(), 101, &[UPGRADE, WRONG]),
            (websocket(), 101, &[ACCEPT]),
            (websocket(), 101, &[]),
            (websocket(), 200, &[OTHER]),
            (websocket(), 200, &[OTHER, ACCEPT]),
            (websocket(), 200, &[ACCEPT]),
            (websocket(), 200, &[UPGRADE]),
            (websocket(), 200, &[UPGRADE, ACCEPT, ("Content-Length", b"2")]),
        ] {
            let mut open = link.open(&asked).await.unwrap();
            let length = if status == 101 { BodyLength::Opaque } else { BodyLength::Exact(2) };
            let responder = accept(&connector).await.responder;
            let mut sink = responder.respond(response(status, lines), length, AnsweredBy::Origin).unwrap();
            let _ = send(&mut sink, "no").await;
            let _ = finish(&mut sink, None).await;
            let what = format!("{protocol:?} qanat {qanat}: {status} {lines:?}");
            match within(open.response.next()).await {
                Err(ResponseError::BadAnswer(why)) => assert!(status == 101 && !why.is_empty(), "{what}: {why}"),
                Ok(ResponseEvent::Final(mut got)) => {
                    assert!(status == 200 || !tells, "{what}");
                    assert_eq!((got.head.status, got.length == BodyLength::Opaque), (200, false), "{what}");
                    assert_eq!(read(&mut got.body).await.unwrap().0, "no", "{what}");
                }
                other => panic!("{what}: {:?}", other.map(|_| "a 1xx")),
            }
        }
    }
}

/// An answer's head has limits as a request's has, and passing them costs the link nothing.
#[tokio::test(flavor = "multi_thread")]
async fn answers_have_limits() {
    for protocol in BOTH {
        let edge = Edge::with(|_| None, |settings| settings.max_head = 256 * 1024);
        let (link, connector) = edge.connect(protocol, true).await;
        let answered = async |fields: usize, value: usize, status: u16| {
            let mut open = link.open(&get("/")).await.unwrap();
            let mut responder = accept(&connector).await.responder;
            let mut head = response(status, &[]);
            (0..fields).for_each(|n| head.headers.push(format!("x-{n:03}"), vec![b'v'; value]));
            if status == 103 {
                responder.informational(head);
                head = response(200, &[]);
            }
            let mut sink = responder.respond(head, BodyLength::Absent, AnsweredBy::Origin).unwrap();
            let _ = finish(&mut sink, None).await;
            let first = within(open.response.next()).await;
            first.map(|event| matches!(event, ResponseEvent::Final(_)) == (status != 103))
        };
        let limits = qanat_http::Limits::ANSWERS;
        // A line costs its name of 5, its value and 4.
        for status in [200, 103] {
            for fields in [limits.fields - 1, limits.fields] {
                assert!(answered(fields, 1, status).await.unwrap(), "{fields}");
            }
            let many = answered(limits.fields + 1, 1, status).await;
            assert!(matches!(many, Err(ResponseError::TooManyFields(512))), "{protocol:?} {status} {many:?}");
            for extra in [0, 1] {
                assert!(answered(1, limits.head - 10 + extra, status).await.unwrap(), "{extra}");
            }
            let large = answered(1, limits.head - 8, status).await;
            assert!(matches!(large, Err(ResponseError::TooLarge(131_072))), "{protocol:?} {status} {large:?}");
        }
        assert!(answered(1, 1, 200).await.unwrap() && !link.is_closed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_stream_goes_to_its_address() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, false).await;
        let mut asked = request(RequestKind::Tcp, "GET", "/", BodyLength::Opaque);
        asked.head.authority = "10.0.0.1:22".into();
        let mut open = link.open(&asked).await.unwrap();
        let incoming = accept(&connector).await;
        assert_eq!((incoming.request.kind, incoming.request.length), (RequestKind::Tcp, BodyLength::Opaque));
        assert_eq!(incoming.request.head.authority, "10.0.0.1:22");
        let sink = incoming.responder.respond(response(200, &[]), BodyLength::Opaque, AnsweredBy::Origin);
        let mut sink = sink.unwrap();
        send(&mut sink, "SSH-2.0").await.unwrap();
        finish(&mut sink, None).await.unwrap();
        let mut got = answer(&mut open).await;
        assert_eq!(got.length, BodyLength::Opaque);
        assert_eq!(read(&mut got.body).await.unwrap().0, "SSH-2.0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_and_1xx_pass_between_ours() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        let mut open = link.open(&request(RequestKind::Http, "POST", "/", BodyLength::Unknown)).await.unwrap();
        send(&mut open.sink, "question").await.unwrap();
        finish(&mut open.sink, Some(headers(&[("X-Sum", b"1"), ("Cf-Cloudflared-Proxy-Src", b"x")]))).await.unwrap();
        let mut incoming = accept(&connector).await;
        let (body, trailers) = read(&mut incoming.body).await.unwrap();
        assert_eq!(body, "question");
        let trailers = trailers.unwrap();
        assert_eq!((trailers.get("x-sum").unwrap().as_ref(), trailers.len()), (&b"1"[..], 1), "S54: {protocol:?}");

        for link_header in [&b"</a.css>; rel=preload"[..], b"</b.css>"] {
            incoming.responder.informational(response(103, &[("Link", link_header)]));
            match within(open.response.next()).await.unwrap() {
                ResponseEvent::Informational(head) => {
                    assert_eq!((head.status, &head.headers.get("link").unwrap()[..]), (103, link_header));
                }
                ResponseEvent::Final(_) => panic!("the answer came first"),
            }
        }
        let sink = incoming.responder.respond(response(200, &[]), BodyLength::Unknown, AnsweredBy::Origin);
        let mut sink = sink.unwrap();
        send(&mut sink, "answer").await.unwrap();
        finish(&mut sink, Some(headers(&[("Grpc-Status", b"0")]))).await.unwrap();
        let (body, trailers) = read(&mut answer(&mut open).await.body).await.unwrap();
        assert_eq!((&body[..], &trailers.unwrap().get("grpc-status").unwrap()[..]), (&b"answer"[..], &b"0"[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_out_of_reach_is_not_an_answer() {
    for protocol in BOTH {
        for qanat in [true, false] {
            let edge = Edge::start();
            let (link, connector) = edge.connect(protocol, qanat).await;
            let mut open = link.open(&get("/")).await.unwrap();
            let mut responder = accept(&connector).await.responder;
            responder.asking();
            responder.fail("origin_refused", "connection refused");
            let (code, reason, took) = match within(open.response.next()).await {
                Err(ResponseError::Origin { code, reason, took }) => (code, reason, took),
                other => panic!("{:?}", other.err()),
            };
            let kept = protocol == Protocol::Quic || qanat;
            assert_eq!(reason, if kept { "connection refused" } else { "" });
            assert_eq!(code.as_deref(), qanat.then_some("origin_refused"), "a stock edge sees nothing of ours");
            assert_eq!(took.and_then(|took| took.origin).is_some(), qanat);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_tells_our_edge_how_long_connector_and_origin_took() {
    for protocol in BOTH {
        for (qanat, asks) in [(true, true), (true, false), (false, true)] {
            let edge = Edge::start();
            let (link, connector) = edge.connect(protocol, qanat).await;
            let mut open = link.open(&get("/")).await.unwrap();
            let mut responder = accept(&connector).await.responder;
            if asks {
                responder.asking();
            }
            let waited = Duration::from_millis(20);
            tokio::time::sleep(waited).await;
            let mut sink = responder.respond(response(200, &[]), BodyLength::Exact(0), AnsweredBy::Origin).unwrap();
            finish(&mut sink, None).await.unwrap();
            let response = answer(&mut open).await;
            assert!(response.head.headers.iter().all(|field| !field.name.to_ascii_lowercase().starts_with(b"qanat")));
            let Some(took) = response.took else {
                assert!(!qanat, "{protocol:?}");
                continue;
            };
            assert!(qanat, "a stock peer says nothing of ours");
            match took.origin {
                Some(origin) => assert!(asks && origin >= waited),
                None => assert!(!asks && took.connector >= waited),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_knows_the_round_trip_of_a_connection_and_its_key_exchange() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, _connector) = edge.connect(protocol, false).await;
        assert_eq!(link.key_exchange(), "X25519MLKEM768");
        let measured = async {
            while link.rtt().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(measured).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_reach_the_other_side_and_never_look_like_an_end() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;

        // The connector drops a request unanswered.
        let mut open = link.open(&get("/")).await.unwrap();
        drop(accept(&connector).await);
        assert!(matches!(within(open.response.next()).await, Err(ResponseError::Reset)), "{protocol:?}");

        // The connector resets in the middle of an answer: with a length, without, and by dropping the sink.
        for (length, dropped) in
            [(BodyLength::Exact(10), false), (BodyLength::Unknown, false), (BodyLength::Unknown, true)]
        {
            let mut open = link.open(&get("/")).await.unwrap();
            let mut sink =
                accept(&connector).await.responder.respond(response(200, &[]), length, AnsweredBy::Origin).unwrap();
            send(&mut sink, "half").await.unwrap();
            let mut got = answer(&mut open).await;
            if dropped {
                drop(sink)
            } else {
                sink.reset()
            }
            assert_eq!(read(&mut got.body).await.unwrap_err(), StreamError::Reset, "{protocol:?}");
        }

        // The edge gives a request up while it waits; without and with a body.
        for length in [BodyLength::Absent, BodyLength::Unknown] {
            let open = link.open(&request(RequestKind::Http, "POST", "/", length)).await.unwrap();
            let mut incoming = accept(&connector).await;
            drop(open);
            within(poll_fn(|cx| incoming.responder.poll_canceled(cx))).await;
            if length == BodyLength::Unknown {
                assert!(read(&mut incoming.body).await.is_err());
            }
        }

        // The edge gives an answer up in its middle.
        let mut open = link.open(&get("/")).await.unwrap();
        let sink =
            accept(&connector).await.responder.respond(response(200, &[]), BodyLength::Unknown, AnsweredBy::Origin);
        let mut sink = sink.unwrap();
        send(&mut sink, "half").await.unwrap();
        drop(answer(&mut open).await);
        drop(open);
        assert_eq!(within(poll_fn(|cx| sink.poll_stopped(cx))).await, StreamError::Reset);

        // And the connection still serves.
        serve_echo(connector);
        assert_eq!(within(echo(&link, "/", &Bytes::from_static(b"fine"))).await.unwrap(), "fine");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_or_long_body_is_no_whole_one() {
    let edge = Edge::start();
    let (link, connector) = edge.connect(Protocol::Quic, true).await;
    for body in ["short", "far too long for it"] {
        let mut open = link.open(&get("/")).await.unwrap();
        let sink =
            accept(&connector).await.responder.respond(response(200, &[]), BodyLength::Exact(10), AnsweredBy::Origin);
        let mut sink = sink.unwrap();
        send(&mut sink, body).await.unwrap();
        finish(&mut sink, None).await.unwrap();
        assert!(read(&mut answer(&mut open).await.body).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_the_protocol_and_malformed_ones_are_never_sent() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        for (name, value) in [
            ("cf-cloudflared-proxy-connection-upgrade", &b"control-stream"[..]),
            ("CF-Cloudflared-Proxy-Src", b"x"),
            ("cf_cloudflared_proxy_src", b"x"),
            ("Cf-Int-Tracing", b"x"),
            ("X:Y", b"x"),
            ("X Y", b"x"),
            ("", b"x"),
            ("X", b"a\r\nb"),
            ("X", b"\0"),
        ] {
            let mut asked = get("/");
            asked.head.headers.push(name, value);
            let refused = link.open(&asked).await;
            assert!(matches!(refused, Err(OpenError::Invalid(_))), "{protocol:?} {name:?} {:?}", refused.err());
        }
        for target in ["/a b", "/a\r\nb", ""] {
            let mut asked = get("/");
            asked.head.target = target.into();
            let refused = link.open(&asked).await;
            assert!(matches!(refused, Err(OpenError::Invalid(_))), "{protocol:?} {target:?}");
        }
        serve_echo(connector);
        assert_eq!(within(echo(&link, "/", &Bytes::from_static(b"fine"))).await.unwrap(), "fine");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        serve_echo(connector);
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..300_usize {
            let link = link.clone();
            tasks.spawn(async move {
                let body = Bytes::from(vec![i as u8; i * 37]);
                assert_eq!(echo(&link, "/", &body).await.unwrap(), body);
            });
        }
        within(async {
            while let Some(done) = tasks.join_next().await {
                done.unwrap()
            }
        })
        .await;
        assert_eq!(link.protocol_errors(), 0);
    }
}
