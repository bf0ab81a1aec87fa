//! The request body on its way to the connector.

use crate::requests::ends::Upload;
use crate::requests::failed::Failed;
use crate::requests::grpc::{Messages, Watched};
use crate::requests::linger::Linger;
use crate::requests::upload::UploadWatch;
use qanat_http::{Choke, Relay, RelayError, Sent, Sink};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Before 100 Continue is sent, the origin may answer without the body for so long.
const CONTINUE_PAUSE: Duration = Duration::from_millis(100);

/// Where a request body stands.
enum Stand {
    /// There is none, also before the 101 of a WebSocket.
    Absent,
    /// The client holds it back until it gets a 100.
    HeldBack(Pin<Box<Sleep>>),
    /// It is relayed.
    Moving,
    /// No more of it is sent: that was all, or the connector takes no more.
    Over,
    /// The answer has begun and nobody wants the rest: it is dropped as it comes, for a client that sends all of it before it reads.
    Unwanted(Linger),
}

/// A request body, from the client's first byte to the last that anybody wants.
pub(super) struct RequestBody<'a, U> {
    upload: &'a mut U,
    relay: Relay,
    stand: Stand,
    watch: UploadWatch,
    /// Of a gRPC call that has no answer yet: where the body stands among its messages.
    messages: Option<Messages>,
}

impl<'a, U: Upload> RequestBody<'a, U> {
    /// Not read yet. `expects`: the client waits for a 100. `limit`: how long it may stand while the connector takes none of it.
    pub(super) fn new(
        upload: &'a mut U,
        has_body: bool,
        expects: bool,
        messages: Option<Messages>,
        limit: Duration,
    ) -> Self {
        let stand = match (has_body, expects) {
            (false, _) => Stand::Absent,
            (true, true) => Stand::HeldBack(Box::pin(sleep(CONTINUE_PAUSE))),
            (true, false) => Stand::Moving,
        };
        Self { upload, relay: Relay::new(), stand, watch: UploadWatch::new(limit), messages }
    }

    /// A stream was opened for it.
    pub(super) fn start(&mut self) {
        if let Stand::HeldBack(pause) = &mut self.stand {
            pause.as_mut().reset(Instant::now() + CONTINUE_PAUSE);
        }
    }

    /// Bytes taken from the client.
    pub(super) fn bytes(&self) -> u64 {
        self.relay.bytes()
    }

    /// How much of its request was sent, head included.
    pub(super) fn sent(&self) -> Sent {
        match self.stand {
            // A relay that has ended can't begin again on another stream.
            Stand::Over => Sent::Body,
            _ if self.relay.bytes() > 0 => Sent::Body,
            _ => Sent::Head,
        }
    }

    /// More of it may be sent.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.stand, Stand::HeldBack(_) | Stand::Moving)
    }

    pub(super) fn is_moving(&self) -> bool {
        matches!(self.stand, Stand::Moving)
    }

    /// The connector has all of it.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.stand, Stand::Absent) || self.relay.is_done()
    }

    /// Its relay, whether or not it moves.
    pub(super) fn relay(&self) -> &Relay {
        &self.relay
    }

    /// True when the client is known to have sent all of it.
    pub(super) fn is_end(&self) -> bool {
        self.upload.is_end()
    }

    /// Of a gRPC call, until the answer is there.
    pub(super) fn is_grpc(&self) -> bool {
        self.messages.is_some()
    }

    /// Of a gRPC call while its body is under way: its messages have limits of their own, in place of the wait for the answer.
    pub(super) fn messages(&self) -> Option<&Messages> {
        self.messages.as_ref().filter(|_| self.is_under_way())
    }

    /// Ready once, when a client that holds it back must be told to send it.
    pub(super) fn poll_continue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Stand::HeldBack(pause) = &mut self.stand else { return Poll::Pending };
        std::task::ready!(pause.as_mut().poll(cx));
        self.stand = Stand::Moving;
        Poll::Ready(())
    }

    /// While no stream is open for it. Ready with the reason to give the request up.
    pub(super) fn poll_unopened(&mut self, cx: &mut Context<'_>, choke: &Choke) -> Poll<Failed> {
        let cause = self.watch.poll(cx, None, choke, || self.upload.has_left());
        cause.map(|cause| Failed::new(cause, "while opening a stream"))
    }

    /// While the request waits for its turn. Ready once the client is known to be gone.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.upload.poll_gone(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.is_under_way() { self.watch.poll_left(cx, || self.upload.has_left()) } else { Poll::Pending }
    }

    /// Its limits count from now on.
    pub(super) fn restart(&mut self) {
        self.watch.restart();
    }

    /// Sends what can be sent, while it moves. Ready when that is over; an error: the client or the connector is at fault.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
        choke: &Choke,
    ) -> Poll<Result<(), Failed>> {
        if !self.is_moving() {
            return Poll::Pending;
        }
        let mut watched = Watched { inner: &mut *self.upload, messages: self.messages.as_mut() };
        match self.relay.poll(cx, &mut watched, sink) {
            Poll::Pending => {
                let cause = self.watch.poll(cx, Some(&self.relay), choke, || self.upload.has_left());
                cause.map(|cause| Err(Failed::new(cause, "")))
            }
            // Whoever reads the answer learns why the connector takes no more: an early one, or the stream's end.
            Poll::Ready(Ok(_) | Err(RelayError::Sink(_))) => {
                self.stand = Stand::Over;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(RelayError::Source(error))) => Poll::Ready(Err(Failed::upload(&error))),
        }
    }

    /// Ready once the client is known to be gone. For when nobody reads the body.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.upload.poll_gone(cx)
    }

    /// The answer is there. What is under way goes on; what the client still holds back need not come, and what the connector didn't
    /// want is of no use to anybody.
    pub(super) fn answered(&mut self) {
        self.messages = None;
        if matches!(self.stand, Stand::HeldBack(_) | Stand::Over) {
            self.stand = Stand::Unwanted(Linger::new());
        }
    }

    /// The answer was a 101: bytes flow from now on.
    pub(super) fn switch(&mut self) {
        self.messages = None;
        self.stand = Stand::Moving;
    }

    /// Once the answer is there and no more is sent: drops what still comes, then waits for the client's departure.
    pub(super) fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Stand::Unwanted(linger) = &mut self.stand {
            std::task::ready!(linger.poll(cx, |cx| self.upload.poll_rest(cx)));
            self.stand = Stand::Over;
        }
        if self.is_under_way() { Poll::Pending } else { self.upload.poll_gone(cx) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::pace::tests::End;
    use qanat_http::{Frame, Source, StreamError};

    /// A client that has sent this much, and then ends its body or doesn't.
    struct Client {
        sent: Option<&'static str>,
        ends: bool,
    }

    impl Source for Client {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
            match self.sent.take() {
                Some(data) => Poll::Ready(Some(Ok(Frame::Data(data.into())))),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
        fn stop(&mut self) {}
    }

    impl Upload for Client {
        fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
        fn has_left(&self) -> bool {
            false
        }
        fn poll_rest(&mut self, _: &mut Context<'_>) -> Poll<Option<usize>> {
            match self.sent.take() {
                Some(data) => Poll::Ready(Some(data.len())),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn body(client: &mut Client, expects: bool) -> RequestBody<'_, Client> {
        RequestBody::new(client, true, expects, None, Duration::from_secs(100))
    }

    /// Sends what can be sent; true when that is over.
    fn send(body: &mut RequestBody<'_, Client>) -> bool {
        let mut sink = End { give: false, full: false };
        let polled = body.poll_send(&mut Context::from_waker(std::task::Waker::noop()), &mut sink, &Choke::default());
        matches!(polled, Poll::Ready(Ok(())))
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_holds_back_is_asked_for_after_a_pause_on_each_stream() {
        let mut client = Client { sent: Some("body"), ends: true };
        let mut body = body(&mut client, true);
        for _ in 0..2 {
            tokio::time::advance(CONTINUE_PAUSE).await;
            body.start();
            assert!(!send(&mut body) && body.is_under_way() && body.bytes() == 0);
            assert!(body.poll_continue(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
        }
        std::future::poll_fn(|cx| body.poll_continue(cx)).await;
        assert!(send(&mut body));
        assert_eq!((body.bytes(), body.sent()), (4, Sent::Body));
    }

    #[tokio::test]
    async fn a_body_that_has_ended_was_sent_though_it_was_empty() {
        let mut client = Client { sent: None, ends: true };
        let mut body = body(&mut client, false);
        assert_eq!(body.sent(), Sent::Head);
        assert!(send(&mut body));
        assert_eq!((body.bytes(), body.sent()), (0, Sent::Body));
    }

    #[tokio::test]
    async fn after_the_answer_what_moves_goes_on_and_what_is_held_back_is_dropped() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut moving = Client { sent: Some("body"), ends: true };
        let mut moving = body(&mut moving, false);
        moving.answered();
        assert!(moving.is_moving() && send(&mut moving));
        let mut client = Client { sent: Some("body"), ends: true };
        let mut held_back = body(&mut client, true);
        held_back.answered();
        assert!(!held_back.is_under_way() && !send(&mut held_back));
        assert!(held_back.poll_unwanted(&mut cx).is_pending(), "the client stays");
        assert!(client.sent.is_none());
    }
}
