//! Signs of life of an HTTP/2 connection: what was sent and what came, below the frames, and PINGs that may be asked for at any
//! time. `h2` has one PING under way at most; here each is a packet more that tells TCP of those before it which were lost.

use crate::doubt::Line;
use crate::judge::{Awaited, Reading};
use crate::moment::Moment;
use futures_util::task::AtomicWaker;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// As long as no PING was answered: for a line of this length.
const UNMEASURED: u64 = 200_000;
/// So many PINGs tell how long the line is.
const RECENT: usize = 8;
/// What a client says before its first frame (RFC 9113 3.4).
const PREFACE: usize = 24;
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PINGS: u8 = 6;
const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, b'q', b'a', b'n', b'a', b't', b'?', 0, 0];

/// What is known of a connection's signs of life.
pub(crate) struct Beat {
    written: AtomicU64,
    read: AtomicU64,
    /// Something was written after the last that came.
    is_awaited: AtomicBool,
    heard_at: Moment,
    wants_ping: AtomicBool,
    connection: AtomicWaker,
    sending: Notify,
    heard: Notify,
    /// Of the newest PINGs, in microseconds.
    recent: Mutex<VecDeque<u64>>,
    /// Microseconds; 0 before the first.
    rtt: AtomicU64,
    variation: AtomicU64,
}

impl Default for Beat {
    fn default() -> Self {
        Self {
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            is_awaited: AtomicBool::new(false),
            heard_at: Moment::default(),
            wants_ping: AtomicBool::new(false),
            connection: AtomicWaker::new(),
            sending: Notify::new(),
            heard: Notify::new(),
            recent: Mutex::default(),
            rtt: AtomicU64::new(0),
            variation: AtomicU64::new(0),
        }
    }
}

impl Beat {
    fn on_written(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
        self.is_awaited.store(true, Ordering::Release);
        self.sending.notify_one();
    }

    fn on_heard(&self) {
        self.is_awaited.store(false, Ordering::Release);
        self.heard_at.set(Instant::now());
        self.read.fetch_add(1, Ordering::AcqRel);
        self.heard.notify_one();
    }

    /// A PING's answer took so long. The line is as long as the shortest of the newest ones took, and varies by half of that at
    /// most: what is above it waited for a host, and whether a host is busy the judge knows by its silences. An average would take
    /// a first one that met a host at its start for the line's own length, and forget it only after half a minute.
    pub(crate) fn measured(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, 10_000_000);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(took);
        let (count, sum) = (recent.len() as u64, recent.iter().sum::<u64>());
        let rtt = recent.iter().min().copied().unwrap_or(took);
        let variation = if count == 1 { rtt / 2 } else { (sum / count - rtt).min(rtt / 2) };
        self.rtt.store(rtt, Ordering::Relaxed);
        self.variation.store(variation, Ordering::Relaxed);
    }
}

impl Beat {
    /// The shortest round trip of the newest PINGs; `None` before the first.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        Some(self.rtt.load(Ordering::Relaxed)).filter(|rtt| *rtt > 0).map(Duration::from_micros)
    }
}

/// A connection, as its judge watches it.
pub(crate) struct Http2Life(pub(crate) Arc<Beat>);

impl Line for Http2Life {
    fn read(&mut self) -> Reading {
        let beat = &self.0;
        let heard = beat.read.load(Ordering::Acquire);
        let awaited = if beat.is_awaited.load(Ordering::Acquire) { Awaited::Yes } else { Awaited::No };
        let rtt = match beat.rtt.load(Ordering::Relaxed) {
            0 => UNMEASURED,
            rtt => rtt,
        };
        Reading {
            heard,
            sent: beat.written.load(Ordering::Acquire),
            awaited,
            rtt: Duration::from_micros(rtt),
            variation: Duration::from_micros(beat.variation.load(Ordering::Relaxed)),
        }
    }

    fn heard_at(&self) -> Instant {
        self.0.heard_at.get()
    }

    async fn sending(&self) {
        self.0.sending.notified().await;
    }

    async fn heard(&self) {
        self.0.heard.notified().await;
    }

    /// What was sent may wait for an origin: a PING waits for nobody.
    fn ask(&self) {
        self.0.wants_ping.store(true, Ordering::Release);
        self.0.connection.wake();
    }

    /// Then the connection ends: TCP says so itself.
    async fn refused(&self) {
        std::future::pending().await
    }
}

/// Where the frames end in what is sent.
struct Frames {
    /// Of the preface or of a payload.
    left: usize,
    head: [u8; HEAD],
    filled: usize,
    /// The peer must react to this frame.
    calls: bool,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.left == 0 && self.filled == 0
    }

    /// Whether any of it calls for a reaction of the peer. An answer to a PING doesn't: two who wait would play that for ever.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        let mut calls = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                calls |= self.calls;
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (HEAD - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD {
                self.left =
                    usize::from(self.head[0]) << 16 | usize::from(self.head[1]) << 8 | usize::from(self.head[2]);
                self.filled = 0;
                let (kind, is_ack) = (self.head[3], self.head[4] & 1 == 1);
                self.calls = matches!(kind, DATA | HEADERS) || matches!(kind, SETTINGS | PINGS) && !is_ack;
                calls |= self.calls;
            }
        }
        calls
    }
}

/// A connection's socket whose signs of life are noted.
pub(crate) struct Beating<S> {
    socket: S,
    beat: Arc<Beat>,
    frames: Frames,
    /// What is left of a PING that has begun to go out.
    ping: &'static [u8],
    is_full: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Beating<S> {
    /// `is_client`: what is written begins with a preface.
    pub(crate) fn new(socket: S, beat: Arc<Beat>, is_client: bool) -> Self {
        let left = if is_client { PREFACE } else { 0 };
        Self {
            socket,
            beat,
            frames: Frames { left, head: [0; HEAD], filled: 0, calls: false },
            ping: &[],
            is_full: false,
        }
    }

    /// Writes a PING that is wanted, between two frames.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ping.is_empty() {
            if !self.frames.is_between() || !self.beat.wants_ping.swap(false, Ordering::AcqRel) {
                return Poll::Ready(Ok(()));
            }
            self.ping = &PING;
        }
        while !self.ping.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, self.ping))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.ping = &self.ping[written..];
        }
        self.beat.on_written();
        let _ = Pin::new(&mut self.socket).poll_flush(cx)?;
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, count: usize, bufs: &[IoSlice<'_>]) {
        // The peer has taken some of what filled the socket up.
        if std::mem::take(&mut self.is_full) {
            self.beat.on_heard();
        }
        let (mut left, mut calls) = (count, false);
        for buf in bufs {
            let taken = left.min(buf.len());
            calls |= self.frames.feed(&buf[..taken]);
            left -= taken;
        }
        if calls {
            self.beat.on_written();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Beating<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.beat.connection.register(cx.waker());
        if let Poll::Ready(Err(error)) = this.poll_ping(cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            this.beat.on_heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Beating<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_ping(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_ping(cx))?;
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        match written {
            Poll::Ready(Ok(count)) => this.wrote(count, bufs),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => this.is_full = true,
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn frame(length: usize) -> Vec<u8> {
        let mut frame = vec![0, (length >> 8) as u8, length as u8, 0, 0, 0, 0, 0, 1];
        frame.resize(HEAD + length, 7);
        frame
    }

    proptest! {
        #[test]
        fn frames_end_where_they_end_however_they_are_written(
            lengths in proptest::collection::vec(0usize..600, 1..6), cut in 1usize..50, is_client: bool,
        ) {
            let left = if is_client { PREFACE } else { 0 };
            let mut frames = Frames { left, head: [0; HEAD], filled: 0, calls: false };
            let mut ends = Vec::new();
            let mut all = vec![b'P'; frames.left];
            for length in lengths {
                all.extend(frame(length));
                ends.push(all.len());
            }
            let mut fed = 0;
            for piece in all.chunks(cut) {
                frames.feed(piece);
                fed += piece.len();
                prop_assert_eq!(frames.is_between(), ends.contains(&fed) || is_client && fed == PREFACE);
            }
        }
    }

    #[tokio::test]
    async fn pings_go_out_between_frames_and_whole() {
        let (ours, mut theirs) = tokio::io::duplex(20);
        let beat = Arc::new(Beat::default());
        let line = Http2Life(beat.clone());
        let mut socket = Beating::new(ours, beat.clone(), false);
        let writing = tokio::spawn(async move {
            for piece in [&frame(10)[..5], &frame(10)[5..], &frame(3)] {
                line.ask();
                socket.write_all(piece).await.unwrap();
            }
            line.ask();
            socket.flush().await.unwrap();
        });
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        writing.await.unwrap();
        assert_eq!(got, [&PING[..], &frame(10), &PING, &frame(3), &PING].concat());
    }

    #[tokio::test]
    async fn what_was_sent_is_awaited_until_something_comes() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let beat = Arc::new(Beat::default());
        let mut line = Http2Life(beat.clone());
        let mut socket = Beating::new(ours, beat, true);
        assert_eq!(line.read().awaited, Awaited::No);
        let preface = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let pong = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        socket.write_all(&[&preface[..], &pong].concat()).await.unwrap();
        assert_eq!(line.read().awaited, Awaited::No, "an answer is not answered");
        socket.write_all(&frame(3)).await.unwrap();
        let before = line.read();
        assert_eq!((before.awaited, before.rtt), (Awaited::Yes, Duration::from_micros(UNMEASURED)));
        theirs.write_all(b"x").await.unwrap();
        socket.read_u8().await.unwrap();
        let after = line.read();
        assert_eq!((after.awaited, after.heard), (Awaited::No, before.heard + 1));
    }

    #[test]
    fn a_ping_that_met_a_busy_host_makes_the_line_no_longer() {
        let mut line = Http2Life(Arc::default());
        let ms = Duration::from_millis;
        let mut after = |took| {
            line.0.measured(ms(took));
            (line.read().rtt, line.read().variation)
        };
        assert_eq!(after(80), (ms(80), ms(40)), "nothing else is known yet");
        assert_eq!(after(2), (ms(2), ms(1)), "the first one met a host at its start");
        assert_eq!(after(300), (ms(2), ms(1)));
        assert_eq!((0..RECENT).map(|_| after(50)).last(), Some((ms(50), ms(0))), "the line is another one now");
        assert_eq!(after(58), (ms(50), ms(1)));
    }
}
