//! Whoever has shown no secret yet: how little they may send, and what little comes back to whom (security.md S26).
#![allow(clippy::unwrap_used)]

use crate::support;

use bytes::Bytes;
use qanat_transport::*;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::quic::{ClientConnection, Keys, Version};
use rustls::{ClientConfig, RootCertStore, Side};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::*;

async fn raw_client(edge: &Edge) -> quinn::Connection {
    let mut tls = (*connector_tls(Some(edge.ca.as_bytes())).unwrap()).clone();
    tls.alpn_protocols = vec![b"argotunnel".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    within(endpoint.connect_with(config, edge.address, "quic.cftunnel.com").unwrap()).await.unwrap()
}

/// Writes until the edge takes no more or has closed; how many bytes it took.
async fn pour(connection: &quinn::Connection, first: &[u8]) -> usize {
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    let mut taken = 0;
    let piece = [0_u8; 4096];
    let mut next = first;
    loop {
        match tokio::time::timeout(Duration::from_millis(700), send.write(next)).await {
            Ok(Ok(count)) => taken += count,
            _ => return taken,
        }
        next = &piece;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_stream_takes_64_kib_before_its_registration_and_then_ends() {
    let edge = Edge::start();
    let (link, connector) = edge.connect(Protocol::Quic, true).await;
    serve_echo(connector);
    // A message of 8 MiB, one of just too many bytes, and endless small ones.
    for first in [&[0, 0, 0, 0, 0, 0, 16, 0][..], &[0, 0, 0, 0, 1, 32, 0, 0], &[0, 0, 0, 0, 1, 0, 0, 0]] {
        let hostile = raw_client(&edge).await;
        let taken = pour(&hostile, first).await;
        assert!(taken <= 64 * 1024 + 64 * 1024, "{taken} bytes (the second 64 KiB lay in the windows of both sides)");
        let ended = within(hostile.closed()).await;
        assert!(matches!(ended, quinn::ConnectionError::ApplicationClosed(_)), "{ended:?}");
    }
    // One that announces what is allowed, and never ends it, is closed after its time; until then it holds what it sent.
    let patient = raw_client(&edge).await;
    let (mut send, _recv) = patient.open_bi().await.unwrap();
    send.write_all(&[0, 0, 0, 0, 0, 32, 0, 0]).await.unwrap();
    send.write_all(&[0; 60 * 1024]).await.unwrap();
    assert_eq!(within(echo(&link, "/", &Bytes::from_static(b"fine"))).await.unwrap(), "fine");
    assert!(patient.close_reason().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_connection_has_its_windows() {
    let edge = Edge::start();
    for protocol in BOTH {
        let (link, connector) = edge.connect(protocol, true).await;
        serve_echo(connector);
        let body = Bytes::from(vec![7; 3 * 1024 * 1024]);
        assert_eq!(within(echo(&link, "/", &body)).await.unwrap(), body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_the_places_of_all() {
    let edge = Edge::with(|_| None, |settings| settings.max_pending_handshakes = 64);
    let silent: Vec<_> = (0..64).map(|_| std::net::TcpStream::connect(edge.address).unwrap()).collect();
    let mut tls = (*connector_tls(Some(edge.ca.as_bytes())).unwrap()).clone();
    tls.alpn_protocols = vec![];
    // Another address of this host.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.9.9:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&edge.address.into()).unwrap();
    let mut socket = std::net::TcpStream::from(socket);
    let name = "h2.cftunnel.com".try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(tls), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    drop(silent);
}

/// A packet that asks for a version that doesn't exist: it is answered with Version Negotiation.
fn unknown_version() -> Vec<u8> {
    let mut packet = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8];
    packet.extend([9; 8]);
    packet.extend([8; 9]);
    packet.resize(1200, 0);
    packet
}

/// Waits for what comes to `socket`, at most so long.
fn received(socket: &UdpSocket, wait: Duration) -> usize {
    socket.set_read_timeout(Some(wait)).unwrap();
    socket.recv(&mut [0; 2048]).unwrap_or(0)
}

/// S26.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_at_all_goes_to_the_ports_of_reflectors() {
    let edge = Edge::start();
    let reflectors = [19, 53, 123, 161, 389, 1900, 5353, 11211];
    let bound: Vec<_> = reflectors.iter().filter_map(|port| UdpSocket::bind(("127.0.7.7", *port)).ok()).collect();
    assert!(!bound.is_empty());
    for socket in &bound {
        socket.send_to(&unknown_version(), edge.address).unwrap();
        socket.send_to(&initial(&mut hello(), 1), edge.address).unwrap();
    }
    let honest = UdpSocket::bind("127.0.0.1:0").unwrap();
    honest.send_to(&unknown_version(), edge.address).unwrap();
    let answer = received(&honest, Duration::from_secs(10));
    assert!(answer > 0 && answer < 1200);
    for socket in &bound {
        assert_eq!(received(socket, Duration::from_millis(1)), 0, "{:?}", socket.local_addr());
    }
    // A short Initial gets none either.
    honest.send_to(&initial(&mut hello(), 2)[..1199], edge.address).unwrap();
    honest.send_to(&unknown_version()[..1199], edge.address).unwrap();
    assert_eq!(received(&honest, Duration::from_millis(200)), 0);
}

/// A ClientHello, which lasts for any number of packets.
fn hello() -> Vec<u8> {
    let provider = rustls::crypto::CryptoProvider { kx_groups: vec![kx_group::X25519], ..default_provider() };
    let mut tls = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"argotunnel".to_vec()];
    // initial_source_connection_id, empty: the edge checks it, as all of them.
    let parameters = vec![0x0f, 0x00];
    let name = "quic.cftunnel.com".try_into().unwrap();
    let mut connection = ClientConnection::new(Arc::new(tls), Version::V1, name, parameters).unwrap();
    let mut hello = Vec::new();
    connection.write_hs(&mut hello);
    hello
}

/// An Initial packet of 1200 bytes with a connection id of its own (RFC 9000 17.2.2, RFC 9001 5).
fn initial(hello: &mut [u8], number: u64) -> Vec<u8> {
    let id = number.to_be_bytes();
    let mut header = vec![0xc0, 0, 0, 0, 1, 8];
    header.extend(id);
    header.extend([0, 0]);
    const NUMBER_AT: usize = 18;
    let length = 1200 - NUMBER_AT;
    header.extend([0x40 | (length >> 8) as u8, length as u8]);
    header.push(0);
    let mut payload = vec![0x06, 0x00, 0x40 | (hello.len() >> 8) as u8, hello.len() as u8];
    payload.extend_from_slice(hello);
    payload.resize(1200 - header.len() - 16, 0);
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let keys = Keys::initial(Version::V1, suite, suite.quic_suite().unwrap().quic, &id, Side::Client);
    let tag = keys.local.packet.encrypt_in_place(0, &header, &mut payload).unwrap();
    let mut packet = header;
    packet.extend(payload);
    packet.extend_from_slice(tag.as_ref());
    let (head, sample) = packet.split_at_mut(NUMBER_AT + 4);
    let (first, rest) = head.split_first_mut().unwrap();
    let number = &mut rest[NUMBER_AT - 1..NUMBER_AT];
    keys.local.header.encrypt_in_place(&sample[..16], first, number).unwrap();
    packet
}

/// Initials from addresses that never prove themselves, as a forger would send them, and what came back to each.
struct Flood {
    sources: Vec<UdpSocket>,
    sent: Vec<u64>,
    got: Vec<u64>,
    packets: u64,
    retries: u64,
    others: u64,
    hello: Vec<u8>,
}

impl Flood {
    fn new(sources: usize) -> Flood {
        let bound = (0..sources).map(|n| {
            let socket = UdpSocket::bind((format!("127.66.{}.{}", n / 250, n % 250 + 1), 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        let none = vec![0; sources];
        Flood {
            sources: bound.collect(),
            sent: none.clone(),
            got: none,
            packets: 0,
            retries: 0,
            others: 0,
            hello: hello(),
        }
    }

    /// Sends so many packets as fast as it can.
    fn pour(&mut self, packets: u64, to: std::net::SocketAddr) {
        for _ in 0..packets {
            let n = (self.packets % self.sources.len() as u64) as usize;
            self.packets += 1;
            if self.sources[n].send_to(&initial(&mut self.hello, self.packets + 1000), to).is_ok() {
                self.sent[n] += 1200;
            }
            self.take(n);
        }
    }

    /// Reads what has come to a source.
    fn take(&mut self, n: usize) {
        let mut buffer = [0; 2048];
        while let Ok(count) = self.sources[n].recv(&mut buffer) {
            self.got[n] += count as u64;
            // The packet's type: 3 is Retry.
            if buffer[0] >> 4 & 3 == 3 { self.retries += 1 } else { self.others += 1 }
        }
    }
}

/// S26: 10^5 of them. Others' requests go on beside every part of the flood: how many parts there are doesn't depend on how
/// fast this machine is.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn spoofed_initials_get_no_more_than_three_times_their_bytes_and_hurt_nobody() {
    const PACKETS: u64 = 100_000;
    const PARTS: u64 = 50;
    let edge = Edge::with(|_| None, |settings| settings.max_pending_handshakes = 200);
    let (link, connector) = edge.connect(Protocol::Quic, true).await;
    serve_echo(connector);
    let address = edge.address;
    let mut flood = Flood::new(100);
    let mut slowest = Duration::ZERO;
    for part in 0..PARTS {
        let pouring = tokio::task::spawn_blocking(move || {
            flood.pour(PACKETS / PARTS, address);
            flood
        });
        let start = Instant::now();
        assert_eq!(within(echo(&link, "/", &Bytes::from_static(b"fine"))).await.unwrap(), "fine");
        slowest = slowest.max(start.elapsed());
        if part % 10 == 0 {
            // Somebody new gets in as well, after a proof.
            let (new, _connector) = edge.connect(Protocol::Quic, true).await;
            new.close("");
            assert!(matches!(edge.next().await.1, Heard::Lost(_)));
        }
        flood = pouring.await.unwrap();
    }
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        (0..flood.sources.len()).for_each(|n| flood.take(n));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let Flood { sent, got, retries, others, .. } = flood;
    let all = |bytes: &[u64]| bytes.iter().sum::<u64>();
    println!("{} in, {} out, {retries} Retry, {others} others; slowest of others' {slowest:?}", all(&sent), all(&got));
    assert!(all(&sent) > PACKETS * 1000 && retries > 1000, "{retries} of {others}");
    assert!(got.iter().zip(&sent).all(|(got, sent)| *got <= 3 * sent), "{got:?}");
}
