//! Peers that break the protocol: counted, reset, and nobody else notices.
#![allow(clippy::unwrap_used)]

use crate::support;

use bytes::Bytes;
use qanat_transport::*;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::*;

const DATA: &[u8] = b"\x0a\x36\xcd\x12\xa1\x3e01";
const RPC: &[u8] = b"\x52\xbb\x82\x5c\xdb\x65";

/// Bytes that are no stream of the protocol: what, and whether the end follows.
fn garbage() -> Vec<Vec<u8>> {
    let mut huge = DATA.to_vec();
    huge.extend([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let mut segments = DATA.to_vec();
    segments.extend([0xff; 64]);
    let mut truncated = DATA.to_vec();
    truncated.extend([0, 0, 0, 0, 8, 0, 0, 0, 1, 2, 3]);
    let mut pointers = DATA.to_vec();
    pointers.extend([0, 0, 0, 0, 4, 0, 0, 0]);
    pointers.extend([0xff; 32]);
    let mut rpc = RPC.to_vec();
    rpc.extend([0xaa; 200]);
    vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x0a\x36\xcd\x12\xa1\x3e99".to_vec(),
        Vec::new(),
        DATA.to_vec(),
        huge,
        segments,
        truncated,
        pointers,
        rpc,
    ]
}

async fn raw_client(edge: &Edge) -> quinn::Connection {
    let mut tls = (*connector_tls(Some(edge.ca.as_bytes())).unwrap()).clone();
    tls.alpn_protocols = vec![b"argotunnel".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.connect_with(config, edge.address, "quic.cftunnel.com").unwrap().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_sends_garbage_leaves_others_served() {
    let edge = Edge::start();
    let (link, connector) = edge.connect(Protocol::Quic, true).await;
    serve_echo(connector);
    for bytes in garbage() {
        let hostile = raw_client(&edge).await;
        let (mut control, _recv) = hostile.open_bi().await.unwrap();
        control.write_all(&[&bytes[..], &[0; 64]].concat()).await.unwrap();
        control.finish().unwrap();
        let ended = within(hostile.closed()).await;
        assert!(matches!(ended, quinn::ConnectionError::ApplicationClosed(_)), "{ended:?}");
        assert_eq!(within(echo(&link, "/", &Bytes::from_static(b"fine"))).await.unwrap(), "fine");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_a_connector_may_not_open_are_reset_and_counted() {
    let edge = Edge::start();
    let (link, connector) = edge.connect(Protocol::Quic, true).await;
    serve_echo(connector);
    let hostile = raw_client(&edge).await;
    let (mut control, _keep) = hostile.open_bi().await.unwrap();
    control.write_all(&[0, 0, 0, 0]).await.unwrap();
    for i in 0..1000_usize {
        let (mut send, mut recv) = hostile.open_bi().await.unwrap();
        let _ = send.write_all(&garbage()[i % garbage().len()]).await;
        let _ = send.write_all(&[1]).await;
        assert!(within(recv.read_to_end(10)).await.is_err());
    }
    let datagram = hostile.send_datagram(Bytes::from_static(b"nothing"));
    assert!(datagram.is_ok(), "datagrams are taken and ignored");
    assert!(hostile.close_reason().is_none());
    assert_eq!(within(echo(&link, "/", &Bytes::from_static(b"fine"))).await.unwrap(), "fine");
    hostile.close(0u32.into(), b"");
    match edge.next().await {
        (lost, Heard::Lost(_)) => assert_eq!(lost.protocol_errors(), 1000),
        (_, other) => panic!("{other:?}"),
    }
}

/// A connector that registers by our own client and answers requests by hand.
async fn answering(bytes: Vec<u8>) -> (Edge, ConnectorLink, tokio::task::JoinHandle<()>) {
    let edge = Edge::start();
    let (raw, accepted) = hostile_edge_pair(&edge).await;
    let task = tokio::spawn(async move {
        let _keep = raw;
        while let Ok((mut send, _recv)) = accepted.accept_bi().await {
            let _ = send.write_all(&bytes).await;
            let _ = send.finish();
        }
    });
    let link = edge.registered().await;
    (edge, link, task)
}

/// Registers over a raw connection: the recorded registration of a stock connector, byte for byte.
async fn hostile_edge_pair(edge: &Edge) -> ((quinn::SendStream, quinn::RecvStream), quinn::Connection) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/quic.json");
    let text = std::fs::read_to_string(path).unwrap();
    // The first two hex texts of the control stream: Bootstrap and registerConnection come in the first.
    let hex = text.split("\"hex\": \"").nth(1).unwrap().split('"').next().unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
    let connection = raw_client(edge).await;
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(&bytes).await.unwrap();
    ((send, recv), connection)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_registration_of_a_stock_connector_registers() {
    let edge = Edge::start();
    let (_control, connection) = hostile_edge_pair(&edge).await;
    let (link, Heard::Registered(registration)) = edge.next().await else { panic!("not registered") };
    assert_eq!(registration.account_tag, "0123456789abcdef0123456789abcdef");
    assert_eq!(registration.secret, (0..32).collect::<Vec<u8>>());
    assert_eq!(registration.tunnel_id.to_string(), "11111111-2222-3333-4444-555555555555");
    assert_eq!((registration.connection_index, registration.version.as_str()), (0, "DEV"));
    assert_eq!(registration.origin_local_ip, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(registration.features.len(), 5);
    connection.close(0u32.into(), b"");
    within(async {
        while !link.is_closed() {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_the_protocol_are_told_apart_from_resets() {
    for bytes in garbage() {
        let (_edge, link, task) = answering(bytes.clone()).await;
        let mut open = link.open(&get("/")).await.unwrap();
        let error = match within(open.response.next()).await {
            Err(error) => error,
            Ok(_) => panic!("an answer from {bytes:?}"),
        };
        assert!(matches!(error, ResponseError::Malformed(_) | ResponseError::TooLarge(_)), "{error:?} {bytes:?}");
        assert_eq!(link.protocol_errors(), 1);
        assert!(!link.is_closed());
        task.abort();
    }
}

/// An edge by hand: takes one connection and its control stream, then does what it likes.
async fn raw_edge(certificate: &Certificate) -> (SocketAddr, quinn::Endpoint) {
    let tls = edge_tls(certificate.chain.as_bytes(), certificate.key.as_bytes()).unwrap();
    let mut tls = (*tls).clone();
    tls.alpn_protocols = vec![b"argotunnel".to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    (endpoint.local_addr().unwrap(), endpoint)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_of_garbage_do_not_hold_up_a_request() {
    let certificate = certificate();
    let (address, endpoint) = raw_edge(&certificate).await;
    let settings = DialSettings {
        tls: connector_tls(Some(certificate.ca.as_bytes())).unwrap(),
        timeout: Duration::from_secs(20),
        max_head: MAX_HEAD,
        flow: qanat_transport::Flow::default(),
        route: qanat_transport::Route::default(),
        rpc_timeout: Duration::from_millis(200),
        bind: None,
    };
    let dial = EdgeLink::dial(Protocol::Quic, address, &settings);
    let accept = async { endpoint.accept().await.unwrap().await.unwrap() };
    let (connector, edge) = tokio::join!(dial, accept);
    let connector = connector.unwrap();
    let served = serve_echo(connector.clone());
    let mut slow = Vec::new();
    for i in 0..1000_usize {
        let (mut send, recv) = edge.open_bi().await.unwrap();
        let bytes = &garbage()[i % garbage().len()];
        send.write_all(bytes).await.unwrap();
        if i % 2 == 0 {
            send.finish().unwrap();
        }
        slow.push((send, recv));
    }
    // A head that comes byte by byte is whole in the end, and held up nobody.
    let mut head = bytes::BytesMut::from(DATA);
    let pairs = [("HttpMethod", "GET"), ("HttpHost", "h.example")].map(|(name, value)| qanat_wire::connect::Pair {
        prefix: b"",
        name: name.as_bytes(),
        value: value.as_bytes(),
    });
    let kind = qanat_wire::connect::ConnectionType::Http;
    qanat_wire::connect::encode_request(&mut head, &[b"http://h.example/"], kind, &pairs).unwrap();
    let (mut dribble, mut dribbled) = edge.open_bi().await.unwrap();
    for byte in &head[..head.len() - 1] {
        dribble.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (mut send, mut recv) = edge.open_bi().await.unwrap();
    send.write_all(&head).await.unwrap();
    send.finish().unwrap();
    let answer = within(recv.read_to_end(10_000)).await.unwrap();
    assert!(answer.starts_with(DATA));
    dribble.write_all(&head[head.len() - 1..]).await.unwrap();
    dribble.finish().unwrap();
    assert!(within(dribbled.read_to_end(10_000)).await.unwrap().starts_with(DATA));
    within(async {
        while *served.lock().unwrap() < 2 {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert!(connector.protocol_errors() > 500, "{}", connector.protocol_errors());
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_must_not_pass_resets_the_stream() {
    let certificate = certificate();
    let (address, endpoint) = raw_edge(&certificate).await;
    let settings = DialSettings {
        tls: connector_tls(Some(certificate.ca.as_bytes())).unwrap(),
        timeout: Duration::from_secs(20),
        max_head: MAX_HEAD,
        flow: qanat_transport::Flow::default(),
        route: qanat_transport::Route::default(),
        rpc_timeout: Duration::from_secs(5),
        bind: None,
    };
    let dial = EdgeLink::dial(Protocol::Quic, address, &settings);
    let accept = async { endpoint.accept().await.unwrap().await.unwrap() };
    let (connector, edge) = tokio::join!(dial, accept);
    let connector = connector.unwrap();
    let served = serve_echo(connector.clone());
    // A good head, then one byte of it made bad.
    let mut head = bytes::BytesMut::from(DATA);
    let pairs = [("HttpMethod", "GET"), ("HttpHost", "h.example"), ("HttpHeader:Name", "value")];
    let pairs = pairs.map(|(name, value)| qanat_wire::connect::Pair {
        prefix: b"",
        name: name.as_bytes(),
        value: value.as_bytes(),
    });
    let kind = qanat_wire::connect::ConnectionType::Http;
    qanat_wire::connect::encode_request(&mut head, &[b"http://h.example/path"], kind, &pairs).unwrap();
    for (place, bad) in [
        ("Name", b':'),
        ("Name", b' '),
        ("Name", b'\n'),
        ("value", b'\r'),
        ("value", b'\n'),
        ("value", 0),
        ("GET", b' '),
        ("path", b' '),
        ("path", b'#'),
        ("h.example", b'@'),
    ] {
        let mut head = head.clone();
        let at = head.windows(place.len()).rposition(|w| w == place.as_bytes()).unwrap() + 1;
        head[at] = bad;
        let (mut send, mut recv) = edge.open_bi().await.unwrap();
        send.write_all(&head).await.unwrap();
        assert!(within(recv.read_to_end(10_000)).await.is_err(), "{place} {bad}");
    }
    assert_eq!((connector.protocol_errors(), *served.lock().unwrap()), (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_dials_is_cheap_and_leaves_others_served() {
    let edge = Edge::with(|_| None, |settings| settings.max_pending_handshakes = 16);
    let (link, connector) = edge.connect(Protocol::Quic, true).await;
    serve_echo(connector);
    let mut tls = (*connector_tls(Some(edge.ca.as_bytes())).unwrap()).clone();
    tls.alpn_protocols = vec![b"wrong".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let dials: Vec<_> =
        (0..200).map(|_| endpoint.connect_with(config.clone(), edge.address, "quic.cftunnel.com").unwrap()).collect();
    assert_eq!(within(echo(&link, "/", &Bytes::from_static(b"fine"))).await.unwrap(), "fine");
    drop(dials);
    let silent: Vec<_> = (0..40).map(|_| std::net::TcpStream::connect(edge.address).unwrap()).collect();
    assert_eq!(within(echo(&link, "/", &Bytes::from_static(b"fine"))).await.unwrap(), "fine");
    drop(silent);
    within(async {
        while EdgeLink::dial(Protocol::Http2, edge.address, &edge.dial_settings()).await.is_err() {
            tokio::task::yield_now().await;
        }
        while EdgeLink::dial(Protocol::Quic, edge.address, &edge.dial_settings()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
