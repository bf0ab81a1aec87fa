//! TCP over a WebSocket, with SOCKS and without, and streams that the edge opens to an address (case 43).

use super::websocket::upgrade;
use super::{Exchange, Origin, With, World, request};
use crate::settings::{AccessSettings, IpRule, WarpRouting};
use crate::{Event, IngressTable, OriginBounds, OriginSettings, Reach, Rule, ServiceKind};
use qanat_http::BodyLength;
use qanat_transport::{RequestKind, TunnelRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// A client's frame of less than 126 bytes.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(payload.len()).unwrap(), 1, 2, 3, 4];
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
    frame
}

/// The payloads of a server's short frames put together, and the opcodes.
fn unframed(mut wire: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut payload, mut opcodes) = (Vec::new(), Vec::new());
    while let [first, length, rest @ ..] = wire {
        let (one, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        opcodes.push(first & 0x0f);
        if first & 0x0f == 2 {
            payload.extend_from_slice(one);
        }
        wire = rest;
    }
    (payload, opcodes)
}

fn got(exchange: &Exchange) -> Vec<u8> {
    unframed(&exchange.so_far().body).0
}

async fn until(exchange: &Exchange, payload: &[u8]) {
    exchange.until(|answer| unframed(&answer.body).0 == payload).await;
}

fn world(kind: ServiceKind, target: String, origin: OriginSettings, bounds: Option<OriginBounds>) -> World {
    let rule = Rule { hostname: String::new(), path: String::new(), kind, service: target.clone(), target, origin };
    let world = World::with_rules(vec![]);
    let reach = Reach { clients: bounds.map(Arc::new), ..Reach::default() };
    world.connector.swap_ingress(Arc::new(IngressTable::compile_within(vec![rule], reach).unwrap()));
    world
}

fn to(origin: &Origin) -> World {
    world(ServiceKind::Tcp, origin.address.to_string(), OriginSettings::default(), None)
}

/// Echoes until EOF, then says `done`.
async fn echo() -> Origin {
    Origin::start(|_, mut peer| async move {
        loop {
            let some = peer.bytes(1).await;
            if some.is_empty() {
                break;
            }
            peer.write(some).await;
        }
        peer.write("done").await;
    })
    .await
}

#[tokio::test]
async fn bytes_pass_both_ways_in_frames_and_pings_are_answered() {
    let origin = echo().await;
    let world = to(&origin);
    let exchange = world.send(upgrade("/"));
    let answer = exchange.until(|answer| answer.status == 101).await;
    assert_eq!(answer.header("sec-websocket-accept").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    exchange.data(frame(2, b"SSH-2.0\r\n"));
    until(&exchange, b"SSH-2.0\r\n").await;
    exchange.data(frame(9, b"p"));
    exchange.until(|answer| answer.body.ends_with(b"\x8a\x01p")).await;
    // A message in pieces, cut anywhere.
    let mut wire = frame(2, b"ab");
    wire[0] = 2;
    wire.extend(frame(0, b"cd"));
    for byte in wire {
        exchange.data(vec![byte]);
    }
    until(&exchange, b"SSH-2.0\r\nabcd").await;
    assert_eq!(world.count("responses_101"), 0);
    exchange.data(frame(8, b"\x03\xe8"));
    let answer = exchange.over().await;
    assert!(answer.finished && !answer.reset);
    assert_eq!(world.count("responses_101"), 1);
}

/// Case 43: what a client's Close frame ends is its own direction.
#[tokio::test]
async fn what_an_origin_says_after_the_client_has_closed_still_arrives() {
    let origin = echo().await;
    let exchange = to(&origin).send(upgrade("/"));
    exchange.data(frame(2, b"0123456"));
    exchange.data(frame(8, b""));
    let answer = exchange.over().await;
    let (payload, opcodes) = unframed(&answer.body);
    assert_eq!((payload.as_slice(), opcodes.last()), (&b"0123456done"[..], Some(&8)));
}

/// Case 43.
#[tokio::test]
async fn an_origins_end_reaches_a_client_that_says_nothing() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.write("bye").await;
        let _ = peer.stream.shutdown().await;
        peer.closed().await;
    })
    .await;
    let exchange = to(&origin).send(upgrade("/"));
    let answer = exchange.until(|answer| answer.finished).await;
    assert_eq!(answer.body, b"\x82\x03bye\x88\x02\x03\xe8");
    exchange.data(frame(8, b"\x03\xe8"));
    exchange.over().await;
}

/// Case 43.
#[tokio::test]
async fn an_origin_that_never_ends_after_its_client_is_closed_after_five_minutes() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::start(move |_, mut peer| {
        let told = told.clone();
        async move {
            while !peer.bytes(1).await.is_empty() {}
            told.send(()).unwrap();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let world = to(&origin);
    let exchange = world.send(upgrade("/"));
    exchange.data(frame(8, b"\x03\xe8"));
    heard.recv().await.expect("the client's end");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(299)).await;
    tokio::task::yield_now().await;
    assert!(!exchange.task.is_finished());
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    exchange.over().await;
    assert!(world.failure().1.contains("it says nothing and doesn't end"));
}

#[tokio::test]
async fn an_origin_that_breaks_off_is_no_clean_end() {
    let origin = Origin::start(|_, mut peer| async move {
        peer.bytes(1).await;
        peer.abort();
    })
    .await;
    let world = to(&origin);
    let exchange = world.send(upgrade("/"));
    exchange.data(frame(2, b"x"));
    let answer = exchange.over().await;
    assert!(answer.reset && !answer.finished);
    assert_eq!(world.failure().0, "origin_reset_mid_body");
}

#[tokio::test]
async fn a_client_that_breaks_the_frames_or_leaves_is_cut_off() {
    for bad in [frame(3, b""), b"\x82\x01x".to_vec()] {
        let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
        let origin = Origin::start(move |_, mut peer| {
            let seen = seen.clone();
            async move {
                peer.closed().await;
                seen.send(()).unwrap();
            }
        })
        .await;
        let exchange = to(&origin).send(upgrade("/"));
        exchange.data(bad);
        assert!(exchange.over().await.reset);
        told.recv().await.unwrap();
    }
}

#[tokio::test]
async fn plain_http_is_told_what_is_expected_and_a_dead_origin_is_a_refusal() {
    let origin = echo().await;
    let answer = to(&origin).get("/").await;
    assert_eq!((answer.status, answer.text().contains("access tcp")), (400, true));
    let world = world(ServiceKind::Tcp, "127.0.0.1:1".into(), OriginSettings::default(), None);
    let text = world.send(upgrade("/")).over().await.failed.unwrap();
    assert!(text.contains("dial tcp 127.0.0.1:1: connect: connection refused"), "{text}");
}

fn bastion(bounds: Option<OriginBounds>) -> World {
    world(ServiceKind::Bastion, String::new(), OriginSettings::default(), bounds)
}

fn jump(address: String) -> TunnelRequest {
    upgrade("/").with("Cf-Access-Jump-Destination", Box::leak(address.into_boxed_str()))
}

#[tokio::test]
async fn a_bastion_connects_to_where_the_client_says() {
    let origin = echo().await;
    let exchange = bastion(None).send(jump(format!("tcp://{}/x", origin.address)));
    exchange.data(frame(2, b"hi"));
    until(&exchange, b"hi").await;
    for (request, reason) in [(upgrade("/"), "--destination flag"), (jump("nowhere".into()), "not host:port")] {
        let world = bastion(None);
        assert!(world.send(request).over().await.failed.unwrap().contains(reason));
        assert_eq!(world.failure().0, "bad_destination");
    }
}

/// S40: a client's destination is never where the connector itself listens, or a cloud keeps its metadata.
#[tokio::test]
async fn what_clients_choose_is_bounded() {
    let origin = echo().await;
    let bounds = || Some(OriginBounds::new(&[], &[origin.address]).unwrap());
    let world = bastion(bounds());
    world.send(jump(origin.address.to_string())).over().await;
    assert_eq!(world.failure().0, "origin_denied");
    let world = socks(&[("0.0.0.0/0", true)], bounds());
    let exchange = world.send(upgrade("/"));
    exchange.data(frame(2, &[&[5, 1, 0], &connect(&origin)[..]].concat()));
    exchange.over().await;
    assert!(world.failure().1.contains("denies"));
}

fn socks(rules: &[(&str, bool)], bounds: Option<OriginBounds>) -> World {
    let rule = |(prefix, allow): &(&str, bool)| IpRule { prefix: (*prefix).into(), ports: vec![], allow: *allow };
    let settings = OriginSettings { ip_rules: rules.iter().map(rule).collect(), ..OriginSettings::default() };
    world(ServiceKind::SocksProxy, String::new(), settings, bounds)
}

/// A CONNECT to an origin.
fn connect(origin: &Origin) -> Vec<u8> {
    [&[5, 1, 0, 1, 127, 0, 0, 1][..], &origin.address.port().to_be_bytes()].concat()
}

#[tokio::test]
async fn a_socks_client_goes_where_the_rules_allow() {
    let origin = echo().await;
    let world = socks(&[("127.0.0.0/8", true)], None);
    let exchange = world.send(upgrade("/"));
    exchange.data(frame(2, b"\x05\x01\0"));
    until(&exchange, b"\x05\0").await;
    exchange.data(frame(2, &connect(&origin)));
    let answer = exchange.until(|answer| unframed(&answer.body).0.len() == 12).await;
    assert_eq!(unframed(&answer.body).0[2..8], [5, 0, 0, 1, 127, 0]);
    exchange.data(frame(2, b"hi"));
    exchange.until(|answer| unframed(&answer.body).0.ends_with(b"hi")).await;

    // All at once, by name.
    let exchange = world.send(upgrade("/"));
    let named =
        [&b"\x05\x01\0\x05\x01\0\x03\x09localhost"[..], &origin.address.port().to_be_bytes(), b"hello"].concat();
    exchange.data(frame(2, &named));
    exchange.until(|answer| unframed(&answer.body).0.ends_with(b"hello")).await;

    for (rules, said, code) in [
        (&[][..], connect(&origin), 2),
        (&[("127.0.0.1/32", false), ("0.0.0.0/0", true)], connect(&origin), 2),
        (&[("0.0.0.0/0", true)], b"\x05\x01\0\x01\x7f\0\0\x01\0\x01".to_vec(), 5),
        (&[("0.0.0.0/0", true)], b"\x05\x02\0\x01\x7f\0\0\x01\0\x01".to_vec(), 7),
    ] {
        let world = socks(rules, None);
        let exchange = world.send(upgrade("/"));
        exchange.data(frame(2, &[b"\x05\x01\0", &said[..]].concat()));
        let answer = exchange.over().await;
        let (payload, opcodes) = unframed(&answer.body);
        assert_eq!((payload[2..4].to_vec(), opcodes.last()), (vec![5, code], Some(&8)));
    }
    let world = socks(&[], None);
    let exchange = world.send(upgrade("/"));
    exchange.data(frame(2, b"\x05\x01\x02"));
    assert_eq!(unframed(&exchange.over().await.body).0, b"\x05\xff");
}

/// `proxyType: socks`: the rule says where to, whatever the client asks for.
#[tokio::test]
async fn with_proxy_type_socks_the_destination_is_the_rules() {
    let origin = echo().await;
    let settings = OriginSettings { socks: true, ..OriginSettings::default() };
    let world = world(ServiceKind::Tcp, origin.address.to_string(), settings, None);
    let exchange = world.send(upgrade("/"));
    exchange.data(frame(2, b"\x05\x01\0\x05\x01\0\x03\x04nowh\0\x01hi"));
    exchange.until(|answer| unframed(&answer.body).0.ends_with(b"hi")).await;
    assert_eq!(got(&exchange)[..4], [5, 0, 5, 0]);
}

fn stream_to(address: String) -> TunnelRequest {
    let mut asked = request("GET", "/", BodyLength::Opaque);
    (asked.kind, asked.head.authority) = (RequestKind::Tcp, address.into());
    asked
}

#[tokio::test]
async fn a_stream_of_the_edge_is_bytes_to_an_address_whatever_the_rules_are() {
    let origin = echo().await;
    let world = World::with_rules(vec![]);
    let reach =
        Reach { warp_routing: WarpRouting { max_active_flows: 1, ..WarpRouting::default() }, ..Reach::default() };
    world.connector.swap_ingress(Arc::new(IngressTable::compile_within(vec![], reach).unwrap()));
    let exchange = world.send(stream_to(origin.address.to_string()));
    exchange.data("hi");
    exchange.until(|answer| answer.body == b"hi").await;
    world.send(stream_to(origin.address.to_string())).over().await;
    assert_eq!(world.failure().0, "too_many_flows");
    let answer = exchange.end().await;
    assert_eq!((answer.text().as_str(), answer.finished), ("hidone", true));
    for nowhere in ["localhost:80", "127.0.0.1", ""] {
        world.send(stream_to(nowhere.into())).over().await;
        assert_eq!(world.failure().0, "bad_destination", "{nowhere}");
    }
}

#[tokio::test]
async fn a_rule_with_access_lets_nobody_in_without_a_token_and_asks_for_the_keys() {
    let origin = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let access = AccessSettings { issuer: "https://t.example".into(), audiences: vec!["tag".into()] };
    let settings = OriginSettings { access: Some(access), ..OriginSettings::default() };
    let world = World::new(ServiceKind::Http, format!("http://{}", origin.address), settings);
    let answer = world.get("/").await;
    assert_eq!((answer.status, world.failure().0), (403, "access_denied"));
    // {"alg":"ES256","kid":"k"}.{}
    let token = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.AAAA";
    for asked in [1, 0] {
        let ask = request("GET", "/", BodyLength::Absent).with("cf-access-jwt-assertion", token);
        let answer = world.send(ask).end().await;
        assert_eq!((answer.status, answer.header("retry-after").as_deref()), (503, Some("2")));
        let wanted =
            |event: &&Event| matches!(event, Event::KeySetWanted(wanted) if wanted.issuer == "https://t.example");
        assert_eq!(world.events().iter().filter(wanted).count(), asked);
    }
    assert_eq!(origin.connections(), 0);
    assert!(world.connector.put_key_set("https://t.example", b"{}").is_err());
}
