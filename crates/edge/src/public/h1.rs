//! A public HTTP/1 connection: one request after the other, each read by the strict parser, answered, and its body read to the
//! end or the connection closed (S9 to S11).

use crate::cause::Cause;
use crate::client::Client;
use crate::drain::{Ear, Stage};
use crate::pressure::SHED;
use crate::public_side::PublicSide;
use crate::requests::ends::{Download, Upload};
use crate::requests::exchange::Outcome;
use crate::requests::linger::Linger;
use crate::requests::request::Request;
use bytes::Bytes;
use qanat_http::h1::{Body, BorrowedBody, ParsedRequest, ReadError, Reader, Writer};
use qanat_http::{BodyLength, Frame, Framing, ResponseHead, Sink, Source, StreamError, Version};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;

/// For the first request of a connection that was made just before the edge closes.
const FIRST_REQUEST: Duration = Duration::from_millis(100);
/// For the last bytes of a connection on which everything was said.
const GOODBYE: Duration = Duration::from_secs(1);

/// A client's socket, with TLS or without.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the close to come a TCP reset.
    fn reset_on_close(&self);
    /// Whether the client is known to be gone, also when what it has sent lies unread before its end.
    fn has_left(&self) -> bool;
}

/// What the reactor has heard of the socket.
fn ready(socket: &TcpStream) -> Option<Ready> {
    let heard = pin!(socket.ready(Interest::READABLE)).poll(&mut Context::from_waker(Waker::noop()));
    if let Poll::Ready(Ok(ready)) = heard { Some(ready) } else { None }
}

impl Socket for TcpStream {
    fn reset_on_close(&self) {
        let _ = self.set_zero_linger();
    }
    /// Its end alone is a half-close.
    fn has_left(&self) -> bool {
        ready(self).is_some_and(|ready| ready.is_write_closed())
    }
}

impl Socket for TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
    fn has_left(&self) -> bool {
        ready(self.get_ref().0).is_some_and(|ready| ready.is_read_closed() || ready.is_write_closed())
    }
}

/// This process's own.
impl Socket for UnixStream {
    fn reset_on_close(&self) {}
    /// Its end alone is a half-close.
    fn has_left(&self) -> bool {
        let heard = pin!(self.ready(Interest::READABLE)).poll(&mut Context::from_waker(Waker::noop()));
        matches!(heard, Poll::Ready(Ok(ready)) if ready.is_write_closed())
    }
}

/// One socket as its reading and its writing half (two clones). Never locked across an await: both belong to one task.
struct Half<S>(Arc<Mutex<S>>);

impl<S> Half<S> {
    fn socket(&self) -> MutexGuard<'_, S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Socket> AsyncRead for Half<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket()).poll_read(cx, buf)
    }
}

impl<S: Socket> AsyncWrite for Half<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.socket()).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.socket()).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.socket().is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket()).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket()).poll_shutdown(cx)
    }
}

/// How a connection ends.
enum End {
    /// Everything was said.
    Clean,
    /// The client may still be sending: read on for a while, so that our last answer isn't lost to a TCP reset.
    Linger(Linger),
    /// Its answer was cut.
    Cut,
}

/// Serves the connection to its end.
pub(crate) async fn serve<S: Socket>(side: &Arc<PublicSide>, client: &Client, socket: S) {
    let socket = Arc::new(Mutex::new(socket));
    let mut reader = Reader::new(Half(socket.clone()));
    let mut writer = Writer::new(Half(socket));
    let end = requests(side, client, &mut reader, &mut writer).await;
    match end {
        End::Clean => {
            let _ = timeout(GOODBYE, writer.shutdown()).await;
        }
        End::Linger(linger) => close_slowly(linger, &mut reader, &mut writer).await,
        End::Cut => {
            // Whoever resumes a download goes on behind what there was of it.
            let _ = timeout(GOODBYE, writer.flush_cut()).await;
            // Where only the connection's end ends the body, a normal close would look like a whole one.
            if writer.framing() == Framing::UntilClose {
                reader.get_ref().socket().reset_on_close();
            }
        }
    }
}

/// Ends our side, and reads the client's to its end or as long as it may last. A client that sends before it reads takes our end
/// only when it is read from.
async fn close_slowly<S: Socket>(mut linger: Linger, reader: &mut Reader<Half<S>>, writer: &mut Writer<Half<S>>) {
    let mut shutdown = pin!(writer.shutdown());
    let mut is_shut = false;
    linger
        .run(|cx| {
            if !is_shut && let Poll::Ready(shut) = shutdown.as_mut().poll(cx) {
                is_shut = true;
                if shut.is_err() {
                    return Poll::Ready(None);
                }
            }
            reader.buffer_mut().clear();
            reader.poll_fill(cx).map(|came| came.ok().filter(|n| *n > 0))
        })
        .await;
}

async fn requests<S: Socket>(
    side: &Arc<PublicSide>,
    client: &Client,
    reader: &mut Reader<Half<S>>,
    writer: &mut Writer<Half<S>>,
) -> End {
    let ear = side.drain.listen();
    let mut idle = pin!(sleep(side.settings.header_timeout));
    let mut pace = pin!(sleep(side.settings.keep_alive_timeout));
    let mut fresh = true;
    loop {
        let parsed = match next(side, reader, idle.as_mut(), &ear, fresh).await {
            Ok(parsed) => parsed,
            Err(Stop::Closed) => return End::Clean,
            Err(Stop::Refused(cause, status, detail)) => {
                let mut download = H1Download::new(side, writer, Version::Http11, Bytes::new(), false, false);
                let linger = if cause == Cause::HeadTooSlow { Linger::brief() } else { Linger::new() };
                let refused = Request::new(side, client).refuse(cause, status, &detail, &mut download);
                return match Box::pin(refused).await {
                    Outcome::Cut => End::Cut,
                    Outcome::Answered | Outcome::Switched => End::Linger(linger),
                };
            }
        };
        fresh = false;
        if side.pressure.sheds() {
            let mut download = H1Download::new(side, writer, Version::Http11, Bytes::new(), false, false);
            let refused = Request::new(side, client).refuse(Cause::Overloaded, 503, SHED, &mut download);
            return if Box::pin(refused).await == Outcome::Cut { End::Cut } else { End::Linger(Linger::brief()) };
        }
        let ParsedRequest { ref head, keep_alive, expect_continue, .. } = parsed;
        let is_websocket = head.websocket;
        let body = Body::new(&mut *reader, parsed.framing(), &side.head_limits);
        let mut upload = H1Upload { body, is_tls: client.is_tls() };
        let expects = expect_continue && head.version == Version::Http11;
        let mut download = H1Download::new(side, writer, head.version, head.method.clone(), keep_alive, expects);
        let request = Request::new(side, client);
        let parsed = ParsedRequest { expect_continue: expects, ..parsed };
        // In a box, so that who asks for nothing holds no room for it.
        let outcome = Box::pin(request.serve(parsed, &mut upload, &mut download, pace.as_mut())).await;
        let kept = download.kept;
        match outcome {
            Outcome::Cut => return End::Cut,
            Outcome::Switched => return End::Clean,
            // With its whole request read, a client has nothing more to send.
            Outcome::Answered if !kept && upload.body.is_complete() => return End::Linger(Linger::brief()),
            Outcome::Answered if !kept || !writer.is_reusable() => return End::Linger(Linger::new()),
            // The bytes after a refused Upgrade are requests again.
            Outcome::Answered if is_websocket => {}
            Outcome::Answered if upload.body.is_complete() => {}
            Outcome::Answered => {
                let mut linger = Linger::new();
                linger.run(|cx| upload.poll_rest(cx)).await;
                if !upload.body.is_complete() {
                    return End::Linger(linger);
                }
            }
        }
        idle.as_mut().reset(Instant::now() + side.settings.keep_alive_timeout);
    }
}

/// Why no further request comes.
enum Stop {
    /// The client closed, was idle for too long, or the edge closes.
    Closed,
    Refused(Cause, u16, String),
}

/// The next request head: `idle` limits the wait for its first byte, the header timeout the time from there (S28). On a `fresh`
/// connection it may be on its way when the edge closes.
async fn next<R: AsyncRead + Unpin + Send>(
    side: &PublicSide,
    reader: &mut Reader<R>,
    mut idle: Pin<&mut Sleep>,
    ear: &Ear<'_>,
    mut fresh: bool,
) -> Result<ParsedRequest, Stop> {
    if reader.buffer().is_empty() {
        reader.rest();
        let mut closing = false;
        let came = poll_fn(|cx| match reader.poll_fill(cx) {
            Poll::Ready(came) => Poll::Ready(came.is_ok_and(|n| n > 0)),
            Poll::Pending => {
                if !closing && ear.poll(cx, Stage::Closing).is_ready() {
                    if !std::mem::take(&mut fresh) {
                        return Poll::Ready(false);
                    }
                    closing = true;
                    idle.as_mut().reset(Instant::now() + FIRST_REQUEST);
                }
                idle.as_mut().poll(cx).map(|()| false)
            }
        })
        .await;
        if !came {
            return Err(Stop::Closed);
        }
    }
    let mut read = pin!(reader.read_request(&side.head_limits));
    let mut waiting = false;
    let read = poll_fn(|cx| match read.as_mut().poll(cx) {
        Poll::Ready(read) => Poll::Ready(Some(read)),
        Poll::Pending => {
            // Nearly every head comes whole: the timer is touched for the others only.
            if !std::mem::replace(&mut waiting, true) {
                idle.as_mut().reset(Instant::now() + side.settings.header_timeout);
            }
            idle.as_mut().poll(cx).map(|()| None)
        }
    })
    .await;
    match read {
        Some(Ok(Some(parsed))) => Ok(parsed),
        Some(Ok(None) | Err(ReadError::Closed { .. } | ReadError::Io(_))) => Err(Stop::Closed),
        Some(Err(ReadError::Head(error))) => Err(Stop::Refused(Cause::from(&error), error.status(), error.to_string())),
        None => Err(Stop::Refused(Cause::HeadTooSlow, 408, "the head did not come in time".to_owned())),
    }
}

/// The request body, and who watches for the client's departure once it is over.
struct H1Upload<'a, S> {
    body: BorrowedBody<'a, Half<S>>,
    is_tls: bool,
}

impl<S: Socket> Source for H1Upload<'_, S> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        self.body.poll_frame(cx)
    }
    fn stop(&mut self) {
        self.body.stop();
    }
    fn is_end(&self) -> bool {
        self.body.is_end()
    }
}

impl<S: Socket> Upload for H1Upload<'_, S> {
    /// The end of a TLS connection is the client's departure; on a plain one it is a half-close, the answer is still wanted.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.body.reader_mut().poll_closed(cx) {
            Poll::Ready(Ok(())) if !self.is_tls => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }
    fn has_left(&self) -> bool {
        self.body.reader().get_ref().socket().has_left()
    }
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.body.poll_rest(cx)
    }
}

/// The answer's way into the connection.
struct H1Download<'a, W> {
    side: &'a PublicSide,
    writer: &'a mut Writer<W>,
    version: Version,
    method: Bytes,
    keep_alive: bool,
    /// The client holds its body back until it gets a 100. Without one nobody can tell whether the body comes (S11).
    owes_continue: bool,
    /// The connection goes on after the answer.
    kept: bool,
}

impl<'a, W> H1Download<'a, W> {
    fn new(
        side: &'a PublicSide,
        writer: &'a mut Writer<W>,
        version: Version,
        method: Bytes,
        keep_alive: bool,
        owes_continue: bool,
    ) -> Self {
        Self { side, writer, version, method, keep_alive, owes_continue, kept: false }
    }
}

impl<W: AsyncWrite + Unpin + Send> Download for H1Download<'_, W> {
    type Sink = Writer<W>;
    const MAX_STALLED: Duration = crate::requests::pace::MAX_STALLED;

    fn informational(&mut self, head: &ResponseHead) {
        if head.status == 100 {
            self.owes_continue = false;
        }
        self.writer.informational(head, self.version);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Sink::poll_flush(self.writer, cx)
    }

    fn respond(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), StreamError> {
        let keep_alive = self.keep_alive && !self.owes_continue && !self.side.drain.has_reached(Stage::Leaving);
        self.kept = self.writer.start_response(&self.method, head, length, self.version, keep_alive);
        Ok(())
    }

    fn sink(&mut self) -> &mut Self::Sink {
        self.writer
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn carries_trailers(&self) -> bool {
        self.version == Version::Http11
    }

    fn end_connection(&mut self) {
        self.keep_alive = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// 50 000 idle visitors shall fit into 1 GiB, 21.5 KiB each. What TLS itself holds is about 8 KiB, 4 of them a read buffer, so that
    /// a request's own future, 6 KiB and more, must not be a part of its connection's.
    #[test]
    fn a_connection_without_a_request_holds_no_room_for_one() {
        let idle = size_of_future(serve::<TlsStream<TcpStream>>);
        assert!(idle < 3 * 1024, "{idle} bytes");
    }
}
