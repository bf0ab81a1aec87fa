//! A QUIC connection as its judge watches it.

use super::watch::{Acks, Watched};
use crate::doubt::Line;
use crate::judge::Reading;
use crate::udp;
use quinn_proto::FrameStats;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

pub(crate) struct QuicLife {
    connection: quinn::Connection,
    /// Of the path to `remote`: another one has its own.
    acks: Arc<Acks>,
    remote: SocketAddr,
}

impl QuicLife {
    /// `None` for a connection whose congestion control isn't ours.
    pub(crate) fn new(connection: quinn::Connection) -> Option<Self> {
        let acks = acks(&connection)?;
        Some(Self { remote: connection.remote_address(), acks, connection })
    }
}

/// Acknowledgements on the path that the connection takes now.
pub(super) fn acks(connection: &quinn::Connection) -> Option<Arc<Acks>> {
    let watched = connection.congestion_state().into_any().downcast::<Watched>().ok()?;
    Some(watched.acks().clone())
}

impl Line for QuicLife {
    fn read(&mut self) -> Reading {
        let remote = self.connection.remote_address();
        if remote != self.remote
            && let Some(acks) = acks(&self.connection)
        {
            (self.remote, self.acks) = (remote, acks);
        }
        // In this order: what is counted as sent in between isn't taken for acknowledged.
        let (heard, awaited) = (self.acks.count(), self.acks.awaited());
        let stats = self.connection.stats();
        Reading {
            heard,
            sent: eliciting(&stats.frame_tx),
            awaited,
            rtt: stats.path.rtt,
            variation: self.acks.variation(),
        }
    }

    fn heard_at(&self) -> Instant {
        self.acks.heard_at()
    }

    async fn sending(&self) {
        self.acks.sending.notified().await;
    }

    async fn heard(&self) {
        self.acks.heard.notified().await;
    }

    async fn refused(&self) {
        let bind = self.connection.local_ip().map(|ip| ip.to_canonical()).filter(|ip| ip.is_ipv4() == self.is_ipv4());
        udp::closed_port(SocketAddr::new(self.remote.ip().to_canonical(), self.remote.port()), bind).await;
    }
}

impl QuicLife {
    fn is_ipv4(&self) -> bool {
        self.remote.ip().to_canonical().is_ipv4()
    }
}

/// Frames that the peer must acknowledge (RFC 9002 2): all but these.
fn eliciting(sent: &FrameStats) -> u64 {
    let FrameStats { crypto, datagram, immediate_ack, ping, stream, .. } = *sent;
    let flow = sent.max_data + sent.max_stream_data + sent.max_streams_bidi + sent.max_streams_uni;
    let blocked = sent.data_blocked
        + sent.stream_data_blocked
        + sent.streams_blocked_bidi
        + sent.streams_blocked_uni
        + sent.reset_stream
        + sent.stop_sending;
    let path = sent.path_challenge + sent.path_response + sent.new_connection_id + sent.retire_connection_id;
    crypto + datagram + immediate_ack + ping + stream + flow + blocked + path + sent.ack_frequency + sent.new_token
}
