//! SOCKS5 as a server speaks it (RFC 1928): no authentication, CONNECT only. Without I/O, but for looking a name up.

use crate::settings::IpRule;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;

/// The server takes the client without authentication.
pub(super) const WELCOME: [u8; 2] = [VERSION, NO_AUTHENTICATION];
/// None of the client's ways to authenticate will do.
pub(super) const NO_WAY: [u8; 2] = [VERSION, 0xff];

/// How a request is answered (6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Connected = 0,
    Denied = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    Refused = 5,
    NoSuchCommand = 7,
}

/// A name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// Where a client wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

/// Something read from the front of a buffer: how many bytes it took, and what it was. `None`: there is not enough yet.
type Read<T> = Result<Option<(usize, T)>, &'static str>;

/// The client's greeting: whether it would do without authentication.
pub(super) fn read_greeting(buffer: &[u8]) -> Read<bool> {
    if buffer.first().is_some_and(|version| *version != VERSION) {
        return Err("not SOCKS version 5");
    }
    let [_, count, methods @ ..] = buffer else { return Ok(None) };
    let count = usize::from(*count);
    Ok(methods.get(..count).map(|methods| (2 + count, methods.contains(&NO_AUTHENTICATION))))
}

/// The client's request: where it wants to be connected to; `None` within: it wants something else.
pub(super) fn read_request(buffer: &[u8]) -> Read<Option<Target>> {
    if buffer.first().is_some_and(|version| *version != VERSION) {
        return Err("not SOCKS version 5");
    }
    let [_, command, _, kind, rest @ ..] = buffer else { return Ok(None) };
    let (length, skip) = match kind {
        1 => (4, 0),
        4 => (16, 0),
        3 => match rest.first() {
            Some(length) => (usize::from(*length), 1),
            None => return Ok(None),
        },
        _ => return Err("an unknown kind of address"),
    };
    let (Some(host), Some(port)) = (rest.get(skip..skip + length), rest.get(skip + length..skip + length + 2)) else {
        return Ok(None);
    };
    let host = match kind {
        1 => Host::Address(Ipv4Addr::from(<[u8; 4]>::try_from(host).unwrap_or_default()).into()),
        4 => Host::Address(Ipv6Addr::from(<[u8; 16]>::try_from(host).unwrap_or_default()).into()),
        _ => match std::str::from_utf8(host) {
            Ok(name) if !name.is_empty() && !name.contains('\0') => Host::Name(name.to_owned()),
            _ => return Err("a name that is none"),
        },
    };
    let port = u16::from_be_bytes([port[0], port[1]]);
    let target = (*command == 1).then_some(Target { host, port });
    Ok(Some((4 + skip + length + 2, target)))
}

/// The answer to a request. `bound`: the connector's own end.
pub(super) fn reply(reply: Reply, bound: Option<SocketAddr>) -> Vec<u8> {
    let mut out = vec![VERSION, reply as u8, 0];
    match bound.unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)) {
        SocketAddr::V4(address) => {
            out.push(1);
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.port().to_be_bytes());
        }
        SocketAddr::V6(address) => {
            out.push(4);
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.port().to_be_bytes());
        }
    }
    out
}

/// Where clients may go (`ipRules`): the first rule that is about an address and port decides, and without any they may go nowhere.
#[derive(Debug, Default)]
pub(super) struct Policy(Vec<(IpNet, Vec<u16>, bool)>);

impl Policy {
    /// The error names the rule and what is wrong with it.
    pub(super) fn new(rules: &[IpRule]) -> Result<Self, String> {
        let compiled = rules.iter().enumerate().map(|(index, rule)| {
            let network = rule
                .prefix
                .parse()
                .map_err(|_| format!("[{index}].prefix: `{}` is not a network such as 10.0.0.0/8", rule.prefix))?;
            Ok((network, rule.ports.clone(), rule.allow))
        });
        compiled.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn allows(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        let decides = |(network, ports, _): &&(IpNet, Vec<u16>, bool)| {
            network.contains(&address) && (ports.is_empty() || ports.contains(&port))
        };
        self.0.iter().find(decides).is_some_and(|(.., allow)| *allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(rules: &[(&str, &[u16], bool)]) -> Policy {
        let rules: Vec<IpRule> = rules
            .iter()
            .map(|(prefix, ports, allow)| IpRule { prefix: (*prefix).into(), ports: ports.to_vec(), allow: *allow })
            .collect();
        Policy::new(&rules).unwrap()
    }

    #[test]
    fn a_greeting_and_a_request_are_read_byte_by_byte() {
        let greeting = [5, 2, 2, 0];
        assert!((0..4).all(|n| read_greeting(&greeting[..n]) == Ok(None)));
        assert_eq!(read_greeting(&greeting), Ok(Some((4, true))));
        assert_eq!(read_greeting(&[5, 1, 2]), Ok(Some((3, false))));
        assert!(read_greeting(&[4, 1]).is_err());
        let named = b"\x05\x01\0\x03\x04h.te\x01\xbb";
        assert!((0..named.len()).all(|n| read_request(&named[..n]) == Ok(None)));
        let target = |host, port| Ok(Some((named.len(), Some(Target { host, port }))));
        assert_eq!(read_request(named), target(Host::Name("h.te".into()), 443));
        let numbered = b"\x05\x01\0\x01\x7f\0\0\x01\x1f\x90";
        let here = Target { host: Host::Address(Ipv4Addr::LOCALHOST.into()), port: 8080 };
        assert_eq!(read_request(numbered), Ok(Some((10, Some(here)))));
        assert_eq!(read_request(b"\x05\x02\0\x01\x7f\0\0\x01\x1f\x90"), Ok(Some((10, None))), "BIND");
        assert!(read_request(b"\x05\x01\0\x09").is_err());
    }

    #[test]
    fn a_reply_names_the_connectors_end() {
        assert_eq!(reply(Reply::Connected, Some("10.1.2.3:258".parse().unwrap())), [5, 0, 0, 1, 10, 1, 2, 3, 1, 2]);
        assert_eq!(reply(Reply::Denied, None), [5, 2, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(reply(Reply::Connected, Some("[::1]:1".parse().unwrap())).len(), 22);
    }

    #[test]
    fn the_first_rule_about_an_address_decides_and_without_any_nothing_is_allowed() {
        let rules = policy(&[("127.0.0.1/24", &[1337], true), ("127.0.0.0/24", &[1338], false), ("::/0", &[], true)]);
        for (address, port, allowed) in [
            ("127.0.0.1", 1337, true),
            ("::ffff:127.0.0.1", 1337, true),
            ("127.0.0.1", 1338, false),
            ("127.0.0.1", 1339, false),
            ("127.0.1.1", 1337, false),
            ("2001:db8::1", 1, true),
        ] {
            assert_eq!(rules.allows(address.parse().unwrap(), port), allowed, "{address} {port}");
        }
        assert!(!policy(&[]).allows("127.0.0.1".parse().unwrap(), 80));
        let bad = Policy::new(&[IpRule { prefix: "10.0.0.1".into(), ports: vec![], allow: true }]);
        assert!(bad.unwrap_err().starts_with("[0].prefix: `10.0.0.1`"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Some((taken, _))) = read_greeting(&bytes) {
                prop_assert!(taken <= bytes.len());
            }
            if let Ok(Some((taken, _))) = read_request(&bytes) {
                prop_assert!(taken <= bytes.len());
            }
        }
    }
}
