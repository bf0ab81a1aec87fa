//! What an HTTP/2 connection writes in one turn goes out together: as one TLS record and one system call, where `h2` would have one
//! for each frame with data. Who drives the connection says when the turn is over.

use crate::turns::Turn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More doesn't wait; so much at once isn't copied either.
const CAPACITY: usize = 32 * 1024;
const MUCH: usize = 16 * 1024;

struct Batch<S: AsyncWrite + Unpin> {
    socket: S,
    /// Allocated while something waits.
    waiting: Vec<u8>,
    sent: usize,
    /// Of what was written when nobody was there to return it to.
    failed: Option<io::Error>,
}

impl<S: AsyncWrite + Unpin> Batch<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        while self.sent < self.waiting.len() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.waiting[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        (self.waiting, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let count = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if self.failed.is_some() || self.waiting.len() + count > CAPACITY {
            ready!(self.poll_drain(cx))?;
        }
        if self.waiting.is_empty() {
            if count >= MUCH {
                return Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
            }
            self.waiting.reserve_exact(CAPACITY);
        }
        bufs.iter().for_each(|buf| self.waiting.extend_from_slice(buf));
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> Drop for Batch<S> {
    fn drop(&mut self) {
        let _ = self.poll_out(&mut Context::from_waker(Waker::noop()));
    }
}

/// A connection's socket. Never locked across an await: one task has it.
pub(crate) struct Batched<S: AsyncWrite + Unpin>(Arc<Mutex<Batch<S>>>);

impl<S: AsyncWrite + Unpin> Batched<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self(Arc::new(Mutex::new(Batch { socket, waiting: Vec::new(), sent: 0, failed: None })))
    }

    fn batch(&self) -> MutexGuard<'_, Batch<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends at the end of each turn what was written in it.
    pub(crate) fn outlet(&self) -> Outlet<S> {
        Outlet(Batched(self.0.clone()))
    }
}

/// See `Batched::outlet`.
pub(crate) struct Outlet<S: AsyncWrite + Unpin>(Batched<S>);

impl<S: AsyncWrite + Unpin> Turn for Outlet<S> {
    fn end(&mut self, cx: &mut Context<'_>) {
        let mut batch = self.0.batch();
        if batch.failed.is_none()
            && let Poll::Ready(Err(error)) = batch.poll_out(cx)
        {
            // Who writes or reads next is told.
            batch.failed = Some(error);
            cx.waker().wake_by_ref();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Batched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut batch = self.batch();
        if let Some(error) = batch.failed.take() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut batch.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Batched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.batch().poll_take(cx, &[IoSlice::new(buf)])
    }

    /// What waits is sent when the turn ends.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut batch = self.batch();
        if batch.waiting.is_empty() || batch.failed.is_some() { batch.poll_out(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut batch = self.batch();
        ready!(batch.poll_drain(cx))?;
        Pin::new(&mut batch.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.batch().poll_take(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    /// What each write brought; takes so much at once, or refuses.
    #[derive(Clone, Default)]
    struct Socket {
        written: Arc<Mutex<Vec<usize>>>,
        is_full: Arc<Mutex<bool>>,
        is_broken: bool,
    }

    impl AsyncRead for Socket {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if *self.is_full.lock().unwrap() {
                return Poll::Pending;
            }
            self.written.lock().unwrap().push(buf.len());
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    async fn write(batched: &mut Batched<Socket>, bytes: usize) {
        batched.write_all(&vec![0; bytes]).await.unwrap();
        batched.flush().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_written_in_a_turn_is_one_write_at_its_end() {
        let socket = Socket::default();
        let mut batched = Batched::new(socket.clone());
        let mut outlet = batched.outlet();
        for bytes in [9, 1000, 9] {
            write(&mut batched, bytes).await;
        }
        assert!(socket.written.lock().unwrap().is_empty());
        outlet.end(&mut cx());
        outlet.end(&mut cx());
        assert_eq!(*socket.written.lock().unwrap(), [1018]);
    }

    #[tokio::test]
    async fn no_more_waits_than_fits_and_much_is_not_copied() {
        let socket = Socket::default();
        let mut batched = Batched::new(socket.clone());
        write(&mut batched, MUCH).await;
        assert_eq!(*socket.written.lock().unwrap(), [MUCH]);
        for _ in 0..3 {
            write(&mut batched, CAPACITY / 2 - 1).await;
        }
        assert_eq!(*socket.written.lock().unwrap(), [MUCH, CAPACITY - 2]);
        *socket.is_full.lock().unwrap() = true;
        write(&mut batched, CAPACITY / 2).await;
        assert!(Pin::new(&mut batched).poll_write(&mut cx(), &[0; 100]).is_pending());
        *socket.is_full.lock().unwrap() = false;
        drop(batched);
        assert_eq!(socket.written.lock().unwrap().last(), Some(&(CAPACITY - 1)), "what waits goes out at the end");
    }

    #[tokio::test]
    async fn an_error_at_the_end_of_a_turn_is_told_to_who_reads_or_writes() {
        let mut batched = Batched::new(Socket { is_broken: true, ..Socket::default() });
        for told in [
            |batched: &mut Batched<Socket>| Pin::new(batched).poll_flush(&mut cx()),
            |batched: &mut Batched<Socket>| Pin::new(batched).poll_read(&mut cx(), &mut ReadBuf::new(&mut [0; 9])),
            |batched: &mut Batched<Socket>| Pin::new(batched).poll_write(&mut cx(), &[0; 9]).map_ok(|_| ()),
        ] {
            write(&mut batched, 9).await;
            batched.outlet().end(&mut cx());
            assert!(matches!(told(&mut batched), Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe));
            batched.batch().waiting.clear();
        }
    }
}
