//! Which addresses an attempt dials: one edge after the other, and all addresses of each.

use crate::ConnectorSettings;
use crate::backoff::place;
use std::net::SocketAddr;
use tokio::net::lookup_host;
use tokio::time::timeout;

/// Addresses of one name tried in one go.
const MAX_ADDRESSES: usize = 4;

/// The addresses for attempt number `attempt`; the error says why there are none.
pub(crate) async fn addresses(settings: &ConnectorSettings, attempt: usize) -> Result<Vec<SocketAddr>, String> {
    let (edge, turn) = place(attempt, settings.edges.len());
    let edge = &settings.edges[edge];
    let mut addresses: Vec<SocketAddr> = match timeout(settings.dial_timeout, lookup_host(edge.as_str())).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(format!("can't resolve {edge}: {error}")),
        Err(_) => return Err(format!("can't resolve {edge}: no answer")),
    };
    if addresses.is_empty() {
        return Err(format!("can't resolve {edge}: no address"));
    }
    settings.edge_ip.choose(&mut addresses);
    let count = addresses.len();
    addresses.rotate_left(turn % count);
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses)
}
