//! The sockets that the edge serves on: it owns them all, and gives each listener what is its own.

use crate::listener;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use tokio::net::TcpListener;

/// Tries to find a port free for both.
const MAX_TRIES: usize = 64;

/// UDP and TCP at the same address; port 0 chooses one free for both.
pub(crate) fn both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind(address)?;
        match listener::bind(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() != 0 || tries == MAX_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}
