//! Bodies as poll-driven ends, so that one relay serves every version and transport.

use crate::{Headers, StreamError};
use bytes::Bytes;
use std::task::{Context, Poll};

/// What a source gives.
#[derive(Debug)]
pub enum Frame {
    /// At least one byte.
    Data(Bytes),
    /// Trailer fields; the end follows.
    Trailers(Headers),
}

/// The reading end of a body.
pub trait Source: Send {
    /// The next frame; `None` is the clean end, and is given again when polled again. An error is never followed by a clean
    /// end.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>>;

    /// Nobody wants the rest: STOP_SENDING, RST_STREAM or, in HTTP/1.1, no reuse of the connection. Idempotent, no-op
    /// after the end.
    fn stop(&mut self);

    /// True when the clean end is known to be reached without polling (an absent body). Lets a head carry END_STREAM.
    fn is_end(&self) -> bool {
        false
    }

    /// How many bytes may lie received and untaken, as an upper bound; 0 where there are none or where they are the peer's own
    /// affair. Asked while the sink takes nothing, so that an error (a reset, say) is noticed though nobody reads; the next
    /// frame tells it again.
    fn behind(&mut self, _: &mut Context<'_>) -> Result<usize, StreamError> {
        Ok(0)
    }
}

/// The writing end of a body. Holds at most one buffer (64 KiB) beyond the transport's own window.
pub trait Sink: Send {
    /// Ready when `send` may be called. An error: the peer is gone or stopped reading.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;

    /// Takes bytes; call only after `poll_ready` was ready. They may stay in the buffer until `poll_flush`.
    fn send(&mut self, data: Bytes);

    /// Ready when everything taken is handed to the transport.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;

    /// Ends the body cleanly (FIN, END_STREAM, last chunk), flushing first. Call until ready; `trailers` of the first call
    /// count. A sink whose form can't carry trailers drops them.
    fn poll_finish(&mut self, cx: &mut Context<'_>, trailers: &mut Option<Headers>) -> Poll<Result<(), StreamError>>;

    /// Ends the body so that nobody takes it for a whole one (RESET_STREAM, RST_STREAM, socket closed without last chunk).
    fn reset(&mut self);

    /// Ready once the peer reads no more (STOP_SENDING, RST_STREAM, socket closed). Used to notice it while there is
    /// nothing to write. May never be ready where a transport can't tell.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<StreamError>;

    /// Whether `poll_finish` dropped trailers, so that they can be counted.
    fn has_dropped_trailers(&self) -> bool {
        false
    }
}

/// A body that is not there.
#[derive(Debug, Default)]
pub struct Empty;

impl Source for Empty {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        Poll::Ready(None)
    }
    fn stop(&mut self) {}
    fn is_end(&self) -> bool {
        true
    }
}

macro_rules! forward {
    ($source:ident, $sink:ident, $($source_end:ty, $sink_end:ty);+) => {$(
        impl<$source: Source + ?Sized> Source for $source_end {
            fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
                (**self).poll_frame(cx)
            }
            fn stop(&mut self) {
                (**self).stop();
            }
            fn is_end(&self) -> bool {
                (**self).is_end()
            }
            fn behind(&mut self, cx: &mut Context<'_>) -> Result<usize, StreamError> {
                (**self).behind(cx)
            }
        }

        impl<$sink: Sink + ?Sized> Sink for $sink_end {
            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
                (**self).poll_ready(cx)
            }
            fn send(&mut self, data: Bytes) {
                (**self).send(data);
            }
            fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
                (**self).poll_flush(cx)
            }
            fn poll_finish(&mut self, cx: &mut Context<'_>, trailers: &mut Option<Headers>) -> Poll<Result<(), StreamError>> {
                (**self).poll_finish(cx, trailers)
            }
            fn reset(&mut self) {
                (**self).reset();
            }
            fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
                (**self).poll_stopped(cx)
            }
            fn has_dropped_trailers(&self) -> bool {
                (**self).has_dropped_trailers()
            }
        }
    )+};
}

forward!(S, K, &mut S, &mut K; Box<S>, Box<K>);

/// A whole body at hand, for answers of our own.
#[derive(Debug)]
pub struct Whole(Option<Bytes>);

impl Whole {
    /// A body of these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty()))
    }
}

impl Source for Whole {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::Data(bytes))))
    }
    fn stop(&mut self) {
        self.0 = None;
    }
    fn is_end(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers everything otherwise than the traits' own defaults do.
    #[derive(Default)]
    struct Own {
        calls: Vec<&'static str>,
    }

    impl Source for Own {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
            self.calls.push("poll_frame");
            Poll::Ready(None)
        }
        fn stop(&mut self) {
            self.calls.push("stop");
        }
        fn is_end(&self) -> bool {
            true
        }
        fn behind(&mut self, _: &mut Context<'_>) -> Result<usize, StreamError> {
            Ok(7)
        }
    }

    impl Sink for Own {
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
            self.calls.push("poll_ready");
            Poll::Ready(Ok(()))
        }
        fn send(&mut self, _: Bytes) {
            self.calls.push("send");
        }
        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
            self.calls.push("poll_flush");
            Poll::Ready(Ok(()))
        }
        fn poll_finish(&mut self, _: &mut Context<'_>, _: &mut Option<Headers>) -> Poll<Result<(), StreamError>> {
            self.calls.push("poll_finish");
            Poll::Ready(Ok(()))
        }
        fn reset(&mut self) {
            self.calls.push("reset");
        }
        fn poll_stopped(&mut self, _: &mut Context<'_>) -> Poll<StreamError> {
            self.calls.push("poll_stopped");
            Poll::Ready(StreamError::Reset)
        }
        fn has_dropped_trailers(&self) -> bool {
            true
        }
    }

    fn use_all(mut end: impl Source + Sink) {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(end.poll_frame(cx).is_ready() && end.is_end() && end.behind(cx) == Ok(7));
        assert!(end.poll_ready(cx).is_ready() && end.poll_flush(cx).is_ready());
        assert!(end.poll_finish(cx, &mut None).is_ready() && end.poll_stopped(cx).is_ready());
        assert!(end.has_dropped_trailers());
        end.stop();
        end.send(Bytes::new());
        end.reset();
    }

    #[test]
    fn whoever_stands_before_an_end_passes_everything_on() {
        let mut own = Own::default();
        use_all(&mut own);
        let calls = std::mem::take(&mut own.calls);
        assert_eq!(calls.len(), 8, "{calls:?}");
        use_all(Box::new(own));
    }
}
