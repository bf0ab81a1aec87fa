//! The control RPC's thread and its streams. Cap'n Proto's RPC objects can't change threads, so all of them live on one.

use crate::{TunnelSink, TunnelSource};
use bytes::Bytes;
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use futures_util::io::{AsyncRead, AsyncWrite};
use qanat_http::{Frame, Sink, Source, StreamError};
use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::sync::mpsc;

/// What a peer may send on one control or RPC stream over its whole life. Stock connectors need some kilobytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Largest control message, in words: 4 MiB.
const MAX_MESSAGE_WORDS: usize = 4 * 1024 * 1024 / 8;

/// How long a connection may outlive its control stream.
pub(crate) const CONTROL_GRACE: Duration = Duration::from_millis(500);

type Job = Box<dyn FnOnce() + Send>;

/// Runs a future that can't change threads on the RPC thread. `start` makes it there.
pub(crate) fn spawn<F, T>(start: F)
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()> + 'static,
{
    static JOBS: OnceLock<mpsc::UnboundedSender<Job>> = OnceLock::new();
    let jobs = JOBS.get_or_init(start_thread);
    // The thread never ends before the process.
    let _ = jobs.send(Box::new(move || {
        tokio::task::spawn_local(start());
    }));
}

fn start_thread() -> mpsc::UnboundedSender<Job> {
    let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
    let thread = std::thread::Builder::new().name("qanat-rpc".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let Ok(runtime) = runtime else { return };
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            while let Some(job) = queue.recv().await {
                job();
            }
        });
    });
    if let Err(error) = thread {
        tracing::error!(%error, "the RPC thread can't start: no connection can register");
    }
    jobs
}

/// Two-party RPC over the two directions of a stream. `check` sees what the peer sends before it is read, and may end it.
pub(crate) fn network<F: FnMut(&[u8]) -> io::Result<()> + Unpin + 'static>(
    source: TunnelSource,
    sink: TunnelSink,
    side: Side,
    check: F,
) -> VatNetwork<RpcReader<F>> {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(MAX_MESSAGE_WORDS)).nesting_limit(64);
    let reader = RpcReader { source, rest: Bytes::new(), left: MAX_BYTES, check };
    VatNetwork::new(reader, RpcWriter { sink }, side, options)
}

/// Longest text taken of a peer.
const MAX_TEXT: usize = 1024;

/// A text of a message.
pub(crate) fn text(text: capnp::text::Reader<'_>) -> Result<String, capnp::Error> {
    if text.len() > MAX_TEXT {
        return Err(capnp::Error::failed("a text is longer than 1024 bytes".into()));
    }
    Ok(String::from_utf8_lossy(text.as_bytes()).into_owned())
}

fn io_error(error: StreamError) -> io::Error {
    let kind = match error {
        StreamError::Reset | StreamError::ConnectionLost(_) => io::ErrorKind::ConnectionReset,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

pub(crate) struct RpcReader<F> {
    source: TunnelSource,
    rest: Bytes,
    /// Bytes that the peer may still send.
    left: usize,
    check: F,
}

impl<F: FnMut(&[u8]) -> io::Result<()> + Unpin> AsyncRead for RpcReader<F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.rest.is_empty() {
            match ready!(self.source.poll_frame(cx)) {
                None => return Poll::Ready(Ok(0)),
                Some(Ok(Frame::Data(data))) => self.rest = data,
                Some(Ok(Frame::Trailers(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
            match self.left.checked_sub(self.rest.len()) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Err(io::Error::other("too many bytes on a control stream"))),
            }
            let this = &mut *self;
            (this.check)(&this.rest)?;
        }
        let count = buf.len().min(self.rest.len());
        buf[..count].copy_from_slice(&self.rest.split_to(count));
        Poll::Ready(Ok(count))
    }
}

struct RpcWriter {
    sink: TunnelSink,
}

impl Drop for RpcWriter {
    /// Everything was flushed after each message: what is missing is the end.
    fn drop(&mut self) {
        let _ = self.sink.poll_finish(&mut Context::from_waker(Waker::noop()), &mut None);
    }
}

impl AsyncWrite for RpcWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.sink.poll_ready(cx)).map_err(io_error)?;
        self.sink.send(Bytes::copy_from_slice(buf));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sink.poll_flush(cx).map_err(io_error)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sink.poll_finish(cx, &mut None).map_err(io_error)
    }
}
