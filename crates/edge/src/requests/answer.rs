//! The answer on its way to the client: hygiene of its head, and a body that is exactly as long as its head says.

use bytes::Bytes;
use qanat_http::h1::response_has_no_body;
use qanat_http::{
    BodyLength, Frame, Headers, Limits, ResponseHead, Source, StreamError, retain_safe_trailers, strip_hop_by_hop,
    strip_origin_control,
};
use qanat_transport::TunnelSource;
use std::collections::VecDeque;
use std::task::{Context, Poll};

/// Most of a body that is held so that it leaves together with its head.
const AHEAD: usize = 16 * 1024;

/// Cleans an answer's head: nothing meant for edges, nothing of the hop behind (a 101 keeps its Upgrade).
pub(crate) fn clean(head: &mut ResponseHead) {
    strip_origin_control(&mut head.headers);
    if head.status != 101 {
        strip_hop_by_hop(&mut head.headers);
    }
}

/// How long the body is for the client, `Absent` where it can have none.
pub(crate) fn length_for_client(method: &[u8], status: u16, told: BodyLength) -> BodyLength {
    match told {
        _ if status == 101 => BodyLength::Opaque,
        _ if response_has_no_body(method, status) => BodyLength::Absent,
        // A tunnel source is never opaque for a plain answer; its end is what counts.
        BodyLength::Opaque => BodyLength::Unknown,
        told => told,
    }
}

/// An answer's body. A clean end before the announced length becomes an error, so that a cut body is never taken for a whole
/// one, whatever the connector's version; what a bodiless answer carries nevertheless is dropped.
pub(crate) struct AnswerBody<S = TunnelSource> {
    inner: S,
    expected: Expected,
    /// There were some, and the client's version has no place for them.
    pub(crate) trailers_dropped: bool,
    keeps_trailers: bool,
    over: bool,
    /// Some of it was given.
    has_begun: bool,
    /// Taken and not given yet, `None` for the end.
    ahead: VecDeque<Option<Result<Frame, StreamError>>>,
}

enum Expected {
    /// Nothing at all.
    None,
    /// Exactly so many more bytes.
    Exact(u64),
    /// Whatever comes.
    Any,
}

impl<S: Source> AnswerBody<S> {
    /// `length` as `length_for_client` gave it.
    pub(crate) fn new(inner: S, length: BodyLength, keeps_trailers: bool) -> Self {
        let expected = match length {
            BodyLength::Absent => Expected::None,
            BodyLength::Exact(n) => Expected::Exact(n),
            BodyLength::Unknown | BodyLength::Opaque => Expected::Any,
        };
        Self {
            inner,
            expected,
            trailers_dropped: false,
            keeps_trailers,
            over: false,
            has_begun: false,
            ahead: VecDeque::new(),
        }
    }

    /// Takes what comes, so that it leaves together with the head. Ready at the body's end, or when there is enough.
    pub(crate) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut held = 0;
        for frame in &self.ahead {
            match frame {
                Some(Ok(Frame::Data(data))) => held += data.len(),
                Some(Ok(Frame::Trailers(_))) => {}
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
        while held < AHEAD {
            let frame = std::task::ready!(self.poll_next(cx));
            let more = if let Some(Ok(Frame::Data(data))) = &frame { Some(data.len()) } else { None };
            let is_last = matches!(frame, None | Some(Err(_)));
            self.ahead.push_back(frame);
            if is_last {
                break;
            }
            held += more.unwrap_or_default();
        }
        Poll::Ready(())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            return Poll::Ready(match std::task::ready!(self.inner.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => self.data(data),
                Some(Ok(Frame::Trailers(trailers))) => match self.trailers(trailers) {
                    Some(frame) => Some(frame),
                    None => continue,
                },
                Some(Err(_)) if matches!(self.expected, Expected::None) => None,
                Some(Err(error)) => Some(Err(error)),
                None if matches!(self.expected, Expected::Exact(n) if n > 0) => Some(Err(StreamError::Truncated)),
                None => None,
            });
        }
    }

    /// All that was announced has been given, and not the end.
    pub(crate) fn is_due(&self) -> bool {
        self.has_begun && !self.over && self.ahead.is_empty() && matches!(self.expected, Expected::Exact(0))
    }

    /// Ends it where it is.
    pub(crate) fn give_up(&mut self) {
        self.inner.stop();
        self.over = true;
    }

    fn data(&mut self, data: Bytes) -> Option<Result<Frame, StreamError>> {
        self.has_begun = true;
        match &mut self.expected {
            Expected::None => {
                self.inner.stop();
                None
            }
            Expected::Any => Some(Ok(Frame::Data(data))),
            Expected::Exact(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    Some(Ok(Frame::Data(data)))
                }
                None => {
                    self.inner.stop();
                    Some(Err(StreamError::Malformed("the body is longer than Content-Length")))
                }
            },
        }
    }

    fn trailers(&mut self, mut trailers: Headers) -> Option<Result<Frame, StreamError>> {
        if let Err(error) = Limits::ANSWERS.check_trailers(&trailers) {
            self.inner.stop();
            return Some(Err(error));
        }
        retain_safe_trailers(&mut trailers);
        strip_origin_control(&mut trailers);
        if trailers.is_empty() {
            return None;
        }
        self.trailers_dropped |= !self.keeps_trailers;
        self.keeps_trailers.then_some(Ok(Frame::Trailers(trailers)))
    }
}

impl<S: Source> Source for AnswerBody<S> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        match self.ahead.pop_front() {
            Some(frame) => Poll::Ready(frame),
            None => self.poll_next(cx),
        }
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn behind(&mut self, cx: &mut Context<'_>) -> Result<usize, StreamError> {
        if self.over { Ok(0) } else { self.inner.behind(cx) }
    }

    fn is_end(&self) -> bool {
        self.ahead.is_empty()
            && match self.expected {
                Expected::None => true,
                Expected::Exact(0) => !self.has_begun || self.inner.is_end(),
                // More is due: the end would be an error.
                Expected::Exact(_) => false,
                Expected::Any => self.inner.is_end(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qanat_http::Whole;
    use std::future::poll_fn;

    async fn frames(mut body: impl Source) -> Vec<Result<usize, StreamError>> {
        let mut frames = Vec::new();
        while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
            let end = frame.is_err();
            frames.push(frame.map(|f| if let Frame::Data(d) = f { d.len() } else { 0 }));
            if end {
                break;
            }
        }
        frames
    }

    #[tokio::test]
    async fn a_body_must_have_the_announced_length() {
        let body = |length| AnswerBody::new(Whole::new("12345"), length, true);
        assert_eq!(frames(body(BodyLength::Exact(5))).await, [Ok(5)]);
        assert_eq!(frames(body(BodyLength::Unknown)).await, [Ok(5)]);
        assert_eq!(frames(body(BodyLength::Exact(6))).await, [Ok(5), Err(StreamError::Truncated)]);
        assert!(frames(body(BodyLength::Exact(4))).await[0].is_err());
        assert_eq!(frames(body(BodyLength::Absent)).await, []);
    }

    #[tokio::test]
    async fn what_ends_too_early_or_too_late_is_no_end() {
        for (length, is_end) in
            [(BodyLength::Exact(5), true), (BodyLength::Unknown, true), (BodyLength::Exact(6), false)]
        {
            let mut body = AnswerBody::new(Whole::new("12345"), length, true);
            assert!(!body.is_end());
            poll_fn(|cx| body.poll_frame(cx)).await;
            assert_eq!(body.is_end(), is_end, "{length:?}");
        }
        /// Two pieces, where one was announced.
        struct Longer(u8);
        impl Source for Longer {
            fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
                self.0 += 1;
                Poll::Ready((self.0 < 3).then(|| Ok(Frame::Data("12345".into()))))
            }
            fn stop(&mut self) {}
        }
        let mut body = AnswerBody::new(Longer(0), BodyLength::Exact(5), true);
        poll_fn(|cx| body.poll_frame(cx)).await;
        assert!(!body.is_end());
        assert!(AnswerBody::new(Longer(0), BodyLength::Exact(0), true).is_end(), "a head may say so at once");
    }

    #[tokio::test]
    async fn what_was_taken_ahead_comes_once() {
        for (length, end) in [(BodyLength::Exact(5), None), (BodyLength::Exact(6), Some(Err(StreamError::Truncated)))] {
            let mut body = AnswerBody::new(Whole::new("12345"), length, true);
            poll_fn(|cx| body.poll_ahead(cx)).await;
            poll_fn(|cx| body.poll_ahead(cx)).await;
            assert!(!body.is_end());
            assert_eq!(frames(body).await, [Ok(5)].into_iter().chain(end).collect::<Vec<_>>());
        }
        let mut large = AnswerBody::new(Whole::new(vec![b'x'; 100_000]), BodyLength::Unknown, true);
        poll_fn(|cx| large.poll_ahead(cx)).await;
        assert_eq!(frames(large).await, [Ok(100_000)]);
    }

    #[test]
    fn head_204_and_304_have_no_body_whatever_is_announced() {
        for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 401)] {
            assert_eq!(length_for_client(method.as_bytes(), status, BodyLength::Exact(9)), BodyLength::Absent);
        }
        assert_eq!(length_for_client(b"GET", 200, BodyLength::Exact(9)), BodyLength::Exact(9));
        assert_eq!(length_for_client(b"GET", 200, BodyLength::Opaque), BodyLength::Unknown);
        assert_eq!(length_for_client(b"GET", 101, BodyLength::Unknown), BodyLength::Opaque);
    }

    #[test]
    fn control_fields_of_an_origin_end_here() {
        let mut headers = Headers::new();
        for name in ["cf-int-x", "Cf-Cloudflared-Response-Meta", "cf-proxy-y", "Connection", "Keep-Alive", "X-Kept"] {
            headers.push(name, "X-Gone");
        }
        headers.push("X-Gone", "1");
        let mut head = ResponseHead { status: 200, headers };
        clean(&mut head);
        assert_eq!(head.headers.len(), 1);
        assert!(head.headers.contains("x-kept"));
    }
}
