//! What a newer process tells an older one: packets for its connections as they came, and who has registered with the newer.

use quinn::udp::{EcnCodepoint, RecvMeta};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use uuid::Uuid;

const PACKETS: u8 = 0;
const REGISTERED: u8 = 1;
/// Kind, ECN, flags, length of each packet, port, scope, source, destination.
const HEAD: usize = 3 + 2 + 2 + 4 + 16 + 16;
const FROM_V4: u8 = 1;
const HAS_DESTINATION: u8 = 2;
const TO_V4: u8 = 4;
/// Longest message: what the kernel hands over at once, and a head.
pub(super) const MAX: usize = HEAD + 64 * 1024;

/// One message.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// Packets of one sender, each of `stride` bytes but the last.
    Packets(RecvMeta, &'a [u8]),
    /// A connection of a connector.
    Registered(Uuid, u8),
}

/// An address in 16 bytes, and whether it is one of IPv4.
fn octets(address: IpAddr) -> ([u8; 16], bool) {
    match address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().octets(), true),
        IpAddr::V6(v6) => (v6.octets(), false),
    }
}

fn address(octets: [u8; 16], is_v4: bool) -> Option<IpAddr> {
    let v6 = Ipv6Addr::from(octets);
    if is_v4 { v6.to_ipv4_mapped().map(IpAddr::V4) } else { Some(v6.into()) }
}

/// Writes packets, and what is known of them, into `out`.
pub(super) fn write_packets(out: &mut Vec<u8>, meta: &RecvMeta, packets: &[u8]) {
    let (from, from_v4) = octets(meta.addr.ip());
    let (to, to_v4) = octets(meta.dst_ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into()));
    let scope = if let SocketAddr::V6(v6) = meta.addr { v6.scope_id() } else { 0 };
    let flag = |flag, is_on| if is_on { flag } else { 0 };
    let flags = flag(FROM_V4, from_v4) | flag(HAS_DESTINATION, meta.dst_ip.is_some()) | flag(TO_V4, to_v4);
    out.clear();
    out.extend([PACKETS, meta.ecn.map_or(0, |ecn| ecn as u8), flags]);
    out.extend(u16::try_from(meta.stride).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(meta.addr.port().to_be_bytes());
    out.extend(scope.to_be_bytes());
    out.extend(from);
    out.extend(to);
    out.extend(packets);
}

/// Writes that a connection has registered.
pub(super) fn registered(connector_id: Uuid, index: u8) -> [u8; 18] {
    let mut out = [REGISTERED; 18];
    out[1..17].copy_from_slice(connector_id.as_bytes());
    out[17] = index;
    out
}

/// Reads a message; `None`: it is none.
pub(super) fn read(message: &[u8]) -> Option<Message<'_>> {
    match *message.first()? {
        REGISTERED => {
            let (id, index) = message[1..].split_first_chunk::<16>()?;
            let [index] = *index else { return None };
            Some(Message::Registered(Uuid::from_bytes(*id), index))
        }
        PACKETS => {
            let (head, packets) = message.split_first_chunk::<HEAD>()?;
            let (ecn, flags) = (head[1], head[2]);
            let stride = u16::from_be_bytes([head[3], head[4]]);
            let port = u16::from_be_bytes([head[5], head[6]]);
            let scope = u32::from_be_bytes([head[7], head[8], head[9], head[10]]);
            let from = address(head[11..27].try_into().ok()?, flags & FROM_V4 != 0)?;
            let to = address(head[27..43].try_into().ok()?, flags & TO_V4 != 0);
            if packets.is_empty() || stride == 0 {
                return None;
            }
            let addr = match from {
                IpAddr::V4(v4) => SocketAddr::new(v4.into(), port),
                IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, scope).into(),
            };
            let dst_ip = if flags & HAS_DESTINATION != 0 { Some(to?) } else { None };
            let ecn = EcnCodepoint::from_bits(ecn);
            let meta = RecvMeta { addr, len: packets.len(), stride: stride.into(), ecn, dst_ip };
            Some(Message::Packets(meta, packets))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        for (from, to, ecn) in [
            ("192.0.2.1:40000", Some("192.0.2.9"), Some(EcnCodepoint::Ect0)),
            ("[fe80::1%3]:1", Some("2001:db8::9"), Some(EcnCodepoint::Ce)),
            ("[::ffff:192.0.2.1]:40000", Some("::ffff:192.0.2.9"), None),
            ("192.0.2.1:40000", None, None),
        ] {
            let mut meta = RecvMeta::default();
            (meta.addr, meta.dst_ip) = (from.parse().unwrap(), to.map(|to| to.parse().unwrap()));
            (meta.ecn, meta.stride, meta.len) = (ecn, 1200, 2000);
            let mut out = Vec::new();
            write_packets(&mut out, &meta, &[7; 2000]);
            let Some(Message::Packets(read, packets)) = read(&out) else { panic!("no packets") };
            assert_eq!((read.addr, read.dst_ip, read.ecn), (meta.addr, meta.dst_ip, ecn));
            assert_eq!((read.stride, read.len, packets), (1200, 2000, &[7; 2000][..]));
        }
        let id = Uuid::from_u128(5);
        assert!(matches!(read(&registered(id, 3)), Some(Message::Registered(read, 3)) if read == id));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(kind in 0_u8..3, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&[vec![kind], bytes].concat());
        }
    }
}
