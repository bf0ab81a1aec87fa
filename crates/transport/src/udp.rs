//! UDP sockets of tunnels. To the listener's, what comes from where an honest peer never sends from gets no answer of any kind: no Retry, no
//! Version Negotiation, no stateless reset (S26). `quinn` answers some of it before anybody is asked.

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use socket2::SockRef;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Source ports of services that answer anything: never a connector.
const REFLECTORS: [u16; 9] = [0, 19, 53, 123, 161, 389, 1900, 5353, 11211];

/// Bytes that may lie in the socket, each way: a thread that comes 50 ms late at 80 MB/s.
pub(crate) const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Bytes of the largest QUIC packet: `quinn` gives the kernel ten at once, and the kernel takes one datagram's payload at once.
pub(crate) const LARGEST: u16 = 65_507 / 10;

/// Asks for room for QUIC, at either end. The kernel may grant less; nothing depends on it.
pub(crate) fn widen(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
}

/// By how many of the largest packets `quinn` measures the room for what the kernel gives at once. That is one datagram's payload at
/// most, however many packets it holds: 64, as the socket says, would be six times as much.
pub(crate) fn receive_segments(socket: &dyn AsyncUdpSocket) -> usize {
    socket.max_receive_segments().min(usize::from(u16::MAX).div_ceil(usize::from(LARGEST)))
}

/// Where to dial `peer` from, so that the system chooses the port.
pub(crate) fn local_address(peer: SocketAddr, bind: Option<IpAddr>) -> SocketAddr {
    let any = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(bind.unwrap_or(any), 0)
}

/// Ready when the host says that nothing listens on the port (ICMP port unreachable), else never. Only a connected socket hears
/// of it, and a connection's own must not be one, or it would not outlive a change of the network. It sends one datagram, and
/// that an empty one; nobody can answer it who doesn't see it.
pub(crate) async fn closed_port(peer: SocketAddr, bind: Option<IpAddr>) {
    let asked = async {
        let socket = tokio::net::UdpSocket::bind(local_address(peer, bind)).await?;
        socket.connect(peer).await?;
        socket.send(&[]).await?;
        socket.recv(&mut [0; 1]).await
    };
    match asked.await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => std::future::pending().await,
    }
}

/// Whether datagrams from here, or to there, are not even looked at.
fn is_suspect(from: SocketAddr, to: Option<IpAddr>) -> bool {
    let is_one_host = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) => !v4.is_multicast() && v4 != Ipv4Addr::BROADCAST && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unspecified(),
    };
    REFLECTORS.contains(&from.port()) || !is_one_host(from.ip()) || to.is_some_and(|to| !is_one_host(to))
}

/// A socket that hides suspect datagrams from `quinn`.
#[derive(Debug)]
struct Guarded(Arc<dyn AsyncUdpSocket>);

/// Wraps a bound socket and widens it. Must be called inside the tokio runtime.
pub(crate) fn guarded(socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    widen(&socket);
    Ok(Arc::new(Guarded(TokioRuntime.wrap_udp_socket(socket)?)))
}

impl AsyncUdpSocket for Guarded {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.0.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.0.poll_recv(cx, bufs, meta))?;
        for received in meta.iter_mut().take(count) {
            if is_suspect(received.addr, received.dst_ip) {
                // An empty buffer holds no datagram.
                received.len = 0;
            }
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        receive_segments(&*self.0)
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_room_for_all_that_the_kernel_gives_at_once_and_for_little_more() {
        let socket = guarded(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let room = socket.max_receive_segments() * usize::from(LARGEST);
        assert!(socket.max_receive_segments() == 1 || (65_535..80_000).contains(&room), "{room}");
    }

    #[test]
    fn only_what_one_host_sends_to_one_host_from_an_ordinary_port_is_looked_at() {
        let suspect = |from: &str, to: &str| is_suspect(from.parse().unwrap(), Some(to.parse().unwrap()));
        assert!(!suspect("192.0.2.1:40000", "192.0.2.9") && !suspect("[2001:db8::1]:443", "2001:db8::9"));
        for port in REFLECTORS {
            assert!(suspect(&format!("192.0.2.1:{port}"), "192.0.2.9"));
        }
        assert!(suspect("192.0.2.1:40000", "255.255.255.255") && suspect("192.0.2.1:40000", "224.0.0.1"));
        assert!(suspect("[2001:db8::1]:40000", "ff02::1") && suspect("255.255.255.255:40000", "192.0.2.9"));
        assert!(suspect("0.0.0.0:40000", "192.0.2.9") && suspect("[::ffff:224.0.0.1]:40000", "::1"));
        assert!(!is_suspect("192.0.2.1:40000".parse().unwrap(), None));
    }
}
