//! A look at the frame headers of a public HTTP/2 connection, which the `h2` crate doesn't show: frames that cost us work and their
//! sender nothing are counted (S22).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

const PREFACE: usize = 24;
const HEADER: usize = 9;
/// What is counted is counted within this time.
const WINDOW: Duration = Duration::from_secs(10);
/// SETTINGS, PING, PRIORITY, unknown and empty frames, and resets of no stream: so many, and ...
const MAX_IDLE_FRAMES: u64 = 100;
/// ... one more for each stream opened and for so many bytes sent to the client, which may ping to measure the link.
const BYTES_AN_IDLE_FRAME: u64 = 16 * 1024;
/// WINDOW_UPDATE: so many, and one more for so many bytes sent.
const MAX_UPDATES: u64 = 10_000;
const BYTES_AN_UPDATE: u64 = 256;
const MAX_CONTINUATIONS: u32 = 16;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// END_STREAM of DATA, ACK of SETTINGS.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// What the connection's task reads.
#[derive(Default)]
pub(crate) struct Watch {
    breach: OnceLock<&'static str>,
    is_closed: AtomicBool,
}

impl Watch {
    /// Why the client gets no more of our time.
    pub(crate) fn breach(&self) -> Option<&'static str> {
        self.breach.get().copied()
    }

    /// Nothing is read any more from now on.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire) || self.breach.get().is_some()
    }
}

/// What came and went within `WINDOW`.
#[derive(Default)]
struct Counts {
    idle: u64,
    updates: u64,
    streams: u64,
    written: u64,
}

impl Counts {
    fn breach(&self) -> Option<&'static str> {
        if self.idle > MAX_IDLE_FRAMES + self.streams + self.written / BYTES_AN_IDLE_FRAME {
            return Some("too many SETTINGS, PING, PRIORITY, unknown or empty frames");
        }
        if self.updates > MAX_UPDATES + self.written / BYTES_AN_UPDATE {
            return Some("too many WINDOW_UPDATE frames");
        }
        None
    }
}

/// Follows the frames of one direction.
struct Scan {
    /// Bytes to skip before the next header.
    skip: usize,
    /// A padded DATA frame's payload, whose first byte tells how much of it is padding.
    padded: Option<(usize, bool)>,
    header: [u8; HEADER],
    held: usize,
    counts: Counts,
    since: Instant,
    /// Opened and not yet reset by the client.
    resettable: u64,
    continuations: u32,
    block: usize,
    max_block: usize,
}

impl Scan {
    fn new(max_block: usize) -> Self {
        Self {
            skip: PREFACE,
            padded: None,
            header: [0; HEADER],
            held: 0,
            counts: Counts::default(),
            since: Instant::now(),
            resettable: 0,
            continuations: 0,
            block: 0,
            max_block,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.since.elapsed() > WINDOW {
            self.since = Instant::now();
            self.counts = Counts::default();
        }
        while let Some(first) = bytes.first() {
            if let Some((length, ends)) = self.padded.take()
                && usize::from(*first) + 1 >= length
                && !ends
            {
                self.counts.idle += 1;
            }
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEADER - self.held);
            self.header[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
            self.held += taken;
            bytes = &bytes[taken..];
            if self.held == HEADER {
                self.held = 0;
                self.take()?;
            }
        }
        self.counts.breach().map_or(Ok(()), Err)
    }

    fn take(&mut self) -> Result<(), &'static str> {
        let [a, b, c, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let has = |flag: u8| flags & flag != 0;
        self.skip = length;
        let counts = &mut self.counts;
        match kind {
            DATA if has(PADDED) && length > 0 => self.padded = Some((length, has(END_STREAM))),
            DATA if length == 0 && !has(END_STREAM) => counts.idle += 1,
            DATA | GOAWAY => {}
            HEADERS => {
                counts.streams += 1;
                self.resettable += 1;
                (self.continuations, self.block) = (0, length);
            }
            CONTINUATION => {
                counts.idle += u64::from(length == 0);
                self.continuations += 1;
                self.block += length;
            }
            RST_STREAM if self.resettable > 0 => self.resettable -= 1,
            WINDOW_UPDATE => counts.updates += 1,
            SETTINGS if has(ACK) => {}
            _ => counts.idle += 1,
        }
        if matches!(kind, HEADERS | CONTINUATION) {
            if self.continuations > MAX_CONTINUATIONS {
                return Err("too many CONTINUATION frames");
            }
            if self.block > self.max_block {
                return Err("too large a header block");
            }
            if has(END_HEADERS) {
                self.block = 0;
            }
        }
        self.counts.breach().map_or(Ok(()), Err)
    }
}

/// A client's socket that stops reading once the client has gone too far.
pub(crate) struct Watched<S> {
    socket: S,
    scan: Scan,
    watch: Arc<Watch>,
}

impl<S> Watched<S> {
    /// `max_block`: bytes of a header block.
    pub(crate) fn new(socket: S, max_block: usize) -> (Self, Arc<Watch>) {
        let watch = Arc::new(Watch::default());
        (Self { socket, scan: Scan::new(max_block), watch: watch.clone() }, watch)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.watch.is_closed() {
            // The connection's task sees why after this turn, and needs no waker.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        if let Err(breach) = self.scan.feed(&buf.filled()[before..]) {
            let _ = self.watch.breach.set(breach);
            buf.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, buf))?;
        self.scan.counts.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.scan.counts.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIORITY: u8 = 2;
    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    fn scan() -> Scan {
        let mut scan = Scan::new(64 * 1024);
        scan.feed(&[0; PREFACE]).unwrap();
        scan
    }

    #[test]
    fn a_hundred_frames_that_ask_for_nothing_are_borne_and_no_more() {
        for (kind, flags, payload) in [
            (SETTINGS, 0, &[][..]),
            (PING, 0, &[0; 8]),
            (PRIORITY, 0, &[0; 5]),
            (DATA, 0, &[]),
            (DATA, PADDED, &[3, 0, 0, 0]),
            (RST_STREAM, 0, &[0; 4]),
            (0x10, 0, &[0; 4]),
            (0xfe, 0, &[1, 2, 3]),
        ] {
            let mut scan = scan();
            let one = frame(kind, flags, payload);
            assert!((0..100).all(|_| scan.feed(&one).is_ok()), "{kind}");
            assert!(scan.feed(&one).is_err(), "{kind}");
        }
    }

    #[test]
    fn ordinary_frames_may_be_as_many_as_they_like() {
        let mut scan = scan();
        let head = frame(HEADERS, END_HEADERS, &[0; 20]);
        for _ in 0..2000 {
            scan.feed(&head).unwrap();
            scan.feed(&frame(DATA, 0, &[0; 30])).unwrap();
            scan.feed(&frame(DATA, PADDED, &[2, 1, 0, 0])).unwrap();
            scan.feed(&frame(DATA, END_STREAM, &[])).unwrap();
            scan.feed(&frame(RST_STREAM, 0, &[0; 4])).unwrap();
            scan.feed(&frame(SETTINGS, ACK, &[])).unwrap();
        }
    }

    #[test]
    fn who_is_sent_much_may_ping_much() {
        let mut scan = scan();
        scan.counts.written = 1000 * BYTES_AN_IDLE_FRAME;
        let ping = frame(PING, 0, &[0; 8]);
        assert!((0..1100).all(|_| scan.feed(&ping).is_ok()));
        assert!(scan.feed(&ping).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn counts_begin_anew_after_their_time() {
        let mut scan = scan();
        let ping = frame(PING, 0, &[0; 8]);
        for _ in 0..5 {
            assert!((0..100).all(|_| scan.feed(&ping).is_ok()));
            tokio::time::advance(WINDOW + Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn a_header_block_is_bounded_in_frames_and_bytes() {
        let mut few = scan();
        few.feed(&frame(HEADERS, 0, &[0; 10])).unwrap();
        assert!((0..16).all(|_| few.feed(&frame(CONTINUATION, 0, &[0; 10])).is_ok()));
        assert!(few.feed(&frame(CONTINUATION, 0, &[0; 10])).is_err());
        let mut large = scan();
        large.feed(&frame(HEADERS, 0, &[0; 16384])).unwrap();
        assert!((0..3).all(|_| large.feed(&frame(CONTINUATION, 0, &[0; 16384])).is_ok()));
        assert!(large.feed(&frame(CONTINUATION, END_HEADERS, &[0; 1])).is_err());
        let mut again = scan();
        for _ in 0..10 {
            again.feed(&frame(HEADERS, 0, &[0; 16384])).unwrap();
            again.feed(&frame(CONTINUATION, END_HEADERS, &[0; 16384])).unwrap();
        }
    }

    proptest! {
        #[test]
        fn frames_are_followed_however_they_are_cut(
            lengths in prop::collection::vec(0_usize..200, 1..40),
            cuts in prop::collection::vec(1_usize..60, 1..30),
        ) {
            let mut stream = vec![0; PREFACE];
            lengths.iter().for_each(|length| stream.extend(frame(PING, 0, &vec![4; *length])));
            let mut scan = Scan::new(1000);
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (part, left) = rest.split_at((*cut).min(rest.len()));
                prop_assert!(scan.feed(part).is_ok());
                rest = left;
            }
            prop_assert!(scan.counts.idle == lengths.len() as u64 && scan.skip == 0 && scan.held == 0);
        }
    }
}
