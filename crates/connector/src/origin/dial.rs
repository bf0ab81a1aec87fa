//! One new connection to an origin: names resolved, both address families tried, TLS when the rule says so.

use super::{Address, Io, OriginKey};
use crate::OriginError;
use futures_util::future::poll_fn;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long one address may take before the next is tried beside it (RFC 8305 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A new connection that is nobody else's, without TLS.
pub(crate) async fn connect(key: &OriginKey) -> Result<Io, OriginError> {
    dial(key, None).await
}

/// Dials within the key's limits.
pub(super) async fn dial(key: &OriginKey, tls: Option<&Arc<ClientConfig>>) -> Result<Io, OriginError> {
    let address = &key.address;
    let connecting = async {
        match address {
            Address::Tcp(host, port) => connect_tcp(host, *port, key).await.map(Io::Tcp),
            Address::Unix(path) => UnixStream::connect(path).await.map(Io::Unix).map_err(Failure::System),
        }
    };
    let io = match limited(key.connect_timeout, connecting).await {
        Some(Ok(io)) => io,
        Some(Err(Failure::Denied(reason))) => {
            return Err(OriginError::Denied { address: address.to_string(), reason });
        }
        Some(Err(Failure::System(error))) if error.kind() == io::ErrorKind::TimedOut => {
            return Err(timed_out(key, "connect"));
        }
        Some(Err(Failure::System(error))) => {
            return Err(OriginError::Refused { address: address.to_string(), reason: refusal(&error) });
        }
        None => return Err(timed_out(key, "connect")),
    };
    if let Io::Tcp(stream) = &io {
        tune(stream, key.tcp_keep_alive);
    }
    let (Some(identity), Some(config)) = (&key.tls, tls) else { return Ok(io) };
    let failed = |reason: String| OriginError::Tls { address: address.to_string(), reason };
    let name = ServerName::try_from(identity.server_name.clone())
        .map_err(|_| failed(format!("`{}` is not a valid server name", identity.server_name)))?;
    let connector = TlsConnector::from(config.clone());
    let handshake = async {
        match io {
            Io::Tcp(stream) => connector.connect(name, stream).await.map(|s| Io::TlsTcp(Box::new(s))),
            Io::Unix(stream) => connector.connect(name, stream).await.map(|s| Io::TlsUnix(Box::new(s))),
            over @ (Io::TlsTcp(_) | Io::TlsUnix(_)) => Ok(over),
        }
    };
    match limited(key.tls_timeout, handshake).await {
        Some(Ok(io)) => Ok(io),
        Some(Err(error)) => Err(failed(tls_reason(&error))),
        None => Err(timed_out(key, "TLS handshake")),
    }
}

/// Zero is no limit.
async fn limited<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    if limit.is_zero() { Some(work.await) } else { timeout(limit, work).await.ok() }
}

fn timed_out(key: &OriginKey, phase: &'static str) -> OriginError {
    let limit = if phase == "connect" { key.connect_timeout } else { key.tls_timeout };
    OriginError::TimedOut { address: key.address.to_string(), phase, limit }
}

/// As Go words it, since scripts match it: `connect: connection refused`.
fn refusal(error: &io::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let text = match chars.next() {
        Some(first) if chars.as_str().starts_with(char::is_lowercase) => {
            first.to_lowercase().collect::<String>() + chars.as_str()
        }
        _ => text,
    };
    format!("connect: {text}")
}

fn tls_reason(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            format!("tls: failed to verify certificate: x509: {}", x509_reason(reason))
        }
        Some(rustls::Error::InvalidMessage(_)) => "tls: first record does not look like a TLS handshake".into(),
        Some(other) => format!("tls: {other}"),
        None => format!("tls: {error}"),
    }
}

/// As Go words it, too.
fn x509_reason(reason: &CertificateError) -> String {
    match reason {
        // A bad signature is that of another authority of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare_name(name)).collect();
            format!("certificate is valid for {}, not {}", names.join(", "), expected.to_str())
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("certificate has expired or is not yet valid: {reason}")
        }
        other => other.to_string(),
    }
}

/// `DnsName("a.example.com")` without what rustls puts around it.
fn bare_name(name: &str) -> &str {
    name.split_once('(').map_or(name, |(_, rest)| rest).trim_end_matches(')').trim_matches('"')
}

fn tune(stream: &TcpStream, keep_alive: Duration) {
    // Neither is needed for correctness; a socket that refuses them still works.
    let _ = stream.set_nodelay(true);
    if !keep_alive.is_zero() {
        let keepalive = socket2::TcpKeepalive::new().with_time(keep_alive).with_interval(keep_alive);
        let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
}

enum Failure {
    System(io::Error),
    /// What is at the address.
    Denied(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

async fn connect_tcp(host: &str, port: u16, key: &OriginKey) -> Result<TcpStream, Failure> {
    let bounds = key.bounds.as_deref().filter(|bounds| !bounds.allows_name(host, port));
    let resolved: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => tokio::net::lookup_host((host, port))
            .await
            .map_err(|e| io::Error::new(e.kind(), format!("lookup {host}: no such host ({e})")))?
            .collect(),
    };
    let Some(bounds) = bounds else {
        return Ok(first_of(resolved, host, key).await?);
    };
    // These very addresses are dialled: a name that means something else a moment later changes nothing.
    let mut denied = None;
    let reachable = resolved.into_iter().filter(|address| match bounds.denies(address.ip(), address.port()) {
        Some(what) => {
            denied = Some(format!("{}: {what}", address.ip()));
            false
        }
        None => true,
    });
    let reachable: Vec<SocketAddr> = reachable.collect();
    if let (true, Some(reason)) = (reachable.is_empty(), denied) {
        return Err(Failure::Denied(reason));
    }
    let stream = first_of(reachable, host, key).await?;
    match bounds.denies_connected(stream.local_addr()?, stream.peer_addr()?) {
        Some(what) => Err(Failure::Denied(what.to_owned())),
        None => Ok(stream),
    }
}

/// An error of a name says at which addresses it was tried (case 24).
async fn first_of(addresses: Vec<SocketAddr>, host: &str, key: &OriginKey) -> io::Result<TcpStream> {
    let addresses = interleave(addresses);
    let tried = if host.parse::<IpAddr>().is_ok() { String::new() } else { listed(&addresses) };
    race(addresses, key.happy_eyeballs, TcpStream::connect).await.map_err(|error| match tried.as_str() {
        "" => error,
        tried => io::Error::new(error.kind(), format!("{error}; tried {tried}")),
    })
}

fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Families in turn, the first one's first.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return addresses };
    let v6_first = first.is_ipv6();
    let (mut leading, mut other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == v6_first);
    leading.reverse();
    other.reverse();
    let mut mixed = Vec::with_capacity(leading.len() + other.len());
    while !leading.is_empty() || !other.is_empty() {
        mixed.extend(leading.pop());
        mixed.extend(other.pop());
    }
    mixed
}

type Attempt<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// The first address that answers. The next one is tried when one fails, or (with `overlap`) when none has answered for
/// `ATTEMPT_DELAY`.
async fn race<T, F>(addresses: Vec<SocketAddr>, overlap: bool, connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut waiting = addresses.into_iter();
    let mut running: Vec<Attempt<T>> = Vec::new();
    let mut first_error: Option<io::Error> = None;
    let mut delay: Pin<Box<Sleep>> = Box::pin(sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let mut index = 0;
            while index < running.len() {
                match running[index].as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        first_error.get_or_insert(error);
                        drop(running.swap_remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            let due = running.is_empty() || (overlap && delay.as_mut().poll(cx).is_ready());
            if !due {
                return Poll::Pending;
            }
            match waiting.next() {
                Some(address) => {
                    running.push(Box::pin(connect(address)));
                    delay.as_mut().reset(Instant::now() + ATTEMPT_DELAY);
                }
                None if running.is_empty() => {
                    let none = || io::Error::new(io::ErrorKind::NotFound, "no such host");
                    return Poll::Ready(Err(first_error.take().unwrap_or_else(none)));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::OriginBounds;
    use std::sync::Mutex;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let mixed = interleave(addresses(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1", "2.2.2.2:1"]));
        assert_eq!(mixed, addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        assert!(interleave(vec![]).is_empty());
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    }

    #[test]
    fn a_silent_address_is_overtaken_only_with_happy_eyeballs() {
        for (overlap, expected) in [(true, Some(2)), (false, None)] {
            let tried = Mutex::new(Vec::new());
            let winner = runtime().block_on(async {
                let connecting = race(addresses(&["[::1]:1", "1.1.1.1:2"]), overlap, |address| {
                    tried.lock().unwrap().push(address);
                    async move { if address.port() == 1 { std::future::pending().await } else { Ok(address.port()) } }
                });
                timeout(Duration::from_secs(30), connecting).await.ok().map(Result::unwrap)
            });
            assert_eq!(winner, expected);
            assert_eq!(tried.lock().unwrap().len(), if overlap { 2 } else { 1 });
        }
    }

    #[test]
    fn a_refused_address_is_followed_at_once_and_the_first_error_is_told() {
        let outcome: io::Result<u16> =
            runtime().block_on(race(addresses(&["[::1]:1", "1.1.1.1:2"]), false, |a| async move {
                Err(io::Error::other(format!("no {}", a.port())))
            }));
        assert_eq!(outcome.unwrap_err().to_string(), "no 1");
    }

    #[test]
    fn reasons_read_like_the_stock_connectors() {
        let refused = io::Error::from_raw_os_error(111);
        assert!(refusal(&refused).starts_with("connect: connection refused"), "{}", refusal(&refused));
    }

    async fn dialled(host: &str, port: u16, bounds: Option<OriginBounds>) -> Result<(), OriginError> {
        let key = OriginKey {
            address: Address::Tcp(host.into(), port),
            tls: None,
            connect_timeout: Duration::from_secs(10),
            tls_timeout: Duration::ZERO,
            tcp_keep_alive: Duration::ZERO,
            happy_eyeballs: true,
            keep_alive_connections: 1,
            keep_alive_timeout: Duration::ZERO,
            bounds: bounds.map(Arc::new),
        };
        dial(&key, None).await.map(|_| ())
    }

    /// Case 24.
    #[tokio::test]
    async fn a_name_that_refuses_says_which_addresses_were_tried() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let named: Vec<SocketAddr> = tokio::net::lookup_host(("localhost", port)).await.unwrap().collect();
        let open_to_all = OriginBounds::new(&[], &[]).unwrap();
        for bounds in [None, Some(open_to_all)] {
            let text = dialled("localhost", port, bounds).await.unwrap_err().text();
            let told = format!("dial tcp localhost:{port}: connect: connection refused");
            assert!(
                text.contains(&told) && text.ends_with(&format!("; tried {}", listed(&interleave(named.clone())))),
                "{text}"
            );
        }
        let text = dialled("127.0.0.1", port, None).await.unwrap_err().text();
        assert!(!text.contains("tried"), "the address is all that it says already: {text}");
    }

    /// S40: the resolver reads more spellings of an address than anybody would list, so that what it answers is asked.
    #[tokio::test]
    async fn what_is_denied_is_denied_in_every_spelling_that_the_resolver_takes_and_never_dialled() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let here = listener.local_addr().unwrap();
        let bounds = OriginBounds::new(&[], &[here]).unwrap();
        for host in
            ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "::ffff:127.0.0.1"]
        {
            let error = dialled(host, here.port(), Some(bounds.clone())).await.unwrap_err();
            assert_eq!(error.code(), "origin_denied", "{host}: {error}");
            assert!(error.text().contains("the connector denies this address"), "{error}");
        }
        for host in
            ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "fd00:ec2::254"]
        {
            let error = dialled(host, 80, Some(OriginBounds::default())).await.unwrap_err();
            assert_eq!(error.code(), "origin_denied", "{host}: {error}");
        }
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nothing was dialled");
        let listed = OriginBounds::new(&["localhost".into()], &[here]).unwrap();
        dialled("localhost", here.port(), Some(listed)).await.unwrap();
        dialled("127.0.0.1", here.port(), None).await.unwrap();
    }
}
