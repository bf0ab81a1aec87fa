//! Which addresses an attempt dials: one edge after the other, and all addresses of each.

use crate::ConnectorSettings;
use crate::backoff::place;
use crate::names::Names;
use crate::settings::{EdgePlace, split_host_port};
use crate::ways::Way;
use qanat_transport::{ProxyRoute, Route};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Addresses of one name tried in one go.
const MAX_ADDRESSES: usize = 4;

/// One address of an edge, or of the proxy that leads to it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    host: String,
    port: u16,
    other_port: Option<u16>,
    server_name: Option<Arc<str>>,
    proxy: Option<ProxyRoute>,
}

impl Target {
    /// Where to dial on this way, and what leads on from there; `None` where it has no such way.
    pub(crate) fn on(&self, way: Way) -> Option<(SocketAddr, Route)> {
        let port = if way.other_port { self.other_port? } else { self.port };
        let mut route = Route { server_name: self.server_name.clone(), proxy: None };
        let mut address = self.address;
        match &self.proxy {
            None => address.set_port(port),
            Some(proxy) => {
                let authority = if self.host.contains(':') {
                    format!("[{}]:{port}", self.host)
                } else {
                    format!("{}:{port}", self.host)
                };
                route.proxy = Some(Arc::new(ProxyRoute { authority, ..proxy.clone() }));
            }
        }
        Some((address, route))
    }

    /// For the log: its address, or the name that a proxy is asked for.
    pub(crate) fn shown(&self) -> String {
        if self.is_proxied() { self.host.clone() } else { self.address.ip().to_string() }
    }

    pub(crate) fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The edges of a connector's settings.
pub(crate) struct Edges {
    pub(crate) names: Names,
    places: Vec<EdgePlace>,
}

/// Which to dial in one go: those of the version of IP that the resolver answers first, which is the one that the system prefers,
/// each first in its turn; then those of the other version, for a host that has no way there. As stock.
fn in_turn<T>(targets: Vec<T>, turn: usize, is_v4: impl Fn(&T) -> bool) -> Vec<T> {
    let preferred = targets.first().map(&is_v4);
    let (mut first, mut other): (Vec<_>, Vec<_>) =
        targets.into_iter().partition(|target| Some(is_v4(target)) == preferred);
    for group in [&mut first, &mut other] {
        let count = group.len().max(1);
        group.rotate_left(turn % count);
    }
    first.truncate(if other.is_empty() { MAX_ADDRESSES } else { MAX_ADDRESSES - 1 });
    first.extend(other);
    first.truncate(MAX_ADDRESSES);
    first
}

/// One edge, or one target of a service.
struct Place {
    host: String,
    port: u16,
    of: usize,
}

impl Edges {
    pub(crate) fn new(settings: &ConnectorSettings) -> Self {
        let names = Names::new(settings.edge_resolver, settings.edge_resolver_over_tls.clone());
        Self { names, places: settings.edges.clone() }
    }

    /// The targets of attempt number `attempt`; the error says why there are none.
    pub(crate) async fn targets(&self, settings: &ConnectorSettings, attempt: usize) -> Result<Vec<Target>, String> {
        let places = self.places().await;
        let (first, turn) = place(attempt, places.len());
        let mut why = None;
        // An edge whose name isn't known holds up none of the others.
        for place in places.iter().cycle().skip(first).take(places.len()) {
            match self.resolve(settings, place, settings.dial_timeout).await {
                Ok(targets) => return Ok(in_turn(targets, turn, |target| target.address.is_ipv4())),
                Err(reason) => _ = why.get_or_insert(reason),
            }
        }
        Err(why.unwrap_or_else(|| "there is no edge".into()))
    }

    /// Every edge by its name, with its targets or why it has none.
    pub(crate) async fn all(&self, settings: &ConnectorSettings) -> Vec<(String, Result<Vec<Target>, String>)> {
        let mut all = Vec::new();
        for place in self.places().await {
            let shown = match self.places[place.of].service {
                Some(_) => place.host.clone(),
                None => self.places[place.of].address.clone(),
            };
            all.push((shown, self.resolve(settings, &place, settings.dial_timeout).await));
        }
        all
    }

    async fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        let mut answered: Vec<&str> = Vec::new();
        let mut silent: Vec<&str> = Vec::new();
        for (of, edge) in self.places.iter().enumerate() {
            if let Some(service) = edge.service.as_deref().filter(|_| !edge.through_proxy) {
                if answered.contains(&service) {
                    continue;
                }
                let found = if silent.contains(&service) { Vec::new() } else { self.names.service(service).await };
                if !found.is_empty() {
                    answered.push(service);
                    places.extend(found.into_iter().map(|(host, port)| Place { host, port, of }));
                    continue;
                }
                silent.push(service);
            }
            if let Some((host, port)) = split_host_port(&edge.address) {
                places.push(Place { host: host.to_owned(), port, of });
            }
        }
        places
    }

    async fn resolve(
        &self,
        settings: &ConnectorSettings,
        place: &Place,
        patience: Duration,
    ) -> Result<Vec<Target>, String> {
        let edge = &self.places[place.of];
        let mut proxy = None;
        let addresses = match settings.proxy.as_ref().filter(|_| edge.through_proxy) {
            None => {
                let mut addresses = self.names.addresses(&place.host, place.port, patience).await?;
                settings.edge_ip.choose(&mut addresses);
                addresses
            }
            Some(way_out) => {
                let (host, port) = split_host_port(&way_out.address).ok_or("the proxy is not host:port")?;
                let tls = match way_out.tls {
                    true => {
                        let name = rustls::pki_types::ServerName::try_from(host.to_owned());
                        let name = name.map_err(|_| format!("{host} is not a name that a proxy can have in TLS"))?;
                        Some((
                            self.names.system_tls().ok_or("there are no trusted roots for TLS with the proxy")?,
                            name,
                        ))
                    }
                    false => None,
                };
                let authorization = way_out.authorization.clone();
                proxy = Some(ProxyRoute { authority: String::new(), authorization, tls });
                self.names.addresses(host, port, patience).await.map_err(|why| format!("the proxy: {why}"))?
            }
        };
        let target = |address| Target {
            address,
            host: place.host.clone(),
            port: place.port,
            other_port: edge.other_port,
            server_name: edge.server_name.as_deref().map(Arc::from),
            proxy: proxy.clone(),
        };
        Ok(addresses.into_iter().map(target).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialled(addresses: &[&str], turn: usize) -> Vec<String> {
        let all: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        in_turn(all, turn, SocketAddr::is_ipv4).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_version_of_ip_that_the_system_prefers_comes_first_at_every_turn_and_the_other_one_is_kept() {
        let both = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1"];
        assert_eq!(dialled(&both, 0), ["[::1]:1", "[::2]:1", "10.0.0.1:1", "10.0.0.2:1"]);
        assert_eq!(dialled(&both, 1), ["[::2]:1", "[::1]:1", "10.0.0.2:1", "10.0.0.1:1"]);
        let many = ["1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1", "1.0.0.4:1", "1.0.0.5:1", "[::1]:1"];
        assert_eq!(dialled(&many, 4), ["1.0.0.5:1", "1.0.0.1:1", "1.0.0.2:1", "[::1]:1"]);
        assert_eq!(dialled(&many[..5], 1), ["1.0.0.2:1", "1.0.0.3:1", "1.0.0.4:1", "1.0.0.5:1"]);
        assert!(dialled(&[], 3).is_empty());
    }
}
