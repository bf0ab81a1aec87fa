//! The tunnel listener: QUIC on UDP sockets and HTTP/2 on a TCP one, all bound by the edge, and what comes by a port that it shares.

use super::http2::{self, Entry};
use super::quic;
use super::reception::{ListenerSettings, Reception};
use super::registrar::Registrar;
use crate::TlsError;
use crate::handover::{TunnelUdp, mark};
use crate::lines::MIN_WINDOW;
use crate::quic::packet;
use crate::quic::turns::Turns;
use futures_util::future::join_all;
use qanat_wire::names;
use quinn::Endpoint;
use rustls::server::ClientHello;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::StartHandshake;
use tokio_util::sync::CancellationToken;

const LAST_WORDS: Duration = Duration::from_secs(1);
/// For the last packets to leave. A peer that misses them hears from the kernel that nobody listens any more.
const LAST_PACKETS: Duration = Duration::from_millis(50);

/// The tunnel listener: QUIC and HTTP/2.
pub struct TunnelListener {
    reception: Arc<Reception>,
    quic: quinn::ServerConfig,
}

/// Connectors that come by a TCP port which isn't theirs alone, within the tunnel listener's own limits.
#[derive(Clone)]
pub struct Arrivals(Arc<Reception>);

impl TunnelListener {
    /// Nothing is served yet. Until `stop`; then no more is accepted and every connection closed.
    pub fn new(
        settings: ListenerSettings,
        registrar: Arc<dyn Registrar>,
        stop: CancellationToken,
    ) -> Result<Self, TlsError> {
        let quic = settings.quic(MIN_WINDOW, packet::USUAL)?;
        Ok(Self { reception: Arc::new(Reception::new(settings, registrar, stop)), quic })
    }

    /// For another listener's connections.
    pub fn arrivals(&self) -> Arrivals {
        Arrivals(self.reception.clone())
    }

    /// While it is false no TCP connection is accepted: another process takes those to come.
    pub fn accepting(&self) -> watch::Sender<bool> {
        self.reception.accepting.clone()
    }

    /// Serves on bound sockets; until now who dials waits in them. Returns when, after `stop`, all connections have ended. Must run
    /// inside the tokio runtime.
    pub async fn serve(self, udp: Vec<TunnelUdp>, tcp: TcpListener) {
        let Self { reception, quic } = self;
        let mut endpoints = Vec::with_capacity(udp.len());
        for socket in udp {
            match endpoint(&socket, quic.clone()) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => tracing::error!(%error, "the tunnel listener can't use its UDP socket"),
            }
        }
        let quic = join_all(endpoints.iter().map(|endpoint| quic::accept(endpoint, &reception)));
        tokio::join!(quic, http2::accept(tcp, &reception));
        reception.tasks.close();
        let _ = tokio::time::timeout(LAST_WORDS, reception.tasks.wait()).await;
        // Not until their draining periods are over: what restarts must have the port.
        let ends = join_all(endpoints.iter().map(|endpoint| {
            endpoint.close(0u32.into(), b"shutting down");
            endpoint.wait_idle()
        }));
        let _ = tokio::time::timeout(LAST_PACKETS, ends).await;
    }
}

fn endpoint(socket: &TunnelUdp, quic: quinn::ServerConfig) -> io::Result<Endpoint> {
    let config = crate::quic::endpoint().map_err(io::Error::other)?;
    let config = mark(socket.generation(), config);
    Endpoint::new_with_abstract_socket(config, Some(quic), socket.socket(), Arc::new(Turns))
}

impl Arrivals {
    /// Whether it is a connector that says hello: by one of the names that they ask for, and without ALPN, which every browser has.
    pub fn expect(hello: &ClientHello<'_>) -> bool {
        let name = hello.server_name().map(|name| name.strip_suffix('.').unwrap_or(name));
        let is_ours =
            |name: &str| [names::HTTP2_SNI, names::PROBE_SNI].iter().any(|own| own.eq_ignore_ascii_case(name));
        name.is_some_and(is_ours) && hello.alpn().is_none()
    }

    /// Takes a connector's connection, of which the hello was read, or closes it: a limit is reached.
    pub fn take(&self, hello: StartHandshake<TcpStream>, remote: SocketAddr) {
        let reception = &self.0;
        if reception.stop.is_cancelled() {
            return;
        }
        if let Some(entry) = Entry::of(reception, remote.ip()) {
            crate::http2::tune(&hello.io);
            let (handshake, arrived) = (hello.into_stream(reception.tcp_tls.clone()), reception.clone());
            let seat = reception.settings.seats.stay();
            reception.tasks.spawn(async move {
                let _seat = seat;
                entry.serve(handshake, remote, &arrived).await;
            });
        }
    }
}
