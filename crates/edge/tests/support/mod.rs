//! A real edge on loopback, a fake connector that records what it gets and answers by the path, and bare clients.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod client;
pub mod connector;
pub mod relay;

pub mod settings;

use connector::FakeConnector;
use qanat_edge::{Certificate, Edge, Event, HttpMode, Route, Settings, TunnelEntry, TunnelSecret};
use qanat_transport::Protocol;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use uuid::Uuid;

pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
pub const HOST: &str = "app.example.test";
/// For anything that must happen at all.
pub const SOON: Duration = Duration::from_secs(15);

pub fn tunnel_id() -> Uuid {
    Uuid::from_u128(0xabc)
}

pub fn secret(token_id: &str, secret: &[u8]) -> TunnelSecret {
    TunnelSecret { token_id: token_id.to_owned(), sha256: Sha256::digest(secret).into() }
}

pub fn tunnel_entry() -> TunnelEntry {
    TunnelEntry {
        tunnel_id: tunnel_id(),
        account_tag: ACCOUNT.to_owned(),
        name: "test".to_owned(),
        secrets: vec![secret("", SECRET)],
        deleted: false,
        remotely_managed: true,
        configuration_version: 0,
        configuration: None,
        active_token_id: None,
        epoch: 0,
        fenced_token_ids: vec![],
    }
}

/// One edge, its certificates and its events.
pub struct Lab {
    pub edge: Arc<Edge>,
    pub protocol: Protocol,
    pub ca: String,
    pub tunnel_ca: String,
    settings: Settings,
    certificates: [Certificate; 2],
    events: Mutex<Vec<Event>>,
}

fn issue(names: &[&str]) -> (Certificate, String) {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let pem = made.cert.pem();
    (Certificate::from_pem(pem.as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap(), pem)
}

impl Lab {
    pub fn start(protocol: Protocol, change: impl FnOnce(&mut Settings)) -> Self {
        let (public, ca) = issue(&[HOST, "*.wild.example.test", "other.example.test"]);
        let (tunnel, tunnel_ca) = issue(&["quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com"]);
        let mut settings = settings::settings();
        settings.https_address = Some("127.0.0.1:0".to_owned());
        settings.http_address = Some("127.0.0.1:0".to_owned());
        settings.http_mode = HttpMode::Serve;
        settings.worker_threads = 2;
        change(&mut settings);
        let edge = Arc::new(Edge::start(settings.clone(), &tunnel).unwrap());
        let lab =
            Self { edge, protocol, ca, tunnel_ca, settings, certificates: [public, tunnel], events: Mutex::default() };
        lab.fill();
        lab
    }

    /// An edge that has taken the sockets of this one, and serves nobody yet.
    pub fn successor(&self) -> Self {
        let edge =
            Edge::bind(self.settings.clone(), &self.certificates[1], self.edge.handover().sockets().unwrap()).unwrap();
        let lab = Self {
            edge: Arc::new(edge),
            protocol: self.protocol,
            ca: self.ca.clone(),
            tunnel_ca: self.tunnel_ca.clone(),
            settings: self.settings.clone(),
            certificates: self.certificates.clone(),
            events: Mutex::default(),
        };
        lab.fill();
        lab
    }

    fn fill(&self) {
        let edge = &self.edge;
        edge.swap_certificates(&self.certificates[..1]);
        edge.swap_tunnels(vec![tunnel_entry()]);
        edge.swap_routes(
            [HOST, "*.wild.example.test", "*.elsewhere.test"]
                .map(|hostname| Route::to(hostname, Some(tunnel_id())))
                .to_vec(),
        )
        .unwrap();
    }

    pub fn https(&self) -> SocketAddr {
        self.edge.addresses().https.unwrap()
    }

    pub fn http(&self) -> SocketAddr {
        self.edge.addresses().http.unwrap()
    }

    /// A connector of ours with one registered connection.
    pub async fn connector(&self) -> Arc<FakeConnector> {
        self.connector_with(&["qanat_trailers", "qanat_informational", "qanat_status"], 1).await
    }

    pub async fn connector_with(&self, features: &[&str], id: u128) -> Arc<FakeConnector> {
        let connector = FakeConnector::start(self, features, Uuid::from_u128(id), 0).await.unwrap();
        self.until(|| self.count("tunnel_connections_open") >= 1).await;
        connector
    }

    pub fn count(&self, name: &str) -> u64 {
        self.edge.counters().into_iter().find(|(n, _)| *n == name).unwrap().1
    }

    pub async fn until(&self, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + SOON;
        while !condition() {
            assert!(Instant::now() < end, "the condition never came true");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for an event for which `pick` gives something; all that came are kept.
    pub async fn event<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        loop {
            {
                let mut seen = self.events.lock().unwrap();
                seen.extend(self.edge.next_events(1000, Duration::ZERO));
                if let Some(found) = seen.iter().find_map(&pick) {
                    return found;
                }
                assert!(Instant::now() < end, "no such event among {seen:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The cause of the last failed request.
    pub async fn why(&self) -> (&'static str, u16) {
        self.event(|e| if let Event::RequestFailed(f) = e { Some((f.cause, f.status)) } else { None }).await
    }

    pub fn forget_events(&self) {
        self.events.lock().unwrap().clear();
        while !self.edge.next_events(1000, Duration::ZERO).is_empty() {}
    }
}

/// Runs a test once for each transport, in a runtime of its own (the edge has its own threads).
pub fn on_both(test: impl AsyncFn(&Lab)) {
    on_both_with(|_| {}, test);
}

pub fn on_both_with(change: impl Fn(&mut Settings), test: impl AsyncFn(&Lab)) {
    for protocol in [Protocol::Quic, Protocol::Http2] {
        eprintln!("over {}", protocol.name());
        let lab = Lab::start(protocol, &change);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), test(&lab)).await.expect("the test takes too long");
        });
        runtime.shutdown_background();
        lab.edge.close(Duration::ZERO);
    }
}
