//! Connections to an edge that has fallen silent on them.

#![allow(clippy::unwrap_used)]

use crate::support::{Edge, Running, eventually, request, rules, settings_for};
use qanat_connector::{Disconnected, Doubted, Event, ProtocolChoice};
use qanat_http::BodyLength;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::net::{TcpListener, UdpSocket};

/// A way to the edge that forgets who has used it when it is told to, and lets only others through from then on.
async fn forgetful(edge: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let (address, forget) = (near.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    let told = forget.clone();
    tokio::spawn(async move {
        let mut peers: HashMap<SocketAddr, (Arc<UdpSocket>, Arc<AtomicBool>)> = HashMap::new();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok((count, peer)) = near.recv_from(&mut buffer).await {
            if told.swap(false, SeqCst) {
                peers.values().for_each(|(_, is_muted)| is_muted.store(true, SeqCst));
            }
            if let Entry::Vacant(place) = peers.entry(peer) {
                let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                far.connect(edge).await.unwrap();
                let is_muted = Arc::new(AtomicBool::new(false));
                place.insert((far.clone(), is_muted.clone()));
                let near = near.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(count) = far.recv(&mut buffer).await {
                        if !is_muted.load(SeqCst) {
                            let _ = near.send_to(&buffer[..count], peer).await;
                        }
                    }
                });
            }
            let (far, is_muted) = &peers[&peer];
            if !is_muted.load(SeqCst) {
                let _ = far.send(&buffer[..count]).await;
            }
        }
    });
    (address, forget)
}

#[tokio::test]
async fn a_connection_on_which_the_edge_is_silent_is_told_of_and_made_anew() {
    let edge = Edge::start().await;
    let (address, forget) = forgetful(edge.address).await;
    let running = Running::start(settings_for(address, &edge.ca_pem, ProtocolChoice::Quic, 1));
    running.ready(1).await;
    forget.store(true, SeqCst);
    running.event(|e| matches!(e, Event::Doubted(Doubted { suspect: true, .. })).then_some(())).await;
    eventually(|| (edge.heard.registered.lock().unwrap().len() == 2).then_some(())).await;
    running.ready(1).await;
    let counters = running.connector.counters();
    // Unless this machine was so busy that the idle timeout came first.
    let timed_out = running.count(|e| matches!(e, Event::Disconnected(Disconnected { .. })));
    assert_eq!((counters["suspicions"], counters["connections_replaced"]), (1, u64::from(timed_out == 0)));
    eventually(|| (running.connector.counters()["connections_suspect"] == 0).then_some(())).await;
}

#[tokio::test]
async fn a_silent_connection_on_which_a_request_is_open_is_left_alone() {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = Edge::start().await;
    let (address, forget) = forgetful(edge.address).await;
    let running = Running::start(settings_for(address, &edge.ca_pem, ProtocolChoice::Quic, 1));
    running.connector.swap_ingress(rules(format!("http://{}", origin.local_addr().unwrap())));
    running.ready(1).await;
    let _open = edge.open(&request("GET", "/", BodyLength::Absent)).await;
    let _its_stream = origin.accept().await.unwrap();
    forget.store(true, SeqCst);
    running.event(|e| matches!(e, Event::Doubted(Doubted { suspect: true, .. })).then_some(())).await;
    running.event(|e| matches!(e, Event::Disconnected(Disconnected { .. })).then_some(())).await;
    assert_eq!(running.connector.counters()["connections_replaced"], 0, "its idle timeout ended it");
}
