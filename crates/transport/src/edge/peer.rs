//! What the edge knows of the connector at the other end of a link, as its streams must know it.

use crate::features::Features;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// One connector, on one link.
pub(crate) struct Peer {
    /// Largest head taken of it.
    pub(crate) max_head: usize,
    stream_window: AtomicU32,
    features: AtomicU8,
    protocol_errors: AtomicU64,
}

impl Peer {
    /// Nothing of our own may be used on it yet.
    pub(crate) fn new(max_head: usize, stream_window: u32) -> Self {
        Self {
            max_head,
            stream_window: AtomicU32::new(stream_window),
            features: AtomicU8::new(Features::default().bits()),
            protocol_errors: AtomicU64::new(0),
        }
    }

    /// Which of our own additions may be used on it.
    pub(crate) fn features(&self) -> Features {
        Features::from_bits(self.features.load(Ordering::Relaxed))
    }

    pub(crate) fn set_features(&self, features: Features) {
        self.features.store(features.bits(), Ordering::Relaxed);
    }

    /// Bytes of one stream that may lie unread.
    pub(crate) fn stream_window(&self) -> u32 {
        self.stream_window.load(Ordering::Relaxed)
    }

    pub(crate) fn set_stream_window(&self, window: u32) {
        self.stream_window.store(window, Ordering::Relaxed);
    }

    /// How often it broke the protocol.
    pub(crate) fn protocol_errors(&self) -> u64 {
        self.protocol_errors.load(Ordering::Relaxed)
    }

    pub(crate) fn count_protocol_error(&self) {
        self.protocol_errors.fetch_add(1, Ordering::Relaxed);
    }
}
