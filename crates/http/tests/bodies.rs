//! Bodies over HTTP/1 connections: what is read, what is written, and how either ends.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use qanat_http::h1::{Body, Decoded, Decoder, ReadError, Reader, Writer};
use qanat_http::{
    BodyLength, Frame, Framing, HeadError, Headers, Limits, RequestHead, ResponseHead, Sink, Source, StreamError,
    Version, Whole, relay,
};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

fn reader(bytes: &[u8]) -> Reader<io::Cursor<Vec<u8>>> {
    Reader::new(io::Cursor::new(bytes.to_vec()))
}

/// Data, trailers and the error of a body.
async fn read_all<S: Source>(source: &mut S) -> (Vec<u8>, Option<Headers>, Option<StreamError>) {
    let (mut data, mut trailers) = (Vec::new(), None);
    loop {
        match poll_fn(|cx| source.poll_frame(cx)).await {
            None => return (data, trailers, None),
            Some(Ok(Frame::Data(piece))) => {
                assert!(!piece.is_empty());
                data.extend_from_slice(&piece);
            }
            Some(Ok(Frame::Trailers(fields))) => trailers = Some(fields),
            Some(Err(error)) => {
                // An error is never followed by a clean end.
                assert_eq!(poll_fn(|cx| source.poll_frame(cx)).await.unwrap().unwrap_err(), error);
                return (data, trailers, Some(error));
            }
        }
    }
}

const CHUNKED: &[u8] = b"5;a=\"b\"\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\nHost: evil\r\ncontent_length: 3\r\n\r\nGET /next";

#[test]
fn chunks_cut_anywhere_give_the_same() {
    for cut in 0..=CHUNKED.len() {
        let mut decoder = Decoder::new(Framing::Chunked, &Limits::default());
        let mut buf = BytesMut::new();
        let (mut data, mut trailers, mut ended) = (Vec::new(), Headers::new(), false);
        for piece in [&CHUNKED[..cut], &CHUNKED[cut..]] {
            buf.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buf).unwrap() {
                    Decoded::Data(piece) => data.extend_from_slice(&piece),
                    Decoded::Trailers(fields) => trailers = fields,
                    Decoded::More => break,
                    Decoded::End => {
                        ended = true;
                        break;
                    }
                }
            }
        }
        assert_eq!((data.as_slice(), ended), (&b"hello0123456789abcdef"[..], true), "cut at {cut}");
        assert_eq!(buf, &b"GET /next"[..]);
        assert_eq!(trailers.len(), 1);
        assert_eq!(trailers.get("x-sum").unwrap(), "1");
    }
}

#[tokio::test]
async fn a_body_leaves_the_next_message_in_the_reader() {
    let wire = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut reader = reader(wire);
    let limits = Limits::default();
    let first = reader.read_request(&limits).await.unwrap().unwrap();
    let mut body = Body::new(&mut reader, first.framing(), &limits);
    assert!(!body.is_complete() && !body.is_end());
    assert_eq!(read_all(&mut body).await.0, b"hello");
    assert!(body.is_complete() && body.is_end());
    let next = reader.read_request(&limits).await.unwrap().unwrap();
    assert_eq!(next.head.target, "/next");
    assert!(Body::new(&mut reader, next.framing(), &limits).is_end());
    assert!(reader.read_request(&limits).await.unwrap().is_none());
}

#[tokio::test]
async fn heads_that_do_not_come_whole() {
    let limits = Limits::default();
    assert!(matches!(reader(b"GET / HT").read_request(&limits).await, Err(ReadError::Closed { partial: true })));
    assert!(matches!(reader(b"").read_request(&limits).await, Ok(None)));
    assert!(matches!(reader(b"NOISE\r\n").read_request(&limits).await, Err(ReadError::Head(HeadError::Malformed(_)))));
}

/// Case 21.
#[tokio::test]
async fn a_body_cut_off_is_never_a_whole_one() {
    for (framing, bytes) in [
        (Framing::Exact(100), &b"hello"[..]),
        (Framing::Chunked, b"5\r\nhello\r\n"),
        (Framing::Chunked, b"5\r\nhel"),
        (Framing::Chunked, b"5\r\nhello\r\n0\r\n"),
        (Framing::Chunked, b"5\r\nhello\r\n0\r\nx: 1\r\n"),
        (Framing::Chunked, b""),
    ] {
        let mut body = Body::new(reader(bytes), framing, &Limits::default());
        assert_eq!(read_all(&mut body).await.2, Some(StreamError::Truncated));
        assert!(!body.is_complete() && !body.is_end());
    }
    for framing in [Framing::UntilClose, Framing::Opaque] {
        let mut body = Body::new(reader(b"hello"), framing, &Limits::default());
        assert_eq!(read_all(&mut body).await, (b"hello".to_vec(), None, None));
    }
}

/// S11.
#[tokio::test]
async fn the_rest_of_a_body_that_nobody_wants_is_dropped_and_nothing_behind_it() {
    let limits = Limits::default();
    let mut body = Body::new(reader(&[b'x'; 65]), Framing::Exact(64), &limits);
    body.stop();
    assert!(!body.is_complete());
    assert_eq!(read_all(&mut body).await.2, Some(StreamError::Reset));
    let mut dropped = 0;
    while let Some(n) = poll_fn(|cx| body.poll_rest(cx)).await {
        dropped += n;
    }
    assert!(dropped == 64 && body.is_complete());
    assert_eq!(body.into_reader().buffer(), b"x");
    let mut body = Body::new(reader(b"5\r\nhelloX"), Framing::Chunked, &limits);
    body.stop();
    while poll_fn(|cx| body.poll_rest(cx)).await.is_some() {}
    assert!(!body.is_complete());
}

/// Remembers each write.
#[derive(Default)]
struct Recorder {
    writes: Vec<Vec<u8>>,
    shut: bool,
    blocked: bool,
}

impl Recorder {
    fn text(&self) -> String {
        String::from_utf8(self.writes.concat()).unwrap()
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.blocked {
            return Poll::Pending;
        }
        self.writes.push(buf.to_vec());
        Poll::Ready(Ok(buf.len()))
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.blocked {
            return Poll::Pending;
        }
        let all: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        let n = all.len();
        self.writes.push(all);
        Poll::Ready(Ok(n))
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

fn head(status: u16) -> ResponseHead {
    ResponseHead { status, headers: Headers::new() }
}

async fn finish(writer: &mut Writer<Recorder>, trailers: Option<Headers>) -> Result<(), StreamError> {
    let mut trailers = trailers;
    poll_fn(|cx| writer.poll_finish(cx, &mut trailers)).await
}

#[tokio::test]
async fn head_and_first_data_leave_in_one_write() {
    let mut writer = Writer::new(Recorder::default());
    assert!(writer.start_response(b"GET", &head(200), BodyLength::Exact(1024), Version::Http11, true));
    relay(&mut Whole::new(vec![b'x'; 1024]), &mut writer).await.unwrap();
    assert!(writer.is_reusable());
    assert_eq!(writer.get_ref().writes.len(), 1);
    let large = Bytes::from(vec![b'y'; 100_000]);
    writer.start_response(b"GET", &head(200), BodyLength::Unknown, Version::Http11, true);
    relay(&mut Whole::new(large), &mut writer).await.unwrap();
    assert_eq!(writer.get_ref().writes.len(), 1 + 1);
    let text = writer.get_ref().text();
    assert!(text.contains("\r\n\r\n186a0\r\nyyy") && text.ends_with("yyy\r\n0\r\n\r\n"));
    assert!(!writer.get_ref().shut);
}

#[tokio::test]
async fn an_exact_body_is_exact() {
    for (sent, error) in [
        (4, Some(StreamError::Truncated)),
        (5, None),
        (6, Some(StreamError::Malformed("more body bytes than announced"))),
    ] {
        let mut writer = Writer::new(Recorder::default());
        writer.start_response(b"GET", &head(200), BodyLength::Exact(5), Version::Http11, true);
        writer.send(Bytes::from(vec![b'x'; sent]));
        assert_eq!(finish(&mut writer, None).await.err(), error);
        assert_eq!((writer.is_reusable(), writer.is_broken()), (error.is_none(), error.is_some()));
        assert!(sent != 6 || writer.get_ref().writes.is_empty());
    }
}

/// Cases 29 and 30.
#[tokio::test]
async fn no_body_byte_after_head_204_and_304() {
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let mut writer = Writer::new(Recorder::default());
        let mut response = head(status);
        response.headers.push("Content-Length", "5");
        let kept = writer.start_response(method.as_bytes(), &response, BodyLength::Unknown, Version::Http11, true);
        writer.send(Bytes::from_static(b"hello"));
        finish(&mut writer, None).await.unwrap();
        assert!(kept && writer.is_reusable());
        let text = writer.get_ref().text();
        assert!(text.ends_with("\r\n\r\n") && !text.contains("Transfer-Encoding"), "{text}");
        assert_eq!(text.contains("Content-Length: 5"), status != 204);
    }
}

#[tokio::test]
async fn a_reset_body_has_no_last_chunk() {
    let mut writer = Writer::new(Recorder::default());
    writer.start_response(b"GET", &head(200), BodyLength::Unknown, Version::Http11, true);
    writer.send(Bytes::from_static(b"hello"));
    writer.flush().await.unwrap();
    writer.send(Bytes::from_static(b"more"));
    writer.reset();
    assert_eq!(finish(&mut writer, None).await, Err(StreamError::Reset));
    assert!(writer.is_broken() && !writer.is_reusable());
    assert!(writer.get_ref().text().ends_with("\r\n\r\n5\r\nhello\r\n"));
}

/// Case 66.
#[tokio::test]
async fn trailers_go_where_they_can() {
    let mut trailers = Headers::new();
    trailers.push("x-sum", "1");
    trailers.push("Content-Length", "9");
    for (version, end) in
        [(Version::Http11, "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), (Version::Http10, "Connection: close\r\n\r\nhello")]
    {
        let mut writer = Writer::new(Recorder::default());
        let kept = writer.start_response(b"GET", &head(200), BodyLength::Unknown, version, true);
        writer.send(Bytes::from_static(b"hello"));
        finish(&mut writer, Some(trailers.clone())).await.unwrap();
        assert!(writer.get_ref().text().ends_with(end), "{}", writer.get_ref().text());
        let old = version == Version::Http10;
        assert_eq!((writer.get_ref().shut, writer.is_reusable(), kept), (old, !old, !old));
    }
}

#[tokio::test]
async fn an_opaque_body_ends_with_its_half() {
    let mut writer = Writer::new(Recorder::default());
    let websocket = RequestHead {
        method: "GET".into(),
        target: "/".into(),
        authority: "a".into(),
        version: Version::Http11,
        headers: Headers::new(),
        websocket: true,
    };
    writer.start_request(&websocket, BodyLength::Opaque, &Headers::new());
    writer.send(Bytes::from_static(b"raw"));
    finish(&mut writer, None).await.unwrap();
    assert!(writer.get_ref().shut && writer.get_ref().text().ends_with("\r\n\r\nraw"));
}

#[tokio::test]
async fn http10_is_never_sent_a_1xx() {
    let mut writer = Writer::new(Recorder::default());
    writer.informational(&head(103), Version::Http10);
    writer.flush().await.unwrap();
    assert!(writer.get_ref().writes.is_empty());
    writer.informational(&head(100), Version::Http11);
    writer.flush().await.unwrap();
    assert_eq!(writer.get_ref().text(), "HTTP/1.1 100 Continue\r\n\r\n");
}

#[tokio::test]
async fn a_blocked_peer_stops_the_writer_at_its_buffer() {
    let mut writer = Writer::new(Recorder { blocked: true, ..Recorder::default() });
    writer.start(Framing::Opaque);
    let mut taken = 0;
    while poll_fn(|cx| Poll::Ready(writer.poll_ready(cx))).await.is_ready() {
        writer.send(Bytes::from_static(&[b'x'; 1000]));
        taken += 1000;
    }
    assert!((64_000..=66_000).contains(&taken), "{taken}");
    writer.get_mut().blocked = false;
    finish(&mut writer, None).await.unwrap();
    assert_eq!(writer.get_ref().text().len(), taken);
}

/// Reading from a half that never blocks keeps the copy buffer small however long the body is.
#[tokio::test]
async fn a_slow_peer_gets_everything_in_order() {
    let (near, mut far) = tokio::io::duplex(777);
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let write = async move {
        let mut writer = Writer::new(near);
        writer.start(Framing::Opaque);
        for (n, piece) in sent.chunks(3001).enumerate() {
            let pieces =
                if n % 3 == 0 { vec![piece.to_vec()] } else { piece.chunks(500).map(<[u8]>::to_vec).collect() };
            for piece in pieces {
                poll_fn(|cx| writer.poll_ready(cx)).await.unwrap();
                writer.send(Bytes::from(piece));
            }
        }
        poll_fn(|cx| writer.poll_finish(cx, &mut None)).await.unwrap();
    };
    let read = async move {
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), got) = tokio::join!(write, read);
    assert!(got == expected);
}

#[tokio::test]
async fn the_end_is_seen_while_nothing_is_read() {
    let (mut far, near) = tokio::io::duplex(1024);
    let mut reader = Reader::new(near);
    assert!(poll_fn(|cx| Poll::Ready(reader.poll_closed(cx))).await.is_pending());
    far.write_all(b"early").await.unwrap();
    assert!(poll_fn(|cx| Poll::Ready(reader.poll_closed(cx))).await.is_pending());
    assert_eq!(reader.buffer(), b"early");
    drop(far);
    poll_fn(|cx| reader.poll_closed(cx)).await.unwrap();
    assert_eq!(poll_fn(|cx| reader.poll_fill(cx)).await.unwrap(), 0);
}

/// A body of these pieces through a writer, a narrow pipe and a reader.
async fn carried(
    pieces: Vec<Vec<u8>>,
    trailer: bool,
    framing: Framing,
    width: usize,
) -> (Vec<u8>, Option<Headers>, Option<StreamError>) {
    let (near, far): (DuplexStream, DuplexStream) = tokio::io::duplex(width);
    let write = async move {
        let mut writer = Writer::new(near);
        writer.start(framing);
        for piece in pieces {
            poll_fn(|cx| writer.poll_ready(cx)).await.unwrap();
            writer.send(Bytes::from(piece));
        }
        let mut trailers = trailer.then(|| {
            let mut trailers = Headers::new();
            trailers.push("X-Sum", "1");
            trailers
        });
        poll_fn(|cx| writer.poll_finish(cx, &mut trailers)).await.unwrap();
        writer
    };
    let read = async move {
        let mut body = Body::new(Reader::new(far), framing, &Limits::default());
        read_all(&mut body).await
    };
    tokio::join!(write, read).1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(sizes in proptest::collection::vec(0..9000usize, 0..6), trailer: bool, width in 1..5000usize, chunked: bool) {
        let pieces: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, size)| vec![n as u8; *size]).collect();
        let whole = pieces.concat();
        let framing = if chunked { Framing::Chunked } else { Framing::Exact(whole.len() as u64) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (data, trailers, error) = runtime.block_on(carried(pieces, trailer, framing, width));
        prop_assert!(error.is_none());
        prop_assert!(data == whole);
        prop_assert_eq!(trailers.is_some(), trailer && chunked);
    }
}
