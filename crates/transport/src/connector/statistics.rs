//! What a QUIC connection to an edge has sent and received, and how its line is.

use crate::quic::watch::Watched;
use quinn_proto::FrameStats;
use std::time::Duration;

/// Totals of a connection since its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuicTotals {
    /// In UDP payloads.
    pub sent_bytes: u64,
    /// In UDP payloads.
    pub received_bytes: u64,
    /// Packets that were sent and never arrived, as far as is known.
    pub lost_packets: u64,
    /// By `FRAME_TYPES`.
    pub sent_frames: [u64; FRAME_TYPES.len()],
    /// By `FRAME_TYPES`.
    pub received_frames: [u64; FRAME_TYPES.len()],
}

/// How a connection's line is now.
#[derive(Clone, Debug, PartialEq)]
pub struct QuicLine {
    /// Largest UDP payload.
    pub mtu: u16,
    /// Bytes that may be on the way.
    pub congestion_window: u64,
    /// 0 slow start, 1 congestion avoidance, 2 limited by the application, 3 recovery, -1 not known.
    pub congestion_state: i64,
    /// As it is reckoned with.
    pub smoothed_rtt: Duration,
    /// The one measured last.
    pub latest_rtt: Duration,
    /// The shortest.
    pub min_rtt: Duration,
}

/// Frames by the names that stock cloudflared's metrics have for them; `ImmediateAck` and `AckFrequency` it doesn't know.
pub const FRAME_TYPES: [&str; 22] = [
    "Ack",
    "AckFrequency",
    "ConnectionClose",
    "Crypto",
    "DataBlocked",
    "Datagram",
    "HandshakeDone",
    "ImmediateAck",
    "MaxData",
    "MaxStreamData",
    "MaxStreams",
    "NewConnectionID",
    "NewToken",
    "PathChallenge",
    "PathResponse",
    "Ping",
    "ResetStream",
    "RetireConnectionID",
    "StopSending",
    "Stream",
    "StreamDataBlocked",
    "StreamsBlocked",
];

impl QuicTotals {
    pub(crate) fn of(connection: &quinn::Connection) -> Self {
        let stats = connection.stats();
        Self {
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            lost_packets: stats.path.lost_packets,
            sent_frames: frames(&stats.frame_tx),
            received_frames: frames(&stats.frame_rx),
        }
    }

    /// Adds those of another connection.
    pub fn add(&mut self, other: &Self) {
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.lost_packets += other.lost_packets;
        for (mine, theirs) in
            [(&mut self.sent_frames, &other.sent_frames), (&mut self.received_frames, &other.received_frames)]
        {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
    }
}

impl QuicLine {
    pub(crate) fn of(connection: &quinn::Connection) -> Self {
        let path = connection.stats().path;
        let seen = connection.congestion_state().into_any().downcast::<Watched>().ok();
        let seen = seen.as_deref();
        Self {
            mtu: path.current_mtu,
            congestion_window: path.cwnd,
            congestion_state: seen.map_or(-1, |seen| seen.state() as i64),
            smoothed_rtt: path.rtt,
            latest_rtt: seen.and_then(Watched::latest).unwrap_or(path.rtt),
            min_rtt: seen.and_then(Watched::shortest).unwrap_or(path.rtt),
        }
    }
}

fn frames(of: &FrameStats) -> [u64; FRAME_TYPES.len()] {
    [
        of.acks,
        of.ack_frequency,
        of.connection_close,
        of.crypto,
        of.data_blocked,
        of.datagram,
        u64::from(of.handshake_done),
        of.immediate_ack,
        of.max_data,
        of.max_stream_data,
        of.max_streams_bidi + of.max_streams_uni,
        of.new_connection_id,
        of.new_token,
        of.path_challenge,
        of.path_response,
        of.ping,
        of.reset_stream,
        of.retire_connection_id,
        of.stop_sending,
        of.stream,
        of.stream_data_blocked,
        of.streams_blocked_bidi + of.streams_blocked_uni,
    ]
}
