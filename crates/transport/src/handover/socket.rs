//! A UDP socket of the edge that processes share: the newest reads it and sorts out what is for older ones; one that let go of it reads
//! what it is passed instead. All of them send on it.

use super::elsewhere::Elsewhere;
use super::generation::Generation;
use super::message::{self, Message};
use super::older::{Older, Sent};
use crate::udp;
use futures_util::task::AtomicWaker;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use socket2::SockRef;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as StdUnixDatagram;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::net::UnixDatagram;
use uuid::Uuid;

/// More processes than this are never handed on: the oldest are left to their time-outs.
const MAX_OLDER: usize = 8;

/// What a process gets that takes over a socket.
pub struct Given {
    /// The socket itself.
    pub socket: OwnedFd,
    /// Where packets of each older process go, by its generation's number.
    pub packets: Vec<(u8, OwnedFd)>,
}

/// Totals since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Packets passed on to older processes.
    pub out: u64,
    /// Packets that could not be: too many waited.
    pub dropped: u64,
    /// Packets taken of newer processes.
    pub taken: u64,
}

#[derive(Default)]
struct Totals {
    out: AtomicU64,
    dropped: AtomicU64,
    taken: AtomicU64,
}

/// A UDP socket that processes of one edge may share. Cheap to clone.
#[derive(Clone)]
pub struct TunnelUdp(Arc<Shared>);

struct Shared {
    generation: Generation,
    /// Read by nobody: what is given are duplicates of it.
    own: UdpSocket,
    socket: Arc<dyn AsyncUdpSocket>,
    older: Vec<Older>,
    /// Where packets come from once this process lets go; made when the socket was last given.
    heir: Mutex<Option<StdUnixDatagram>>,
    /// It has let go: what is read is passed on by another process.
    has_let_go: AtomicBool,
    passed: Mutex<Option<Arc<UnixDatagram>>>,
    reader: AtomicWaker,
    scratch: Mutex<Vec<u8>>,
    elsewhere: Arc<Elsewhere>,
    totals: Totals,
}

impl TunnelUdp {
    /// Shares a bound socket with `older` processes. Must be called inside the tokio runtime.
    pub fn new(
        socket: UdpSocket,
        generation: Generation,
        older: Vec<Older>,
        elsewhere: Arc<Elsewhere>,
    ) -> io::Result<Self> {
        let own = socket.try_clone()?;
        Ok(Self(Arc::new(Shared {
            generation,
            own,
            socket: udp::guarded(socket)?,
            older,
            heir: Mutex::default(),
            has_let_go: AtomicBool::new(false),
            passed: Mutex::default(),
            reader: AtomicWaker::new(),
            scratch: Mutex::default(),
            elsewhere,
            totals: Totals::default(),
        })))
    }

    /// A bound socket that was nobody's before.
    pub fn alone(socket: UdpSocket) -> io::Result<Self> {
        Self::new(socket, Generation::first(), Vec::new(), Arc::default())
    }

    /// Which process reads by it.
    pub(crate) fn generation(&self) -> &Generation {
        &self.0.generation
    }

    pub(crate) fn socket(&self) -> Arc<dyn AsyncUdpSocket> {
        self.0.clone()
    }

    /// For a process that is to take over. What was given before and not taken is void.
    pub fn give(&self) -> io::Result<Given> {
        let shared = &self.0;
        let (ours, theirs) = pair()?;
        ours.send(&shared.generation.hello())?;
        let mut packets = vec![(shared.generation.number(), theirs)];
        // The newest come last.
        for older in shared.older.iter().rev().filter(|older| !older.is_gone()).take(MAX_OLDER) {
            packets.push((older.generation().number(), older.duplicate()?));
        }
        *shared.heir.lock().unwrap_or_else(PoisonError::into_inner) = Some(ours);
        Ok(Given { socket: shared.own.try_clone()?.into(), packets })
    }

    /// Reads no more, but what the process passes that took over. Nothing happens where the socket was not given. Must be called
    /// inside the tokio runtime.
    pub fn let_go(&self) -> io::Result<()> {
        let shared = &self.0;
        if let Some(heir) = shared.heir.lock().unwrap_or_else(PoisonError::into_inner).take() {
            *shared.passed() = Some(Arc::new(UnixDatagram::from_std(heir)?));
            shared.has_let_go.store(true, Ordering::Release);
            shared.reader.wake();
        }
        Ok(())
    }

    /// Tells older processes that a connection of a connector has registered here.
    pub fn tell_registered(&self, connector_id: Uuid, index: u8) {
        for older in self.0.older.iter().filter(|older| !older.is_gone()) {
            older.tell_registered(connector_id, index);
        }
    }

    /// Totals since start.
    pub fn passed(&self) -> Passed {
        let Totals { out, dropped, taken } = &self.0.totals;
        let [out, dropped, taken] = [out, dropped, taken].map(|total| total.load(Ordering::Relaxed));
        Passed { out, dropped, taken }
    }
}

/// Our end, and that of the process to come. Whoever holds the last of its duplicates ends it.
fn pair() -> io::Result<(StdUnixDatagram, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let _ = SockRef::from(&ours).set_recv_buffer_size(udp::SOCKET_BUFFER);
    Ok((ours.into(), theirs))
}

/// How many packets of `stride` bytes these are.
fn count(bytes: usize, stride: usize) -> u64 {
    bytes.div_ceil(stride.max(1)) as u64
}

impl Shared {
    fn passed(&self) -> MutexGuard<'_, Option<Arc<UnixDatagram>>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody passes anything on.
    fn alone(&self) {
        *self.passed() = None;
        self.has_let_go.store(false, Ordering::Release);
    }

    /// Passes on what is for older processes; what stays is moved together.
    fn sort_out(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let stride = meta.stride.max(1);
        let owner = |from: usize, buffer: &[u8]| {
            let packet = &buffer[from..(from + stride).min(meta.len)];
            self.older.iter().position(|older| older.owns(packet))
        };
        let (mut at, mut kept) = (0, 0);
        while at < meta.len {
            let whose = owner(at, buffer);
            let mut end = (at + stride).min(meta.len);
            while end < meta.len && owner(end, buffer) == whose {
                end = (end + stride).min(meta.len);
            }
            if !whose.is_some_and(|whose| self.pass(&self.older[whose], meta, &buffer[at..end])) {
                buffer.copy_within(at..end, kept);
                kept += end - at;
            }
            at = end;
        }
        meta.len = kept;
    }

    /// Whether that is done with: what is for a process that is gone is ours to answer.
    fn pass(&self, older: &Older, meta: &RecvMeta, packets: &[u8]) -> bool {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = older.pass(&mut scratch, meta, packets);
        let total = match sent {
            Sent::Yes => &self.totals.out,
            Sent::Dropped => &self.totals.dropped,
            Sent::Gone => return false,
        };
        total.fetch_add(count(packets.len(), meta.stride), Ordering::Relaxed);
        true
    }

    fn poll_passed(
        &self,
        passed: &UnixDatagram,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        scratch.resize(message::MAX, 0);
        loop {
            ready!(passed.poll_recv_ready(cx))?;
            let mut filled = 0;
            while filled < buffers.len().min(meta.len()) {
                let message = match passed.try_recv(&mut scratch) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Its end, or a broken one.
                    Ok(0) | Err(_) => {
                        self.alone();
                        return Poll::Ready(Ok(filled));
                    }
                    Ok(length) => message::read(&scratch[..length]),
                };
                match message {
                    Some(Message::Packets(of, packets)) if packets.len() <= buffers[filled].len() => {
                        buffers[filled][..packets.len()].copy_from_slice(packets);
                        self.totals.taken.fetch_add(count(packets.len(), of.stride), Ordering::Relaxed);
                        meta[filled] = of;
                        filled += 1;
                    }
                    Some(Message::Registered(connector_id, index)) => self.elsewhere.note(connector_id, index),
                    _ => {}
                }
            }
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of generation {}", self.socket, self.generation.number())
    }
}

impl AsyncUdpSocket for Shared {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.reader.register(cx.waker());
        if self.has_let_go.load(Ordering::Acquire) {
            let passed = self.passed().clone();
            if let Some(passed) = passed {
                return self.poll_passed(&passed, cx, buffers, meta);
            }
        }
        let count = ready!(self.socket.poll_recv(cx, buffers, meta))?;
        if !self.older.is_empty() {
            for (buffer, meta) in buffers.iter_mut().zip(meta.iter_mut()).take(count) {
                self.sort_out(buffer, meta);
            }
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::{Ids, LENGTH};
    use super::*;
    use crate::handover::Generation;
    use quinn_proto::ConnectionIdGenerator;
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::time::timeout;

    fn first() -> TunnelUdp {
        TunnelUdp::alone(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap()
    }

    /// What has taken over, and reads.
    fn heir(of: &TunnelUdp) -> TunnelUdp {
        let Given { socket, packets } = of.give().unwrap();
        let older: Vec<_> = packets.into_iter().map(|(_, way)| Older::open(way).unwrap()).collect();
        let newest = Generation::newest(older.iter().map(Older::generation)).unwrap();
        let (next, elsewhere) = (newest.next(), Arc::default());
        let heir = TunnelUdp::new(socket.into(), next, older, elsewhere).unwrap();
        of.let_go().unwrap();
        heir
    }

    /// A packet of the short form.
    fn short(of: &TunnelUdp, text: &[u8]) -> Vec<u8> {
        [&[0x40], &Ids(of.generation().clone()).generate_cid()[..], text].concat()
    }

    fn long(id: &[u8], text: &[u8]) -> Vec<u8> {
        [&[0xc3, 0, 0, 0, 1, id.len() as u8][..], id, text].concat()
    }

    async fn next(udp: &TunnelUdp) -> (RecvMeta, Vec<u8>) {
        let mut buffer = vec![0; 70_000];
        loop {
            let mut meta = [RecvMeta::default()];
            let receive = poll_fn(|cx| udp.0.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
            let count = timeout(Duration::from_secs(10), receive).await.expect("nothing came").unwrap();
            if count > 0 && meta[0].len > 0 {
                return (meta[0], buffer[..meta[0].len].to_vec());
            }
        }
    }

    #[tokio::test]
    async fn each_packet_reaches_the_process_that_its_id_names() {
        let old = first();
        let (address, client) = (old.socket().local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let middle = heir(&old);
        let new = heir(&middle);
        let numbers = [&old, &middle, &new].map(|udp| udp.generation().number());
        assert_eq!(numbers, [0, 1, 2]);
        let id = |of: &TunnelUdp| Ids(of.generation().clone()).generate_cid().to_vec();
        let mut forged = short(&old, b"forged");
        forged[LENGTH] ^= 1;
        let cases = [
            (0, short(&old, b"packet")),
            (1, short(&middle, b"packet")),
            (2, short(&new, b"packet")),
            (0, long(&id(&old), b"handshake")),
            (1, long(&id(&middle), b"handshake")),
            (2, long(&[0; 8], b"first packet of a client")),
            (2, long(&[0; LENGTH], b"and one whose id looks like ours")),
            (2, forged),
            (2, vec![0x40, 0, 1]),
            (2, vec![0xc0, 0, 0, 0, 1, 255]),
        ];
        for (whose, packet) in cases {
            client.send_to(&packet, address).unwrap();
            let (reader, (meta, read)) = tokio::select! {
                read = next(&old) => (0, read),
                read = next(&middle) => (1, read),
                read = next(&new) => (2, read),
            };
            assert_eq!((reader, meta.addr, read), (whose, client.local_addr().unwrap(), packet));
        }
        assert_eq!(new.passed(), Passed { out: 4, dropped: 0, taken: 0 });
        assert_eq!((old.passed().taken, middle.passed().taken, middle.passed().out), (2, 2, 0));
    }

    #[tokio::test]
    async fn who_is_gone_leaves_its_packets_to_the_next_and_who_is_alone_reads_again() {
        let old = first();
        let (address, client) = (old.socket().local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (packet, id) = (short(&old, b"packet"), Ids(old.generation().clone()).generate_cid());
        let new = heir(&old);
        assert!(Ids(new.generation().clone()).validate(&id).is_ok(), "answered with a stateless reset");
        drop(old);
        client.send_to(&packet, address).unwrap();
        assert_eq!(next(&new).await.1, packet);
        assert_eq!(new.passed(), Passed::default());

        let newer = heir(&new);
        drop(newer);
        client.send_to(&packet, address).unwrap();
        assert_eq!(next(&new).await.1, packet);
    }

    #[tokio::test]
    async fn a_process_that_does_not_read_holds_up_nobody() {
        let old = first();
        let (address, client) = (old.socket().local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let new = heir(&old);
        let (theirs, ours) = (short(&old, &[7; 1200]), short(&new, b"ours"));
        let mut sent = 0;
        while new.passed().dropped == 0 {
            client.send_to(&theirs, address).unwrap();
            client.send_to(&ours, address).unwrap();
            assert_eq!(next(&new).await.1, ours);
            sent += 1;
            assert!(sent < 100_000, "the way is endless");
        }
        next(&old).await;
    }

    #[tokio::test]
    async fn packets_that_came_together_are_sorted_out_one_by_one() {
        let old = first();
        let new = heir(&old);
        let packet = |of: &TunnelUdp, filling: u8, length: usize| short(of, &vec![filling; length]);
        let (theirs, ours) = ([packet(&old, 1, 30), packet(&old, 2, 30)], [packet(&new, 3, 30), packet(&new, 4, 9)]);
        let mut buffer = [&ours[0], &theirs[0], &theirs[1], &ours[1]].map(Vec::clone).concat();
        let addr = "192.0.2.1:40000".parse().unwrap();
        let mut meta = RecvMeta { addr, len: buffer.len(), stride: ours[0].len(), ..RecvMeta::default() };
        new.0.sort_out(&mut buffer, &mut meta);
        assert_eq!(buffer[..meta.len], ours.concat());
        let (read, packets) = next(&old).await;
        assert_eq!((read.addr, read.stride, packets), (addr, theirs[0].len(), theirs.concat()));
        assert_eq!(new.passed().out, 2);
    }

    #[tokio::test]
    async fn who_has_registered_is_told_to_older_processes() {
        let elsewhere = Arc::new(Elsewhere::default());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let old = TunnelUdp::new(socket, Generation::first(), Vec::new(), elsewhere.clone()).unwrap();
        let new = heir(&old);
        let registered = elsewhere.expect(Uuid::from_u128(1), 3);
        new.tell_registered(Uuid::from_u128(1), 2);
        new.tell_registered(Uuid::from_u128(1), 3);
        tokio::select! {
            told = registered => told.unwrap(),
            _ = next(&old) => panic!("a packet came"),
        }
    }

    #[tokio::test]
    async fn what_was_let_go_of_is_read_again_when_the_process_that_took_over_has_ended() {
        let old = first();
        let (address, client) = (old.socket().local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let new = heir(&old);
        client.send_to(&short(&old, b"passed on"), address).unwrap();
        tokio::select! {
            _ = next(&new) => panic!("not its own"),
            (_, packet) = next(&old) => assert!(packet.ends_with(b"passed on")),
        }
        drop(new);
        client.send_to(&short(&old, b"read"), address).unwrap();
        assert!(next(&old).await.1.ends_with(b"read"));
        assert_eq!(heir(&old).generation().number(), 1, "and can be given again");
    }

    #[tokio::test]
    async fn what_was_given_in_vain_is_void() {
        let old = first();
        let (address, client) = (old.socket().local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        old.let_go().unwrap();
        drop(old.give().unwrap());
        client.send_to(b"still read here", address).unwrap();
        assert_eq!(next(&old).await.1, b"still read here");
        let new = heir(&old);
        client.send_to(&short(&old, b"passed on"), address).unwrap();
        tokio::select! {
            _ = next(&new) => panic!("not its own"),
            (_, packet) = next(&old) => assert!(packet.ends_with(b"passed on")),
        }
    }
}
