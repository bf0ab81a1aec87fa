//! The sockets that the edge serves on: it binds them all, or takes them over, and gives each listener what is its own. They are given
//! to the process that takes over from this one, by their roles.

use crate::error::EdgeError;
use crate::settings::{Addresses, Settings, resolve};
use qanat_transport::{Elsewhere, Generation, Older, TunnelUdp};
use socket2::{SockRef, TcpKeepalive, Type};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};

const BACKLOG: u32 = 4096;
/// A client that has gone without a word is noticed two minutes after the last thing that was heard of it. A silent WebSocket, which
/// has no other limit, would stay for ever.
const VANISHED: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);
/// Tries to find a port free for both.
const MAX_TRIES: usize = 64;

const HTTPS: &str = "https";
const HTTPS_UDP: &str = "https_udp";
const HTTP: &str = "http";
const TUNNEL_UDP: &str = "tunnel_udp";
const TUNNEL_TCP: &str = "tunnel_tcp";
/// Behind a UDP socket's role: where the packets of an older process go, by its number.
const PACKETS: &str = "/packets/";

/// Sockets by role: `https`, `https_udp`, `http`, `tunnel_udp`, `tunnel_tcp`, and `tunnel_udp/packets/N` for an older process.
pub type Descriptors = HashMap<String, OwnedFd>;

/// Bound, and where.
pub(crate) struct Sockets {
    /// Visitors by TLS, and connectors by HTTP/2 where they may come by the same port …
    pub(crate) https: Option<TcpListener>,
    /// … and by QUIC. HTTP/3, when there is one, shares it.
    pub(crate) https_udp: Option<TunnelUdp>,
    /// Visitors without.
    pub(crate) http: Option<TcpListener>,
    /// Connectors by QUIC …
    pub(crate) tunnel_udp: TunnelUdp,
    /// … and by HTTP/2.
    pub(crate) tunnel_tcp: TcpListener,
    pub(crate) addresses: Addresses,
    /// What is given to the next process.
    pub(crate) shared: Shared,
}

/// Duplicates of the sockets, while they may be given.
pub(crate) struct Shared {
    tcp: Vec<(&'static str, StdTcpListener)>,
    udp: Vec<(&'static str, TunnelUdp)>,
}

impl Sockets {
    /// Takes over those of `handed` that the settings name, and binds the others. Must be called inside the tokio runtime.
    pub(crate) fn open(
        settings: &Settings,
        handed: Descriptors,
        elsewhere: &Arc<Elsewhere>,
    ) -> Result<Self, EdgeError> {
        let mut handed = Handed(handed);
        let alone = |field, text: &String, taken| {
            bound(field, text, |address| match taken {
                Some(taken) => Ok(taken),
                None => tcp(address),
            })
        };
        let https_text = settings.https_address.as_ref();
        let https = handed.tcp(HTTPS, "https_address", https_text)?;
        let is_shared = settings.tunnels_on_https;
        let https_udp = handed.udp(HTTPS_UDP, "https_address", https_text.filter(|_| is_shared))?;
        let (https_udp, https) = match https_text {
            None => (None, None),
            Some(text) if is_shared => {
                let (udp, tcp) = bound("https_address", text, |address| both(address, https_udp, https))?;
                (Some(udp), Some(tcp))
            }
            Some(text) => (None, Some(alone("https_address", text, https)?)),
        };
        let http = handed.tcp(HTTP, "http_address", settings.http_address.as_ref())?;
        let http = match &settings.http_address {
            None => None,
            Some(text) => Some(alone("http_address", text, http)?),
        };
        let text = &settings.tunnel_address;
        let tunnel_udp = handed.udp(TUNNEL_UDP, "tunnel_address", Some(text))?;
        let tunnel_tcp = handed.tcp(TUNNEL_TCP, "tunnel_address", Some(text))?;
        let (tunnel_udp, tunnel_tcp) = bound("tunnel_address", text, |address| both(address, tunnel_udp, tunnel_tcp))?;

        let [https_ways, tunnel_ways] = [HTTPS_UDP, TUNNEL_UDP].map(|role| handed.older(role));
        let (https_ways, tunnel_ways) = (https_ways?, tunnel_ways?);
        handed.no_others()?;
        let older = https_ways.iter().chain(&tunnel_ways).map(Older::generation);
        let generation = Generation::newest(older).map_or_else(Generation::first, Generation::next);
        let share = |role: &str, socket: UdpSocket, older| {
            let made = TunnelUdp::new(socket, generation.clone(), older, elsewhere.clone());
            made.map_err(|error| EdgeError::BindFailed { address: role.to_owned(), reason: error.to_string() })
        };
        let https_udp = https_udp.map(|socket| share(HTTPS_UDP, socket, https_ways)).transpose()?;
        let tunnel_udp = share(TUNNEL_UDP, tunnel_udp, tunnel_ways)?;

        let address = |socket: &Option<StdTcpListener>| socket.as_ref().and_then(|socket| socket.local_addr().ok());
        let serve = |role, socket: StdTcpListener| {
            let given = socket.try_clone()?;
            SockRef::from(&socket).set_tcp_keepalive(&VANISHED)?; // those that it accepts have it from it
            Ok((TcpListener::from_std(socket)?, (role, given)))
        };
        let failed =
            |error: io::Error| EdgeError::BindFailed { address: "(sockets)".to_owned(), reason: error.to_string() };
        let addresses = Addresses {
            https: address(&https),
            http: address(&http),
            tunnel: tunnel_tcp.local_addr().map_err(failed)?,
        };
        let https = https.map(|socket| serve(HTTPS, socket)).transpose().map_err(failed)?.unzip();
        let http = http.map(|socket| serve(HTTP, socket)).transpose().map_err(failed)?.unzip();
        let (tunnel_tcp, tunnel_given) = serve(TUNNEL_TCP, tunnel_tcp).map_err(failed)?;
        let shared = Shared {
            tcp: [https.1, http.1, Some(tunnel_given)].into_iter().flatten().collect(),
            udp: [https_udp.clone().map(|udp| (HTTPS_UDP, udp)), Some((TUNNEL_UDP, tunnel_udp.clone()))]
                .into_iter()
                .flatten()
                .collect(),
        };
        Ok(Self { https: https.0, https_udp, http: http.0, tunnel_udp, tunnel_tcp, addresses, shared })
    }
}

impl Shared {
    /// Duplicates of all, by role.
    pub(crate) fn give(&self) -> io::Result<Descriptors> {
        let mut given = Descriptors::new();
        for (role, socket) in &self.tcp {
            given.insert((*role).to_owned(), socket.try_clone()?.into());
        }
        for (role, udp) in &self.udp {
            let of = udp.give()?;
            given.insert((*role).to_owned(), of.socket);
            given.extend(of.packets.into_iter().map(|(number, way)| (format!("{role}{PACKETS}{number}"), way)));
        }
        Ok(given)
    }

    /// The UDP ones.
    pub(crate) fn udp(&self) -> impl Iterator<Item = &TunnelUdp> {
        self.udp.iter().map(|(_, udp)| udp)
    }
}

/// What another process, or the system, gave.
struct Handed(Descriptors);

impl Handed {
    /// `text`: the setting's; without one nothing is served there, and what was given is closed.
    fn tcp(
        &mut self,
        role: &str,
        field: &'static str,
        text: Option<&String>,
    ) -> Result<Option<StdTcpListener>, EdgeError> {
        let Some((socket, text)) = self.0.remove(role).zip(text) else { return Ok(None) };
        check(role, &socket, Type::STREAM, resolve(field, text)?)?;
        Ok(Some(socket.into()))
    }

    fn udp(&mut self, role: &str, field: &'static str, text: Option<&String>) -> Result<Option<UdpSocket>, EdgeError> {
        let Some((socket, text)) = self.0.remove(role).zip(text) else { return Ok(None) };
        check(role, &socket, Type::DGRAM, resolve(field, text)?)?;
        Ok(Some(socket.into()))
    }

    /// The ways to older processes that share the UDP socket of this role.
    fn older(&mut self, role: &str) -> Result<Vec<Older>, EdgeError> {
        let prefix = format!("{role}{PACKETS}");
        let mut ways: Vec<_> = self.0.extract_if(|role, _| role.starts_with(&prefix)).collect();
        ways.sort_by(|one, other| one.0.cmp(&other.0));
        let open =
            |(role, way): (String, OwnedFd)| Older::open(way).map_err(|error| bad_socket(&role, error.to_string()));
        ways.into_iter().map(open).collect()
    }

    fn no_others(&self) -> Result<(), EdgeError> {
        match self.0.keys().min() {
            None => Ok(()),
            Some(role) => Err(bad_socket(
                role,
                format!("there is no such role: use {HTTPS}, {HTTPS_UDP}, {HTTP}, {TUNNEL_UDP} or {TUNNEL_TCP}"),
            )),
        }
    }
}

fn bad_socket(role: &str, reason: String) -> EdgeError {
    EdgeError::BadSocket { role: role.to_owned(), reason }
}

/// Whether a socket is what its role needs: of this kind, and where the settings say.
fn check(role: &str, socket: &OwnedFd, kind: Type, address: SocketAddr) -> Result<(), EdgeError> {
    let refuse = |reason: String| Err(bad_socket(role, reason));
    let socket = SockRef::from(socket);
    let is_stream = kind == Type::STREAM;
    let wanted = if is_stream { "TCP socket that listens" } else { "UDP socket" };
    let is_one = || Ok::<_, io::Error>(socket.r#type()? == kind && (!is_stream || socket.is_listener()?));
    let bound = socket.local_addr().ok().and_then(|address| address.as_socket());
    let bound = match (is_one(), bound) {
        (Ok(true), Some(bound)) => bound,
        (Err(error), _) => return refuse(format!("not a {wanted}: {error}")),
        _ => return refuse(format!("not a {wanted}")),
    };
    if bound.ip() != address.ip() || (address.port() != 0 && bound.port() != address.port()) {
        return refuse(format!("it is bound to {bound}, and the settings say {address}"));
    }
    socket.set_nonblocking(true).or_else(|error| refuse(error.to_string()))
}

/// What `bind` makes of the address that a setting names.
fn bound<T>(field: &'static str, text: &str, bind: impl FnOnce(SocketAddr) -> io::Result<T>) -> Result<T, EdgeError> {
    bind(resolve(field, text)?)
        .map_err(|error| EdgeError::BindFailed { address: text.to_owned(), reason: error.to_string() })
}

/// A TCP socket that listens.
fn tcp(address: SocketAddr) -> io::Result<StdTcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// UDP and TCP at the same address, those that were taken over among them; port 0 chooses one free for both.
fn both(
    address: SocketAddr,
    udp: Option<UdpSocket>,
    listener: Option<StdTcpListener>,
) -> io::Result<(UdpSocket, StdTcpListener)> {
    let bind_udp =
        |address| UdpSocket::bind(address).map_err(|error| io::Error::new(error.kind(), format!("UDP: {error}")));
    match (udp, listener) {
        (Some(udp), Some(listener)) if udp.local_addr()? == listener.local_addr()? => return Ok((udp, listener)),
        (Some(udp), Some(listener)) => {
            let (udp, listener) = (udp.local_addr()?, listener.local_addr()?);
            return Err(io::Error::other(format!("UDP is handed over at {udp} and TCP at {listener}")));
        }
        (Some(udp), None) => {
            let listener = tcp(udp.local_addr()?)?;
            return Ok((udp, listener));
        }
        (None, Some(listener)) => return Ok((bind_udp(listener.local_addr()?)?, listener)),
        (None, None) => {}
    }
    let mut tries = 0;
    loop {
        let udp = bind_udp(address)?;
        match tcp(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() != 0 || tries == MAX_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_settings::settings;

    fn on_loopback(port: u16) -> Settings {
        let mut set = settings();
        set.https_address = Some("127.0.0.1:0".to_owned());
        set.http_address = Some("127.0.0.1:0".to_owned());
        set.tunnel_address = format!("127.0.0.1:{port}");
        set
    }

    fn open(settings: &Settings, handed: Descriptors) -> Result<Sockets, EdgeError> {
        Sockets::open(settings, handed, &Arc::default())
    }

    #[tokio::test]
    async fn what_is_given_is_taken_over_at_its_own_address() {
        for is_shared in [false, true] {
            let mut set = on_loopback(0);
            set.tunnels_on_https = is_shared;
            let first = open(&set, Descriptors::new()).unwrap();
            let given = first.shared.give().unwrap();
            let mut roles: Vec<_> = given.keys().map(String::as_str).collect();
            roles.sort_unstable();
            let mut expected = vec!["http", "https", "https_udp", "https_udp/packets/0"];
            expected.extend(["tunnel_tcp", "tunnel_udp", "tunnel_udp/packets/0"]);
            expected.retain(|role| is_shared || !role.starts_with("https_udp"));
            assert_eq!(roles, expected);
            let second = open(&set, given).unwrap();
            let all = |sockets: &Sockets| {
                let Addresses { https, http, tunnel } = sockets.addresses;
                (https.unwrap(), http.unwrap(), tunnel)
            };
            assert_eq!(all(&first), all(&second));
            let third = open(&set, second.shared.give().unwrap()).unwrap();
            let mut given: Vec<_> = third.shared.give().unwrap().into_keys().collect();
            given.retain(|role| role.starts_with("tunnel_udp/"));
            given.sort_unstable();
            assert_eq!(given, ["tunnel_udp/packets/0", "tunnel_udp/packets/1", "tunnel_udp/packets/2"]);
        }
    }

    /// Also on sockets that another process made.
    #[tokio::test]
    async fn a_client_that_vanishes_is_noticed() {
        let set = on_loopback(0);
        let mut given = Descriptors::new();
        for role in [HTTPS, HTTP, TUNNEL_TCP] {
            let foreign = StdTcpListener::bind("127.0.0.1:0").unwrap();
            foreign.set_nonblocking(true).unwrap();
            given.insert(role.to_owned(), foreign.into());
        }
        let mut named = set.clone();
        let address = |role: &str| SockRef::from(&given[role]).local_addr().unwrap().as_socket().unwrap().to_string();
        (named.https_address, named.http_address) = (Some(address(HTTPS)), Some(address(HTTP)));
        named.tunnel_address = address(TUNNEL_TCP);
        for sockets in [open(&set, Descriptors::new()).unwrap(), open(&named, given).unwrap()] {
            for listener in [sockets.https.unwrap(), sockets.http.unwrap(), sockets.tunnel_tcp] {
                let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (taken, _) = listener.accept().await.unwrap();
                let taken = SockRef::from(&taken);
                assert!(taken.keepalive().unwrap());
                let times = (taken.tcp_keepalive_time().unwrap(), taken.tcp_keepalive_interval().unwrap());
                assert_eq!(times, (Duration::from_secs(60), Duration::from_secs(15)));
                assert_eq!(taken.tcp_keepalive_retries().unwrap(), 4);
            }
        }
    }

    #[tokio::test]
    async fn what_the_settings_no_longer_name_is_closed_and_what_is_missing_is_bound() {
        let mut set = on_loopback(0);
        let first = open(&set, Descriptors::new()).unwrap();
        let mut given = first.shared.give().unwrap();
        given.retain(|role, _| !role.starts_with("tunnel_udp"));
        let tunnel = first.addresses.tunnel;
        drop(first);
        set.http_address = None;
        let taken = open(&set, given).unwrap();
        assert!(taken.addresses.http.is_none() && taken.http.is_none());
        assert_eq!((taken.addresses.tunnel, taken.tunnel_udp.passed()), (tunnel, Default::default()));
    }

    #[tokio::test]
    async fn a_socket_of_another_kind_or_address_is_refused_by_its_role() {
        let set = on_loopback(0);
        let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
        let listener = || OwnedFd::from(StdTcpListener::bind("127.0.0.1:0").unwrap());
        let (plain, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let cases = [
            ("https", udp(), "not a TCP socket that listens"),
            ("http", file(), "not a TCP socket that listens"),
            ("tunnel_udp", listener(), "not a UDP socket"),
            ("tunnel_udp", plain.into(), "not a UDP socket"),
            ("tunnel_udp/packets/0", udp(), "tunnel_udp/packets/0"),
            ("tunnel_udp/packets/0", file(), "tunnel_udp/packets/0"),
            ("https_udp/packets/x", udp(), "https_udp/packets/x"),
            ("smtp", listener(), "there is no such role"),
        ];
        for (role, socket, said) in cases {
            let error = open(&set, [(role.to_owned(), socket)].into()).err().unwrap();
            assert_eq!(error.code(), "bad_socket", "{role}: {error}");
            assert!(error.to_string().contains(role) && error.to_string().contains(said), "{error}");
        }
        let taken = StdTcpListener::bind("127.0.0.1:0").unwrap();
        let mut elsewhere = on_loopback(1);
        elsewhere.https_address = Some("127.0.0.2:0".to_owned());
        for (role, set) in [("https", &elsewhere), ("tunnel_tcp", &elsewhere)] {
            let socket = OwnedFd::from(taken.try_clone().unwrap());
            let error = open(set, [(role.to_owned(), socket)].into()).err().unwrap().to_string();
            assert!(error.contains(role) && error.contains("bound to 127.0.0.1"), "{error}");
        }
    }
}
