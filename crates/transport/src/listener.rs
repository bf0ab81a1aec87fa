//! The tunnel listener: QUIC on a UDP socket and HTTP/2 on a TCP one, both bound by the edge.

use crate::allowance::{Allowance, Budget, Metered};
use crate::edge::{Admission, Link, Peer, Registrar};
use crate::goodbye::Goodbye;
use crate::lines::LEAST_WINDOW;
use crate::pending::{Pending, Place, Verdict};
use crate::quic::Tuning;
use crate::quic_stream::{QuicSink, QuicSource};
use crate::stream::{SinkKind, SourceKind};
use crate::{Flow, TlsError, TunnelSink, TunnelSource, http2, http2_head, quic, rpc_edge, udp};
use bytes::Bytes;
use h2::client::SendRequest;
use qanat_http::BodyLength;
use qanat_http::h2::{H2Sink, H2Source};
use qanat_wire::names;
use quinn::{ConnectionError, Endpoint, Incoming, TokioRuntime};
use std::future::poll_fn;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The key that address proofs are sealed with is replaced after this time (S26).
const TOKEN_KEY_LIFETIME: Duration = Duration::from_secs(3600);
const LAST_WORDS: Duration = Duration::from_secs(1);
/// For a connector of ours to hear that the edge will be back.
const FAREWELL: Duration = Duration::from_millis(250);
/// For the last packets to leave. A peer that misses them hears from the kernel that nobody listens any more.
const LAST_PACKETS: Duration = Duration::from_millis(50);

/// How the tunnel listener behaves.
#[derive(Clone)]
pub struct ListenerSettings {
    /// Server configuration with the tunnel certificate, made by `edge_tls`; ALPN is set per transport by the listener.
    pub tls: Arc<rustls::ServerConfig>,
    /// Connections that have not registered yet, per transport; above half of it QUIC answers Retry, above it dials are ignored;
    /// TCP closes.
    pub max_pending_handshakes: usize,
    /// TCP connections in all, registered ones as well.
    pub max_tcp_connections: usize,
    /// TLS or QUIC handshake limit.
    pub handshake_timeout: Duration,
    /// A connection that has not registered by then is closed.
    pub registration_timeout: Duration,
    /// Largest response head (capnp message or HTTP/2 header block) accepted.
    pub max_head: usize,
    /// How the streams of connections use the network.
    pub flow: Flow,
}

impl ListenerSettings {
    fn quic(&self, stream_window: u32) -> Result<quinn::ServerConfig, TlsError> {
        let tuning = Tuning { stream_window, congestion: self.flow.congestion };
        quic::server(&self.tls, self.max_pending_handshakes, tuning)
    }
}

/// The tunnel listener: QUIC and HTTP/2. Until it serves, who dials waits in the sockets.
pub struct TunnelListener {
    settings: ListenerSettings,
    quic: quinn::ServerConfig,
    udp: UdpSocket,
    tcp: TcpListener,
}

/// What every connection needs.
struct Shared {
    settings: ListenerSettings,
    registrar: Arc<dyn Registrar>,
    budget: Arc<Budget>,
    stop: CancellationToken,
}

impl TunnelListener {
    /// Takes bound sockets, which an edge announces under one address.
    pub fn new(settings: ListenerSettings, udp: UdpSocket, tcp: TcpListener) -> Result<Self, TlsError> {
        let quic = settings.quic(LEAST_WINDOW)?;
        Ok(Self { settings, quic, udp, tcp })
    }

    /// Serves until `stop`, then accepts no more and closes every connection; returns when they have ended. Must run inside the
    /// tokio runtime.
    pub async fn serve(self, registrar: Arc<dyn Registrar>, stop: CancellationToken) {
        let Self { settings, quic, udp, tcp } = self;
        let shared = Arc::new(Shared { settings, registrar, budget: Budget::new(), stop });
        let tasks = TaskTracker::new();
        let endpoint = udp::guarded(udp).and_then(|socket| {
            let (config, runtime) = (quic::endpoint(), Arc::new(TokioRuntime));
            Endpoint::new_with_abstract_socket(config, Some(quic), socket, runtime)
        });
        match &endpoint {
            Ok(endpoint) => {
                tokio::join!(accept_quic(endpoint, &shared, &tasks), accept_tcp(&tcp, &shared, &tasks));
            }
            Err(error) => tracing::error!(%error, "the tunnel listener can't use its UDP socket"),
        }
        tasks.close();
        let _ = tokio::time::timeout(LAST_WORDS, tasks.wait()).await;
        if let Ok(endpoint) = endpoint {
            endpoint.close(0u32.into(), b"shutting down");
            // Not until their draining periods are over: what restarts must have the port.
            let _ = tokio::time::timeout(LAST_PACKETS, endpoint.wait_idle()).await;
        }
    }
}

async fn accept_quic(endpoint: &Endpoint, shared: &Arc<Shared>, tasks: &TaskTracker) {
    let mut rotation = tokio::time::interval_at(tokio::time::Instant::now() + TOKEN_KEY_LIFETIME, TOKEN_KEY_LIFETIME);
    let pending = Pending::new(shared.settings.max_pending_handshakes);
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = shared.stop.cancelled() => return,
            _ = rotation.tick() => {
                // A new configuration has a new key, for the tokens of Retry.
                if let Ok(config) = shared.settings.quic(LEAST_WINDOW) {
                    endpoint.set_server_config(Some(config));
                }
                continue;
            }
        };
        let Some(incoming) = incoming else { return };
        let address = incoming.remote_address().ip();
        let proved = incoming.remote_address_validated();
        // Without an answer, never refused: a stock connector dials a refused handshake again at once, and for ever.
        let verdict = match shared.registrar.admit(address, proved) {
            Admission::Refuse => Verdict::Refuse,
            Admission::Prove if !proved && incoming.may_retry() => {
                let _ = incoming.retry();
                continue;
            }
            Admission::Admit | Admission::Prove => pending.arrive(address, shared.registrar.is_shared(address)),
        };
        match verdict {
            Verdict::Refuse => incoming.ignore(),
            Verdict::Prove(_) if !proved && incoming.may_retry() => {
                let _ = incoming.retry();
            }
            Verdict::Accept(place) | Verdict::Prove(place) => {
                let shared = shared.clone();
                tasks.spawn(async move { serve_quic(incoming, place, &shared).await });
            }
        }
    }
}

async fn serve_quic(incoming: Incoming, place: Place, shared: &Shared) {
    let settings = &shared.settings;
    let remote = incoming.remote_address();
    let lines = &settings.flow.lines;
    let window = lines.window(remote.ip());
    let connecting = match settings.quic(window) {
        Ok(config) if window > LEAST_WINDOW => incoming.accept_with(Arc::new(config)),
        _ => incoming.accept(),
    };
    let Ok(connecting) = connecting else { return };
    let connection = match tokio::time::timeout(shared.settings.handshake_timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "QUIC handshake failed");
            return;
        }
        Err(_) => return,
    };
    let allowance = Allowance::new(&shared.budget);
    lines.note(remote.ip(), connection.rtt());
    let link = Link::new(Peer::Quic(connection.clone()), remote, settings.max_head, window, allowance);
    let control = async {
        if let Ok((send, recv)) = connection.accept_bi().await {
            let source = TunnelSource(SourceKind::Quic(QuicSource::new(recv, Bytes::new())));
            let sink = TunnelSink(SinkKind::Quic(QuicSink::new(send, Bytes::new(), false)));
            rpc_edge::serve(link.clone(), source, sink, shared.registrar.clone());
        }
        // No other stream is a connector's to open.
        while let Ok((mut send, _)) = connection.accept_bi().await {
            link.count_protocol_error();
            let _ = send.reset(0u32.into());
        }
        std::future::pending().await
    };
    let ended = async {
        match connection.closed().await {
            ConnectionError::LocallyClosed => "closed",
            ConnectionError::TimedOut => "timed_out",
            ConnectionError::Reset => "reset",
            _ => "disconnected",
        }
    };
    let widened = async {
        link.registered().await;
        lines.note(remote.ip(), connection.rtt());
        quic::widen(&connection);
    };
    supervise(&link, shared, place, widened, ended, control).await;
}

/// Lives as long as the connection: registration in time, closing on shutdown, and the last event. `place` is kept and `widened`
/// waited for until it has registered.
async fn supervise(
    link: &Link,
    shared: &Shared,
    place: Place,
    widened: impl Future<Output = ()>,
    ended: impl Future<Output = &'static str>,
    control: impl Future<Output = std::convert::Infallible>,
) {
    let widened = async {
        widened.await;
        drop(place);
        std::future::pending::<std::convert::Infallible>().await
    };
    let overdue = async {
        tokio::time::sleep(shared.settings.registration_timeout).await;
        link.registration_overdue();
        std::future::pending::<std::convert::Infallible>().await
    };
    let stopped = async {
        shared.stop.cancelled().await;
        link.close("the edge is shutting down");
        std::future::pending::<std::convert::Infallible>().await
    };
    let reason = tokio::select! {
        reason = ended => reason,
        never = control => match never {},
        never = widened => match never {},
        never = overdue => match never {},
        never = stopped => match never {},
    };
    let reason = link.finish(reason);
    tracing::debug!(serial = link.serial(), remote = %link.remote(), reason, "tunnel connection ended");
    shared.registrar.lost(link, reason);
}

async fn accept_tcp(listener: &TcpListener, shared: &Arc<Shared>, tasks: &TaskTracker) {
    let pending = Pending::new(shared.settings.max_pending_handshakes);
    let open = Arc::new(Semaphore::new(shared.settings.max_tcp_connections.min(Semaphore::MAX_PERMITS)));
    let mut tls = (*shared.settings.tls).clone();
    tls.alpn_protocols.clear();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to come back.
                tracing::warn!(%error, "can't accept a tunnel connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let address = remote.ip();
        if shared.registrar.admit(address, true) == Admission::Refuse {
            continue;
        }
        let Ok(permit) = open.clone().try_acquire_owned() else { continue };
        if let Verdict::Accept(place) | Verdict::Prove(place) =
            pending.arrive(address, shared.registrar.is_shared(address))
        {
            let (shared, acceptor) = (shared.clone(), acceptor.clone());
            tasks.spawn(async move {
                serve_tcp(stream, remote, place, acceptor, &shared).await;
                drop(permit);
            });
        }
    }
}

async fn serve_tcp(stream: TcpStream, remote: SocketAddr, place: Place, acceptor: TlsAcceptor, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let allowance = Allowance::new(&shared.budget);
    let metered = allowance.clone();
    let handshake = async {
        let stream = acceptor.accept(stream).await.map_err(|error| error.to_string())?;
        let stream = Metered::new(Goodbye::new(stream), metered);
        http2::client(shared.settings.max_head).handshake::<_, Bytes>(stream).await.map_err(|error| error.to_string())
    };
    let (requests, mut connection) = match tokio::time::timeout(shared.settings.handshake_timeout, handshake).await {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let close = CancellationToken::new();
    let peer = Peer::Http2 { requests: requests.clone(), close: close.clone(), active: Arc::new(AtomicUsize::new(0)) };
    let link = Link::new(peer, remote, shared.settings.max_head, LEAST_WINDOW, allowance);
    let mut farewells = requests.clone();
    let control = async {
        if let Err(error) = open_control(requests, &link, shared).await {
            tracing::debug!(%remote, %error, "no control stream");
            link.close("no control stream");
        }
        std::future::pending().await
    };
    let (told, mut rtts) = watch::channel(None);
    let heartbeat = http2::heartbeat(connection.ping_pong(), told);
    let ended = async {
        tokio::pin!(heartbeat);
        let mut is_wide = false;
        loop {
            tokio::select! {
                result = &mut connection => break match result {
                    Err(error) if error.is_io() => "reset",
                    _ => "disconnected",
                },
                () = close.cancelled() => {
                    let said = link.farewell().map(|within| farewells.send_request(http2_head::farewell(within), true));
                    if let Some(Ok((heard, _))) = said {
                        // Once the end is there as well, the connector's `h2` would not look at it any more.
                        let heard = async { tokio::select! { _ = heard => {}, _ = &mut connection => {} } };
                        let _ = tokio::time::timeout(FAREWELL, heard).await;
                    } else {
                        // What is queued goes out before the goodbye.
                        let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut connection).poll(cx))).await;
                    }
                    break "closed";
                }
                () = &mut heartbeat => break "timed_out",
                Ok(()) = rtts.changed(), if is_wide => {
                    let suits = rtts.borrow_and_update().map_or(0, |rtt| shared.settings.flow.lines.suits(rtt));
                    if suits > link.stream_window() && connection.set_initial_window_size(suits).is_ok() {
                        link.set_stream_window(suits);
                    }
                }
                () = link.registered(), if !is_wide => {
                    is_wide = true;
                    if http2::widen(&mut connection).is_err() {
                        // It has not even acknowledged our first SETTINGS.
                        break "disconnected";
                    }
                }
            }
        }
    };
    supervise(&link, shared, place, link.registered(), ended, control).await;
}

/// The edge asks for the control stream, the connector then calls on it.
async fn open_control(mut requests: SendRequest<Bytes>, link: &Link, shared: &Shared) -> Result<(), h2::Error> {
    let head = http2_head::control_request(names::UPGRADE_CONTROL, None);
    let (response, stream) = requests.send_request(head, false)?;
    let sink = TunnelSink(SinkKind::Http2(H2Sink::new(stream, h2::Reason::CANCEL)));
    let response = response.await?;
    if response.status() != http::StatusCode::OK {
        tracing::debug!(status = %response.status(), "control stream refused");
        link.close("the control stream was refused");
        return Ok(());
    }
    let source = H2Source::new(response.into_body(), BodyLength::Unknown);
    let source = TunnelSource(SourceKind::Http2(source));
    rpc_edge::serve(link.clone(), source, sink, shared.registrar.clone());
    Ok(())
}
