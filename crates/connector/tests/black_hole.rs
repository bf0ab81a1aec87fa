//! A path that takes small packets only, from some moment on, and tells nobody (RFC 8899 4.3).

#![allow(clippy::unwrap_used)]

use crate::support::{Answering, Edge, Running, eventually, read, request, rules, settings_for};
use qanat_connector::{Disconnected, Event, ProtocolChoice, ProtocolFallback};
use qanat_http::{BodyLength, Sink};
use qanat_transport::Protocol;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const BODY: usize = 100_000;
/// Below what QUIC needs, above what keeps a connection alive.
const NARROW: usize = 1100;

/// A way to the edge, over UDP and TCP on one port.
struct Path {
    address: SocketAddr,
    /// Larger datagrams go nowhere.
    to_edge: Arc<AtomicUsize>,
    to_connector: Arc<AtomicUsize>,
}

impl Path {
    async fn to(edge: SocketAddr) -> Self {
        let (near, listener) = loop {
            let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(listener) = TcpListener::bind(near.local_addr().unwrap()).await {
                break (Arc::new(near), listener);
            }
        };
        let address = near.local_addr().unwrap();
        let [to_edge, to_connector] = [(); 2].map(|()| Arc::new(AtomicUsize::new(usize::MAX)));
        let (out, back) = (to_edge.clone(), to_connector.clone());
        tokio::spawn(async move {
            let mut peers: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
            let mut buffer = vec![0; 64 * 1024];
            while let Ok((count, peer)) = near.recv_from(&mut buffer).await {
                if let Entry::Vacant(place) = peers.entry(peer) {
                    let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                    far.connect(edge).await.unwrap();
                    place.insert(far.clone());
                    let (near, back, mut buffer) = (near.clone(), back.clone(), vec![0; 64 * 1024]);
                    tokio::spawn(async move {
                        while let Ok(count) = far.recv(&mut buffer).await {
                            if count <= back.load(SeqCst) {
                                let _ = near.send_to(&buffer[..count], peer).await;
                            }
                        }
                    });
                }
                if count <= out.load(SeqCst) {
                    let _ = peers[&peer].send(&buffer[..count]).await;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(edge).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, to_edge, to_connector }
    }
}

/// Reads `Content-Length` bytes of each request and answers with a large body.
async fn origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut seen, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
                loop {
                    let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
                    let whole = text.find("\r\n\r\n").is_some_and(|end| {
                        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                        seen.len() >= end + 4 + length.map_or(0, |length| length.parse().unwrap())
                    });
                    if whole {
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n");
                        stream.write_all(head.as_bytes()).await.unwrap();
                        stream.write_all(&vec![b'x'; BODY]).await.unwrap();
                        seen.clear();
                    }
                    match stream.read(&mut buffer).await {
                        Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                        _ => return,
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

/// A request that stands still on the way, in one direction, and what becomes of it and of the connection.
async fn narrowed(uploads: bool) {
    let edge = Edge::start().await;
    let path = Path::to(edge.address).await;
    let running = Running::start(settings_for(path.address, &edge.ca_pem, ProtocolChoice::Auto, 1));
    running.ready(1).await;
    running.connector.swap_ingress(rules(origin().await));
    assert_eq!(edge.get("/").await.1.len(), BODY);
    assert_eq!(edge.link().await.protocol(), Protocol::Quic);
    let limit = if uploads { &path.to_connector } else { &path.to_edge };
    limit.store(NARROW, SeqCst);

    let length = if uploads { BodyLength::Exact(BODY as u64) } else { BodyLength::Absent };
    let mut stream = edge.open(&request(if uploads { "POST" } else { "GET" }, "/", length)).await;
    if uploads {
        poll_fn(|cx| stream.sink.poll_ready(cx)).await.unwrap();
        stream.sink.send(vec![b'x'; BODY].into());
        let _ = poll_fn(|cx| stream.sink.poll_flush(cx)).await;
    }
    let whole = match stream.answer().await {
        Ok(answer) => read(answer.body).await.1.is_ok(),
        Err(_) => false,
    };
    assert!(!whole, "it got through a path that is too narrow for it");
    let disconnected = |e: &Event| match e {
        Event::Disconnected(Disconnected { reason, .. }) => Some(reason.clone()),
        _ => None,
    };
    let reason = running.event(disconnected).await;
    // On a slow machine a connector that hears nothing any more may find that out before its edge does.
    assert!(reason.contains("the path takes small packets only") || (uploads && reason == "timed out"), "{reason}");
    running
        .event(|e| {
            matches!(e, Event::ProtocolFallback(ProtocolFallback { protocol: Protocol::Http2, .. })).then_some(())
        })
        .await;
    eventually(|| edge.heard.live().iter().any(|(link, _)| link.protocol() == Protocol::Http2).then_some(())).await;
    assert_eq!(edge.get("/").await.1.len(), BODY);
    let reason = eventually(|| edge.heard.lost.lock().unwrap().first().map(|(_, reason)| reason.clone())).await;
    assert_eq!(reason, if uploads { "path_narrowed" } else { "disconnected" });
}

#[tokio::test]
async fn a_path_that_swallows_large_packets_is_left_for_http2_whichever_way_they_go() {
    tokio::join!(narrowed(false), narrowed(true));
}
