//! How a connector reaches an edge.

use super::context::LinkContext;
use super::incoming::ConfigurationPush;
use super::link::{EdgeLink, Requests, Transport};
use super::proxy::{Duplex, ProxyRoute};
use super::quic::QuicAcceptor;
use crate::http2::batch::Batched;
use crate::http2::beat::Beating;
use crate::lines::MIN_WINDOW;
use crate::quic::Tuning;
use crate::quic::packet;
use crate::quic::stream::{QuicSink, QuicSource};
use crate::quic::turns::Turns;
use crate::stream::{MAX_STREAMS, SinkKind, SourceKind};
use crate::turns::Last;
use crate::{Flow, Protocol, TunnelSink, TunnelSource, http2, quic, udp};
use bytes::Bytes;
use qanat_wire::names;
use quinn::{ConnectionError, Endpoint};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// A line so many times as long as was known is dialled once more. Less isn't worth it, and a busy machine makes short ones look so.
const MUCH_LONGER: u32 = 3;
/// Of a path that takes packets of 576 bytes (RFC 879).
const SMALL_SEGMENT: u32 = 536;
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
    /// Where it leads besides its address.
    pub route: Route,
}

/// Where a dial leads besides its address.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// The edge's name in TLS; `None`: the one that stock connectors ask for.
    pub server_name: Option<Arc<str>>,
    /// The address is a proxy's, which leads to the edge: over HTTP/2 only.
    pub proxy: Option<Arc<ProxyRoute>>,
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
    /// The proxy that leads to the edge.
    #[error("through the proxy {0}: {1}")]
    Proxy(SocketAddr, String),
    /// The edge's certificate or handshake.
    #[error("TLS with {0} failed: {1}")]
    Tls(SocketAddr, String),
}

impl DialSettings {
    fn context(&self, stream_window: u32) -> (Arc<LinkContext>, mpsc::Receiver<ConfigurationPush>) {
        LinkContext::new(self.max_head, self.rpc_timeout, &self.flow, stream_window)
    }

    async fn in_time<T>(
        &self,
        edge: SocketAddr,
        work: impl Future<Output = Result<T, DialError>>,
    ) -> Result<T, DialError> {
        let late = || DialError::TimedOut(edge, self.timeout);
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| Err(late()))
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
        settings.in_time(edge, dial).await
    }

    /// A handshake and nothing else: whether an edge can be reached so.
    pub async fn probe(protocol: Protocol, edge: SocketAddr, settings: &DialSettings) -> Result<(), DialError> {
        let mut settings = settings.clone();
        settings.route.server_name.get_or_insert_with(|| names::PROBE_SNI.into());
        let probe = async {
            match protocol {
                Protocol::Quic => {
                    let endpoint = endpoint(edge, settings.bind)?;
                    let connection = handshake(&endpoint, edge, &settings, MIN_WINDOW).await?;
                    quic::close(&connection, b"precheck complete");
                    endpoint.wait_idle().await;
                }
                Protocol::Http2 => drop(tls_stream(edge, &settings).await?),
            }
            Ok(())
        };
        settings.in_time(edge, probe).await
    }
}

async fn handshake(
    endpoint: &Endpoint,
    edge: SocketAddr,
    settings: &DialSettings,
    stream_window: u32,
) -> Result<quinn::Connection, DialError> {
    let packet = packet::largest(edge, settings.bind);
    let tuning = Tuning { stream_window, packet, congestion: settings.flow.congestion, wanted: settings.flow.wanted };
    let config = quic::client(&settings.tls, tuning).map_err(|error| DialError::Tls(edge, error))?;
    let name = settings.route.server_name.as_deref().unwrap_or(names::QUIC_SNI);
    let connecting = endpoint.connect_with(config, edge, name);
    let connecting = connecting.map_err(|error| DialError::Connect(edge, error.to_string()))?;
    let connected = tokio::select! {
        biased;
        connected = connecting => connected,
        () = udp::closed_port(edge, settings.bind) => return Err(DialError::Connect(edge, "nothing listens on this UDP port".into())),
    };
    connected.map_err(|error| match error {
        ConnectionError::TimedOut => DialError::TimedOut(edge, settings.timeout),
        ConnectionError::TransportError(error) => DialError::Tls(edge, error.to_string()),
        error => DialError::Connect(edge, error.to_string()),
    })
}

fn endpoint(edge: SocketAddr, bind: Option<IpAddr>) -> Result<Endpoint, DialError> {
    let failed = |error: io::Error| DialError::Connect(edge, error.to_string());
    let socket = std::net::UdpSocket::bind(udp::local_address(edge, bind)).map_err(failed)?;
    udp::widen(&socket);
    let config = quic::endpoint().map_err(|error| failed(io::Error::other(error)))?;
    Endpoint::new(config, None, socket, Arc::new(Turns)).map_err(failed)
}

async fn dial_quic(edge: SocketAddr, settings: &DialSettings) -> Result<EdgeLink, DialError> {
    let endpoint = endpoint(edge, settings.bind)?;
    let Flow { lines, wanted, .. } = &settings.flow;
    let mut stream_window = wanted.stream_window.unwrap_or_else(|| lines.window(edge.ip()));
    let mut connection = handshake(&endpoint, edge, settings, stream_window).await?;
    let suits = lines.note(edge.ip(), connection.rtt());
    if wanted.stream_window.is_none() && suits >= MUCH_LONGER * stream_window {
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
    let transport = Transport::Quic { connection, endpoint, bind: udp::local_address(edge, settings.bind) };
    Ok(EdgeLink::new(transport, requests, context, pushes, stream, on_end))
}

async fn connect(edge: SocketAddr, bind: Option<IpAddr>, segment: Option<u32>) -> io::Result<TcpStream> {
    let socket = if edge.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if bind.is_some() {
        socket.bind(udp::local_address(edge, bind))?;
    }
    if let Some(bytes) = segment {
        let _ = SockRef::from(&socket).set_tcp_mss(bytes);
    }
    socket.connect(edge).await
}

type TlsToEdge = TlsStream<Box<dyn Duplex>>;

async fn tls_stream(edge: SocketAddr, settings: &DialSettings) -> Result<TlsToEdge, DialError> {
    // A path that takes only smaller packets and says nothing of it lets the connection through and not the hello (RFC 2923).
    match tokio::time::timeout(settings.timeout / 2, tls_in_segments(edge, settings, None)).await {
        Ok(connected) => connected,
        Err(_) => tls_in_segments(edge, settings, Some(SMALL_SEGMENT)).await,
    }
}

async fn tls_in_segments(
    edge: SocketAddr,
    settings: &DialSettings,
    segment: Option<u32>,
) -> Result<TlsToEdge, DialError> {
    let failed = |error: String| DialError::Connect(edge, error);
    let stream = connect(edge, settings.bind, segment).await.map_err(|error| failed(error.to_string()))?;
    http2::tune(&stream);
    let stream: Box<dyn Duplex> = match &settings.route.proxy {
        Some(proxy) => proxy.open(stream).await.map_err(|why| DialError::Proxy(edge, why))?,
        None => Box::new(stream),
    };
    let mut tls = (*settings.tls).clone();
    tls.alpn_protocols.clear();
    let name = settings.route.server_name.as_deref().unwrap_or(names::HTTP2_SNI).to_owned();
    let name = ServerName::try_from(name).map_err(|error| DialError::Tls(edge, error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    stream.map_err(|error| DialError::Tls(edge, error.to_string()))
}

async fn dial_http2(edge: SocketAddr, settings: &DialSettings) -> Result<EdgeLink, DialError> {
    let stream = tls_stream(edge, settings).await?;
    let (context, pushes) = settings.context(MIN_WINDOW);
    let pulse = http2::Pulse::default();
    let socket = Batched::new(stream);
    let mut outlet = socket.outlet();
    let stream = Beating::new(socket, pulse.beat.clone(), false);
    let mut server = pin!(http2::server(settings.max_head).handshake::<_, Bytes>(stream));
    let server = Last::new(server.as_mut(), &mut outlet).await;
    let server = server.map_err(|error| DialError::Connect(edge, error.to_string()))?;
    let (control, stream) = oneshot::channel();
    let (requests, queue) = mpsc::channel(MAX_STREAMS as usize);
    let (close, control_ended) = (CancellationToken::new(), CancellationToken::new());
    let (ended, on_ended) = watch::channel(None);
    let driven = super::http2::drive(
        server,
        context.clone(),
        requests,
        control,
        close.clone(),
        control_ended.clone(),
        ended,
        pulse.clone(),
    );
    tokio::spawn(Last::new(Box::pin(driven), outlet));
    let transport = Transport::Http2 { close, ended: on_ended, pulse };
    Ok(EdgeLink::new(transport, Requests::Http2(queue), context, pushes, stream, move || control_ended.cancel()))
}
