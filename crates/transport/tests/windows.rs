//! A stream's window is what was set: as much of a body is under way that nobody reads, both ways, and no more.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use bytes::Bytes;
use qanat_http::{BodyLength, Frame, Source, StreamError};
use qanat_transport::{AnsweredBy, EdgeLink, Flow, Lines, Protocol, RequestKind, TunnelSink, Wanted};
use std::future::poll_fn;
use std::time::Duration;
use support::{Edge, accept, answer, registration, request, response, send, within};

const PIECE: usize = 64 * 1024;
/// What lies in buffers beside the window: the sink's piece, and HTTP/2's send buffer.
const BESIDE: usize = 4 * PIECE;

/// As much goes out as the window says (of which the head has its part), and then nothing.
async fn fills(sink: &mut TunnelSink, window: usize) {
    for _ in 0..window / PIECE - 1 {
        within(send(sink, Bytes::from(vec![7; PIECE]))).await.unwrap();
    }
    let more = async {
        for _ in 0..BESIDE / PIECE + 2 {
            send(sink, Bytes::from(vec![7; PIECE])).await?;
        }
        Ok::<_, StreamError>(())
    };
    assert!(tokio::time::timeout(Duration::from_millis(200), more).await.is_err(), "more than the window was taken");
}

/// Settings of an end that has seen such a line.
fn over(round_trip: Duration) -> Flow {
    let flow = Flow { lines: Lines::new(4 << 20), ..Flow::default() };
    flow.lines.note("127.0.0.1".parse().unwrap(), round_trip);
    flow
}

/// `quinn` fixes a window when the connection is made: what was known of the line before decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_quic_stream_has_the_window_that_its_line_needs_both_ways() {
    for (round_trip, window) in [(Duration::from_millis(1), 1 << 20), (Duration::from_millis(100), 4 << 20)] {
        let edge = Edge::with(|_| None, |settings| settings.flow = over(round_trip));
        let mut settings = edge.dial_settings();
        settings.flow = over(round_trip);
        let connector = EdgeLink::dial(Protocol::Quic, edge.address, &settings).await.unwrap();
        connector.register(registration(true)).await.unwrap();
        let link = edge.registered().await;
        let upload = request(RequestKind::Http, "POST", "/", BodyLength::Unknown);
        let mut open = within(link.open(&upload)).await.unwrap();
        let incoming = within(accept(&connector)).await;
        fills(&mut open.sink, window).await;
        let mut back = incoming.responder.respond(response(200, &[]), BodyLength::Unknown, AnsweredBy::Origin).unwrap();
        fills(&mut back, window).await;
        let _answer = within(answer(&mut open)).await;
    }
}

/// What the flow-control flags of a connector say.
#[tokio::test(flavor = "multi_thread")]
async fn windows_that_the_owner_wants_are_in_effect() {
    for wanted in [
        Wanted { stream_window: Some(256 * 1024), ..Wanted::default() },
        Wanted { connection_window: Some(256 * 1024), ..Wanted::default() },
    ] {
        let edge = Edge::start();
        let mut settings = edge.dial_settings();
        settings.flow = Flow { wanted, ..over(Duration::from_millis(100)) };
        let connector = EdgeLink::dial(Protocol::Quic, edge.address, &settings).await.unwrap();
        connector.register(registration(true)).await.unwrap();
        let link = edge.registered().await;
        let upload = request(RequestKind::Http, "POST", "/", BodyLength::Unknown);
        let mut open = within(link.open(&upload)).await.unwrap();
        let _incoming = within(accept(&connector)).await;
        fills(&mut open.sink, 256 * 1024).await;
    }
}

/// --write-stream-timeout.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_edge_takes_nothing_of_is_reset_after_the_time_that_the_owner_gives_it() {
    let edge = Edge::start();
    let mut settings = edge.dial_settings();
    settings.flow.wanted.write_timeout = Some(Duration::from_millis(100));
    let connector = EdgeLink::dial(Protocol::Quic, edge.address, &settings).await.unwrap();
    connector.register(registration(true)).await.unwrap();
    let link = edge.registered().await;
    let open = within(link.open(&support::get("/"))).await.unwrap();
    let incoming = within(accept(&connector)).await;
    let mut back = incoming.responder.respond(response(200, &[]), BodyLength::Unknown, AnsweredBy::Origin).unwrap();
    let sending = async {
        loop {
            send(&mut back, Bytes::from(vec![7; PIECE])).await?;
        }
    };
    let end: Result<(), StreamError> = within(sending).await;
    assert_eq!(end, Err(StreamError::Reset));
    drop(open); // until now: what it hasn't read keeps the window shut
}

/// Packets grow as large as the path takes them, which loopback does beyond what ten at once may be for the kernel; and stay as they
/// are for who wants it.
#[tokio::test(flavor = "multi_thread")]
async fn packets_between_our_own_ends_become_as_large_as_the_path_takes_them() {
    for (no_mtu_discovery, size) in [(false, 6550), (true, 1200)] {
        let edge = Edge::start();
        let mut settings = edge.dial_settings();
        settings.flow.wanted = Wanted { no_mtu_discovery, ..Wanted::default() };
        let connector = EdgeLink::dial(Protocol::Quic, edge.address, &settings).await.unwrap();
        connector.register(registration(true)).await.unwrap();
        let link = edge.registered().await;
        let upload = request(RequestKind::Http, "POST", "/", BodyLength::Unknown);
        let mut open = within(link.open(&upload)).await.unwrap();
        let mut incoming = within(accept(&connector)).await;
        let mtu = || connector.watch().read().unwrap().1.mtu;
        // A step of the search takes a round trip, for which something has to be on the way.
        let mut passed = 0;
        while passed < 1 << 20 || mtu() < size {
            within(send(&mut open.sink, Bytes::from(vec![7; PIECE]))).await.unwrap();
            passed += PIECE;
            let mut left = PIECE;
            while left > 0 {
                match within(poll_fn(|cx| incoming.body.poll_frame(cx))).await {
                    Some(Ok(Frame::Data(data))) => left -= data.len(),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(mtu(), size);
    }
}
