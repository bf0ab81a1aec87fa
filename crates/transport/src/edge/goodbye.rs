//! The last words of an HTTP/2 connection that the edge ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// GOAWAY, NO_ERROR, no stream of the peer's taken (RFC 9113 6.8): the edge is the client, streams of a server's there are none.
const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A socket that says GOAWAY and closes in order when it is dropped, as far as the kernel takes it at once. `h2` lets a client
/// only fall silent, unless all of its handles are gone.
pub(crate) struct Goodbye<S: AsyncWrite + Unpin>(S);

impl<S: AsyncWrite + Unpin> Goodbye<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self(socket)
    }
}

impl<S: AsyncWrite + Unpin> Drop for Goodbye<S> {
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(_)) = Pin::new(&mut self.0).poll_write(&mut cx, &GOAWAY) {
            let _ = Pin::new(&mut self.0).poll_shutdown(&mut cx);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Goodbye<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Goodbye<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn who_is_dropped_says_goaway_and_ends() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        drop(Goodbye::new(ours));
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, GOAWAY);
    }
}
