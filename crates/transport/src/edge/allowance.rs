//! What a connection may send before it has shown a valid secret: little each, and not much all of them together.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one connection. A stock connector registers with less than one kilobyte.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
/// Bytes of all that haven't registered, what each has of its own left out. A byte can stand for a field of HPACK's table, which takes
/// a hundred here, so that this is 200 MiB at worst.
const MAX_SHARED_BYTES: usize = 2 * 1024 * 1024;
/// Bytes that each connection has of its own, so that nobody's registration depends on what others have used up.
const OWN_BYTES: usize = 4 * 1024;
/// Messages of one connection: a stock connector registers with two.
const MAX_MESSAGES: usize = 16;
/// Cap'n Proto's own bound.
const MAX_SEGMENTS: usize = 512;

/// The bytes that unregistered connections share.
pub(crate) struct Budget(AtomicUsize);

impl Budget {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(MAX_SHARED_BYTES)))
    }

    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// One connection's share, given back when it registers or ends.
pub(crate) struct Allowance {
    budget: Arc<Budget>,
    sent: AtomicUsize,
    lifted: AtomicBool,
}

impl Allowance {
    pub(crate) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { budget: budget.clone(), sent: AtomicUsize::new(0), lifted: AtomicBool::new(false) })
    }

    /// Whether the connection has registered: nothing is counted any more.
    pub(crate) fn is_lifted(&self) -> bool {
        self.lifted.load(Ordering::Acquire)
    }

    /// It has registered.
    pub(crate) fn lift(&self) {
        if !self.lifted.swap(true, Ordering::AcqRel) {
            self.give_back();
        }
    }

    /// Counts received bytes. Called by one task at a time.
    pub(crate) fn take(&self, bytes: usize) -> io::Result<()> {
        if self.is_lifted() {
            return Ok(());
        }
        let before = self.sent.load(Ordering::Acquire);
        let after = before.saturating_add(bytes);
        let drawn = after.saturating_sub(OWN_BYTES.max(before));
        if after > MAX_BYTES || !self.budget.take(drawn) {
            return Err(io::Error::other("too many bytes before the registration"));
        }
        self.sent.store(after, Ordering::Release);
        Ok(())
    }

    fn give_back(&self) {
        let drawn = self.sent.swap(0, Ordering::AcqRel).saturating_sub(OWN_BYTES);
        self.budget.0.fetch_add(drawn, Ordering::Relaxed);
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        if !*self.lifted.get_mut() {
            self.give_back();
        }
    }
}

/// Looks at the messages' sizes before anything is allocated for them.
#[derive(Default)]
pub(crate) struct Framing {
    table: Vec<u8>,
    body: usize,
    messages: usize,
}

impl Framing {
    /// Takes in what came of the stream.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.body.min(bytes.len());
            self.body -= taken;
            bytes = &bytes[taken..];
            if self.body == 0 && !bytes.is_empty() {
                bytes = self.read_table(bytes)?;
            }
        }
        Ok(())
    }

    /// The segment table: a count less one, a size in words for each, padded to a word.
    fn read_table<'a>(&mut self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        let number = |at: &[u8]| u32::from_le_bytes([at[0], at[1], at[2], at[3]]) as usize;
        let length = match self.table.len() {
            0..4 => 4,
            _ => (4 + 4 * (number(&self.table) + 1)).next_multiple_of(8),
        };
        let (part, rest) = bytes.split_at(bytes.len().min(length - self.table.len()));
        self.table.extend_from_slice(part);
        if self.table.len() == 4 && number(&self.table) >= MAX_SEGMENTS {
            return Err(io::Error::other("too many segments before the registration"));
        }
        if self.table.len() < length || length == 4 {
            return Ok(rest);
        }
        let segments = number(&self.table) + 1;
        self.body = self.table[4..4 + 4 * segments].chunks_exact(4).map(number).fold(0, usize::saturating_add);
        self.body = self.body.saturating_mul(8);
        self.table.clear();
        self.messages += 1;
        if self.body > MAX_BYTES || self.messages > MAX_MESSAGES {
            return Err(io::Error::other("too large or too many messages before the registration"));
        }
        Ok(rest)
    }
}

/// A socket whose received bytes count against an allowance.
pub(crate) struct Metered<S> {
    socket: S,
    allowance: Arc<Allowance>,
}

impl<S> Metered<S> {
    pub(crate) fn new(socket: S, allowance: Arc<Allowance>) -> Self {
        Self { socket, allowance }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        Poll::Ready(self.allowance.take(buf.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
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
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn left(budget: &Budget) -> usize {
        budget.0.load(Ordering::Relaxed)
    }

    #[test]
    fn each_connection_has_its_bound_and_gives_back_what_it_drew() {
        let budget = Budget::new();
        let one = Allowance::new(&budget);
        assert!(one.take(OWN_BYTES).is_ok() && left(&budget) == MAX_SHARED_BYTES);
        assert!(one.take(MAX_BYTES - OWN_BYTES).is_ok() && left(&budget) == MAX_SHARED_BYTES - (MAX_BYTES - OWN_BYTES));
        assert!(one.take(1).is_err());
        one.lift();
        assert!(left(&budget) == MAX_SHARED_BYTES && one.take(usize::MAX).is_ok());
        drop(one);
        assert_eq!(left(&budget), MAX_SHARED_BYTES);
    }

    #[test]
    fn who_uses_the_shared_budget_up_takes_nobodys_own_bytes() {
        let budget = Budget::new();
        let greedy: Vec<_> = (0..1000).map(|_| Allowance::new(&budget)).collect();
        let refused = greedy.iter().filter(|one| one.take(MAX_BYTES).is_err()).count();
        assert!(refused > 800, "{refused}");
        let honest = Allowance::new(&budget);
        assert!(honest.take(1000).is_ok() && honest.take(1000).is_ok());
        drop(greedy);
        assert_eq!(left(&budget), MAX_SHARED_BYTES);
    }

    fn message(words: &[u32]) -> Vec<u8> {
        let mut bytes = (words.len() as u32 - 1).to_le_bytes().to_vec();
        words.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.resize(bytes.len() + 8 * words.iter().sum::<u32>() as usize, 7);
        bytes
    }

    #[test]
    fn what_a_message_announces_is_bounded_before_it_comes() {
        assert!(Framing::default().feed(&message(&[8192])).is_ok());
        assert!(Framing::default().feed(&[0, 0, 0, 0, 1, 32, 0, 0]).is_err(), "8193 words");
        assert!(Framing::default().feed(&[255, 255, 255, 255]).is_err());
        assert!(Framing::default().feed(&[0, 2, 0, 0]).is_err(), "513 segments");
        let mut many = Framing::default();
        assert!((0..MAX_MESSAGES).all(|_| many.feed(&message(&[1])).is_ok()));
        assert!(many.feed(&message(&[0])).is_err());
    }

    proptest! {
        #[test]
        fn messages_are_followed_however_they_are_cut(
            sizes in prop::collection::vec(prop::collection::vec(0_u32..40, 1..6), 1..10),
            cuts in prop::collection::vec(1_usize..50, 1..30),
        ) {
            let stream: Vec<u8> = sizes.iter().flat_map(|words| message(words)).collect();
            let mut framing = Framing::default();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (part, left) = rest.split_at((*cut).min(rest.len()));
                prop_assert!(framing.feed(part).is_ok());
                rest = left;
            }
            prop_assert!(framing.messages == sizes.len() && framing.body == 0 && framing.table.is_empty());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Framing::default().feed(&bytes);
        }
    }
}
