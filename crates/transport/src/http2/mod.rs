//! The HTTP/2 transport: its settings and its heartbeat, for both ends.

pub(crate) mod batch;
pub(crate) mod beat;
pub(crate) mod head;

use crate::lines::MIN_WINDOW;
use crate::stream::MAX_STREAMS;
use beat::Beat;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

/// No bound of its own, as over QUIC: the largest window there is (RFC 9113 6.9.1).
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Data of one stream that waits for the socket.
const MAX_BUFFERED: usize = 64 * 1024;
/// Streams that were reset and may still receive frames.
const MAX_REMEMBERED_RESETS: usize = 1024;
/// With the wait, a dead line is noticed within 6 s.
const PING_EVERY: Duration = Duration::from_millis(1500);
/// How long the line is should be known soon.
const EARLY_PING: Duration = Duration::from_millis(100);
const EARLY_PINGS: u32 = 4;
const PING_WAIT: Duration = Duration::from_secs(4);

/// Bytes that may wait in the system behind what is on its way: what comes later shall not wait long.
const MAX_UNSENT: u32 = 256 * 1024;

/// Before TLS.
pub(crate) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT);
}

/// What a connection may leave unread before it has registered.
const UNREGISTERED_WINDOW: u32 = 64 * 1024;

/// So large a head is read to its end, so that it costs its own request alone (case 23): what is too large by far, and would have to be
/// kept without a bound, ends the connection. Stock connectors pass on whatever an origin says, a third larger than it was. Before its
/// registration a connection may send much less (`Allowance`), if as much of it by way of HPACK's table.
const LARGEST_HEAD: u32 = 1024 * 1024;

/// The edge is the client. Its connector has not registered yet.
pub(crate) fn client() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(UNREGISTERED_WINDOW)
        .initial_connection_window_size(UNREGISTERED_WINDOW)
        .max_header_list_size(LARGEST_HEAD)
        .max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .max_send_buffer_size(MAX_BUFFERED)
        .enable_push(false);
    builder
}

/// What a connection gets when it has registered.
pub(crate) fn widen<T: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut h2::client::Connection<T, Bytes>,
) -> Result<(), h2::Error> {
    connection.set_target_window_size(CONNECTION_WINDOW);
    connection.set_initial_window_size(MIN_WINDOW)
}

/// The connector is the server. Its edge may cancel as often as clients do.
pub(crate) fn server(max_head: usize) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(MIN_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .max_pending_accept_reset_streams(MAX_STREAMS as usize)
        .max_send_buffer_size(MAX_BUFFERED);
    builder
}

/// What one may know of a connection's heartbeat, and ask of it.
#[derive(Clone)]
pub(crate) struct Pulse {
    /// Its signs of life, between those of the heart.
    pub(crate) beat: Arc<Beat>,
    /// Asks for a PING now.
    pub(crate) wanted: Arc<Notify>,
    /// How many were answered.
    pub(crate) answered: watch::Sender<u64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { beat: Arc::default(), wanted: Arc::default(), answered: watch::Sender::new(0) }
    }
}

/// Ready when the peer has not answered a PING in time. `rtts`: the shortest round trip, of two at least.
pub(crate) async fn heartbeat(pings: Option<h2::PingPong>, rtts: watch::Sender<Option<Duration>>, pulse: Pulse) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    let mut shortest: Option<Duration> = None;
    let mut early = EARLY_PINGS;
    loop {
        let pause = if early > 0 { EARLY_PING } else { PING_EVERY };
        early = early.saturating_sub(1);
        let _ = tokio::time::timeout(pause, pulse.wanted.notified()).await;
        let asked = Instant::now();
        match tokio::time::timeout(PING_WAIT, pings.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => {
                pulse.answered.send_modify(|count| *count += 1);
                let rtt = asked.elapsed();
                pulse.beat.measured(rtt);
                // One alone may have waited for this machine, not for the line: the shortest ever counts, of two at least.
                if let Some(before) = shortest.replace(shortest.map_or(rtt, |shortest| shortest.min(rtt))) {
                    rtts.send_replace(Some(rtt.min(before)));
                }
            }
            // The connection says itself why it ended.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}
