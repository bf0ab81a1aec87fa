//! The sockets that the edge serves on: it binds them all, and gives each listener what is its own.

use crate::error::EdgeError;
use crate::settings::{Addresses, Settings, resolve};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use tokio::net::{TcpListener, TcpSocket};

const BACKLOG: u32 = 4096;
/// Tries to find a port free for both.
const MAX_TRIES: usize = 64;

/// Bound, and where.
pub(crate) struct Sockets {
    /// Visitors by TLS, and connectors by HTTP/2 where they may come by the same port …
    pub(crate) https: Option<TcpListener>,
    /// … and by QUIC. HTTP/3, when there is one, shares it.
    pub(crate) https_udp: Option<UdpSocket>,
    /// Visitors without.
    pub(crate) http: Option<TcpListener>,
    /// Connectors by QUIC …
    pub(crate) tunnel_udp: UdpSocket,
    /// … and by HTTP/2.
    pub(crate) tunnel_tcp: TcpListener,
    pub(crate) addresses: Addresses,
}

impl Sockets {
    /// Binds what the settings name. Must be called inside the tokio runtime.
    pub(crate) fn bind(settings: &Settings) -> Result<Self, EdgeError> {
        let alone = |field, text: &String| {
            bound(field, text, |address| {
                let socket = tcp(address)?;
                let bound = socket.local_addr()?;
                Ok((socket, bound))
            })
        };
        let (https, https_udp, https_address) = match &settings.https_address {
            None => (None, None, None),
            Some(text) if settings.tunnels_on_https => {
                let (udp, tcp) = bound("https_address", text, both)?;
                let bound = tcp.local_addr().ok();
                (Some(tcp), Some(udp), bound)
            }
            Some(text) => {
                let (tcp, bound) = alone("https_address", text)?;
                (Some(tcp), None, Some(bound))
            }
        };
        let (http, http_address) = match &settings.http_address {
            None => (None, None),
            Some(text) => alone("http_address", text).map(|(socket, bound)| (Some(socket), Some(bound)))?,
        };
        let (tunnel_udp, tunnel_tcp, tunnel) = bound("tunnel_address", &settings.tunnel_address, |address| {
            let (udp, tcp) = both(address)?;
            let bound = udp.local_addr()?;
            Ok((udp, tcp, bound))
        })?;
        let addresses = Addresses { https: https_address, http: http_address, tunnel };
        Ok(Self { https, https_udp, http, tunnel_udp, tunnel_tcp, addresses })
    }
}

/// What `bind` makes of the address that a setting names.
fn bound<T>(field: &'static str, text: &str, bind: impl FnOnce(SocketAddr) -> io::Result<T>) -> Result<T, EdgeError> {
    bind(resolve(field, text)?)
        .map_err(|error| EdgeError::BindFailed { address: text.to_owned(), reason: error.to_string() })
}

/// A TCP socket that listens.
fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// UDP and TCP at the same address; port 0 chooses one free for both.
fn both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind(address).map_err(|error| io::Error::new(error.kind(), format!("UDP: {error}")))?;
        match tcp(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() != 0 || tries == MAX_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}
