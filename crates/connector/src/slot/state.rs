//! What one of the HA connections knows of itself, and why it is down.

use crate::data_path::DataPath;
use crate::fleet::{Fleet, Scout};
use crate::life::Life;
use crate::ways::Way;
use crate::{ProtocolChoice, ProtocolFallback};
use qanat_transport::Protocol;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// One of the HA connections, through all its lives.
pub(crate) struct Slot {
    pub(super) index: u8,
    pub(super) data_path: Arc<DataPath>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) life: watch::Receiver<Life>,
    /// Counts up with each attempt: round robin over edges and their addresses.
    pub(super) attempt: usize,
    pub(super) failures: u32,
    pub(super) was_up: bool,
    /// HTTP/2 is in use although `auto` would rather have QUIC.
    pub(super) fallen_back: bool,
    pub(super) last: Way,
    pub(super) returning: Option<Returning>,
    pub(super) scout: Option<Scout>,
    /// The reason to dial at once that this connection has acted on.
    pub(super) acted_on: Option<Instant>,
}

/// The edge said that it stops and will be back.
#[derive(Clone, Copy)]
pub(super) struct Returning {
    pub(super) within: Duration,
    pub(super) until: Instant,
    pub(super) tries: u32,
}

/// Why a connection is not up.
pub(super) struct Down {
    pub(super) edge_ip: String,
    pub(super) protocol: Protocol,
    pub(super) why: Why,
}

pub(super) enum Why {
    /// The edge ended it, since it stops and will be back.
    SentAway {
        within: Duration,
    },
    /// It was closed, since its path takes small packets only: not for QUIC now.
    Narrowed(String),
    /// It could not be dialled, or was lost.
    Lost(String),
    /// Somebody asked for it.
    Asked {
        delay: Duration,
    },
    Refused {
        cause: String,
        delay: Duration,
    },
}

impl Slot {
    pub(crate) fn new(index: u8, data_path: Arc<DataPath>, fleet: Arc<Fleet>) -> Self {
        let life = data_path.life.subscribe();
        let last = Way::first(data_path.settings.protocol);
        Self {
            index,
            data_path,
            fleet,
            life,
            attempt: usize::from(index),
            failures: 0,
            was_up: false,
            fallen_back: false,
            last,
            returning: None,
            scout: None,
            acted_on: None,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.life.borrow() != Life::Serving
    }

    /// The way to begin with.
    pub(super) fn fallback(&self) -> Option<Way> {
        self.fleet.fallback().or(self.fallen_back.then_some(self.last))
    }

    /// QUIC leads nowhere for now: the next dials begin with HTTP/2.
    pub(super) fn leave_quic(&self) {
        if self.data_path.settings.protocol == ProtocolChoice::Auto {
            self.fleet.fall_back(Some(Way::first(ProtocolChoice::Http2)));
        }
    }

    /// Keeps the way that worked; in `auto`, tells when the transport changes.
    pub(super) fn note_way(&mut self, way: Way) {
        self.last = way;
        let is_first = way == Way::first(self.data_path.settings.protocol);
        self.fleet.fall_back((!is_first).then_some(way));
        let fallen_back = self.data_path.settings.protocol == ProtocolChoice::Auto && way.protocol == Protocol::Http2;
        if fallen_back != self.fallen_back {
            self.fallen_back = fallen_back;
            self.data_path.events.push(ProtocolFallback { connection_index: self.index, protocol: way.protocol });
        }
    }
}
