//! How a connector reaches an edge.

use super::context::LinkContext;
use super::incoming::ConfigurationPush;
use super::link::{EdgeLink, Requests, Transport};
use super::quic::QuicAcceptor;
use crate::lines::MIN_WINDOW;
use crate::quic::Tuning;
use crate::quic::stream::{QuicSink, QuicSource};
use crate::stream::{MAX_STREAMS, SinkKind, SourceKind};
use crate::{Flow, Protocol, TunnelSink, TunnelSource, http2, quic, udp};
use bytes::Bytes;
use qanat_wire::names;
use quinn::{ConnectionError, Endpoint, TokioRuntime};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

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

impl DialSettings {
    fn context(&self, stream_window: u32) -> (Arc<LinkContext>, mpsc::Receiver<ConfigurationPush>) {
        LinkContext::new(self.max_head, self.rpc_timeout, self.flow.lines.clone(), stream_window)
    }
}

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
        quic::close(&connection, b"the line is long");
        stream_window = suits;
        connection = handshake(&endpoint, edge, settings, stream_window).await?;
    }
    let (send, recv) = connection.open_bi().await.map_err(|error| DialError::Connect(edge, error.to_string()))?;
    let (control, stream) = oneshot::channel();
    let _ = control.send((
        TunnelSource(SourceKind::Quic(QuicSource::new(recv, Bytes::new()))),
        TunnelSink(SinkKind::Quic(QuicSink::new(send, Bytes::new(), false))),
    ));
    let (context, pushes) = settings.context(stream_window);
    let requests = Requests::Quic(QuicAcceptor::new(connection.clone(), context.clone()));
    let closing = connection.clone();
    let on_end = move || quic::close(&closing, CONTROL_ENDED);
    Ok(EdgeLink::new(Transport::Quic(connection), requests, context, pushes, stream, on_end))
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
    let (context, pushes) = settings.context(MIN_WINDOW);
    let server = http2::server(settings.max_head).handshake::<_, Bytes>(stream).await;
    let server = server.map_err(|error| DialError::Connect(edge, error.to_string()))?;
    let (control, stream) = oneshot::channel();
    let (requests, queue) = mpsc::channel(MAX_STREAMS as usize);
    let (close, control_ended) = (CancellationToken::new(), CancellationToken::new());
    let (ended, on_ended) = watch::channel(None);
    tokio::spawn(super::http2::drive(
        server,
        context.clone(),
        requests,
        control,
        close.clone(),
        control_ended.clone(),
        ended,
    ));
    let transport = Transport::Http2 { close, ended: on_ended };
    Ok(EdgeLink::new(transport, Requests::Http2(queue), context, pushes, stream, move || control_ended.cancel()))
}
