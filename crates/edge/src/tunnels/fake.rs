//! What the tests of this folder register: a link without a network, a tunnel of three secrets, and who asks for it.

use crate::tables::{TunnelEntry, TunnelSecret};
use crate::tunnels::connection::Peer;
use bytes::Bytes;
use qanat_transport::{Protocol, Registration};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A link that remembers why it was closed.
#[derive(Clone)]
pub(super) struct Fake {
    serial: u64,
    worker: Option<usize>,
    closed: Arc<Mutex<Option<String>>>,
    pub(super) drained: Arc<AtomicUsize>,
    pub(super) suspect: Arc<AtomicBool>,
    /// Just now.
    pub(super) heard: Arc<AtomicBool>,
}

impl Fake {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            worker: None,
            closed: Arc::default(),
            drained: Arc::default(),
            suspect: Arc::default(),
            heard: Arc::default(),
        }
    }
    /// With a seat at this worker.
    pub(super) fn at(worker: usize) -> Self {
        Self { worker: Some(worker), ..Self::new() }
    }
    pub(super) fn why(&self) -> Option<String> {
        self.closed.lock().unwrap().clone()
    }
}

impl Peer for Fake {
    fn serial(&self) -> u64 {
        self.serial
    }
    fn worker(&self) -> Option<usize> {
        self.worker
    }
    fn protocol(&self) -> Protocol {
        Protocol::Quic
    }
    fn address(&self) -> IpAddr {
        IpAddr::from([127, 0, 0, 1])
    }
    fn accept(&self, _: &[String]) {}
    fn close(&self, reason: &str) {
        *self.closed.lock().unwrap() = Some(reason.to_owned());
    }
    fn close_to_return(&self, within: Duration) {
        *self.closed.lock().unwrap() = Some(format!("return within {within:?}"));
    }
    fn drained(&self) {
        self.drained.fetch_add(1, Ordering::Relaxed);
    }
    fn is_closed(&self) -> bool {
        self.why().is_some()
    }
    fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }
    fn silent_since(&self) -> Instant {
        Instant::now()
    }
    fn is_heard_after(&self, _: Instant) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
    fn protocol_errors(&self) -> u64 {
        0
    }
    fn rtt(&self) -> Option<Duration> {
        None
    }
    fn key_exchange(&self) -> &'static str {
        ""
    }
}

pub(super) fn secret(token_id: &str, secret: &[u8]) -> TunnelSecret {
    TunnelSecret { token_id: token_id.to_owned(), sha256: Sha256::digest(secret).into() }
}

pub(crate) fn entry() -> TunnelEntry {
    TunnelEntry {
        tunnel_id: Uuid::from_u128(1),
        account_tag: "a".repeat(32),
        name: "t".to_owned(),
        secrets: vec![secret("", b"secret"), secret("a", b"token a"), secret("b", b"token b")],
        deleted: false,
        remotely_managed: true,
        configuration_version: 0,
        configuration: None,
        active_token_id: None,
        epoch: 0,
        fenced_token_ids: vec![],
    }
}

pub(super) fn registration(connector: u128, index: u8) -> Registration {
    Registration {
        account_tag: "A".repeat(32),
        secret: Bytes::from_static(b"secret"),
        tunnel_id: Uuid::from_u128(1),
        connection_index: index,
        connector_id: Uuid::from_u128(connector),
        features: vec![],
        version: "v".to_owned(),
        arch: "linux_amd64".to_owned(),
        origin_local_ip: None,
        replace_existing: false,
        previous_attempts: 0,
    }
}
