//! The control RPC's thread and its streams. Cap'n Proto's RPC objects can't change threads, so all of them live on one.

use crate::allowance::{Allowance, Framing};
use crate::{TunnelSink, TunnelSource};
use bytes::Bytes;
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use futures_util::io::{AsyncRead, AsyncWrite};
use qanat_http::{Frame, Sink, Source, StreamError};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::sync::mpsc;

/// Largest control message, in words: 4 MiB.
const TRAVERSAL: usize = 4 * 1024 * 1024 / 8;

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

/// Two-party RPC over the two directions of a stream. `budget`: bytes the peer may send over the stream's life.
pub(crate) fn network(source: TunnelSource, sink: TunnelSink, side: Side, budget: usize) -> VatNetwork<RpcReader> {
    start(RpcReader { source, rest: Bytes::new(), budget, guard: None }, sink, side)
}

/// The same for a control stream, which is bounded more narrowly until its connection has registered. `is_counted`: the stream's
/// own bytes are counted here, not those of the connection elsewhere.
pub(crate) fn control_network(
    source: TunnelSource,
    sink: TunnelSink,
    budget: usize,
    allowance: Arc<Allowance>,
    is_counted: bool,
) -> VatNetwork<RpcReader> {
    let guard = Some(Guard { allowance, framing: Framing::default(), is_counted });
    start(RpcReader { source, rest: Bytes::new(), budget, guard }, sink, Side::Server)
}

fn start(reader: RpcReader, sink: TunnelSink, side: Side) -> VatNetwork<RpcReader> {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(TRAVERSAL)).nesting_limit(64);
    VatNetwork::new(reader, RpcWriter { sink }, side, options)
}

fn io_error(error: StreamError) -> io::Error {
    let kind = match error {
        StreamError::Reset | StreamError::ConnectionLost(_) => io::ErrorKind::ConnectionReset,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

pub(crate) struct RpcReader {
    source: TunnelSource,
    rest: Bytes,
    budget: usize,
    guard: Option<Guard>,
}

/// The bounds of a stream whose peer has shown no valid secret yet.
struct Guard {
    allowance: Arc<Allowance>,
    framing: Framing,
    is_counted: bool,
}

impl Guard {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.allowance.is_lifted() {
            return Ok(());
        }
        if self.is_counted {
            self.allowance.take(bytes.len())?;
        }
        self.framing.feed(bytes)
    }
}

impl AsyncRead for RpcReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.rest.is_empty() {
            match ready!(self.source.poll_frame(cx)) {
                None => return Poll::Ready(Ok(0)),
                Some(Ok(Frame::Data(data))) => self.rest = data,
                Some(Ok(Frame::Trailers(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
            match self.budget.checked_sub(self.rest.len()) {
                Some(left) => self.budget = left,
                None => return Poll::Ready(Err(io::Error::other("too many bytes on a control stream"))),
            }
            let this = &mut *self;
            if let Some(guard) = &mut this.guard {
                guard.take(&this.rest)?;
            }
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
