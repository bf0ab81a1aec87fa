//! The tunnel listener: QUIC on a UDP socket and HTTP/2 on a TCP one, both bound by the edge.

use super::reception::{ListenerSettings, Reception};
use super::registrar::Registrar;
use super::{http2, quic};
use crate::lines::MIN_WINDOW;
use crate::quic::turns::Turns;
use crate::{TlsError, udp};
use quinn::Endpoint;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LAST_WORDS: Duration = Duration::from_secs(1);
/// For the last packets to leave. A peer that misses them hears from the kernel that nobody listens any more.
const LAST_PACKETS: Duration = Duration::from_millis(50);

/// The tunnel listener: QUIC and HTTP/2. Until it serves, who dials waits in the sockets.
pub struct TunnelListener {
    settings: ListenerSettings,
    quic: quinn::ServerConfig,
    udp: UdpSocket,
    tcp: TcpListener,
}

impl TunnelListener {
    /// Takes bound sockets, which an edge announces under one address.
    pub fn new(settings: ListenerSettings, udp: UdpSocket, tcp: TcpListener) -> Result<Self, TlsError> {
        let quic = settings.quic(MIN_WINDOW)?;
        Ok(Self { settings, quic, udp, tcp })
    }

    /// Serves until `stop`, then accepts no more and closes every connection; returns when they have ended. Must run inside the
    /// tokio runtime.
    pub async fn serve(self, registrar: Arc<dyn Registrar>, stop: CancellationToken) {
        let Self { settings, quic, udp, tcp } = self;
        let reception = Arc::new(Reception::new(settings, registrar, stop));
        let tasks = TaskTracker::new();
        let endpoint = udp::guarded(udp).and_then(|socket| {
            let (config, runtime) = (crate::quic::endpoint(), Arc::new(Turns));
            Endpoint::new_with_abstract_socket(config, Some(quic), socket, runtime)
        });
        match &endpoint {
            Ok(endpoint) => {
                tokio::join!(quic::accept(endpoint, &reception, &tasks), http2::accept(&tcp, &reception, &tasks));
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
