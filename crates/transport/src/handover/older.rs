//! The way to a process that this one took over from.

use super::generation::{Generation, HELLO};
use super::{ids, message};
use quinn::udp::RecvMeta;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use uuid::Uuid;

/// Bytes of packets that may wait for an older process. The kernel may grant less.
const BUFFER: usize = 4 * 1024 * 1024;

/// What became of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// Too many wait already.
    Dropped,
    /// The process has ended.
    Gone,
}

/// One older process that still holds connections.
pub struct Older {
    generation: Generation,
    socket: UnixDatagram,
    is_gone: AtomicBool,
}

impl Older {
    /// From the socket that it gave, or one that took over from it.
    pub fn open(given: OwnedFd) -> io::Result<Self> {
        let mut hello = [0; HELLO + 1];
        // It stays there, for whoever gets the socket next.
        let (count, _) = recv(&given, &mut hello, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
        let generation = Generation::read(&hello[..count]);
        let generation = generation.ok_or_else(|| io::Error::other("no edge introduces itself on it"))?;
        let _ = SockRef::from(&given).set_send_buffer_size(BUFFER);
        let socket = UnixDatagram::from(given);
        socket.set_nonblocking(true)?;
        Ok(Self { generation, socket, is_gone: AtomicBool::new(false) })
    }

    /// Which process it is.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// Whether it holds the connection that a packet is for.
    pub(super) fn owns(&self, packet: &[u8]) -> bool {
        !self.is_gone() && ids::destination(packet).is_some_and(|id| ids::is_of(&self.generation, id))
    }

    /// Passes packets on. `scratch`: for the message.
    pub(super) fn pass(&self, scratch: &mut Vec<u8>, meta: &RecvMeta, packets: &[u8]) -> Sent {
        message::write_packets(scratch, meta, packets);
        self.send(scratch)
    }

    /// Tells it that a connection of a connector has registered here.
    pub(super) fn tell_registered(&self, connector_id: Uuid, index: u8) {
        self.send(&message::registered(connector_id, index));
    }

    fn send(&self, message: &[u8]) -> Sent {
        match self.socket.send(message) {
            Ok(_) => Sent::Yes,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory) => {
                Sent::Dropped
            }
            // No buffers, or a message longer than the buffer.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => Sent::Dropped,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => Sent::Dropped,
            Err(_) => {
                self.is_gone.store(true, Ordering::Relaxed);
                Sent::Gone
            }
        }
    }

    /// For a process that takes over from this one.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }
}
