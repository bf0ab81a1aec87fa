//! The QUIC transport: its settings, for both ends.

pub(crate) mod black_hole;
mod congestion;
pub(crate) mod exchange;
pub(crate) mod head;
pub(crate) mod life;
pub(crate) mod packet;
pub(crate) mod stream;
pub(crate) mod turns;
pub(crate) mod watch;

pub use congestion::Congestion;

use crate::Wanted;
use crate::stream::MAX_STREAMS;
use crate::udp;
use crate::{OpenError, TlsError};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig,
    ValidationTokenConfig, VarInt,
};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Bytes of all streams of a connection that may lie unread: no bound of its own. Visitors share a connection, and with one
/// those who don't read would stop those who do. What lies in memory is bounded by each stream's window and, over all of
/// them, by a `Backlog`.
const CONNECTION_WINDOW: VarInt = VarInt::MAX;
/// Bytes of all streams of a connection that were sent and not acknowledged. Acknowledgements come whether or not anybody reads.
const SEND_WINDOW: u64 = 16 * 1024 * 1024;
const EDGE_IDLE: u32 = 8_000;
const EDGE_KEEP_ALIVE: Duration = Duration::from_secs(2);
const CONNECTOR_IDLE: u32 = 5_000;
const CONNECTOR_KEEP_ALIVE: Duration = Duration::from_secs(1);
/// A connector opens its control stream and no other.
const MAX_STREAMS_OF_CONNECTOR: u32 = 4;
/// Packets that a peer which knows the extension (ours) may leave unacknowledged for a moment. One acknowledgement for every
/// other packet, the default, costs an eighth of the CPU of small requests.
const MAX_UNACKNOWLEDGED: u32 = 8;
/// Nobody reads datagrams yet, so that they stay until newer ones push them out.
const MAX_DATAGRAM_BYTES: usize = 8 * 1024;
/// What a connection may leave unread, and the streams it may open, before it has registered.
const UNREGISTERED_WINDOW: u32 = 16 * 1024;
const MAX_UNREGISTERED_STREAMS: u32 = 2;
const RETRY_TOKEN_LIFETIME: Duration = Duration::from_secs(30);

/// What one connection is given.
#[derive(Clone, Copy)]
pub(crate) struct Tuning {
    /// What the owner wants otherwise.
    pub(crate) wanted: Wanted,
    /// Bytes of one stream that may lie unread; no stream is faster than that in one round trip.
    pub(crate) stream_window: u32,
    /// Bytes of the largest packet that its path may carry (see `packet`).
    pub(crate) packet: u16,
    pub(crate) congestion: Congestion,
}

fn transport(idle_ms: u32, keep_alive: Duration, streams: u32, window: VarInt, tuning: Tuning) -> Arc<TransportConfig> {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(MAX_UNACKNOWLEDGED));
    let mut config = TransportConfig::default();
    config
        .ack_frequency_config(Some(acks))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        .keep_alive_interval(Some(keep_alive))
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(tuning.stream_window))
        .receive_window(window)
        .send_window(SEND_WINDOW)
        .congestion_controller_factory(Arc::new(watch::WatchedFactory(tuning.congestion.factory(tuning.packet))))
        .datagram_receive_buffer_size(Some(MAX_DATAGRAM_BYTES));
    let discovery = (!tuning.wanted.no_mtu_discovery).then(|| {
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(tuning.packet);
        discovery
    });
    config.mtu_discovery_config(discovery);
    Arc::new(config)
}

/// Version 1 only (S26), and packets as large as we send: a stock peer's are 1452 bytes at most.
pub(crate) fn endpoint() -> Result<EndpointConfig, quinn::ConfigError> {
    let mut config = EndpointConfig::default();
    config.supported_versions(vec![1]).max_udp_payload_size(udp::LARGEST)?;
    Ok(config)
}

/// The edge's side. `max_pending`: handshakes kept waiting at most.
pub(crate) fn server(tls: &rustls::ServerConfig, max_pending: usize, tuning: Tuning) -> Result<ServerConfig, TlsError> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![qanat_wire::names::QUIC_ALPN.to_vec()];
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| TlsError::Certificate(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(exchange::Watching(Arc::new(crypto))));
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    config
        .transport_config(transport(
            EDGE_IDLE,
            EDGE_KEEP_ALIVE,
            MAX_UNREGISTERED_STREAMS,
            VarInt::from_u32(UNREGISTERED_WINDOW),
            tuning,
        ))
        .validation_token_config(tokens)
        .retry_token_lifetime(RETRY_TOKEN_LIFETIME)
        .max_incoming(max_pending);
    Ok(config)
}

/// What a connection gets when it has registered.
pub(crate) fn widen(connection: &quinn::Connection) {
    connection.set_receive_window(CONNECTION_WINDOW);
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(MAX_STREAMS_OF_CONNECTOR));
}

/// Opens a stream if the peer allows one now.
pub(crate) async fn open(connection: &quinn::Connection) -> Result<(quinn::SendStream, quinn::RecvStream), OpenError> {
    match poll_fn(|cx| Poll::Ready(pin!(connection.open_bi()).poll(cx))).await {
        Poll::Ready(Ok(stream)) => Ok(stream),
        Poll::Ready(Err(error)) => Err(OpenError::Closed(error.to_string())),
        Poll::Pending => Err(OpenError::Exhausted),
    }
}

/// Ends a connection. Ending one that has ended would hide why.
pub(crate) fn close(connection: &quinn::Connection, reason: &[u8]) {
    if connection.close_reason().is_none() {
        connection.close(0u32.into(), reason);
    }
}

/// The connector's side.
pub(crate) fn client(tls: &rustls::ClientConfig, tuning: Tuning) -> Result<ClientConfig, String> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![qanat_wire::names::QUIC_ALPN.to_vec()];
    tls.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let window = tuning.wanted.connection_window.map_or(CONNECTION_WINDOW, VarInt::from_u32);
    config.transport_config(transport(CONNECTOR_IDLE, CONNECTOR_KEEP_ALIVE, MAX_STREAMS, window, tuning));
    Ok(config)
}
