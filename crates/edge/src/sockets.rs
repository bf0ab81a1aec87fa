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
    /// Visitors by TLS.
    pub(crate) https: Option<TcpListener>,
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
        let public = |field, address: &Option<String>| match address {
            None => Ok((None, None)),
            Some(text) => {
                let (socket, bound) = bound(field, text, |address| {
                    let socket = tcp(address)?;
                    let bound = socket.local_addr()?;
                    Ok((socket, bound))
                })?;
                Ok((Some(socket), Some(bound)))
            }
        };
        let (https, https_address) = public("https_address", &settings.https_address)?;
        let (http, http_address) = public("http_address", &settings.http_address)?;
        let (tunnel_udp, tunnel_tcp, tunnel) = bound("tunnel_address", &settings.tunnel_address, |address| {
            let (udp, tcp) = both(address)?;
            let bound = udp.local_addr()?;
            Ok((udp, tcp, bound))
        })?;
        let addresses = Addresses { https: https_address, http: http_address, tunnel };
        Ok(Self { https, http, tunnel_udp, tunnel_tcp, addresses })
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
        let udp = UdpSocket::bind(address)?;
        match tcp(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() != 0 || tries == MAX_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}
