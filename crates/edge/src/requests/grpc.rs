//! How long a gRPC request body may take while no answer has begun. A gRPC client may keep its side open as long as it likes, and
//! be silent between messages; within a message it must get on as any other body (S28).

use crate::cause::Cause;
use qanat_http::{Frame, Source, StreamError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// A message may be slow for so long …
const MESSAGE_GRACE: Duration = Duration::from_secs(30);
/// … then it must have come at so many bytes a second.
const SLOWEST_MESSAGE: u64 = 500;
/// Before each message stand a flag and its length (gRPC over HTTP2, *Length-Prefixed-Message*).
const PREFIX: usize = 5;

/// Where a body stands among its messages.
#[derive(Debug)]
pub(crate) struct Messages {
    /// The prefix as far as it came.
    prefix: [u8; PREFIX],
    have: usize,
    /// Bytes of the current message that have not come.
    left: u32,
    /// When the current message began, or the last one ended.
    since: Instant,
    /// Bytes since then.
    bytes: u64,
    idle_timeout: Duration,
}

impl Messages {
    /// Before the first message. `idle_timeout`: the longest silence between messages.
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        Self { prefix: [0; PREFIX], have: 0, left: 0, since: Instant::now(), bytes: 0, idle_timeout }
    }

    fn is_between(&self) -> bool {
        self.have == 0
    }

    fn take(&mut self, mut data: &[u8], now: Instant) {
        while !data.is_empty() {
            if self.is_between() {
                (self.since, self.bytes) = (now, 0);
            }
            if self.have < PREFIX {
                let n = data.len().min(PREFIX - self.have);
                self.prefix[self.have..self.have + n].copy_from_slice(&data[..n]);
                self.have += n;
                self.bytes += n as u64;
                data = &data[n..];
                if self.have < PREFIX {
                    return;
                }
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length);
            }
            let n = data.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= n as u32;
            self.bytes += n as u64;
            data = &data[n..];
            if self.left == 0 {
                (self.have, self.since, self.bytes) = (0, now, 0);
            }
        }
    }

    /// Whether the client is too slow by now. `blocked`: it is the tunnel that takes no more.
    pub(crate) fn check(&self, now: Instant, blocked: bool) -> Option<Cause> {
        let lasts = now.duration_since(self.since);
        let late = if self.is_between() {
            lasts >= self.idle_timeout
        } else {
            !blocked && lasts >= MESSAGE_GRACE && self.bytes < SLOWEST_MESSAGE * lasts.as_secs()
        };
        late.then_some(Cause::BodyTooSlow)
    }
}

/// A body that is watched while it is read.
pub(crate) struct Watched<'a, S> {
    pub(crate) inner: &'a mut S,
    pub(crate) messages: Option<&'a mut Messages>,
}

impl<S: Source> Source for Watched<'_, S> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let frame = self.inner.poll_frame(cx);
        if let (Poll::Ready(Some(Ok(Frame::Data(data)))), Some(messages)) = (&frame, &mut self.messages) {
            messages.take(data, Instant::now());
        }
        frame
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn is_end(&self) -> bool {
        self.inner.is_end()
    }

    fn behind(&mut self, cx: &mut Context<'_>) -> Result<usize, StreamError> {
        self.inner.behind(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDLE: Duration = Duration::from_secs(3600);

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.extend(vec![b'm'; length as usize]);
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn silence_between_messages_is_free_and_within_one_is_not() {
        let mut messages = Messages::new(IDLE);
        let after = |messages: &Messages, seconds| messages.check(Instant::now() + Duration::from_secs(seconds), false);
        assert_eq!(after(&messages, 3599), None);
        assert_eq!(after(&messages, 3600), Some(Cause::BodyTooSlow));
        messages.take(&message(10), Instant::now());
        assert_eq!(after(&messages, 3599), None, "a whole message is behind it");
        tokio::time::advance(Duration::from_secs(3000)).await;
        messages.take(&message(100_000)[..20_000], Instant::now());
        assert_eq!(after(&messages, 29), None, "the silence before a message does not count against it");
        assert_eq!(after(&messages, 40), None, "20 000 bytes in 40 s are fast enough");
        assert_eq!(after(&messages, 41), Some(Cause::BodyTooSlow));
        assert_eq!(messages.check(Instant::now() + Duration::from_secs(41), true), None, "the tunnel is at fault");
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_prefix_is_no_place_to_rest() {
        for cut in 1..6 {
            let mut messages = Messages::new(IDLE);
            messages.take(&message(1)[..cut], Instant::now());
            let later = messages.check(Instant::now() + Duration::from_secs(31), false);
            assert_eq!(later, Some(Cause::BodyTooSlow), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_finds_the_same_messages(lengths in proptest::collection::vec(0_u32..300, 0..6), step in 1_usize..40, cut in 0_usize..9) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _inside = runtime.enter();
            let mut bytes: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
            let rest = message(8);
            bytes.extend(&rest[..cut]);
            let mut messages = Messages::new(IDLE);
            bytes.chunks(step).for_each(|chunk| messages.take(chunk, Instant::now()));
            prop_assert_eq!(messages.is_between(), cut == 0);
        }
    }
}
