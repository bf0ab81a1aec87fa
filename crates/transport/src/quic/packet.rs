//! How large QUIC's packets may become on a path. A larger one costs little more than a small one; each is found to arrive before it
//! is used (RFC 8899), so that what is said here is only where the search ends.

use crate::udp;
use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Where `quinn`'s own search ends: an Ethernet's packet less IPv6 and UDP.
pub(crate) const USUAL: u16 = 1452;
/// IPv6 and UDP.
const HEADERS: u32 = 40 + 8;

/// The largest packet that the way to `peer` (from `bind`) may carry by what the system knows of it: the interface's, mostly.
pub(crate) fn largest(peer: SocketAddr, bind: Option<IpAddr>) -> u16 {
    let told = route_mtu(peer, bind).unwrap_or(0).saturating_sub(HEADERS);
    u16::try_from(told).unwrap_or(u16::MAX).clamp(USUAL, udp::LARGEST)
}

/// Sends nothing.
fn route_mtu(peer: SocketAddr, bind: Option<IpAddr>) -> io::Result<u32> {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let bind = bind.map(|ip| ip.to_canonical()).filter(|ip| ip.is_ipv4() == peer.is_ipv4());
    let socket = UdpSocket::bind(udp::local_address(peer, bind))?;
    socket.connect(peer)?;
    Ok(if peer.is_ipv4() { ip_mtu(&socket) } else { ipv6_mtu(&socket) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_carries_large_packets_and_an_unknown_way_the_usual_ones() {
        let largest = |peer: &str, bind: Option<&str>| {
            super::largest(peer.parse().unwrap(), bind.map(|bind| bind.parse().unwrap()))
        };
        assert_eq!(largest("127.0.0.1:7844", None), udp::LARGEST);
        assert_eq!(largest("[::ffff:127.0.0.1]:7844", Some("127.0.0.2")), udp::LARGEST);
        assert_eq!(largest("127.0.0.1:7844", Some("192.0.2.1")), USUAL, "an address that isn't this host's");
    }
}
