//! A network between connector and edge that a test can cut, or that is long or lossy. It carries datagrams and TCP to one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until};

struct Line {
    is_cut: AtomicBool,
    delay: Duration,
    lost: u64,
}

/// One cable. What a cut one would have carried by TCP waits; its datagrams are gone.
#[derive(Clone)]
pub struct Relay {
    pub address: SocketAddr,
    line: Arc<Line>,
}

impl Relay {
    /// `delay`: each way. `lost`: datagrams in a hundred that vanish.
    pub async fn to(target: SocketAddr, delay: Duration, lost: u64) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let relay = Self {
            address: tcp.local_addr().unwrap(),
            line: Arc::new(Line { is_cut: AtomicBool::new(false), delay, lost }),
        };
        let line = relay.line.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = tcp.accept().await {
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pump(near_in, far_out, line.clone()));
                tokio::spawn(pump(far_in, near_out, line.clone()));
            }
        });
        tokio::spawn(datagrams(Arc::new(udp), target, relay.line.clone()));
        relay
    }

    pub fn cut(&self, is_cut: bool) {
        self.line.is_cut.store(is_cut, Ordering::SeqCst);
    }
}

impl Line {
    fn due(&self) -> Instant {
        Instant::now() + self.delay
    }

    fn loses(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst) || rand::random_range(0..100) < self.lost
    }
}

async fn pump(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, line: Arc<Line>) {
    let (queue, mut queued) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = line.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let _ = queue.send((reading.due(), buffer[..count].to_vec()));
        }
    });
    while let Some((due, data)) = queued.recv().await {
        sleep_until(due).await;
        while line.is_cut.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if to.write_all(&data).await.is_err() {
            return;
        }
    }
}

async fn datagrams(near: Arc<UdpSocket>, target: SocketAddr, line: Arc<Line>) {
    let mut peers = HashMap::<SocketAddr, Arc<UdpSocket>>::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok((count, peer)) = near.recv_from(&mut buffer).await else { return };
        if let Entry::Vacant(place) = peers.entry(peer) {
            let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            far.connect(target).await.unwrap();
            place.insert(far.clone());
            let (near, line) = (near.clone(), line.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(count) = far.recv(&mut buffer).await {
                    let (near, data) = (near.clone(), buffer[..count].to_vec());
                    carry(&line, async move { drop(near.send_to(&data, peer).await) });
                }
            });
        }
        let (far, data) = (peers[&peer].clone(), buffer[..count].to_vec());
        carry(&line, async move { drop(far.send(&data).await) });
    }
}

fn carry(line: &Line, send: impl Future<Output = ()> + Send + 'static) {
    if !line.loses() {
        let due = line.due();
        tokio::spawn(async move {
            sleep_until(due).await;
            send.await;
        });
    }
}
