//! Streams of a real HTTP/2 connection as ends of a body.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use h2::{Reason, client, server};
use http::{Request, Response};
use qanat_http::h2::{H2Sink, H2Source};
use qanat_http::{BodyLength, Frame, Headers, Sink, Source, StreamError, Whole, relay};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

type Stream = (H2Sink, H2Source);

/// A client's and a server's ends of one stream, with windows of 64 KiB.
async fn stream(request_length: BodyLength) -> (Stream, Stream) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (client, server) = tokio::join!(client::handshake(near), server::handshake(far));
    let ((mut requests, connection), mut server) = (client.unwrap(), server.unwrap());
    tokio::spawn(connection);
    let mut request = Request::post("https://a.example/");
    if let BodyLength::Exact(n) = request_length {
        request = request.header("content-length", n);
    }
    let (response, upload) = requests.send_request(request.body(()).unwrap(), false).unwrap();
    let (request, mut respond) = server.accept().await.unwrap().unwrap();
    let download = respond.send_response(Response::new(()), false).unwrap();
    tokio::spawn(async move { while server.accept().await.is_some() {} });
    let response = response.await.unwrap();
    let client = (H2Sink::new(upload, Reason::CANCEL), H2Source::new(response.into_body(), BodyLength::Unknown));
    let served = (H2Sink::new(download, Reason::INTERNAL_ERROR), H2Source::new(request.into_body(), request_length));
    // The client's handle must outlive the stream.
    tokio::spawn(async move {
        let _requests = requests;
        std::future::pending::<()>().await
    });
    (client, served)
}

async fn read_all(source: &mut H2Source) -> (usize, Option<Headers>, Option<StreamError>) {
    let (mut bytes, mut trailers) = (0, None);
    loop {
        match poll_fn(|cx| source.poll_frame(cx)).await {
            None => return (bytes, trailers, None),
            Some(Ok(Frame::Data(data))) => bytes += data.len(),
            Some(Ok(Frame::Trailers(fields))) => trailers = Some(fields),
            Some(Err(error)) => return (bytes, trailers, Some(error)),
        }
    }
}

#[tokio::test]
async fn a_body_larger_than_the_window_goes_both_ways() {
    let ((mut up, mut answer), (mut down, mut body)) = stream(BodyLength::Exact(1_000_000)).await;
    let large = || Whole::new(vec![b'x'; 1_000_000]);
    let (mut first, mut second) = (large(), large());
    let (sent, read, answered, got) = tokio::join!(
        relay(&mut first, &mut up),
        read_all(&mut body),
        relay(&mut second, &mut down),
        read_all(&mut answer)
    );
    assert_eq!((sent, answered), (Ok(1_000_000), Ok(1_000_000)));
    assert_eq!((read.0, read.2, got.0, got.2), (1_000_000, None, 1_000_000, None));
    assert!(body.is_end() && answer.is_end());
}

#[tokio::test]
async fn a_reader_that_waits_holds_the_writer_back() {
    let ((mut up, _answer), (_down, mut body)) = stream(BodyLength::Unknown).await;
    let mut sent = 0;
    let mut idle = 0;
    while idle < 20 {
        match poll_fn(|cx| Poll::Ready(up.poll_ready(cx))).await {
            Poll::Ready(ready) => {
                ready.unwrap();
                up.send(Bytes::from_static(&[b'x'; 16 * 1024]));
                sent += 16 * 1024;
            }
            Poll::Pending => idle += 1,
        }
        tokio::task::yield_now().await;
    }
    assert!(sent <= 65_535 + 16 * 1024, "{sent}");
    let finish = poll_fn(|cx| up.poll_finish(cx, &mut None));
    let (finished, read) = tokio::join!(finish, read_all(&mut body));
    assert_eq!((finished, read.0, read.2), (Ok(()), sent, None));
}

#[tokio::test]
async fn trailers_cross_without_the_unsafe_ones() {
    let ((mut up, mut answer), (mut down, mut body)) = stream(BodyLength::Unknown).await;
    let mut trailers = Headers::new();
    trailers.push("Grpc-Status", "0");
    trailers.push("content-length", "5");
    trailers.push("x-forwarded-for", "evil");
    let mut none = None;
    let mut some = Some(trailers);
    down.send(Bytes::from_static(b"hello"));
    let (a, b) =
        tokio::join!(poll_fn(|cx| up.poll_finish(cx, &mut none)), poll_fn(|cx| down.poll_finish(cx, &mut some)));
    assert_eq!((a, b), (Ok(()), Ok(())));
    assert_eq!(read_all(&mut body).await, (0, None, None));
    let (bytes, trailers, error) = read_all(&mut answer).await;
    let trailers = trailers.unwrap();
    assert_eq!((bytes, trailers.len(), error), (5, 1, None));
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
}

/// What a client reads, kept.
struct Kept<S>(S, Arc<Mutex<Vec<u8>>>);

impl<S: AsyncRead + Unpin> AsyncRead for Kept<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.0).poll_read(cx, buf);
        this.1.lock().unwrap().extend_from_slice(&buf.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Kept<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// (length, END_STREAM) of each DATA frame.
fn data_frames(mut bytes: &[u8]) -> Vec<(usize, bool)> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if *kind == 0 {
            frames.push((length, flags & 1 == 1));
        }
        bytes = &rest[length..];
    }
    frames
}

#[tokio::test]
async fn the_end_of_a_body_goes_with_its_last_data() {
    let (near, far) = tokio::io::duplex(1 << 20);
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let (client, server) = tokio::join!(client::handshake(Kept(near, heard.clone())), server::handshake(far));
    let ((mut requests, connection), mut server) = (client.unwrap(), server.unwrap());
    tokio::spawn(connection);
    let (response, _) = requests.send_request(Request::new(()), true).unwrap();
    let (_, mut respond) = server.accept().await.unwrap().unwrap();
    let mut down = H2Sink::new(respond.send_response(Response::new(()), false).unwrap(), Reason::INTERNAL_ERROR);
    tokio::spawn(async move { while server.accept().await.is_some() {} });
    assert_eq!(relay(&mut Whole::new("hello"), &mut down).await, Ok(5));
    let mut body = H2Source::new(response.await.unwrap().into_body(), BodyLength::Unknown);
    assert_eq!(read_all(&mut body).await, (5, None, None));
    assert_eq!(data_frames(&heard.lock().unwrap()), [(5, true)]);
}

/// Case 21.
#[tokio::test]
async fn a_reset_is_no_end() {
    let ((_up, mut answer), (mut down, _body)) = stream(BodyLength::Unknown).await;
    down.send(Bytes::from_static(b"hello"));
    poll_fn(|cx| down.poll_flush(cx)).await.unwrap();
    assert!(matches!(poll_fn(|cx| answer.poll_frame(cx)).await, Some(Ok(Frame::Data(_)))));
    down.reset();
    assert_eq!(read_all(&mut answer).await.2, Some(StreamError::Reset));
    assert!(!answer.is_end());
    assert!(matches!(poll_fn(|cx| down.poll_finish(cx, &mut None)).await, Err(StreamError::Reset)));
}

#[tokio::test]
async fn a_peer_that_resets_is_noticed_without_writing() {
    let ((mut up, answer), (mut down, mut body)) = stream(BodyLength::Unknown).await;
    drop(answer);
    up.reset();
    assert_eq!(poll_fn(|cx| down.poll_stopped(cx)).await, StreamError::Reset);
    assert_eq!(read_all(&mut body).await.2, Some(StreamError::Reset));
    assert_eq!(poll_fn(|cx| down.poll_ready(cx)).await, Err(StreamError::Reset));
}

#[tokio::test]
async fn a_body_shorter_or_longer_than_announced_is_an_error() {
    for sent in [4, 6] {
        let ((mut up, _answer), (_down, mut body)) = stream(BodyLength::Exact(5)).await;
        up.send(Bytes::from(vec![b'x'; sent]));
        let _ = poll_fn(|cx| up.poll_finish(cx, &mut None)).await;
        assert!(read_all(&mut body).await.2.is_some(), "{sent} bytes of 5");
    }
}

#[tokio::test]
async fn a_stopped_body_does_not_starve_the_answer() {
    let ((mut up, mut answer), (mut down, mut body)) = stream(BodyLength::Unknown).await;
    body.stop();
    assert_eq!(read_all(&mut body).await.2, Some(StreamError::Reset));
    let mut whole = Whole::new(vec![b'x'; 300_000]);
    let upload = async {
        while let Ok(()) = poll_fn(|cx| up.poll_ready(cx)).await {
            up.send(Bytes::from_static(&[b'x'; 10_000]));
            if poll_fn(|cx| Poll::Ready(up.poll_flush(cx))).await.is_pending() {
                break;
            }
        }
    };
    let ((), sent, got) = tokio::join!(upload, relay(&mut whole, &mut down), read_all(&mut answer));
    assert_eq!((sent, got.0, got.2), (Ok(300_000), 300_000, None));
    drop((down, body));
    assert_eq!(poll_fn(|cx| up.poll_stopped(cx)).await, StreamError::Reset);
}
