//! Where a configuration that came from elsewhere may not reach (security.md, S40): link-local addresses and cloud metadata, and
//! the connector's own listeners. Asked of each address that is dialled, after its name was resolved.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Networks, and what is there.
const DENIED: &[(IpNet, &str)] = &[
    (v4([169, 254, 0, 0], 16), "link-local, where clouds have their metadata"),
    (v4([100, 100, 100, 200], 32), "a cloud's metadata"),
    (v4([192, 0, 0, 192], 32), "a cloud's metadata"),
    (v4([168, 63, 129, 16], 32), "a cloud's metadata"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254], 128), "a cloud's metadata"),
    (v6([0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254], 128), "a cloud's metadata"),
];
const OWN: &str = "the connector's own metrics listener";

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], bits: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), bits))
}

/// What pushed rules may reach. Immutable; part of an origin's key, so that no connection is shared across it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OriginBounds {
    networks: Vec<(IpNet, Option<u16>)>,
    hosts: Vec<(String, Option<u16>)>,
    own: Vec<SocketAddr>,
}

impl OriginBounds {
    /// `allowed`: addresses, networks (`169.254.0.0/16`) and names, each with a port or for all; they take back what is denied.
    /// `own`: where the connector itself listens. The error names the bad entry.
    pub fn new(allowed: &[String], own: &[SocketAddr]) -> Result<Self, String> {
        let mut bounds = Self { own: own.to_vec(), ..Self::default() };
        for entry in allowed {
            if entry.contains('/') {
                let network =
                    entry.parse().map_err(|_| format!("`{entry}` is not a network such as 169.254.0.0/16"))?;
                bounds.networks.push((network, None));
                continue;
            }
            let (host, port) = match entry.parse::<IpAddr>() {
                Ok(_) => (entry.as_str(), None),
                Err(_) => match crate::settings::split_host_port(entry) {
                    Some((host, port)) => (host, Some(port)),
                    None => (entry.trim_start_matches('[').trim_end_matches(']'), None),
                },
            };
            if let Ok(address) = host.parse::<IpAddr>() {
                bounds.networks.push((address.into(), port));
            } else if !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
                bounds.hosts.push((host.trim_end_matches('.').to_ascii_lowercase(), port));
            } else {
                return Err(format!("`{entry}` is not an address, network or name"));
            }
        }
        Ok(bounds)
    }

    /// Why an origin that is written as an address is never dialled; `None`: it is, or it is a name and the resolver decides.
    pub fn refusal(&self, host: &str, port: u16) -> Option<&'static str> {
        host.parse().ok().and_then(|address| self.denies(address, port))
    }

    /// The name itself was allowed, whatever it resolves to.
    pub(crate) fn allows_name(&self, host: &str, port: u16) -> bool {
        let name = host.trim_end_matches('.');
        self.hosts.iter().any(|(known, only)| known.eq_ignore_ascii_case(name) && only.is_none_or(|p| p == port))
    }

    /// What is at an address that is denied.
    pub(crate) fn denies(&self, address: IpAddr, port: u16) -> Option<&'static str> {
        let forms = [address, unwrapped(address)];
        let allowed = |(network, only): &(IpNet, Option<u16>)| {
            only.is_none_or(|p| p == port) && forms.iter().any(|form| network.contains(form))
        };
        if self.networks.iter().any(allowed) {
            return None;
        }
        let [_, real] = forms;
        let is_here = |own: &SocketAddr| own.ip() == real || real.is_loopback() || real.is_unspecified();
        if self.own.iter().any(|own| own.port() == port && is_here(own)) {
            return Some(OWN);
        }
        DENIED.iter().find(|(network, _)| network.contains(&real)).map(|(_, what)| *what)
    }

    /// What is at the other end of a connection that left from the address it went to: this host, by one of its own addresses.
    pub(crate) fn denies_connected(&self, local: SocketAddr, peer: SocketAddr) -> Option<&'static str> {
        let is_own = local.ip() == peer.ip() && self.own.iter().any(|own| own.port() == peer.port());
        is_own.then(|| self.denies(IpAddr::V4(Ipv4Addr::LOCALHOST), peer.port())).flatten()
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64 (RFC 6052), 6to4.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let parts = v6.segments();
    let joined = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => joined(high, low),
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => joined(high, low),
        [0x2002, high, low, ..] => joined(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(allowed: &[&str], own: &[&str]) -> OriginBounds {
        let allowed: Vec<String> = allowed.iter().map(|text| (*text).to_owned()).collect();
        OriginBounds::new(&allowed, &own.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn link_local_and_metadata_are_denied_in_every_form() {
        let bounds = bounds(&[], &[]);
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "::ffff:100.100.100.200",
        ] {
            assert!(bounds.refusal(address, 80).is_some(), "{address}");
        }
        for address in ["127.0.0.1", "::1", "10.0.0.1", "192.168.0.1", "169.253.255.255", "169.255.0.1", "fec0::1"] {
            assert_eq!(bounds.refusal(address, 80), None, "{address}");
        }
        assert_eq!(bounds.refusal("metadata.internal", 80), None, "a name is looked at when it is resolved");
    }

    #[test]
    fn the_connectors_own_listener_is_denied_by_every_way_to_it() {
        for own in ["127.0.0.1:20241", "0.0.0.0:20241", "[::]:20241"] {
            let bounds = bounds(&[], &[own]);
            for address in ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"] {
                assert_eq!(bounds.refusal(address, 20241), Some(OWN), "{address}");
                assert_eq!(bounds.refusal(address, 20242), None, "{address}");
            }
            let (local, peer) = ("10.0.0.5:9".parse().unwrap(), "10.0.0.5:20241".parse().unwrap());
            assert_eq!(bounds.denies_connected(local, peer), Some(OWN));
            assert_eq!(bounds.denies_connected("10.0.0.6:9".parse().unwrap(), peer), None);
        }
        assert_eq!(bounds(&[], &["10.0.0.5:20241"]).refusal("10.0.0.5", 20241), Some(OWN));
        assert!(bounds(&["localhost:20241"], &["127.0.0.1:20241"]).allows_name("LOCALHOST.", 20241));
        assert_eq!(bounds(&["127.0.0.1:20241"], &["127.0.0.1:20241"]).refusal("127.0.0.1", 20241), None);
    }

    #[test]
    fn what_is_listed_is_allowed_and_nothing_more() {
        let listed = bounds(&["169.254.169.254", "fe80::/10", "[fd00:ec2::254]:80", "100.100.100.200:80"], &[]);
        for (host, port, is_allowed) in [
            ("169.254.169.254", 1, true),
            ("::ffff:169.254.169.254", 1, true),
            ("169.254.169.253", 1, false),
            ("fe80::5", 1, true),
            ("fd00:ec2::254", 80, true),
            ("fd00:ec2::254", 81, false),
            ("100.100.100.200", 80, true),
            ("100.100.100.200", 81, false),
        ] {
            assert_eq!(listed.refusal(host, port).is_none(), is_allowed, "{host} {port}");
        }
        assert!(bounds(&["meta.test:80"], &[]).allows_name("Meta.test", 80));
        assert!(!bounds(&["meta.test:80"], &[]).allows_name("meta.test", 81));
        assert_eq!(bounds(&["0.0.0.0/0"], &[]).refusal("169.254.1.1", 1), None);
        for bad in ["169.254.0.0/33", "x/8", "", "a b", "http://x", "::1/129"] {
            assert!(OriginBounds::new(&[bad.to_owned()], &[]).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_wrapping_of_an_address_has_its_verdict(bits in any::<u32>(), link_local in any::<bool>()) {
            let address = Ipv4Addr::from(if link_local { 0xa9fe_0000 | (bits & 0xffff) } else { bits });
            let bounds = bounds(&[], &[]);
            let plain = bounds.denies(IpAddr::V4(address), 80);
            prop_assert!(!link_local || plain.is_some());
            let [a, b, c, d] = address.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for form in [
                address.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(bounds.denies(IpAddr::V6(form), 80), plain);
            }
        }
    }
}
