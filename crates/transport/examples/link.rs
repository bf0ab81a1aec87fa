//! A long link in user space, for `bench/link.py`: UDP and TCP on one loopback port go to another address with delay, at a bounded
//! rate, through a bounded queue, and with random loss (UDP only). `link TARGET RTT_MS MBIT_S LOSS QUEUE_MS [SEED]` prints its
//! port. Both directions are alike and independent; all flows of one direction share its rate and its queue.
#![allow(clippy::unwrap_used, missing_docs)]

use socket2::{Domain, Socket, Type};
use std::collections::{HashMap, VecDeque};
use std::env::args;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// Of the relay's own sockets, so that a late thread loses nothing.
const SOCKET_BUFFER: usize = 4 << 20;
const PIECE: usize = 16 * 1024;

/// One direction's wire.
struct Wire {
    delay: Duration,
    bytes_per_s: f64,
    loss: f64,
    queue: Duration,
    state: Mutex<Queue>,
}

struct Queue {
    /// When all that was taken has left the queue.
    free_at: Instant,
    random: u64,
}

impl Wire {
    /// When `bytes` come out at the other end; `None`: they are lost.
    fn take(&self, bytes: usize) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap();
        if self.loss > 0.0 {
            // xorshift64*
            state.random ^= state.random >> 12;
            state.random ^= state.random << 25;
            state.random ^= state.random >> 27;
            let drawn = state.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
            if (drawn as f64) < self.loss * (1u64 << 53) as f64 {
                return None;
            }
        }
        if state.free_at.saturating_duration_since(now) > self.queue {
            return None;
        }
        state.free_at = state.free_at.max(now) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s);
        Some(state.free_at + self.delay)
    }

    /// As `take`, but waits for room in the queue: TCP's bytes are never lost here.
    fn take_waiting(&self, bytes: usize) -> Instant {
        loop {
            let now = Instant::now();
            let mut state = self.state.lock().unwrap();
            let waits = state.free_at.saturating_duration_since(now);
            if waits <= self.queue {
                state.free_at = state.free_at.max(now) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s);
                return state.free_at + self.delay;
            }
            drop(state);
            sleep(waits - self.queue);
        }
    }
}

/// What is under way, in order.
#[derive(Default)]
struct Pipe {
    pieces: Mutex<VecDeque<(Instant, Vec<u8>)>>,
    news: Condvar,
}

impl Pipe {
    fn push(&self, at: Instant, piece: Vec<u8>) {
        self.pieces.lock().unwrap().push_back((at, piece));
        self.news.notify_one();
    }

    /// The next piece, when its time has come.
    fn next(&self) -> Vec<u8> {
        let mut pieces = self.pieces.lock().unwrap();
        while pieces.is_empty() {
            pieces = self.news.wait(pieces).unwrap();
        }
        let (at, piece) = pieces.pop_front().unwrap();
        drop(pieces);
        sleep(at.saturating_duration_since(Instant::now()));
        piece
    }
}

fn udp(address: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
    socket.set_recv_buffer_size(SOCKET_BUFFER).unwrap();
    socket.set_send_buffer_size(SOCKET_BUFFER).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.into()
}

/// Datagrams from `from` come out of `to`.
fn carry(wire: &Wire, from: &UdpSocket, pipe: &Pipe) {
    let mut buffer = vec![0; 65536];
    loop {
        // A refused datagram is told at the next call; the flow may come back.
        let Ok(n) = from.recv(&mut buffer) else { continue };
        if let Some(at) = wire.take(n) {
            pipe.push(at, buffer[..n].to_vec());
        }
    }
}

fn relay_udp(listener: &Arc<UdpSocket>, target: SocketAddr, up: &Arc<Wire>, down: &Arc<Wire>) {
    let mut flows: HashMap<SocketAddr, Arc<Pipe>> = HashMap::new();
    let mut buffer = vec![0; 65536];
    loop {
        let Ok((n, from)) = listener.recv_from(&mut buffer) else { continue };
        let pipe = flows.entry(from).or_insert_with(|| {
            let socket = Arc::new(udp(SocketAddr::new(target.ip(), 0)));
            socket.connect(target).unwrap();
            let (there, back) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
            spawn({
                let (socket, there) = (socket.clone(), there.clone());
                move || {
                    loop {
                        let _ = socket.send(&there.next());
                    }
                }
            });
            spawn({
                let (listener, back) = (listener.clone(), back.clone());
                move || {
                    loop {
                        let _ = listener.send_to(&back.next(), from);
                    }
                }
            });
            let down = down.clone();
            spawn(move || carry(&down, &socket, &back));
            there
        });
        if let Some(at) = up.take(n) {
            pipe.push(at, buffer[..n].to_vec());
        }
    }
}

/// Bytes from `from` come out of `to`; an empty piece is the end.
fn relay_stream(wire: Arc<Wire>, mut from: TcpStream, mut to: TcpStream) {
    let pipe = Arc::new(Pipe::default());
    let reading = pipe.clone();
    let most = (wire.bytes_per_s * (2 * wire.delay + wire.queue).as_secs_f64()) as usize;
    let lying = Arc::new((Mutex::new(0usize), Condvar::new()));
    let taken = lying.clone();
    spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let n = from.read(&mut buffer).unwrap_or(0);
            let at = wire.take_waiting(n);
            let mut bytes = taken.0.lock().unwrap();
            while *bytes > most {
                bytes = taken.1.wait(bytes).unwrap();
            }
            *bytes += n;
            drop(bytes);
            reading.push(at, buffer[..n].to_vec());
            if n == 0 {
                return;
            }
        }
    });
    loop {
        let piece = pipe.next();
        if piece.is_empty() || to.write_all(&piece).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
        *lying.0.lock().unwrap() -= piece.len();
        lying.1.notify_one();
    }
}

fn main() {
    let arguments: Vec<String> = args().skip(1).collect();
    let [target, rtt_ms, mbit_s, loss, queue_ms, rest @ ..] = &arguments[..] else {
        panic!("link TARGET RTT_MS MBIT_S LOSS QUEUE_MS [SEED]");
    };
    let target: SocketAddr = target.parse().unwrap();
    let seed: u64 = rest.first().map_or(1, |seed| seed.parse().unwrap());
    let wire = |turn: u64| {
        Arc::new(Wire {
            delay: Duration::from_secs_f64(rtt_ms.parse::<f64>().unwrap() / 2000.0),
            bytes_per_s: mbit_s.parse::<f64>().unwrap() * 1e6 / 8.0,
            loss: loss.parse().unwrap(),
            queue: Duration::from_secs_f64(queue_ms.parse::<f64>().unwrap() / 1000.0),
            state: Mutex::new(Queue {
                free_at: Instant::now(),
                random: (2 * seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ turn,
            }),
        })
    };
    let (up, down) = (wire(0), wire(2));
    let listener = TcpListener::bind(SocketAddr::new(target.ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let datagrams = Arc::new(udp(address));
    println!("port {}", address.port());
    spawn({
        let (up, down) = (up.clone(), down.clone());
        move || relay_udp(&datagrams, target, &up, &down)
    });
    for socket in listener.incoming() {
        let (Ok(near), (up, down)) = (socket, (up.clone(), down.clone())) else { continue };
        spawn(move || {
            let Ok(far) = TcpStream::connect(target) else { return };
            let (near_again, far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            spawn(move || relay_stream(up, near, far));
            relay_stream(down, far_again, near_again);
        });
    }
}
