//! Connections to the edge: registered, spread, lost, refused, fallen back, drained.

#![allow(clippy::unwrap_used)]

use crate::support;

use bytes::Bytes;
use qanat_connector::{
    Connector, Disconnected, Event, ProtocolChoice, ProtocolFallback, Proxy, Refused, Registered, Stopped,
};
use qanat_http::{BodyLength, Sink};
use qanat_transport::{Protocol, RegistrationRefusal};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Answering, Edge, PROTOCOLS, Running, choice, eventually, read, request, rules, settings, settings_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

#[tokio::test]
async fn one_address_gives_as_many_connections_as_asked_for() {
    for protocol in PROTOCOLS {
        let edge = Edge::start().await;
        let running = Running::start(settings(&edge, choice(protocol), 4));
        running.ready(4).await;
        let live = edge.heard.live();
        let mut indexes: Vec<u8> = live.iter().map(|(_, r)| r.connection_index).collect();
        assert_eq!(indexes[0], 0, "the first one goes ahead");
        indexes.sort_unstable();
        assert_eq!(indexes, [0, 1, 2, 3]);
        let (link, registration) = &live[0];
        assert_eq!(link.protocol(), protocol);
        assert_eq!((registration.secret.as_ref(), registration.connector_id.as_u128()), (&b"secret"[..], 2));
        assert!(registration.features.iter().any(|f| f == "qanat_trailers"));
        let registered = |e: &Event| matches!(e, Event::Registered(Registered { location, edge_ip, .. }) if location == "test" && edge_ip == "127.0.0.1");
        eventually(|| (running.count(registered) == 4).then_some(())).await;
        assert_eq!(running.connector.counters()["register_success"], 4);
    }
}

#[tokio::test]
async fn it_is_registered_within_a_second() {
    for protocol in PROTOCOLS {
        let mut took = vec![];
        for _ in 0..3 {
            let edge = Edge::start().await;
            let start = Instant::now();
            let running = Running::start(settings(&edge, choice(protocol), 1));
            running.ready(1).await;
            took.push(start.elapsed());
        }
        assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "{took:?}");
    }
}

#[tokio::test]
async fn several_edges_are_used_in_turn() {
    let (a, b) = (Edge::start().await, Edge::start().await);
    let mut both = settings(&a, ProtocolChoice::Quic, 4);
    both.edges.push(b.address.to_string().into());
    both.edge_ca_pem = Some((a.ca_pem.clone() + &b.ca_pem).into());
    let running = Running::start(both);
    running.ready(4).await;
    assert_eq!((a.heard.live().len(), b.heard.live().len()), (2, 2));
}

/// Case 26.
#[tokio::test]
async fn an_edge_that_restarts_and_has_forgotten_everything_is_back_in_use() {
    for protocol in PROTOCOLS {
        let mut edge = Edge::start().await;
        let running = Running::start(settings(&edge, choice(protocol), 2));
        running.connector.swap_ingress(rules(""));
        running.ready(2).await;
        edge.stop().await;
        running
            .event(|e| matches!(e, Event::Disconnected(Disconnected { retry_in_s: Some(_), .. })).then_some(()))
            .await;
        running.ready(0).await;
        let edge = edge.again().await;
        let back = Instant::now();
        edge.link().await;
        assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
        assert_eq!(edge.get("/_health").await, (200, "ok".into()));
        running.ready(2).await;
    }
}

#[tokio::test]
async fn an_edge_that_announced_its_restart_is_dialled_by_one_connection_at_a_quick_pace_until_it_is_back() {
    for protocol in PROTOCOLS {
        let mut edge = Edge::start_at("127.0.0.54:0").await;
        let running = Running::start(settings(&edge, choice(protocol), 4));
        running.ready(4).await;
        edge.heard.live().iter().for_each(|(link, _)| link.close_to_return(Duration::from_millis(50)));
        running.ready(0).await;
        edge.stop().await;
        let lost = || {
            let events = running.events.lock().unwrap();
            let lost = events.iter().filter_map(|e| match e {
                Event::Disconnected(Disconnected { connection_index, reason, retry_in_s, .. }) => {
                    Some((*connection_index, reason.clone(), retry_in_s.unwrap()))
                }
                _ => None,
            });
            lost.collect::<Vec<_>>()
        };
        eventually(|| (lost().len() >= 4 + 3).then_some(())).await;
        let (sent_away, failed): (Vec<_>, Vec<_>) =
            lost().into_iter().partition(|(_, why, _)| why == "the edge restarts");
        let mut indexes: Vec<u8> = sent_away.iter().map(|(index, ..)| *index).collect();
        indexes.sort_unstable();
        assert_eq!(indexes, [0, 1, 2, 3]);
        assert!(sent_away.iter().all(|(_, _, retry)| *retry <= 0.05), "{sent_away:?}");
        assert!(failed.iter().all(|(index, ..)| *index == failed[0].0), "one at a time: {failed:?}");
        assert!(failed.iter().all(|(_, _, retry)| *retry <= 0.6), "no back-off: {failed:?}");
        let edge = edge.again().await;
        running.ready(4).await;
        assert_eq!(edge.heard.registered.lock().unwrap().len(), 4);
    }
}

#[tokio::test]
async fn a_refusal_is_told_and_its_delay_kept() {
    for protocol in PROTOCOLS {
        let edge = Edge::start().await;
        let refusal = RegistrationRefusal {
            cause: "wrong secret".into(),
            retry_after: Duration::from_secs(30),
            should_retry: true,
        };
        edge.heard.refusals.lock().unwrap().push_back(refusal);
        let running = Running::start(settings(&edge, choice(protocol), 4));
        let (cause, retry_in_s) = running
            .event(|e| match e {
                Event::Refused(Refused { cause, retry_in_s, connection_index: 0, .. }) => {
                    Some((cause.clone(), *retry_in_s))
                }
                _ => None,
            })
            .await;
        assert_eq!(cause, "wrong secret");
        assert!(retry_in_s.unwrap() >= 30.0);
        assert_eq!(running.connector.counters()["register_fail"], 1);
        assert_eq!(edge.heard.live().len(), 0, "the others wait for the first one");
    }
}

/// Case 26. What it tells the edge of its failures is what its delay goes by.
#[tokio::test]
async fn the_back_off_begins_anew_with_each_connection_that_was_up() {
    let edge = Edge::start().await;
    let refusal = || RegistrationRefusal { cause: "not now".into(), retry_after: Duration::ZERO, should_retry: true };
    edge.heard.refusals.lock().unwrap().extend([refusal(), refusal()]);
    let running = Running::start(settings(&edge, ProtocolChoice::Quic, 1));
    running.ready(1).await;
    let (link, told) = edge.heard.live().pop().unwrap();
    assert_eq!(told.previous_attempts, 2);
    link.close("lost");
    let told = eventually(|| edge.heard.registered.lock().unwrap().get(1).map(|(_, told)| told.clone())).await;
    assert_eq!(told.previous_attempts, 1, "the loss alone");
}

#[tokio::test]
async fn a_duplicate_is_tried_at_the_next_address() {
    let (a, b) = (Edge::start().await, Edge::start().await);
    let refusal = RegistrationRefusal { cause: "EDUPCONN".into(), retry_after: Duration::ZERO, should_retry: false };
    a.heard.refusals.lock().unwrap().push_back(refusal);
    let mut both = settings(&a, ProtocolChoice::Quic, 1);
    both.edges.push(b.address.to_string().into());
    both.edge_ca_pem = Some((a.ca_pem.clone() + &b.ca_pem).into());
    let running = Running::start(both);
    running.ready(1).await;
    assert_eq!((a.heard.live().len(), b.heard.live().len()), (0, 1));
}

#[tokio::test]
async fn a_stop_finishes_open_requests_and_takes_no_new_ones() {
    for protocol in PROTOCOLS {
        let edge = Edge::start().await;
        let running = Running::start(settings(&edge, choice(protocol), 2));
        running.connector.swap_ingress(rules(""));
        running.ready(2).await;
        let mut upgrade = request("GET", "/ws", BodyLength::Opaque);
        upgrade.kind = qanat_transport::RequestKind::WebSocket;
        upgrade.head.websocket = true;
        upgrade.head.headers.push("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let mut stream = edge.open(&upgrade).await;
        let answer = stream.answer().await.unwrap();
        assert_eq!(answer.head.status, 101);
        running.connector.stop();
        eventually(|| (edge.heard.unregistered.lock().unwrap().len() == 2).then_some(())).await;
        assert_eq!(running.connector.ready_connections(), 0);
        assert_eq!(running.count(|e| *e == Event::Stopped(Stopped {})), 0);
        // The open one still works both ways, and ends by its own close.
        poll_fn(|cx| stream.sink.poll_ready(cx)).await.unwrap();
        stream.sink.send(Bytes::from_static(b"\x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8"));
        poll_fn(|cx| stream.sink.poll_finish(cx, &mut None)).await.unwrap();
        let (body, end) = read(answer.body).await;
        assert!(body.starts_with("\u{fffd}\u{2}hi") && end.is_ok(), "{body:?} {end:?}");
        running.event(|e| (*e == Event::Stopped(Stopped {})).then_some(())).await;
        assert_eq!(running.count(|e| matches!(e, Event::Disconnected(_))), 0);
        assert!(edge.heard.live().is_empty() || eventually(|| edge.heard.live().is_empty().then_some(true)).await);
    }
}

#[tokio::test]
async fn a_second_stop_ends_at_once() {
    for protocol in PROTOCOLS {
        let edge = Edge::start().await;
        let running = Running::start(settings(&edge, choice(protocol), 1));
        running.connector.swap_ingress(rules(""));
        running.ready(1).await;
        let mut stream = edge.open(&request("GET", "/sse?freq=10ms", BodyLength::Absent)).await;
        let answer = stream.answer().await.unwrap();
        running.connector.stop();
        eventually(|| (!edge.heard.unregistered.lock().unwrap().is_empty()).then_some(())).await;
        let second = Instant::now();
        running.connector.stop();
        running.event(|e| (*e == Event::Stopped(Stopped {})).then_some(())).await;
        assert!(second.elapsed() < Duration::from_secs(2));
        assert!(read(answer.body).await.1.is_err(), "cut, not ended");
    }
}

#[tokio::test]
async fn the_grace_period_bounds_a_stop() {
    let edge = Edge::start().await;
    let mut short = settings(&edge, ProtocolChoice::Quic, 1);
    short.grace_period = Duration::from_millis(300);
    let running = Running::start(short);
    running.connector.swap_ingress(rules(""));
    running.ready(1).await;
    let mut stream = edge.open(&request("GET", "/sse?freq=10ms", BodyLength::Absent)).await;
    let _answer = stream.answer().await.unwrap();
    running.connector.stop();
    running.event(|e| (*e == Event::Stopped(Stopped {})).then_some(())).await;
}

#[tokio::test]
async fn a_stop_before_any_connection_ends_at_once() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let edge = Edge::start().await;
    let running = Running::start(settings_for(nobody, &edge.ca_pem, ProtocolChoice::Auto, 4));
    running.event(|e| matches!(e, Event::Disconnected(_)).then_some(())).await;
    running.connector.stop();
    running.event(|e| (*e == Event::Stopped(Stopped {})).then_some(())).await;
    let unstarted = Connector::new(settings(&edge, ProtocolChoice::Quic, 1)).unwrap();
    unstarted.stop();
    assert_eq!(unstarted.next_events(9, Duration::ZERO), [Event::Stopped(Stopped {})]);
}

#[tokio::test]
async fn close_ends_a_waiting_reader_of_events() {
    let edge = Edge::start().await;
    let connector = Arc::new(Connector::new(settings(&edge, ProtocolChoice::Quic, 1)).unwrap());
    connector.start().unwrap();
    eventually(|| (connector.ready_connections() == 1).then_some(())).await;
    let reader = std::thread::spawn({
        let connector = connector.clone();
        move || while !connector.next_events(100, Duration::from_secs(60)).is_empty() {}
    });
    tokio::task::spawn_blocking(move || {
        connector.close();
        connector.close();
    })
    .await
    .unwrap();
    tokio::task::spawn_blocking(move || reader.join().unwrap()).await.unwrap();
}

/// One port whose TCP goes to the edge, and whose UDP does once `open` says so.
async fn half_blocked(edge: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut inbound, _)) = tcp.accept().await {
            tokio::spawn(async move {
                let mut outbound = TcpStream::connect(edge).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
            });
        }
    });
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    tokio::spawn(async move {
        let udp = Arc::new(udp);
        let mut flows: std::collections::HashMap<SocketAddr, Arc<UdpSocket>> = std::collections::HashMap::new();
        let mut buf = [0; 65536];
        while let Ok((n, from)) = udp.recv_from(&mut buf).await {
            if !gate.load(SeqCst) {
                continue;
            }
            if let std::collections::hash_map::Entry::Vacant(vacant) = flows.entry(from) {
                let flow = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                flow.connect(edge).await.unwrap();
                let (back, out) = (flow.clone(), udp.clone());
                tokio::spawn(async move {
                    let mut buf = [0; 65536];
                    while let Ok(n) = back.recv(&mut buf).await {
                        let _ = out.send_to(&buf[..n], from).await;
                    }
                });
                vacant.insert(flow);
            }
            let _ = flows[&from].send(&buf[..n]).await;
        }
    });
    (address, open)
}

/// Case 16.
#[tokio::test]
async fn blocked_udp_means_http2_within_fifteen_seconds_and_quic_again_once_it_is_open() {
    let edge = Edge::start().await;
    let (address, open) = half_blocked(edge.address).await;
    let connector = Connector::new(settings_for(address, &edge.ca_pem, ProtocolChoice::Auto, 2)).unwrap();
    connector.set_quic_retry(Duration::from_millis(300));
    let running = Running { connector: Arc::new(connector), events: Arc::default() };
    running.connector.swap_ingress(rules(""));
    let start = Instant::now();
    running.begin();
    running.ready(2).await;
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert!(edge.heard.live().iter().all(|(link, _)| link.protocol() == Protocol::Http2));
    running
        .event(|e| {
            matches!(e, Event::ProtocolFallback(ProtocolFallback { protocol: Protocol::Http2, .. })).then_some(())
        })
        .await;

    // A request that is open while it goes back ends where it began.
    let mut stream = edge.open(&request("GET", "/sse?freq=20ms", BodyLength::Absent)).await;
    let answer = stream.answer().await.unwrap();
    open.store(true, SeqCst);
    running
        .event(|e| {
            matches!(e, Event::ProtocolFallback(ProtocolFallback { protocol: Protocol::Quic, .. })).then_some(())
        })
        .await;
    eventually(|| {
        let live: Vec<_> =
            edge.heard.live().into_iter().filter(|(link, _)| link.protocol() == Protocol::Quic).collect();
        (live.len() == 2).then_some(())
    })
    .await;
    running.ready(2).await;
    let mut body = answer.body;
    for _ in 0..3 {
        let frame = support::within(poll_fn(|cx| qanat_http::Source::poll_frame(&mut body, cx))).await;
        assert!(matches!(frame, Some(Ok(_))), "{frame:?}");
    }
}

#[tokio::test]
async fn pinned_quic_never_falls_back() {
    let edge = Edge::start().await;
    let (address, _open) = half_blocked(edge.address).await;
    let mut pinned = settings_for(address, &edge.ca_pem, ProtocolChoice::Quic, 1);
    pinned.dial_timeout = Duration::from_millis(500);
    let running = Running::start(pinned);
    let reason = running
        .event(|e| match e {
            Event::Disconnected(Disconnected { reason, protocol: Protocol::Quic, .. }) => Some(reason.clone()),
            _ => None,
        })
        .await;
    assert!(reason.contains("UDP"), "{reason}");
    assert!(edge.heard.registered.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_edge_with_another_certificate_is_not_trusted() {
    let (edge, other) = (Edge::start().await, Edge::start().await);
    for protocol in PROTOCOLS {
        let running = Running::start(settings_for(edge.address, &other.ca_pem, choice(protocol), 1));
        running.event(|e| matches!(e, Event::Disconnected(_)).then_some(())).await;
        assert!(edge.heard.registered.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_edge_whose_name_does_not_resolve_is_retried() {
    let edge = Edge::start().await;
    let mut nowhere = settings(&edge, ProtocolChoice::Auto, 1);
    nowhere.edges = vec!["does-not-exist.invalid:7844".to_owned().into()];
    let running = Running::start(nowhere);
    let (reason, retry) = running
        .event(|e| match e {
            Event::Disconnected(Disconnected { reason, retry_in_s, .. }) => Some((reason.clone(), *retry_in_s)),
            _ => None,
        })
        .await;
    assert!(reason.contains("does-not-exist.invalid") && retry.is_some(), "{reason}");
}

/// Nothing answers at the edge's port: HTTP/2 on the other one, and the others go there at once.
#[tokio::test]
async fn http2_is_found_on_the_other_port() {
    let edge = Edge::start_at("127.0.0.61:0").await;
    let free = TcpListener::bind("127.0.0.61:0").await.unwrap().local_addr().unwrap();
    let mut elsewhere = settings(&edge, ProtocolChoice::Auto, 2);
    elsewhere.edges[0].address = free.to_string();
    elsewhere.edges[0].other_port = Some(edge.address.port());
    let running = Running::start(elsewhere);
    running.ready(2).await;
    assert!(edge.heard.live().iter().all(|(link, _)| link.protocol() == Protocol::Http2));
    assert_eq!(running.count(|e| matches!(e, Event::Disconnected(_))), 0);
}

/// Takes CONNECT with that authorization and leads to the edge, whatever name is asked for.
async fn connect_proxy(edge: SocketAddr, authorization: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let heard = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let allowed = head.contains(&format!("Proxy-Authorization: {authorization}\r\n"));
                heard.lock().unwrap().push(head);
                if !allowed {
                    let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
                    return;
                }
                let mut edge = TcpStream::connect(edge).await.unwrap();
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut edge).await;
            });
        }
    });
    (address, asked)
}

/// Case 45.
#[tokio::test]
async fn a_proxy_leads_to_the_edge_by_its_name_and_a_refusal_is_told() {
    let edge = Edge::start().await;
    let (address, asked) = connect_proxy(edge.address, "Basic dTpw").await;
    let through = |authorization: Option<&'static str>| {
        let mut through = settings(&edge, ProtocolChoice::Auto, 1);
        through.edges[0].address = "edge.invalid:7844".into();
        through.edges[0].through_proxy = true;
        through.proxy = Some(Proxy {
            address: address.to_string(),
            tls: false,
            authorization: authorization.map(|text| Bytes::from_static(text.as_bytes())),
        });
        through
    };
    let running = Running::start(through(Some("Basic dTpw")));
    running.connector.swap_ingress(rules(""));
    running.ready(1).await;
    assert_eq!(edge.link().await.protocol(), Protocol::Http2);
    assert!(asked.lock().unwrap()[0].starts_with("CONNECT edge.invalid:7844 HTTP/1.1\r\nHost: edge.invalid:7844\r\n"));
    assert_eq!(edge.get("/_health").await, (200, "ok".into()));
    let connector = running.connector.clone();
    let checks = tokio::task::spawn_blocking(move || connector.check_edges(Duration::from_secs(10))).await.unwrap();
    assert_eq!((checks[0].quic.clone(), checks[0].http2.as_deref()), (None, Some("")), "not through a proxy");

    let refused = Running::start(through(None));
    let reason = refused
        .event(|e| match e {
            Event::Disconnected(Disconnected { reason, .. }) => Some(reason.clone()),
            _ => None,
        })
        .await;
    assert!(reason.contains("wants a name and a password (407)"), "{reason}");
}

#[tokio::test]
async fn a_connection_is_made_anew_when_somebody_asks_for_it() {
    for protocol in PROTOCOLS {
        let edge = Edge::start().await;
        let running = Running::start(settings(&edge, choice(protocol), 1));
        running.ready(1).await;
        running.connector.reconnect(Duration::from_millis(50));
        let asked = |e: &Event| matches!(e, Event::Disconnected(Disconnected { reason, retry_in_s: Some(0.05), .. }) if reason == "reconnect signal");
        eventually(|| (running.count(asked) == 1).then_some(())).await;
        eventually(|| (edge.heard.registered.lock().unwrap().len() == 2).then_some(())).await;
        running.ready(1).await;
        assert_eq!(edge.heard.unregistered.lock().unwrap().len(), 1, "the edge was told first");
    }
}

#[tokio::test]
async fn edges_are_checked_over_both_transports() {
    let (edge, silent) = (Edge::start().await, UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let mut three = settings(&edge, ProtocolChoice::Auto, 1);
    three.edges.push(silent.local_addr().unwrap().to_string().into());
    three.edges.push("does-not-exist.invalid:7844".to_owned().into());
    let running = Running::start(three);
    running.ready(1).await;
    let connector = running.connector.clone();
    let checks = tokio::task::spawn_blocking(move || connector.check_edges(Duration::from_secs(3))).await.unwrap();
    assert_eq!((checks[0].target.clone(), checks[0].names.as_str()), (edge.address.to_string(), ""));
    assert_eq!((checks[0].quic.as_deref(), checks[0].http2.as_deref()), (Some(""), Some("")));
    assert_eq!(checks[1].quic.as_deref(), Some("no answer"));
    assert!(checks[1].http2.as_deref().is_some_and(|why| !why.is_empty()));
    assert!(checks[2].names.contains("can't resolve does-not-exist.invalid") && checks[2].quic.is_none());
}
