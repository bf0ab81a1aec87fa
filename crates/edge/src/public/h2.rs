//! A public HTTP/2 connection: the `h2` crate's streams, each served in a task of its own.

use crate::cause::Cause;
use crate::client::Client;
use crate::drain::Stage;
use crate::pressure::SHED;
use crate::public::cancels::{self, Cancels};
use crate::public::frames::{Watch, Watched};
use crate::public_side::PublicSide;
use crate::requests::ends::{Download, Upload};
use crate::requests::exchange::Outcome;
use crate::requests::linger::Linger;
use crate::requests::request::Request;
use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use qanat_http::h1::ParsedRequest;
use qanat_http::h2::{H2Sink, H2Source, request_from_h2, response_to_h2, stream_error};
use qanat_http::{BodyLength, Frame, ResponseHead, Source, StreamError};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};

// S22.
const MAX_STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// HPACK counts 32 bytes more for each field.
const FIELD_COST: usize = 32;
const MAX_LOCAL_RESETS: usize = 100;
/// Streams that we reset after their answer and on which a client may still be sending.
const REMEMBERED_RESETS: usize = 256;
/// After GOAWAY, for a client that doesn't answer to it.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves the connection to its end.
pub(crate) fn serve<S>(side: &Arc<PublicSide>, client: Arc<Client>, socket: S) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let max_header_bytes = side.settings.max_header_bytes + side.settings.max_header_fields * FIELD_COST;
    let (socket, watch) = Watched::new(socket, max_header_bytes);
    // In boxes of their own: what the handshake needs is given back after it, and the connection is there once.
    let begun = Box::pin(begin(side, client.clone(), socket, max_header_bytes));
    async move {
        if let Some(connection) = begun.await {
            streams(side, &client, connection, &watch).await;
        }
    }
}

async fn begin<S>(
    side: &PublicSide,
    client: Arc<Client>,
    socket: Watched<S>,
    max_header_bytes: usize,
) -> Option<Served<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .max_pending_accept_reset_streams(cancels::MAX_CANCELS as usize)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .enable_connect_protocol()
        .handshake::<_, Bytes>(socket);
    match timeout(side.settings.header_timeout, handshake).await {
        Ok(Ok(connection)) => return Some(Box::new(connection)),
        Ok(Err(error)) => tracing::debug!(peer = %client.address, %error, "HTTP/2 handshake failed"),
        Err(_) => tracing::debug!(peer = %client.address, "HTTP/2 handshake timed out"),
    }
    None
}

type Served<S> = Box<Connection<Watched<S>, Bytes>>;

/// What the connection's own task hears next.
#[allow(clippy::large_enum_variant)] // lives for one turn of a loop; a box would cost an allocation for each request
enum Next {
    Stream(http::Request<RecvStream>, SendResponse<Bytes>),
    Ended,
    Breach(&'static str),
    Tick,
    Drain,
}

async fn streams<S>(side: &Arc<PublicSide>, client: &Arc<Client>, mut connection: Served<S>, watch: &Watch)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ear = side.drain.listen();
    let mut idle = pin!(sleep(side.settings.keep_alive_timeout));
    let cancels = Arc::new(Cancels::new());
    let (mut asked, mut leaving, mut calming) = (false, false, false);
    loop {
        let next = poll_fn(|cx| {
            if let Poll::Ready(accepted) = connection.poll_accept(cx) {
                return Poll::Ready(match accepted {
                    Some(Ok((request, respond))) => Next::Stream(request, respond),
                    Some(Err(error)) => {
                        tracing::debug!(peer = %client.address, %error, "HTTP/2 connection failed");
                        Next::Ended
                    }
                    None => Next::Ended,
                });
            }
            if let Some(breach) = watch.breach().filter(|_| !calming) {
                return Poll::Ready(Next::Breach(breach));
            }
            // Who has not asked for anything yet would come back at once with nothing done.
            if !leaving && ear.poll(cx, if asked { Stage::Leaving } else { Stage::Closing }).is_ready() {
                return Poll::Ready(Next::Drain);
            }
            idle.as_mut().poll(cx).map(|()| Next::Tick)
        })
        .await;
        match next {
            Next::Stream(request, respond) => {
                asked = true;
                idle.as_mut().reset(Instant::now() + side.settings.keep_alive_timeout);
                if cancels.is_overdrawn() && !calming {
                    calm_down(side, client, &mut connection, watch, "too many resets");
                    (leaving, calming) = (true, true);
                    idle.as_mut().reset(Instant::now() + GOODBYE);
                    continue;
                }
                tokio::spawn(stream(side.clone(), client.clone(), request, respond, cancels.clone()));
            }
            Next::Ended => return,
            Next::Breach(breach) => {
                calm_down(side, client, &mut connection, watch, breach);
                (leaving, calming) = (true, true);
                idle.as_mut().reset(Instant::now() + GOODBYE);
            }
            Next::Tick if calming => return,
            Next::Drain => {
                leaving = true;
                connection.graceful_shutdown();
                idle.as_mut().reset(Instant::now() + GOODBYE);
            }
            // Nobody there any more, or nobody who answers to GOAWAY.
            Next::Tick if leaving && !connection.has_streams() => return,
            Next::Tick if leaving => idle.as_mut().reset(Instant::now() + GOODBYE),
            Next::Tick if connection.has_streams() => {
                idle.as_mut().reset(Instant::now() + side.settings.keep_alive_timeout);
            }
            Next::Tick => {
                leaving = true;
                connection.graceful_shutdown();
                idle.as_mut().reset(Instant::now() + GOODBYE);
            }
        }
    }
}

/// GOAWAY, every stream ends, and nothing is read any more.
fn calm_down<S>(
    side: &PublicSide,
    client: &Client,
    connection: &mut Connection<Watched<S>, Bytes>,
    watch: &Watch,
    why: &str,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    side.counters.connections_calmed.add(1);
    tracing::debug!(peer = %client.address, why, "an HTTP/2 connection was ended with ENHANCE_YOUR_CALM");
    watch.close();
    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
}

async fn stream(
    side: Arc<PublicSide>,
    client: Arc<Client>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    cancels: Arc<Cancels>,
) {
    let begun = Instant::now();
    let mut download = H2Download { respond, sink: None };
    let mut linger = Linger::new();
    let end_stream = request.body().is_end_stream();
    let head = request_from_h2(&request, end_stream, &side.head_limits);
    let length = head.as_ref().map_or(BodyLength::Unknown, |(_, length)| *length);
    let mut upload = H2Upload::new(request.into_body(), length, side.head_limits);
    let outcome = match head {
        Ok(_) if side.pressure.sheds() => {
            linger = Linger::brief();
            let refused = Request::new(&side, &client);
            refused.refuse(Cause::Overloaded, 503, SHED, &mut download).await
        }
        Ok((head, length)) => {
            let expect_continue = length != BodyLength::Absent
                && head.headers.get("expect").is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"));
            let parsed =
                ParsedRequest { head, length, keep_alive: true, expect_continue, upgrade: None, host_differs: false };
            let pace = pin!(sleep(side.settings.keep_alive_timeout));
            Request::new(&side, &client).serve(parsed, &mut upload, &mut download, pace).await
        }
        Err(error) => {
            let refused = Request::new(&side, &client);
            refused.refuse(Cause::from(&error), error.status(), &error.to_string(), &mut download).await
        }
    };
    match outcome {
        Outcome::Answered => {
            cancels.answered();
            if !upload.is_end() && length != BodyLength::Opaque {
                linger.run(|cx| upload.poll_rest(cx)).await;
            }
        }
        Outcome::Cut if download.sink.is_none() => {
            cancels.canceled(begun.elapsed());
            download.respond.send_reset(Reason::CANCEL);
        }
        Outcome::Cut | Outcome::Switched => {}
    }
}

/// A request's body; its trailers cost no more than those of HTTP/1.1 (S16). Stopped, it is still open: what `h2` sends for one that
/// was dropped could reach the client before it has read its answer.
struct H2Upload {
    source: H2Source,
    limits: qanat_http::Limits,
    is_stopped: bool,
}

impl H2Upload {
    fn new(body: RecvStream, length: BodyLength, limits: qanat_http::Limits) -> Self {
        Self { source: H2Source::new(body, length), limits, is_stopped: false }
    }
}

impl Source for H2Upload {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        if self.is_stopped {
            return Poll::Ready(Some(Err(StreamError::Reset)));
        }
        let frame = std::task::ready!(self.source.poll_frame(cx));
        if let Some(Ok(Frame::Trailers(trailers))) = &frame
            && let Err(error) = self.limits.check_trailers(trailers)
        {
            self.source.stop();
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(frame)
    }
    fn stop(&mut self) {
        self.is_stopped = true;
    }
    fn is_end(&self) -> bool {
        self.source.is_end()
    }
}

impl Upload for H2Upload {
    /// The answering side hears of it.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
    fn has_left(&self) -> bool {
        false
    }
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.source.poll_frame(cx).map(|frame| match frame {
            Some(Ok(Frame::Data(data))) => Some(data.len()),
            Some(Ok(Frame::Trailers(_))) => Some(0),
            Some(Err(_)) | None => None,
        })
    }
}

struct H2Download {
    respond: SendResponse<Bytes>,
    sink: Option<H2Sink>,
}

impl Download for H2Download {
    type Sink = H2Sink;
    const MAX_STALLED: Duration = crate::requests::pace::MAX_STALLED_STREAM;

    fn informational(&mut self, head: &ResponseHead) {
        if let Ok(response) = response_to_h2(head, BodyLength::Absent) {
            let _ = self.respond.send_informational(response);
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Poll::Ready(Ok(()))
    }

    fn respond(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), StreamError> {
        let response = response_to_h2(head, length).map_err(|_| StreamError::Malformed("response head"))?;
        let is_end = length.is_nothing();
        let stream = self.respond.send_response(response, is_end).map_err(|error| stream_error(&error))?;
        self.sink = Some(if is_end { H2Sink::ended(stream) } else { H2Sink::new(stream, Reason::INTERNAL_ERROR) });
        Ok(())
    }

    fn sink(&mut self) -> &mut H2Sink {
        self.sink.as_mut().expect("respond comes before sink")
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.respond.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    fn carries_trailers(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;
    use tokio_rustls::server::TlsStream;

    fn size_of_future<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// The handshake's room is given back, and the connection, the most of it, isn't there twice.
    #[test]
    fn an_idle_connection_holds_no_room_for_its_handshake() {
        let idle = size_of_future(serve::<TlsStream<TcpStream>>);
        let connection = size_of::<Connection<Watched<TlsStream<TcpStream>>, Bytes>>();
        assert!(idle + connection < 4 * 1024, "{idle} and {connection} bytes");
    }
}
