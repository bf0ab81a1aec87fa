//! Whether edges can be reached, and how: what the pre-checks tell.

use crate::data_path::DataPath;
use crate::edges::Target;
use crate::link::dial_settings;
use crate::ways::Way;
use futures_util::future::join_all;
use qanat_transport::{EdgeLink, Protocol};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// For one handshake.
const ONE_TRY: Duration = Duration::from_secs(5);
/// Before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// What is known of one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeCheck {
    /// Its name, as it was given.
    pub target: String,
    /// Why its name has no address; empty: it has.
    pub names: String,
    /// Those that were asked, one of each version of IP; none where a proxy leads there.
    pub addresses: Vec<SocketAddr>,
    /// Why it can't be reached over QUIC; empty: it can; `None`: not tried.
    pub quic: Option<String>,
    /// The same over HTTP/2.
    pub http2: Option<String>,
}

/// Asks each edge for a handshake over either transport, within `limit` in all.
pub(crate) async fn check(data_path: Arc<DataPath>, limit: Duration) -> Vec<EdgeCheck> {
    let until = Instant::now() + limit;
    let all = data_path.edges.all(&data_path.settings).await;
    join_all(all.into_iter().map(async |(target, targets)| match targets {
        Err(names) => EdgeCheck { target, names, addresses: Vec::new(), quic: None, http2: None },
        Ok(targets) => {
            let targets = one_of_each_version(targets);
            let quic = async {
                let reached = reached(&data_path, Protocol::Quic, &targets, until);
                if targets.iter().any(Target::is_proxied) { None } else { Some(reached.await) }
            };
            let (quic, http2) = tokio::join!(quic, reached(&data_path, Protocol::Http2, &targets, until));
            let way = Way { protocol: Protocol::Quic, other_port: false };
            let direct = targets.iter().filter(|target| !target.is_proxied());
            let addresses = direct.filter_map(|target| target.on(way)).map(|(address, _)| address).collect();
            EdgeCheck { target, names: String::new(), addresses, quic, http2: Some(http2) }
        }
    }))
    .await
}

fn one_of_each_version(targets: Vec<Target>) -> Vec<Target> {
    let (four, six): (Vec<_>, Vec<_>) = targets.into_iter().partition(|target| target.address().is_ipv4());
    four.into_iter().take(1).chain(six.into_iter().take(1)).collect()
}

/// Empty when any of the addresses answers.
async fn reached(data_path: &DataPath, protocol: Protocol, targets: &[Target], until: Instant) -> String {
    let tries = join_all(targets.iter().map(async |target| {
        let mut why = String::new();
        for pause in [Duration::ZERO, PAUSES[0], PAUSES[1]] {
            sleep(pause).await;
            let Some((address, route)) = target.on(Way { protocol, other_port: false }) else { break };
            match EdgeLink::probe(protocol, address, &dial_settings(data_path, route, ONE_TRY)).await {
                Ok(()) => return Ok(()),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }));
    let results = match timeout_at(until, tries).await {
        Ok(results) => results,
        Err(_) => return "no answer".into(),
    };
    if results.iter().any(Result::is_ok) {
        return String::new();
    }
    results.into_iter().find_map(Result::err).unwrap_or_else(|| "no address".into())
}
