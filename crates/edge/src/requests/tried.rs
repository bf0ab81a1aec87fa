//! What of a request has failed already, and whether it may be tried once more.

use crate::cause::Cause;
use crate::requests::failed::Failed;
use crate::tunnels::connection::Connection;
use qanat_http::{Hop, Sent, may_retry};
use qanat_transport::TunnelRequest;
use uuid::Uuid;

/// Streams tried for one request that never reached a connector.
const MAX_OPENS: usize = 4;

/// The connections that have failed this request.
#[derive(Default)]
pub(super) struct Tried {
    links: Vec<u64>,
    /// A connector whose origin refused: its other connections lead to the same one.
    connectors: Vec<Uuid>,
    /// A connector that has lost a connection: its others may be about to end as well.
    shaken: Vec<Uuid>,
    /// Its head has gone out before.
    repeated: bool,
}

impl Tried {
    pub(super) fn holds(&self, connection: &Connection) -> bool {
        self.links.contains(&connection.link.serial()) || self.connectors.contains(&connection.connector_id)
    }

    /// Whether another connector is the better choice.
    pub(super) fn doubts(&self, connection: &Connection) -> bool {
        self.shaken.contains(&connection.connector_id)
    }

    /// Whether one more may be tried.
    pub(super) fn bears_another(&self, request: &TunnelRequest, failed: &Failed) -> bool {
        let hop = Hop::Tunnel { has_body: request.length.has_body(), repeated: self.repeated };
        matches!(failed.cause, Cause::ConnectionLost | Cause::OriginRefused | Cause::Overloaded | Cause::RequestCut)
            && self.links.len() + 1 < MAX_OPENS
            && may_retry(&request.head.method, failed.sent, hop)
    }

    pub(super) fn note(&mut self, connection: &Connection, failed: &Failed) {
        self.links.push(connection.link.serial());
        self.repeated |= failed.sent != Sent::No;
        match failed.cause {
            Cause::OriginRefused => self.connectors.push(connection.connector_id),
            Cause::ConnectionLost => self.shaken.push(connection.connector_id),
            _ => {}
        }
    }
}
