//! The connector's side: dials the edge, registers, takes the streams that the edge opens.

use crate::lines::LEAST_WINDOW;
use crate::quic::Tuning;
use crate::quic_accept::QuicAcceptor;
use crate::quic_stream::{QuicSink, QuicSource};
use crate::rpc_connector::{self, Command};
use crate::stream::{SinkKind, SourceKind};
use crate::{
    Applied, Flow, Lines, Protocol, Registration, RegistrationDetails, RegistrationRefusal, TunnelRequest,
    TunnelResponder, TunnelSink, TunnelSource, http2_accept, quic, udp,
};
use bytes::Bytes;
use qanat_wire::{farewell, names};
use quinn::{ConnectionError, Endpoint, TokioRuntime};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// Pushed configurations that wait to be taken.
const PUSHES: usize = 4;

/// A line so many times as long as was known is dialled once more. Less isn't worth it, and a busy machine makes short ones look so.
const MUCH_LONGER: u32 = 3;
const CONTROL_ENDED: &[u8] = b"the control stream ended";

/// How to dial.
#[derive(Clone)]
pub struct DialSettings {
    /// Client configuration that trusts the edge, made by `connector_tls`.
    pub tls: Arc<rustls::ClientConfig>,
    /// For the whole handshake.
    pub timeout: Duration,
    /// Largest request head accepted.
    pub max_head: usize,
    /// For one RPC.
    pub rpc_timeout: Duration,
    /// The address to dial from; `None`: the system's choice.
    pub bind: Option<IpAddr>,
    /// How its streams use the network.
    pub flow: Flow,
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nothing answered in time (QUIC: UDP may be blocked).
    #[error("no answer from {0} within {1:?}")]
    TimedOut(SocketAddr, Duration),
    /// TCP refused or unreachable.
    #[error("can't connect to {0}: {1}")]
    Connect(SocketAddr, String),
    /// The edge's certificate or handshake.
    #[error("TLS with {0} failed: {1}")]
    Tls(SocketAddr, String),
}

/// Why a registration failed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The edge said no.
    #[error("the edge refused: {}", .0.cause)]
    Refused(RegistrationRefusal),
    /// The connection ended or the RPC timed out.
    #[error("the connection was lost while registering: {0}")]
    Lost(String),
}

/// What an edge asks of a connector.
#[allow(clippy::large_enum_variant)] // nearly all are requests: a box would cost each one an allocation
pub enum Incoming {
    /// A request.
    Request(IncomingRequest),
    /// A configuration.
    Configuration(ConfigurationPush),
}

/// A request to serve.
pub struct IncomingRequest {
    /// Its head.
    pub request: TunnelRequest,
    /// Its body.
    pub body: TunnelSource,
    /// Where the answer goes.
    pub responder: TunnelResponder,
}

/// A pushed configuration. Answer it; dropped unanswered, the edge gets an error.
pub struct ConfigurationPush {
    /// Its version.
    pub version: i32,
    /// The JSON document `{"ingress":…}`.
    pub configuration: Bytes,
    /// The answer.
    pub answer: oneshot::Sender<Applied>,
}

/// What both transports' tasks share with the link.
pub(crate) struct Context {
    pub(crate) max_head: usize,
    pub(crate) lines: Arc<Lines>,
    pub(crate) stream_window: AtomicU32,
    pub(crate) rpc_timeout: Duration,
    pub(crate) pushes: mpsc::Sender<ConfigurationPush>,
    /// Over HTTP/2: what the edge said before it ended the connection.
    pub(crate) farewell: OnceLock<Duration>,
    /// Streams that broke the protocol.
    rejected: AtomicU64,
}

impl Context {
    /// Bytes of one stream that may lie unread.
    pub(crate) fn stream_window(&self) -> u32 {
        self.stream_window.load(Ordering::Relaxed)
    }

    pub(crate) fn reject(&self, why: &str) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(why, "a stream of the edge was reset");
    }
}

enum Connection {
    Quic(quinn::Connection),
    Http2 { close: CancellationToken, ended: watch::Receiver<Option<String>> },
}

impl Connection {
    fn close(&self) {
        match self {
            Connection::Quic(connection) => close_quic(connection, b""),
            Connection::Http2 { close, .. } => close.cancel(),
        }
    }
}

/// Closing a connection that has ended would hide why.
pub(crate) fn close_quic(connection: &quinn::Connection, reason: &[u8]) {
    if connection.close_reason().is_none() {
        connection.close(0u32.into(), reason);
    }
}

enum Requests {
    Quic(QuicAcceptor),
    Http2(mpsc::Receiver<IncomingRequest>),
}

struct Acceptor {
    requests: Requests,
    pushes: mpsc::Receiver<ConfigurationPush>,
}

struct Inner {
    connection: Connection,
    commands: mpsc::UnboundedSender<Command>,
    acceptor: tokio::sync::Mutex<Acceptor>,
    context: Arc<Context>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.connection.close();
    }
}

/// A connection to an edge. Dropping the last clone closes it.
#[derive(Clone)]
pub struct EdgeLink(Arc<Inner>);

impl EdgeLink {
    /// Dials over the given transport.
    pub async fn dial(protocol: Protocol, edge: SocketAddr, settings: &DialSettings) -> Result<EdgeLink, DialError> {
        let dial = async {
            match protocol {
                Protocol::Quic => dial_quic(edge, settings).await,
                Protocol::Http2 => dial_http2(edge, settings).await,
            }
        };
        let late = || DialError::TimedOut(edge, settings.timeout);
        tokio::time::timeout(settings.timeout, dial).await.unwrap_or_else(|_| Err(late()))
    }

    fn new(
        connection: Connection,
        requests: Requests,
        context: Arc<Context>,
        pushes: mpsc::Receiver<ConfigurationPush>,
        control: oneshot::Receiver<(TunnelSource, TunnelSink)>,
        on_end: impl FnOnce() + Send + 'static,
    ) -> Self {
        let (commands, queue) = mpsc::unbounded_channel();
        rpc_connector::control(control, queue, context.rpc_timeout, on_end);
        let acceptor = tokio::sync::Mutex::new(Acceptor { requests, pushes });
        Self(Arc::new(Inner { connection, commands, acceptor, context }))
    }

    /// Which transport.
    pub fn protocol(&self) -> Protocol {
        match self.0.connection {
            Connection::Quic(_) => Protocol::Quic,
            Connection::Http2 { .. } => Protocol::Http2,
        }
    }

    /// Streams of the edge that were reset since they broke the protocol.
    pub fn protocol_errors(&self) -> u64 {
        self.0.context.rejected.load(Ordering::Relaxed)
    }

    /// registerConnection.
    pub async fn register(&self, registration: Registration) -> Result<RegistrationDetails, RegisterError> {
        self.command(|answer| Command::Register(Box::new(registration), answer)).await
    }

    /// unregisterConnection: starts the drain.
    pub async fn unregister(&self) -> Result<(), RegisterError> {
        self.command(Command::Unregister).await
    }

    /// updateLocalConfiguration.
    pub async fn send_local_configuration(&self, json: Bytes) -> Result<(), RegisterError> {
        self.command(|answer| Command::LocalConfiguration(json, answer)).await
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, RegisterError>>) -> Command,
    ) -> Result<T, RegisterError> {
        let (answer, result) = oneshot::channel();
        let lost = || RegisterError::Lost("the control stream has ended".into());
        self.0.commands.send(command(answer)).map_err(|_| lost())?;
        result.await.map_err(|_| lost())?
    }

    /// The next thing the edge asks for; `None` when the connection has ended. Cancel-safe. A request whose head comes slowly
    /// holds up no other.
    pub async fn accept(&self) -> Option<Incoming> {
        let mut acceptor = self.0.acceptor.lock().await;
        let Acceptor { requests, pushes } = &mut *acceptor;
        match requests {
            Requests::Quic(requests) => {
                let next = requests.next();
                tokio::pin!(next);
                poll_fn(|cx| {
                    if let Poll::Ready(Some(push)) = pushes.poll_recv(cx) {
                        return Poll::Ready(Some(Incoming::Configuration(push)));
                    }
                    Poll::Ready(ready!(next.as_mut().poll(cx)).map(Incoming::Request))
                })
                .await
            }
            Requests::Http2(requests) => {
                poll_fn(|cx| {
                    if let Poll::Ready(Some(push)) = pushes.poll_recv(cx) {
                        return Poll::Ready(Some(Incoming::Configuration(push)));
                    }
                    Poll::Ready(ready!(requests.poll_recv(cx)).map(Incoming::Request))
                })
                .await
            }
        }
    }

    /// Why it ended; waits until it has.
    pub async fn closed(&self) -> String {
        match &self.0.connection {
            Connection::Quic(connection) => match connection.closed().await {
                ConnectionError::LocallyClosed => "closed".into(),
                ConnectionError::TimedOut => "timed out".into(),
                ConnectionError::ApplicationClosed(close) if !close.reason.is_empty() => {
                    format!("closed by the edge: {}", String::from_utf8_lossy(&close.reason))
                }
                ConnectionError::ApplicationClosed(_) => "closed by the edge".into(),
                error => error.to_string(),
            },
            Connection::Http2 { ended, .. } => {
                let mut ended = ended.clone();
                match ended.wait_for(Option::is_some).await {
                    Ok(reason) => reason.clone().unwrap_or_default(),
                    Err(_) => "closed".into(),
                }
            }
        }
    }

    /// After its end: the edge stopped and will be back; within which time to return.
    pub fn farewell(&self) -> Option<Duration> {
        match &self.0.connection {
            Connection::Quic(connection) => match connection.close_reason() {
                Some(ConnectionError::ApplicationClosed(close)) => farewell::read_reason(&close.reason),
                _ => None,
            },
            Connection::Http2 { .. } => self.0.context.farewell.get().copied(),
        }
    }

    /// Closes with application error 0.
    pub fn close(&self) {
        self.0.connection.close();
    }
}

fn context(settings: &DialSettings, stream_window: u32) -> (Arc<Context>, mpsc::Receiver<ConfigurationPush>) {
    let (pushes, queue) = mpsc::channel(PUSHES);
    let context = Context {
        max_head: settings.max_head,
        lines: settings.flow.lines.clone(),
        stream_window: AtomicU32::new(stream_window),
        rpc_timeout: settings.rpc_timeout,
        pushes,
        farewell: OnceLock::new(),
        rejected: AtomicU64::new(0),
    };
    (Arc::new(context), queue)
}

async fn handshake(
    endpoint: &Endpoint,
    edge: SocketAddr,
    settings: &DialSettings,
    stream_window: u32,
) -> Result<quinn::Connection, DialError> {
    let tuning = Tuning { stream_window, congestion: settings.flow.congestion };
    let config = quic::client(&settings.tls, tuning).map_err(|error| DialError::Tls(edge, error))?;
    let connecting = endpoint.connect_with(config, edge, names::QUIC_SNI);
    let connecting = connecting.map_err(|error| DialError::Connect(edge, error.to_string()))?;
    let connected = tokio::select! {
        biased;
        connected = connecting => connected,
        () = closed_port(edge, settings.bind) => return Err(DialError::Connect(edge, "nothing listens on this UDP port".into())),
    };
    connected.map_err(|error| match error {
        ConnectionError::TimedOut => DialError::TimedOut(edge, settings.timeout),
        ConnectionError::TransportError(error) => DialError::Tls(edge, error.to_string()),
        error => DialError::Connect(edge, error.to_string()),
    })
}

async fn dial_quic(edge: SocketAddr, settings: &DialSettings) -> Result<EdgeLink, DialError> {
    let failed = |error: io::Error| DialError::Connect(edge, error.to_string());
    let local = local_address(edge, settings.bind);
    let socket = std::net::UdpSocket::bind(local).map_err(failed)?;
    udp::widen(&socket);
    let endpoint = Endpoint::new(quinn::EndpointConfig::default(), None, socket, Arc::new(TokioRuntime));
    let endpoint = endpoint.map_err(failed)?;
    let lines = &settings.flow.lines;
    let mut stream_window = lines.window(edge.ip());
    let mut connection = handshake(&endpoint, edge, settings, stream_window).await?;
    let suits = lines.note(edge.ip(), connection.rtt());
    if suits >= MUCH_LONGER * stream_window {
        // The line is longer than was known, and a window stays as it was made. After a round trip the edge knows the line, too.
        tokio::time::sleep(connection.rtt()).await;
        close_quic(&connection, b"the line is long");
        stream_window = suits;
        connection = handshake(&endpoint, edge, settings, stream_window).await?;
    }
    let (send, recv) = connection.open_bi().await.map_err(|error| DialError::Connect(edge, error.to_string()))?;
    let (control, stream) = oneshot::channel();
    let _ = control.send((
        TunnelSource(SourceKind::Quic(QuicSource::new(recv, Bytes::new()))),
        TunnelSink(SinkKind::Quic(QuicSink::new(send, Bytes::new(), false))),
    ));
    let (context, pushes) = context(settings, stream_window);
    let requests = Requests::Quic(QuicAcceptor::new(connection.clone(), context.clone()));
    let closing = connection.clone();
    let on_end = move || close_quic(&closing, CONTROL_ENDED);
    Ok(EdgeLink::new(Connection::Quic(connection), requests, context, pushes, stream, on_end))
}

fn local_address(edge: SocketAddr, bind: Option<IpAddr>) -> SocketAddr {
    let any = match edge {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(bind.unwrap_or(any), 0)
}

async fn connect(edge: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if edge.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if bind.is_some() {
        socket.bind(local_address(edge, bind))?;
    }
    socket.connect(edge).await
}

/// Ready when the host says that nothing listens on the port (ICMP port unreachable), else never. Only a connected socket hears
/// of it, and the connection's own must not be one, or it would not outlive a change of the network. It sends one datagram, and
/// that an empty one.
async fn closed_port(edge: SocketAddr, bind: Option<IpAddr>) {
    let asked = async {
        let socket = UdpSocket::bind(local_address(edge, bind)).await?;
        socket.connect(edge).await?;
        socket.send(&[]).await?;
        socket.recv(&mut [0; 1]).await
    };
    match asked.await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => std::future::pending().await,
    }
}

async fn dial_http2(edge: SocketAddr, settings: &DialSettings) -> Result<EdgeLink, DialError> {
    let stream = connect(edge, settings.bind).await.map_err(|error| DialError::Connect(edge, error.to_string()))?;
    let _ = stream.set_nodelay(true);
    let mut tls = (*settings.tls).clone();
    tls.alpn_protocols.clear();
    let name = rustls::pki_types::ServerName::try_from(names::HTTP2_SNI)
        .map_err(|error| DialError::Tls(edge, error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    let stream = stream.map_err(|error| DialError::Tls(edge, error.to_string()))?;
    let (context, pushes) = context(settings, LEAST_WINDOW);
    let server = crate::http2::server(settings.max_head).handshake::<_, Bytes>(stream).await;
    let server = server.map_err(|error| DialError::Connect(edge, error.to_string()))?;
    let (control, stream) = oneshot::channel();
    let (requests, queue) = mpsc::channel(crate::quic::MAX_STREAMS as usize);
    let (close, control_ended) = (CancellationToken::new(), CancellationToken::new());
    let (ended, on_ended) = watch::channel(None);
    tokio::spawn(http2_accept::drive(
        server,
        context.clone(),
        requests,
        control,
        close.clone(),
        control_ended.clone(),
        ended,
    ));
    let connection = Connection::Http2 { close, ended: on_ended };
    Ok(EdgeLink::new(connection, Requests::Http2(queue), context, pushes, stream, move || control_ended.cancel()))
}
