//! A connection's bytes, whatever it runs over.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A stream to an origin.
pub(crate) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    TlsTcp(Box<TlsStream<TcpStream>>),
    TlsUnix(Box<TlsStream<UnixStream>>),
}

impl Io {
    /// True when an idle connection can't carry another request: the peer closed it, or sent what nobody asked for. One
    /// `recv(MSG_PEEK)`, which sees what the reactor has not been told yet.
    pub(crate) fn is_stale(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let peeked = match self {
            Io::Tcp(stream) => socket2::SockRef::from(&*stream).peek(&mut byte),
            Io::Unix(stream) => socket2::SockRef::from(&*stream).peek(&mut byte),
            Io::TlsTcp(stream) => socket2::SockRef::from(stream.get_ref().0).peek(&mut byte),
            Io::TlsUnix(stream) => socket2::SockRef::from(stream.get_ref().0).peek(&mut byte),
        };
        match (&peeked, &self) {
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => false,
            // Bytes of TLS may be session tickets: harmless when no plain text and no end comes of them.
            (Ok(1), Io::TlsTcp(_) | Io::TlsUnix(_)) => {
                let mut plain = [0; 1];
                let mut buf = ReadBuf::new(&mut plain);
                Pin::new(self).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf).is_ready()
            }
            _ => true,
        }
    }

    /// The connector's end, where it is an address.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Io::Tcp(stream) => stream.local_addr().ok(),
            Io::TlsTcp(stream) => stream.get_ref().0.local_addr().ok(),
            Io::Unix(_) | Io::TlsUnix(_) => None,
        }
    }

    /// True when ALPN chose h2.
    pub(crate) fn is_h2(&self) -> bool {
        let alpn = match self {
            Io::TlsTcp(stream) => stream.get_ref().1.alpn_protocol(),
            Io::TlsUnix(stream) => stream.get_ref().1.alpn_protocol(),
            _ => None,
        };
        alpn == Some(b"h2")
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Tcp($stream) => $call,
            Io::Unix($stream) => $call,
            Io::TlsTcp($stream) => $call,
            Io::TlsUnix($stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Io::Tcp(stream) => stream.is_write_vectored(),
            Io::Unix(stream) => stream.is_write_vectored(),
            Io::TlsTcp(stream) => stream.is_write_vectored(),
            Io::TlsUnix(stream) => stream.is_write_vectored(),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// One connection as its reading and its writing half (two clones), and as what the pool looks at.
#[derive(Clone)]
pub(crate) struct Half(Arc<Mutex<Counted>>);

/// A connection and how much was written to it.
struct Counted {
    io: Io,
    written: u64,
}

impl Half {
    pub(crate) fn new(io: Io) -> Self {
        Self(Arc::new(Mutex::new(Counted { io, written: 0 })))
    }

    /// Never held across an await: both halves belong to one task.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As `Io::is_stale`.
    pub(crate) fn is_stale(&self) -> bool {
        self.lock().io.is_stale()
    }

    /// How many bytes the system has taken since the connection was opened.
    pub(crate) fn written(&self) -> u64 {
        self.lock().written
    }
}

impl AsyncRead for Half {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Half {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut counted = self.lock();
        let n = ready!(Pin::new(&mut counted.io).poll_write(cx, buf))?;
        counted.written += n as u64;
        Poll::Ready(Ok(n))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut counted = self.lock();
        let n = ready!(Pin::new(&mut counted.io).poll_write_vectored(cx, bufs))?;
        counted.written += n as u64;
        Poll::Ready(Ok(n))
    }
    fn is_write_vectored(&self) -> bool {
        self.lock().io.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_shutdown(cx)
    }
}
