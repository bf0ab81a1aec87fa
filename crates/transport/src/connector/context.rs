//! What the tasks of one link share.

use super::incoming::ConfigurationPush;
use crate::{Flow, Lines};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;

/// Pushed configurations that wait to be taken.
const MAX_WAITING_PUSHES: usize = 4;

/// What the tasks of either transport share with their link.
pub(super) struct LinkContext {
    pub(super) max_head: usize,
    pub(super) lines: Arc<Lines>,
    pub(super) stream_window: AtomicU32,
    pub(super) rpc_timeout: Duration,
    pub(super) write_timeout: Option<Duration>,
    pub(super) pushes: mpsc::Sender<ConfigurationPush>,
    /// Over HTTP/2: what the edge said before it ended the connection.
    pub(super) farewell: OnceLock<Duration>,
    /// Streams that broke the protocol.
    rejected: AtomicU64,
}

impl LinkContext {
    /// And where the configurations come out that the edge pushes.
    pub(super) fn new(
        max_head: usize,
        rpc_timeout: Duration,
        flow: &Flow,
        stream_window: u32,
    ) -> (Arc<Self>, mpsc::Receiver<ConfigurationPush>) {
        let (pushes, queue) = mpsc::channel(MAX_WAITING_PUSHES);
        let context = Self {
            max_head,
            lines: flow.lines.clone(),
            stream_window: AtomicU32::new(stream_window),
            rpc_timeout,
            write_timeout: flow.wanted.write_timeout,
            pushes,
            farewell: OnceLock::new(),
            rejected: AtomicU64::new(0),
        };
        (Arc::new(context), queue)
    }

    /// Bytes of one stream that may lie unread.
    pub(super) fn stream_window(&self) -> u32 {
        self.stream_window.load(Ordering::Relaxed)
    }

    /// How many streams broke the protocol.
    pub(super) fn protocol_errors(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    pub(super) fn reject(&self, why: &str) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(why, "a stream of the edge was reset");
    }
}
