//! The relay's promises, on ends that do exactly what they are told.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use qanat_http::{Frame, Headers, Relay, RelayError, Sink, Source, StreamError};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// Gives what stands in its script, pending at `None`.
#[derive(Default)]
struct Script {
    steps: VecDeque<Option<Result<Frame, StreamError>>>,
    over: bool,
    stopped: bool,
    /// It knows its end without being asked.
    knows: bool,
}

impl Source for Script {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        match self.steps.pop_front() {
            Some(Some(step)) => Poll::Ready(Some(step)),
            Some(None) => Poll::Pending,
            None if self.over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
    fn stop(&mut self) {
        self.stopped = true;
    }
    fn is_end(&self) -> bool {
        self.knows && self.steps.is_empty()
    }
}

#[derive(Default)]
struct Log {
    seen: Vec<String>,
    blocked: bool,
    /// Blocked after each piece.
    once: bool,
    broken: Option<StreamError>,
    stopped: Option<StreamError>,
}

impl Sink for Log {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match &self.broken {
            Some(error) => Poll::Ready(Err(error.clone())),
            None if self.blocked => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }
    fn send(&mut self, data: Bytes) {
        self.seen.push(String::from_utf8(data.to_vec()).unwrap());
        self.blocked |= self.once;
    }
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.seen.push("flush".into());
        Poll::Ready(Ok(()))
    }
    fn poll_finish(&mut self, _: &mut Context<'_>, trailers: &mut Option<Headers>) -> Poll<Result<(), StreamError>> {
        self.seen.push(format!("finish {}", trailers.take().map_or(0, |t| t.len())));
        Poll::Ready(Ok(()))
    }
    fn reset(&mut self) {
        self.seen.push("reset".into());
    }
    fn poll_stopped(&mut self, _: &mut Context<'_>) -> Poll<StreamError> {
        self.stopped.clone().map_or(Poll::Pending, Poll::Ready)
    }
}

fn data(text: &'static str) -> Option<Result<Frame, StreamError>> {
    Some(Ok(Frame::Data(Bytes::from_static(text.as_bytes()))))
}

fn script(steps: impl IntoIterator<Item = Option<Result<Frame, StreamError>>>, over: bool) -> Script {
    Script { steps: steps.into_iter().collect(), over, stopped: false, knows: false }
}

fn step(relay: &mut Relay, source: &mut Script, sink: &mut Log) -> Poll<Result<u64, RelayError>> {
    relay.poll(&mut Context::from_waker(Waker::noop()), source, sink)
}

/// So that a sink can send the end along with the last bytes.
#[test]
fn a_known_end_follows_the_last_data_at_once() {
    let (mut relay, mut sink) = (Relay::new(), Log { once: true, ..Log::default() });
    let mut source = Script { knows: true, ..script([data("a"), data("b")], true) };
    assert_eq!(step(&mut relay, &mut source, &mut sink), Poll::Pending);
    sink.blocked = false;
    assert_eq!(step(&mut relay, &mut source, &mut sink), Poll::Ready(Ok(2)));
    assert_eq!(sink.seen, ["a", "b", "finish 0"]);
}

#[test]
fn it_flushes_when_the_source_has_no_more_for_now() {
    let (mut relay, mut sink) = (Relay::new(), Log::default());
    let mut source = script([None, data("a"), data("b"), None, None, data("c")], true);
    assert!(step(&mut relay, &mut source, &mut sink).is_pending());
    assert_eq!(sink.seen, ["flush"], "the head must not wait for the body");
    assert!(step(&mut relay, &mut source, &mut sink).is_pending());
    assert!(step(&mut relay, &mut source, &mut sink).is_pending());
    assert_eq!(sink.seen, ["flush", "a", "b", "flush"]);
    assert_eq!(step(&mut relay, &mut source, &mut sink), Poll::Ready(Ok(3)));
    assert_eq!(sink.seen[4..], ["c", "finish 0"]);
    assert_eq!(step(&mut relay, &mut source, &mut sink), Poll::Ready(Ok(3)));
    assert!(relay.is_done() && sink.seen.len() == 6);
}

#[test]
fn trailers_are_kept_until_the_end() {
    let mut trailers = Headers::new();
    trailers.push("x-sum", "1");
    let (mut relay, mut sink) = (Relay::new(), Log::default());
    let mut source = script([data("a"), Some(Ok(Frame::Trailers(trailers))), None], true);
    assert!(step(&mut relay, &mut source, &mut sink).is_pending());
    assert_eq!(step(&mut relay, &mut source, &mut sink), Poll::Ready(Ok(1)));
    assert_eq!(sink.seen.last().unwrap(), "finish 1");
}

#[test]
fn nothing_is_read_that_can_not_be_written() {
    let (mut relay, mut sink) = (Relay::new(), Log { blocked: true, ..Log::default() });
    let mut source = script([data("a")], true);
    assert!(step(&mut relay, &mut source, &mut sink).is_pending());
    assert_eq!((source.steps.len(), sink.seen.len()), (1, 0));
}

#[test]
fn a_broken_source_resets_the_sink() {
    let (mut relay, mut sink) = (Relay::new(), Log::default());
    let mut source = script([data("a"), Some(Err(StreamError::Truncated))], false);
    let error = RelayError::Source(StreamError::Truncated);
    for _ in 0..2 {
        assert!(step(&mut relay, &mut source, &mut sink).is_pending());
        assert_eq!(sink.seen, ["a", "flush"], "what it holds has time to leave");
    }
    assert_eq!(step(&mut relay, &mut source, &mut sink), Poll::Ready(Err(error.clone())));
    assert_eq!(sink.seen, ["a", "flush", "reset"]);
    assert_eq!(step(&mut relay, &mut source, &mut sink), Poll::Ready(Err(error)));
    assert_eq!(sink.seen.len(), 3);
}

#[test]
fn nobody_waits_for_a_sink_that_holds_nothing() {
    let (mut relay, mut sink) = (Relay::new(), Log::default());
    let mut source = script([data("a"), None, Some(Err(StreamError::Truncated))], false);
    assert!(step(&mut relay, &mut source, &mut sink).is_pending());
    assert!(step(&mut relay, &mut source, &mut sink).is_ready());
    assert_eq!(sink.seen, ["a", "flush", "reset"]);
}

#[test]
fn a_broken_sink_stops_the_source() {
    let (mut relay, mut sink) = (Relay::new(), Log { broken: Some(StreamError::Reset), ..Log::default() });
    let mut source = script([data("a")], false);
    assert_eq!(step(&mut relay, &mut source, &mut sink), Poll::Ready(Err(RelayError::Sink(StreamError::Reset))));
    assert!(source.stopped && sink.seen.is_empty());
}

#[test]
fn a_peer_that_stops_reading_is_noticed_while_the_source_is_silent() {
    let (mut relay, mut sink) = (Relay::new(), Log { stopped: Some(StreamError::Reset), ..Log::default() });
    let mut source = script([None], false);
    assert_eq!(step(&mut relay, &mut source, &mut sink), Poll::Ready(Err(RelayError::Sink(StreamError::Reset))));
    assert!(source.stopped);
}

#[test]
fn others_get_their_turn() {
    let (mut relay, mut sink) = (Relay::new(), Log::default());
    let mut source = script((0..1000).map(|_| data("a")), true);
    let mut polls = 1;
    while step(&mut relay, &mut source, &mut sink).is_pending() {
        polls += 1;
    }
    assert!((2..10).contains(&polls) && relay.bytes() == 1000);
}
