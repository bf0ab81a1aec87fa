//! An edge side made of the transport's listener, and a connector on it.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part

use bytes::Bytes;
use qanat_connector::{
    Connector, ConnectorSettings, Event, IngressTable, IpChoice, ProtocolChoice, Rule, ServiceKind, Stopped,
};
use qanat_http::{BodyLength, Frame, Headers, RequestHead, Source, StreamError, Version};
use qanat_transport::{
    Congestion, ConnectorLink, Entrance, ListenerSettings, OpenStream, Protocol, Registrar, Registration,
    RegistrationDetails, RegistrationRefusal, RequestKind, ResponseError, ResponseEvent, TunnelListener, TunnelRequest,
    TunnelResponse, TunnelUdp, edge_tls,
};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Quic, Protocol::Http2];
const PATIENCE: Duration = Duration::from_secs(30);

/// What an edge has heard.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) registered: Mutex<Vec<(ConnectorLink, Registration)>>,
    pub(crate) unregistered: Mutex<Vec<u64>>,
    pub(crate) local: Mutex<Vec<Bytes>>,
    pub(crate) lost: Mutex<Vec<(u64, String)>>,
    pub(crate) refusals: Mutex<VecDeque<RegistrationRefusal>>,
    pub(crate) locally_managed: std::sync::atomic::AtomicBool,
}

impl Registrar for Heard {
    fn register(
        &self,
        link: &ConnectorLink,
        registration: Registration,
    ) -> Result<RegistrationDetails, RegistrationRefusal> {
        if let Some(refusal) = self.refusals.lock().unwrap().pop_front() {
            return Err(refusal);
        }
        link.set_features(&registration.features);
        self.registered.lock().unwrap().push((link.clone(), registration));
        let remotely_managed = !self.locally_managed.load(std::sync::atomic::Ordering::Relaxed);
        Ok(RegistrationDetails { connection_id: Uuid::new_v4(), location: "test".into(), remotely_managed })
    }
    fn unregister(&self, link: &ConnectorLink) {
        self.unregistered.lock().unwrap().push(link.serial());
    }
    fn local_configuration(&self, _: &ConnectorLink, configuration: Bytes) {
        self.local.lock().unwrap().push(configuration);
    }
    fn lost(&self, link: &ConnectorLink, reason: &str) {
        self.lost.lock().unwrap().push((link.serial(), reason.into()));
    }
}

impl Heard {
    pub(crate) fn live(&self) -> Vec<(ConnectorLink, Registration)> {
        self.registered.lock().unwrap().iter().filter(|(link, _)| !link.is_closed()).cloned().collect()
    }
}

pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
    key_pem: String,
    pub(crate) heard: Arc<Heard>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// One port for both.
async fn sockets(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::bind(address)?;
    let tcp = TcpListener::bind(udp.local_addr()?).await?;
    Ok((udp, tcp))
}

impl Edge {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    /// For an edge that is away for a while: on an address of its own no other test's edge gets its port meanwhile.
    pub(crate) async fn start_at(address: &str) -> Self {
        let names = ["quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com"].map(str::to_owned);
        let certificate = rcgen::generate_simple_self_signed(names.to_vec()).unwrap();
        let (ca_pem, key_pem) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
        Self::bind(address.parse().unwrap(), ca_pem, key_pem).await
    }

    async fn bind(address: SocketAddr, ca_pem: String, key_pem: String) -> Self {
        let heard = Arc::new(Heard::default());
        let settings = ListenerSettings {
            seats: qanat_transport::Seats::here(),
            tls: edge_tls(ca_pem.as_bytes(), key_pem.as_bytes()).unwrap(),
            max_pending_handshakes: 100,
            max_tcp_connections: 1000,
            handshake_timeout: Duration::from_secs(5),
            registration_timeout: Duration::from_secs(5),
            max_head: 64 * 1024,
            flow: qanat_transport::Flow::default(),
        };
        let mut tries = 0;
        let (udp, tcp) = loop {
            match sockets(address).await {
                Ok(bound) => break bound,
                Err(error) if tries > 500 => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            tries += 1;
        };
        let (address, stop) = (udp.local_addr().unwrap(), CancellationToken::new());
        let listener = TunnelListener::new(settings, heard.clone(), stop.clone()).unwrap();
        let task = tokio::spawn(listener.serve(vec![TunnelUdp::alone(udp).unwrap()], tcp));
        Self { address, ca_pem, key_pem, heard, stop, task: Some(task) }
    }

    /// Ends everything at once, as a crash would; the address stays known.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
        // Links keep the socket.
        self.heard.registered.lock().unwrap().clear();
    }

    /// A new one at the same address, that knows nothing of the old one.
    pub(crate) async fn again(&self) -> Self {
        Self::bind(self.address, self.ca_pem.clone(), self.key_pem.clone()).await
    }

    /// Any live link.
    pub(crate) async fn link(&self) -> ConnectorLink {
        eventually(|| self.heard.live().pop().map(|(link, _)| link)).await
    }

    pub(crate) async fn open(&self, request: &TunnelRequest) -> OpenStream {
        self.link().await.open(request).await.unwrap()
    }

    pub(crate) async fn get(&self, target: &'static str) -> (u16, String) {
        let mut stream = self.open(&request("GET", target, BodyLength::Absent)).await;
        let answer = stream.answer().await.unwrap();
        let status = answer.head.status;
        let (body, end) = read(answer.body).await;
        end.unwrap();
        (status, body)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) trait Answering {
    fn answer(&mut self) -> impl Future<Output = Result<TunnelResponse, ResponseError>> + Send;
}

impl Answering for OpenStream {
    async fn answer(&mut self) -> Result<TunnelResponse, ResponseError> {
        loop {
            if let ResponseEvent::Final(answer) = within(self.response.next()).await? {
                return Ok(answer);
            }
        }
    }
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

/// The whole body and how it ended.
pub(crate) async fn read(mut body: impl Source) -> (String, Result<Headers, StreamError>) {
    let (mut text, mut trailers) = (Vec::new(), Headers::new());
    loop {
        let end = match within(poll_fn(|cx| body.poll_frame(cx))).await {
            Some(Ok(Frame::Data(data))) => {
                text.extend_from_slice(&data);
                continue;
            }
            Some(Ok(Frame::Trailers(fields))) => {
                trailers = fields;
                continue;
            }
            Some(Err(error)) => Err(error),
            None => Ok(trailers),
        };
        return (String::from_utf8_lossy(&text).into_owned(), end);
    }
}

pub(crate) fn request(method: &'static str, target: &'static str, length: BodyLength) -> TunnelRequest {
    let head = RequestHead {
        method: method.into(),
        target: target.into(),
        authority: "app.example.test".into(),
        version: Version::Http2,
        headers: Headers::new(),
        websocket: false,
    };
    TunnelRequest { kind: RequestKind::Http, head, length, entrance: Entrance::Public }
}

pub(crate) fn rules(target: impl Into<String>) -> Arc<IngressTable> {
    let target = target.into();
    let rule = Rule {
        hostname: String::new(),
        path: String::new(),
        kind: if target.is_empty() { ServiceKind::HelloWorld } else { ServiceKind::Http },
        service: target.clone(),
        target,
        origin: serde_json::from_str(include_str!("origin.json")).unwrap(),
    };
    Arc::new(IngressTable::compile(vec![rule]).unwrap())
}

/// A connector with its events collected as they come.
pub(crate) struct Running {
    pub(crate) connector: Arc<Connector>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

pub(crate) fn settings(edge: &Edge, protocol: ProtocolChoice, ha_connections: u8) -> ConnectorSettings {
    settings_for(edge.address, &edge.ca_pem, protocol, ha_connections)
}

pub(crate) fn settings_for(
    address: SocketAddr,
    ca_pem: &str,
    protocol: ProtocolChoice,
    ha_connections: u8,
) -> ConnectorSettings {
    ConnectorSettings {
        account_tag: "a".repeat(32),
        tunnel_id: Uuid::from_u128(1),
        tunnel_secret: Bytes::from_static(b"secret"),
        connector_id: Uuid::from_u128(2),
        edges: vec![address.to_string().into()],
        edge_resolver: None,
        edge_resolver_over_tls: None,
        proxy: None,
        version: "test".into(),
        edge_ca_pem: Some(Bytes::copy_from_slice(ca_pem.as_bytes())),
        edge_more_ca_pem: None,
        edge_ip: IpChoice::Any,
        edge_bind: None,
        post_quantum: false,
        protocol,
        ha_connections,
        congestion: Congestion::Tolerant,
        quic_stream_window: 0,
        quic_connection_window: 0,
        quic_mtu_discovery: true,
        write_timeout: Duration::ZERO,
        grace_period: Duration::from_secs(30),
        rpc_timeout: Duration::from_secs(5),
        dial_timeout: Duration::from_secs(15),
        retries: 5,
        worker_threads: 2,
        max_unread_bytes: 0,
        event_queue: 8192,
        tell_requests: false,
        tags: Vec::new(),
        features: Vec::new(),
        management_hostname: String::new(),
    }
}

pub(crate) fn choice(protocol: Protocol) -> ProtocolChoice {
    match protocol {
        Protocol::Quic => ProtocolChoice::Quic,
        Protocol::Http2 => ProtocolChoice::Http2,
    }
}

impl Running {
    pub(crate) fn start(settings: ConnectorSettings) -> Self {
        let connector = Arc::new(Connector::new(settings).unwrap());
        let running = Self { connector, events: Arc::default() };
        running.begin();
        running
    }

    pub(crate) fn begin(&self) {
        let (connector, events) = (self.connector.clone(), self.events.clone());
        std::thread::spawn(move || {
            loop {
                let next = connector.next_events(100, Duration::from_millis(200));
                let stopped = next.contains(&Event::Stopped(Stopped {}));
                events.lock().unwrap().extend(next);
                if stopped || Arc::strong_count(&connector) == 1 {
                    return;
                }
            }
        });
        self.connector.start().unwrap();
    }

    pub(crate) async fn ready(&self, connections: u64) {
        eventually(|| (self.connector.ready_connections() == connections).then_some(())).await;
    }

    /// The first event for which `pick` gives something.
    pub(crate) async fn event<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> T {
        eventually(|| self.events.lock().unwrap().iter().find_map(&pick)).await
    }

    pub(crate) fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|e| which(e)).count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let connector = self.connector.clone();
        // A runtime may not be shut down from within another.
        std::thread::spawn(move || connector.close());
    }
}

pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it never happened");
}
