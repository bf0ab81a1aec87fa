//! How connectors' connections are: what nobody is told of as an event, because it changes all the time.

use crate::tunnels::connection::Peer;
use crate::tunnels::registry::Registry;
use std::time::Duration;
use uuid::Uuid;

/// One connection's.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Which.
    pub connection_id: Uuid,
    /// `None`: not measured yet.
    pub rtt: Option<Duration>,
    /// Group of the key exchange, such as `X25519MLKEM768`; empty where it has no name.
    pub key_exchange: &'static str,
}

/// Of every live connection.
pub(crate) fn all<P: Peer>(registry: &Registry<P>) -> Vec<Line> {
    let line = |id, link: &P| Line { connection_id: id, rtt: link.rtt(), key_exchange: link.key_exchange() };
    registry.connections().iter().map(|connection| line(connection.id, &connection.link)).collect()
}
