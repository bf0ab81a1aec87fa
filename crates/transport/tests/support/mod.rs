//! An edge and a connector of ours on loopback, joined by one connection.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use qanat_http::{BodyLength, Frame, Headers, RequestHead, ResponseHead, Sink, Source, StreamError, Version};
use qanat_transport::*;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const BOTH: [Protocol; 2] = [Protocol::Quic, Protocol::Http2];
pub const MAX_HEAD: usize = 64 * 1024;

/// What the edge heard of a link.
#[derive(Debug)]
pub enum Heard {
    Registered(Registration),
    Unregistered,
    Local(Bytes),
    Lost(String),
}

pub type Decide = fn(&Registration) -> Option<RegistrationRefusal>;

pub struct Recorder {
    heard: mpsc::UnboundedSender<(ConnectorLink, Heard)>,
    decide: Decide,
}

impl Registrar for Recorder {
    fn register(
        &self,
        link: &ConnectorLink,
        registration: Registration,
    ) -> Result<RegistrationDetails, RegistrationRefusal> {
        if let Some(refusal) = (self.decide)(&registration) {
            return Err(refusal);
        }
        link.set_features(&registration.features);
        let _ = self.heard.send((link.clone(), Heard::Registered(registration)));
        Ok(RegistrationDetails { connection_id: Uuid::from_u128(7), location: "lab01".into(), remotely_managed: true })
    }
    fn unregister(&self, link: &ConnectorLink) {
        let _ = self.heard.send((link.clone(), Heard::Unregistered));
    }
    fn local_configuration(&self, link: &ConnectorLink, configuration: Bytes) {
        let _ = self.heard.send((link.clone(), Heard::Local(configuration)));
    }
    fn lost(&self, link: &ConnectorLink, reason: &str) {
        let _ = self.heard.send((link.clone(), Heard::Lost(reason.into())));
    }
}

pub struct Edge {
    pub stop: CancellationToken,
    pub address: SocketAddr,
    pub ca: String,
    pub udp: TunnelUdp,
    certificate: Certificate,
    pub heard: tokio::sync::Mutex<mpsc::UnboundedReceiver<(ConnectorLink, Heard)>>,
    served: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
pub struct Certificate {
    pub ca: String,
    pub chain: String,
    pub key: String,
}

pub fn certificate() -> Certificate {
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let names = ["quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com"].map(String::from).to_vec();
    let key = rcgen::KeyPair::generate().unwrap();
    let chain = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap().pem();
    Certificate { ca, chain, key: key.serialize_pem() }
}

/// A port that is free for both.
fn sockets() -> (std::net::UdpSocket, std::net::TcpListener) {
    loop {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = std::net::TcpListener::bind(udp.local_addr().unwrap()) {
            tcp.set_nonblocking(true).unwrap();
            return (udp, tcp);
        }
    }
}

impl Edge {
    pub fn start() -> Self {
        Self::with(|_| None, |_| {})
    }

    pub fn with(decide: Decide, change: impl FnOnce(&mut ListenerSettings)) -> Self {
        let (udp, tcp) = sockets();
        Self::serve(certificate(), TunnelUdp::alone(udp).unwrap(), tcp, decide, change)
    }

    /// One that takes over the UDP socket of a process that was killed; TCP is its own.
    pub fn after_its_death(&self) -> Self {
        let Given { socket, packets } = self.udp.give().unwrap();
        let older: Vec<_> = packets.into_iter().map(|(_, way)| Older::open(way).unwrap()).collect();
        let next = Generation::newest(older.iter().map(Older::generation)).unwrap().next();
        drop(older);
        let udp = TunnelUdp::new(socket.into(), next, Vec::new(), Arc::default()).unwrap();
        Self::serve(self.certificate.clone(), udp, sockets().1, |_| None, |_| {})
    }

    fn serve(
        certificate: Certificate,
        udp: TunnelUdp,
        tcp: std::net::TcpListener,
        decide: Decide,
        change: impl FnOnce(&mut ListenerSettings),
    ) -> Self {
        let mut settings = ListenerSettings {
            seats: qanat_transport::Seats::here(),
            tls: edge_tls(certificate.chain.as_bytes(), certificate.key.as_bytes()).unwrap(),
            max_pending_handshakes: 64,
            max_tcp_connections: 1000,
            handshake_timeout: Duration::from_secs(10),
            registration_timeout: Duration::from_secs(20),
            max_head: MAX_HEAD,
            flow: qanat_transport::Flow::default(),
        };
        change(&mut settings);
        let address = tcp.local_addr().unwrap();
        let tcp = tokio::net::TcpListener::from_std(tcp).unwrap();
        let (heard, queue) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let listener = TunnelListener::new(settings, Arc::new(Recorder { heard, decide }), stop.clone()).unwrap();
        let served = tokio::spawn(listener.serve(vec![udp.clone()], tcp));
        let ca = certificate.ca.clone();
        Self { stop, address, ca, udp, certificate, heard: tokio::sync::Mutex::new(queue), served }
    }

    /// Once the listener has returned: until then a dial may still find its socket.
    pub async fn ended(self) {
        within(self.served).await.unwrap();
    }

    pub async fn next(&self) -> (ConnectorLink, Heard) {
        within(async { self.heard.lock().await.recv().await }).await.unwrap()
    }

    pub async fn registered(&self) -> ConnectorLink {
        match self.next().await {
            (link, Heard::Registered(_)) => link,
            (_, other) => panic!("{other:?}"),
        }
    }

    pub fn dial_settings(&self) -> DialSettings {
        DialSettings {
            tls: connector_tls(Some(self.ca.as_bytes())).unwrap(),
            timeout: Duration::from_secs(20),
            max_head: MAX_HEAD,
            flow: qanat_transport::Flow::default(),
            route: qanat_transport::Route::default(),
            rpc_timeout: Duration::from_secs(10),
            bind: None,
        }
    }

    pub async fn dial(&self, protocol: Protocol) -> EdgeLink {
        EdgeLink::dial(protocol, self.address, &self.dial_settings()).await.unwrap()
    }

    /// A registered connection: the edge's end and the connector's.
    pub async fn connect(&self, protocol: Protocol, qanat: bool) -> (ConnectorLink, EdgeLink) {
        let connector = self.dial(protocol).await;
        connector.register(registration(qanat)).await.unwrap();
        (self.registered().await, connector)
    }
}

pub fn registration(qanat: bool) -> Registration {
    let mut features = vec!["allow_remote_config".to_owned(), "support_quic_eof".to_owned()];
    if qanat {
        features.extend(qanat_wire::names::QANAT_FEATURES.map(String::from));
    }
    Registration {
        account_tag: "0123456789abcdef0123456789abcdef".into(),
        secret: Bytes::from_static(&[7; 32]),
        tunnel_id: Uuid::from_u128(1),
        connection_index: 2,
        connector_id: Uuid::from_u128(3),
        features,
        version: "0.1.0".into(),
        arch: "linux_amd64".into(),
        origin_local_ip: Some("10.1.2.3".parse().unwrap()),
        replace_existing: true,
        previous_attempts: 4,
    }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it took too long")
}

pub fn headers(lines: &[(&'static str, &'static [u8])]) -> Headers {
    let mut headers = Headers::new();
    lines.iter().for_each(|(name, value)| headers.push(*name, *value));
    headers
}

pub fn request(kind: RequestKind, method: &'static str, target: &'static str, length: BodyLength) -> TunnelRequest {
    let head = RequestHead {
        method: method.into(),
        target: target.into(),
        authority: "App.example.test".into(),
        version: Version::Http11,
        headers: Headers::new(),
        websocket: kind == RequestKind::WebSocket,
    };
    TunnelRequest { kind, head, length, entrance: Entrance::Public }
}

pub fn get(target: &'static str) -> TunnelRequest {
    request(RequestKind::Http, "GET", target, BodyLength::Absent)
}

pub fn response(status: u16, lines: &[(&'static str, &'static [u8])]) -> ResponseHead {
    ResponseHead { status, headers: headers(lines) }
}

pub async fn accept(connector: &EdgeLink) -> IncomingRequest {
    match within(connector.accept()).await {
        Some(Incoming::Request(request)) => request,
        Some(Incoming::Configuration(_)) => panic!("a configuration"),
        None => panic!("the connection ended"),
    }
}

pub async fn answer(open: &mut OpenStream) -> TunnelResponse {
    match within(open.response.next()).await.unwrap() {
        ResponseEvent::Final(response) => response,
        ResponseEvent::Informational(head) => panic!("{head:?}"),
    }
}

pub async fn send(sink: &mut TunnelSink, data: impl Into<Bytes>) -> Result<(), StreamError> {
    poll_fn(|cx| sink.poll_ready(cx)).await?;
    sink.send(data.into());
    poll_fn(|cx| sink.poll_flush(cx)).await
}

pub async fn finish(sink: &mut TunnelSink, trailers: Option<Headers>) -> Result<(), StreamError> {
    let mut trailers = trailers;
    within(poll_fn(|cx| sink.poll_finish(cx, &mut trailers))).await
}

/// The whole body and its trailers, or how it ended.
pub async fn read(source: &mut TunnelSource) -> Result<(Bytes, Option<Headers>), StreamError> {
    let (mut all, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = within(poll_fn(|cx| source.poll_frame(cx))).await {
        match frame? {
            Frame::Data(data) => all.extend_from_slice(&data),
            Frame::Trailers(fields) => trailers = Some(fields),
        }
    }
    Ok((all.freeze(), trailers))
}

/// Answers every request with its own head and body, until the connection ends.
pub fn serve_echo(connector: EdgeLink) -> Arc<Mutex<usize>> {
    let served = Arc::new(Mutex::new(0));
    let count = served.clone();
    tokio::spawn(async move {
        while let Some(incoming) = connector.accept().await {
            let Incoming::Request(IncomingRequest { request, mut body, responder }) = incoming else { continue };
            let count = count.clone();
            tokio::spawn(async move {
                let mut head = response(200, &[]);
                head.headers.push("X-Target", request.head.target.clone());
                let length =
                    if request.length == BodyLength::Absent { BodyLength::Exact(0) } else { BodyLength::Unknown };
                let Ok(mut sink) = responder.respond(head, length, AnsweredBy::Origin) else { return };
                let _ = qanat_http::relay(&mut body, &mut sink).await;
                *count.lock().unwrap() += 1;
            });
        }
    });
    served
}

/// Asks and reads the answer of `serve_echo`.
pub async fn echo(link: &ConnectorLink, target: &'static str, body: &Bytes) -> Result<Bytes, String> {
    let mut request = request(RequestKind::Http, "POST", target, BodyLength::Exact(body.len() as u64));
    if body.is_empty() {
        request.length = BodyLength::Absent;
    }
    let OpenStream { mut sink, response: mut answer } = link.open(&request).await.map_err(|e| e.to_string())?;
    let upload = async {
        for chunk in body.chunks(50_000) {
            send(&mut sink, body.slice_ref(chunk)).await.map_err(|e| e.to_string())?;
        }
        finish(&mut sink, None).await.map_err(|e| e.to_string())
    };
    let download = async {
        match within(answer.next()).await.map_err(|e| e.to_string())? {
            ResponseEvent::Final(mut response) => read(&mut response.body).await.map_err(|e| e.to_string()),
            ResponseEvent::Informational(_) => Err("1xx".into()),
        }
    };
    let (sent, read) = tokio::join!(upload, download);
    sent?;
    Ok(read?.0)
}
