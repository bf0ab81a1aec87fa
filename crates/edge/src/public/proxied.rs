//! What a proxy in front of the edge says of who connects: the PROXY protocol's header, version 1 and 2, taken from listed proxies only.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, 2.1 and 2.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1.
const MAX_LINE: usize = 107;
/// Two addresses of a Unix socket.
const MAX_ADDRESSES: usize = 216;

/// Why a header isn't one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PROXY protocol header: {0}")]
pub(crate) struct Malformed(&'static str);

impl From<Malformed> for io::Error {
    fn from(error: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Reads the header and not a byte more: who connects, `None` where it says that the proxy does so itself, or can't tell.
pub(crate) async fn read(socket: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    // No header of either version is shorter.
    let mut start = [0; SIGNATURE.len()];
    socket.read_exact(&mut start).await?;
    if start == SIGNATURE { read_v2(socket).await } else { read_v1(socket, &start).await }
}

async fn read_v1(socket: &mut TcpStream, start: &[u8]) -> io::Result<Option<SocketAddr>> {
    if !start.starts_with(b"PROXY ") {
        return Err(Malformed("it begins as neither version does").into());
    }
    let mut line = [0; MAX_LINE];
    line[..start.len()].copy_from_slice(start);
    let mut length = start.len();
    while !line[..length].ends_with(b"\n") {
        if length == MAX_LINE {
            return Err(Malformed("the line is too long").into());
        }
        let seen = socket.peek(&mut line[length..]).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // What is behind the line isn't ours.
        let take = memchr::memchr(b'\n', &line[length..length + seen]).map_or(seen, |end| end + 1);
        socket.read_exact(&mut line[length..length + take]).await?;
        length += take;
    }
    Ok(parse_v1(&line[..length])?)
}

/// The whole line.
fn parse_v1(line: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let line = line.strip_suffix(b"\r\n").ok_or(Malformed("the line doesn't end in CRLF"))?;
    let text = std::str::from_utf8(line).map_err(|_| Malformed("the line isn't text"))?;
    if text.contains(['\r', '\n', '\0']) {
        return Err(Malformed("a control character in the line"));
    }
    let words = text.strip_prefix("PROXY ").ok_or(Malformed("it begins as neither version does"))?;
    let mut words = words.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let (Some(source), Some(target), Some(port), Some(target_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed("the line hasn't six words"));
    };
    let address = |text: &str| match family {
        Some("TCP4") => text.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_| Malformed("not an IPv4 address")),
        Some("TCP6") => text.parse::<Ipv6Addr>().map(IpAddr::from).map_err(|_| Malformed("not an IPv6 address")),
        _ => Err(Malformed("neither TCP4, TCP6 nor UNKNOWN")),
    };
    address(target)?;
    number(target_port)?;
    Ok(Some(SocketAddr::new(address(source)?.to_canonical(), number(port)?)))
}

fn number(text: &str) -> Result<u16, Malformed> {
    let is_plain = text == "0" || (text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(Malformed("not a port"))
}

async fn read_v2(socket: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 4];
    socket.read_exact(&mut head).await?;
    let form = Form::of(&head)?;
    let mut addresses = [0; MAX_ADDRESSES];
    let addresses = &mut addresses[..form.addresses];
    socket.read_exact(addresses).await?;
    let mut rest = form.rest;
    let mut skipped = [0; 1024];
    while rest > 0 {
        let some = rest.min(skipped.len());
        socket.read_exact(&mut skipped[..some]).await?;
        rest -= some;
    }
    Ok(form.source(addresses))
}

/// What the four bytes behind the signature announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    is_proxied: bool,
    /// Bytes of addresses …
    addresses: usize,
    /// … and those behind them, which say what nobody here asks for.
    rest: usize,
    is_v6: bool,
}

impl Form {
    fn of(head: &[u8; 4]) -> Result<Self, Malformed> {
        let [command, family, high, low] = *head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let is_proxied = match command {
            0x20 => false,
            0x21 => true,
            _ => return Err(Malformed("neither LOCAL nor PROXY of version 2")),
        };
        let addresses = match family {
            // A proxy's own connection: whatever it says of a family is of no account.
            _ if !is_proxied => 0,
            0x00 => 0,
            0x11 => 12,
            0x21 => 36,
            0x31 | 0x32 => MAX_ADDRESSES,
            _ => return Err(Malformed("neither TCP nor a Unix socket")),
        };
        let rest = length.checked_sub(addresses).ok_or(Malformed("shorter than its addresses"))?;
        Ok(Self { is_proxied: is_proxied && matches!(family, 0x11 | 0x21), addresses, rest, is_v6: family == 0x21 })
    }

    /// `addresses`: as many bytes as announced.
    fn source(self, addresses: &[u8]) -> Option<SocketAddr> {
        if !self.is_proxied {
            return None;
        }
        let (ip, ports) = if self.is_v6 {
            (IpAddr::from(*addresses.first_chunk::<16>()?), addresses.get(32..)?)
        } else {
            (IpAddr::from(*addresses.first_chunk::<4>()?), addresses.get(8..)?)
        };
        Some(SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(*ports.first_chunk()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// What `sent` is read as, and what is left of it.
    async fn told(sent: &[u8]) -> (Result<Option<SocketAddr>, io::ErrorKind>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let read = read(&mut server).await.map_err(|error| error.kind());
        let mut rest = Vec::new();
        let _ = server.read_to_end(&mut rest).await;
        (read, rest)
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    fn v4_block() -> Vec<u8> {
        vec![192, 0, 2, 7, 10, 0, 0, 1, 0xc0, 0x01, 0x01, 0xbb]
    }

    #[tokio::test]
    async fn both_versions_name_who_connects_and_nothing_behind_is_taken() {
        let v4 = Some("192.0.2.7:49153".parse().unwrap());
        let v6 = Some("[2001:db8::7]:49153".parse().unwrap());
        let v6_block: Vec<u8> = {
            let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
            [&ip("2001:db8::7")[..], &ip("2001:db8::1"), &[0xc0, 0x01, 0x01, 0xbb]].concat()
        };
        let tlvs = [&v4_block()[..], &[0x01, 0, 2, b'h', b'2', 0x04, 0x10, 0], &[0; 0x1000]].concat();
        let mapped: Vec<u8> = {
            let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
            [&ip("::ffff:192.0.2.7")[..], &ip("::ffff:10.0.0.1"), &[0xc0, 0x01, 0x01, 0xbb]].concat()
        };
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 49153 443\r\n".to_vec(), v4),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 49153 443\r\n".to_vec(), v6),
            (b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 49153 443\r\n".to_vec(), v4),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 whatever 65535 x\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4_block()), v4),
            (v2(0x21, 0x11, &tlvs), v4),
            (v2(0x21, 0x21, &v6_block), v6),
            (v2(0x21, 0x21, &mapped), v4),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &[9; 40]), None),
            (v2(0x20, 0xff, &[]), None),
            (v2(0x21, 0x00, &[9; 7]), None),
            (v2(0x21, 0x31, &[9; 220]), None),
        ] {
            let (read, rest) = told(&[&header[..], b"\x16\x03\x01PROXY \n\r\n"].concat()).await;
            assert_eq!(read, Ok(expected), "{}", header.escape_ascii());
            assert_eq!(rest, b"\x16\x03\x01PROXY \n\r\n", "{}", header.escape_ascii());
        }
    }

    #[tokio::test]
    async fn what_is_slightly_off_is_no_header() {
        for header in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00",
            b"proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
            b"PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n",
            b"PROXY TCP4 192.0.2.07 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 2001:db8::7 10.0.0.1 1 2\r\n",
            b"PROXY TCP6 192.0.2.7 2001:db8::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n",
            b"PROXY TCP4 192.0.2.7 example.test 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY UNKNOWN \0\r\n",
            &[&b"PROXY UNKNOWN "[..], &[b'x'; 107], b"\r\n"].concat(),
            &v2(0x11, 0x11, &v4_block()),
            &v2(0x22, 0x11, &v4_block()),
            &v2(0x21, 0x12, &v4_block()),
            &v2(0x21, 0x41, &v4_block()),
            &v2(0x21, 0x11, &v4_block()[..11]),
            &v2(0x21, 0x21, &v4_block()),
        ] {
            assert_eq!(told(header).await.0, Err(io::ErrorKind::InvalidData), "{}", header.escape_ascii());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Cut anywhere, it is none: never another address, never a byte of what would have followed.
        #[test]
        fn a_part_of_a_header_says_nothing(cut in 0_usize..1000, second in any::<bool>()) {
            let whole = match second {
                true => v2(0x21, 0x11, &[&v4_block()[..], &[4, 0, 1, 0]].concat()),
                false => b"PROXY TCP4 192.0.2.7 10.0.0.1 49153 443\r\n".to_vec(),
            };
            let cut = cut % whole.len();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (read, _) = runtime.block_on(told(&whole[..cut]));
            prop_assert_eq!(read, Err(io::ErrorKind::UnexpectedEof));
        }

        #[test]
        fn every_address_comes_through(ip in any::<[u8; 16]>(), v4 in any::<bool>(), port in any::<u16>()) {
            let address = if v4 { IpAddr::from(*ip.first_chunk::<4>().unwrap()) } else { IpAddr::from(ip) };
            let expected = SocketAddr::new(address.to_canonical(), port);
            let family = if v4 { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {family} {address} {address} {port} 443\r\n");
            prop_assert_eq!(parse_v1(line.as_bytes()), Ok(Some(expected)));
            let octets = if v4 { &ip[..4] } else { &ip[..] };
            let block = [octets, octets, &port.to_be_bytes(), &[1, 0xbb]].concat();
            let form = Form::of(&[0x21, if v4 { 0x11 } else { 0x21 }, 0, u8::try_from(block.len()).unwrap()]).unwrap();
            prop_assert_eq!((form.source(&block), form.rest), (Some(expected), 0));
        }

        #[test]
        fn any_line_and_any_head_are_survived(line in proptest::collection::vec(any::<u8>(), 0..120), head in any::<[u8; 4]>()) {
            let _ = parse_v1(&line);
            if let Ok(form) = Form::of(&head) {
                let told = usize::from(u16::from_be_bytes([head[2], head[3]]));
                prop_assert_eq!(form.addresses + form.rest, told);
                prop_assert!(form.addresses <= MAX_ADDRESSES);
                let _ = form.source(&vec![0; form.addresses]);
            }
        }
    }
}
