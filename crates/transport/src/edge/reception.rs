//! What every connection that arrives needs, and its life until it ends.

use super::allowance::Budget;
use super::link::ConnectorLink;
use super::pending::{Pending, Place};
use super::registrar::Registrar;
use crate::doubt::{self, Line};
use crate::quic::{self, Tuning};
use crate::{Flow, Seats, TlsError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
    /// Where connections are served, but those that a visitors' listener took.
    pub seats: Seats,
}

impl ListenerSettings {
    pub(super) fn quic(&self, stream_window: u32, packet: u16) -> Result<quinn::ServerConfig, TlsError> {
        let tuning = Tuning { stream_window, packet, congestion: self.flow.congestion, wanted: self.flow.wanted };
        quic::server(&self.tls, self.max_pending_handshakes, tuning)
    }
}

/// Where connections arrive, by whatever socket: the limits are of all sockets together.
pub(super) struct Reception {
    pub(super) settings: ListenerSettings,
    pub(super) registrar: Arc<dyn Registrar>,
    pub(super) budget: Arc<Budget>,
    pub(super) stop: CancellationToken,
    /// Whether TCP connections are ours to take.
    pub(super) accepting: watch::Sender<bool>,
    /// Ended once nothing more arrives and every connection has.
    pub(super) tasks: TaskTracker,
    /// Of QUIC connections that have not registered.
    pub(super) quic_places: Pending,
    /// Of TCP ones.
    pub(super) tcp_places: Pending,
    /// TCP connections, registered ones as well.
    pub(super) tcp_open: Arc<Semaphore>,
    /// HTTP/2's: no ALPN.
    pub(super) tcp_tls: Arc<rustls::ServerConfig>,
}

impl Reception {
    pub(super) fn new(settings: ListenerSettings, registrar: Arc<dyn Registrar>, stop: CancellationToken) -> Self {
        let mut tcp_tls = (*settings.tls).clone();
        tcp_tls.alpn_protocols.clear();
        Self {
            budget: Budget::new(),
            tasks: TaskTracker::new(),
            quic_places: Pending::new(settings.max_pending_handshakes),
            tcp_places: Pending::new(settings.max_pending_handshakes),
            tcp_open: Arc::new(Semaphore::new(settings.max_tcp_connections.min(Semaphore::MAX_PERMITS))),
            tcp_tls: Arc::new(tcp_tls),
            settings,
            registrar,
            stop,
            accepting: watch::Sender::new(true),
        }
    }

    /// Lives as long as the connection: registration in time, closing on shutdown, and the last event. `place` is kept and `widened`
    /// waited for until it has registered; from then on `line` is watched.
    pub(super) async fn supervise(
        &self,
        link: &ConnectorLink,
        place: Place,
        widened: impl Future<Output = ()>,
        ended: impl Future<Output = &'static str>,
        control: impl Future<Output = std::convert::Infallible>,
        line: Option<impl Line>,
    ) {
        let widened = async {
            widened.await;
            drop(place);
            std::future::pending::<std::convert::Infallible>().await
        };
        let doubted = async {
            link.registered().await;
            match line {
                Some(line) => doubt::watch(line, link.doubt(), |suspect| self.registrar.doubt(link, suspect)).await,
                None => std::future::pending().await,
            }
        };
        let overdue = async {
            tokio::time::sleep(self.settings.registration_timeout).await;
            link.registration_overdue();
            std::future::pending::<std::convert::Infallible>().await
        };
        let stopped = async {
            self.stop.cancelled().await;
            link.close("the edge is shutting down");
            std::future::pending::<std::convert::Infallible>().await
        };
        let reason = tokio::select! {
            reason = ended => reason,
            never = control => match never {},
            never = widened => match never {},
            never = doubted => match never {},
            never = overdue => match never {},
            never = stopped => match never {},
        };
        let reason = link.finish(reason);
        tracing::debug!(serial = link.serial(), remote = %link.remote(), reason, "tunnel connection ended");
        self.registrar.lost(link, reason);
    }
}
