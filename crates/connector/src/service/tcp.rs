//! TCP over a WebSocket: `tcp://`, `ssh://` and every other scheme, `bastion` and `socks-proxy`, and streams that an edge itself opens
//! to an address (private networks).

use super::call::{Call, End, Responder};
use super::carry::{FromClient, Patience, ToClient, carry};
use super::socks::{self, Host, Policy, Reply, Target};
use super::status;
use crate::errors::{OriginError, TableError};
use crate::origin::{self, Address, Io, OriginBounds, OriginKey};
use crate::settings::{OriginSettings, WarpRouting, split_host_port};
use bytes::BytesMut;
use futures_util::future::{Either, select};
use qanat_boundary::{Counter, Histogram};
use qanat_http::{BodyLength, Frame, Headers, ResponseHead, Sink, Source, websocket_accept};
use qanat_transport::AnsweredBy;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Where a bastion's client wants to go.
const JUMP_DESTINATION: &str = "cf-access-jump-destination";
/// To who comes with plain HTTP.
const NO_WEBSOCKET: &str =
    "TCP over a WebSocket is expected here: connect with `qanat access tcp` or `cloudflared access tcp`.\n";
/// For a SOCKS client to say where to.
const NEGOTIATION: Duration = Duration::from_secs(30);

/// What is counted of dials to origins of bytes.
pub(crate) struct Dials<'a> {
    pub(crate) latency_ms: &'a Histogram,
    pub(crate) failed: &'a Counter,
}

impl Dials<'_> {
    /// Connects, unless nobody waits for it any more.
    async fn dial<B, R: Responder>(&self, key: &OriginKey, call: &mut Call<B, R>) -> Result<Io, End> {
        let begun = Instant::now();
        if let Some(responder) = &mut call.responder {
            responder.asking();
        }
        match unless_canceled(call, origin::connect(key)).await {
            Some(Ok(io)) => {
                self.latency_ms.observe(begun.elapsed().as_secs_f64() * 1000.0);
                Ok(io)
            }
            Some(Err(error)) => {
                self.failed.add(1);
                Err(End::Failed(error))
            }
            None => Err(End::Canceled),
        }
    }
}

/// Where a service's bytes go.
enum Destination {
    /// As the rule says.
    Fixed,
    /// As the client says in a field.
    Bastion,
    /// As the client says in SOCKS.
    Socks(Policy),
}

/// A rule's TCP service.
pub(crate) struct TcpService {
    destination: Destination,
    /// How to dial; the address is the fixed destination's.
    key: OriginKey,
    /// SOCKS is spoken first, though the destination is known (`proxyType: socks`).
    speaks_socks: bool,
}

/// Reads `host:port`.
pub(super) fn parse_target(target: &str) -> Result<Address, String> {
    let (host, port) = split_host_port(target).ok_or_else(|| format!("`{target}` is not host:port"))?;
    let host =
        if host.is_ascii() { host.to_owned() } else { idna::domain_to_ascii(host).map_err(|e| e.to_string())? };
    Ok(Address::Tcp(host, port))
}

fn dialling(
    address: Address,
    (connect_timeout, tcp_keep_alive): (Duration, Duration),
    happy_eyeballs: bool,
    bounds: Option<&Arc<OriginBounds>>,
) -> OriginKey {
    OriginKey {
        address,
        tls: None,
        connect_timeout,
        tls_timeout: Duration::ZERO,
        tcp_keep_alive,
        happy_eyeballs,
        keep_alive_connections: 0,
        keep_alive_timeout: Duration::ZERO,
        bounds: bounds.cloned(),
    }
}

impl TcpService {
    fn new(
        destination: Destination,
        address: Address,
        settings: &OriginSettings,
        bounds: Option<&Arc<OriginBounds>>,
    ) -> Self {
        let times = (settings.connect_timeout, settings.tcp_keep_alive);
        let key = dialling(address, times, !settings.no_happy_eyeballs, bounds);
        Self { destination, key, speaks_socks: settings.socks }
    }

    pub(super) fn fixed(address: Address, settings: &OriginSettings, bounds: Option<&Arc<OriginBounds>>) -> Self {
        Self::new(Destination::Fixed, address, settings, bounds)
    }

    /// `bounds`: of what clients choose.
    pub(super) fn bastion(settings: &OriginSettings, bounds: Option<&Arc<OriginBounds>>) -> Self {
        Self::new(Destination::Bastion, Address::Tcp(String::new(), 0), settings, bounds)
    }

    /// The same.
    pub(super) fn socks(
        index: usize,
        settings: &OriginSettings,
        bounds: Option<&Arc<OriginBounds>>,
    ) -> Result<Self, TableError> {
        let bad = |reason: String| TableError::Origin { rule: index, key: "ipRules", reason };
        let policy = Policy::new(&settings.ip_rules).map_err(bad)?;
        Ok(Self::new(Destination::Socks(policy), Address::Tcp(String::new(), 0), settings, bounds))
    }

    pub(super) async fn serve<B: Source + Unpin, R: Responder>(&self, dials: &Dials<'_>, call: &mut Call<B, R>) -> End {
        if !call.head.websocket {
            return status::refuse(400, NO_WEBSOCKET, call).await;
        }
        let key = match &self.destination {
            Destination::Fixed => Some(self.key.clone()),
            Destination::Socks(_) => None,
            Destination::Bastion => match bastion_destination(&call.head.headers) {
                Ok(address) => Some(OriginKey { address, ..self.key.clone() }),
                Err(reason) => return End::Failed(OriginError::BadDestination(reason)),
            },
        };
        let io = match key {
            Some(key) => match dials.dial(&key, call).await {
                Ok(io) => Some(io),
                Err(end) => return end,
            },
            None => None,
        };
        let mut headers = Headers::with_capacity(3);
        if let Some(key) = call.head.headers.get("sec-websocket-key") {
            headers.push("Upgrade", "websocket");
            headers.push("Connection", "Upgrade");
            headers.push("Sec-WebSocket-Accept", websocket_accept(key));
        }
        let Call { body, responder, upload, download, .. } = call;
        let Some(responder) = responder.take() else { return End::Canceled };
        let head = ResponseHead { status: 101, headers };
        let Ok(sink) = responder.respond(head, BodyLength::Opaque, AnsweredBy::Origin) else { return End::Canceled };
        let (mut from, mut to) = (FromClient::framed(body), ToClient::framed(sink));
        let io = match (io, &self.destination) {
            (Some(io), _) if !self.speaks_socks => io,
            (io, destination) => {
                let negotiated = timeout(NEGOTIATION, self.negotiate(io, destination, &mut from, &mut to)).await;
                match negotiated.unwrap_or(Err("the client said nothing".into())) {
                    Ok(io) => io,
                    Err(reason) => {
                        from.stop();
                        let _ = poll_fn(|cx| to.poll_finish(cx, &mut None)).await;
                        return End::Broken { status: 101, reason: format!("SOCKS: {reason}") };
                    }
                }
            }
        };
        let carried = carry(io, from, to, (upload, download), Patience::USUAL).await;
        carried.map_or_else(|end| end, |()| End::Answered(101))
    }

    /// Lets the client say where to in SOCKS. With `io` that was decided before: the client's destination is of no account then.
    async fn negotiate<B: Source, K: Sink>(
        &self,
        io: Option<Io>,
        destination: &Destination,
        from: &mut FromClient<'_, B>,
        to: &mut ToClient<K>,
    ) -> Result<Io, String> {
        // The 101 goes before the client says anything.
        let _ = poll_fn(|cx| to.poll_flush(cx)).await;
        let mut buffer = BytesMut::new();
        let can_enter = read(from, &mut buffer, socks::read_greeting).await?;
        if !can_enter {
            say(to, socks::NO_WAY.to_vec()).await;
            return Err("the client wants to authenticate, which is not asked for here".into());
        }
        say(to, socks::WELCOME.to_vec()).await;
        let Some(target) = read(from, &mut buffer, socks::read_request).await? else {
            say(to, socks::reply(Reply::NoSuchCommand, None)).await;
            return Err("a command other than CONNECT".into());
        };
        from.unread(buffer.freeze());
        let dialled = match (io, destination) {
            (Some(io), _) => Ok(io),
            (None, Destination::Socks(policy)) => self.dial_allowed(policy, &target).await,
            (None, _) => return Err("there is no policy".into()),
        };
        match dialled {
            Ok(io) => {
                say(to, socks::reply(Reply::Connected, io.local_address())).await;
                Ok(io)
            }
            Err((answer, reason)) => {
                say(to, socks::reply(answer, None)).await;
                Err(reason)
            }
        }
    }

    async fn dial_allowed(&self, policy: &Policy, target: &Target) -> Result<Io, (Reply, String)> {
        let port = target.port;
        let (address, name) = match &target.host {
            Host::Address(address) => (*address, None),
            Host::Name(name) => {
                let found = tokio::net::lookup_host((name.as_str(), port)).await;
                let mut found: Vec<IpAddr> = found.map(|all| all.map(|one| one.ip()).collect()).unwrap_or_default();
                found.sort_by_key(IpAddr::is_ipv6);
                let first = found.first().ok_or((Reply::Denied, format!("{name} has no address")))?;
                (*first, Some(name))
            }
        };
        let address = address.to_canonical();
        if !policy.allows(address, port) {
            let denied = format!("{} is not allowed by ipRules", SocketAddr::new(address, port));
            return Err((Reply::Denied, denied));
        }
        let bounds = self.key.bounds.as_ref();
        let is_listed = bounds.zip(name).is_some_and(|(bounds, name)| bounds.allows_name(name, port));
        let key = OriginKey {
            address: Address::Tcp(address.to_string(), port),
            bounds: bounds.filter(|_| !is_listed).cloned(),
            ..self.key.clone()
        };
        origin::connect(&key).await.map_err(|error| {
            let reply = match &error {
                OriginError::Denied { .. } => Reply::Denied,
                OriginError::Refused { reason, .. } if reason.contains("refused") => Reply::Refused,
                OriginError::Refused { reason, .. } if reason.contains("etwork is unreachable") => {
                    Reply::NetworkUnreachable
                }
                _ => Reply::HostUnreachable,
            };
            (reply, error.to_string())
        })
    }
}

/// Reads on until there is what `parse` wants.
async fn read<B: Source, T>(
    from: &mut FromClient<'_, B>,
    buffer: &mut BytesMut,
    parse: impl Fn(&[u8]) -> Result<Option<(usize, T)>, &'static str>,
) -> Result<T, String> {
    loop {
        if let Some((taken, found)) = parse(buffer)? {
            let _ = buffer.split_to(taken);
            return Ok(found);
        }
        match poll_fn(|cx| from.poll_frame(cx)).await {
            Some(Ok(Frame::Data(data))) => buffer.extend_from_slice(&data),
            Some(Ok(Frame::Trailers(_))) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the client left".into()),
        }
    }
}

/// A client that is gone is noticed by who reads from it.
async fn say<K: Sink>(to: &mut ToClient<K>, bytes: Vec<u8>) {
    if poll_fn(|cx| to.poll_ready(cx)).await.is_ok() {
        to.send(bytes.into());
        let _ = poll_fn(|cx| to.poll_flush(cx)).await;
    }
}

/// The destination as the stock connector reads it: a scheme and a path are left out.
fn bastion_destination(headers: &Headers) -> Result<Address, String> {
    let value = headers.get(JUMP_DESTINATION).filter(|value| !value.is_empty()).ok_or(
        "Did not receive final destination from client. The --destination flag is likely not set on the client side",
    )?;
    let text = String::from_utf8_lossy(value);
    let bare = text.split_once("://").map_or(&*text, |(_, rest)| rest);
    let bare = bare.split(['/', '?', '#']).next().unwrap_or_default();
    let bare = bare.rsplit_once('@').map_or(bare, |(_, host)| host);
    parse_target(bare).map_err(|_| format!("the destination `{bare}` is not host:port"))
}

/// `None`: nobody waits for it any more.
async fn unless_canceled<B, R: Responder, T>(call: &mut Call<B, R>, work: impl Future<Output = T>) -> Option<T> {
    let (_, mut asked) = call.split();
    let canceled = poll_fn(|cx| asked.poll_canceled(cx));
    match select(pin!(work), canceled).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

/// Streams to addresses that the edge names, at most so many at once.
pub(crate) struct PrivateStreams {
    settings: WarpRouting,
    bounds: Option<Arc<OriginBounds>>,
}

/// Counts a stream while it is open.
struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl PrivateStreams {
    pub(crate) fn new(settings: WarpRouting, bounds: Option<Arc<OriginBounds>>) -> Self {
        Self { settings, bounds }
    }

    /// `open`: how many there are, whatever table they began with.
    pub(crate) async fn serve<B: Source + Unpin, R: Responder>(
        &self,
        open: &AtomicU64,
        dials: &Dials<'_>,
        call: &mut Call<B, R>,
    ) -> End {
        let before = open.fetch_add(1, Relaxed);
        let _open = Open(open);
        if self.settings.max_active_flows > 0 && before >= self.settings.max_active_flows {
            return End::Failed(OriginError::TooManyFlows(self.settings.max_active_flows));
        }
        let text = String::from_utf8_lossy(&call.head.authority).into_owned();
        // An address and nothing else, as with the stock connector: names are not the edge's to choose.
        let Ok(address) = text.parse::<SocketAddr>() else {
            return End::Failed(OriginError::BadDestination(format!("the destination `{text}` is not ip:port")));
        };
        let address = Address::Tcp(address.ip().to_string(), address.port());
        let times = (self.settings.connect_timeout, self.settings.tcp_keep_alive);
        let key = dialling(address, times, true, self.bounds.as_ref());
        let io = match dials.dial(&key, call).await {
            Ok(io) => io,
            Err(end) => return end,
        };
        let Call { body, responder, upload, download, .. } = call;
        let Some(responder) = responder.take() else { return End::Canceled };
        let Ok(sink) = responder.connected() else { return End::Canceled };
        let carried =
            carry(io, FromClient::bare(body), ToClient::bare(sink), (upload, download), Patience::USUAL).await;
        carried.map_or_else(|end| end, |()| End::Told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(value: &'static str) -> Result<Address, String> {
        let mut headers = Headers::new();
        headers.push("Cf-Access-Jump-Destination", value);
        bastion_destination(&headers)
    }

    #[test]
    fn a_bastions_destination_is_read_as_stock_reads_it() {
        for (value, host, port) in [
            ("10.0.0.5:22", "10.0.0.5", 22),
            ("ssh://10.0.0.5:22/x", "10.0.0.5", 22),
            ("host.internal:5432/db", "host.internal", 5432),
            ("tcp://user@[::1]:1", "::1", 1),
        ] {
            assert_eq!(destination(value), Ok(Address::Tcp(host.into(), port)), "{value}");
        }
        assert!(destination("10.0.0.5").unwrap_err().contains("not host:port"));
        assert!(bastion_destination(&Headers::new()).unwrap_err().contains("--destination"));
    }
}
