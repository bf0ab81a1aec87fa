//! One request on one stream of an HTTP/2 connection to an origin (`http2Origin`), trailers included.

use super::attempt::{Attempt, MAX_LINGER, MAX_STALLED, TOO_MUCH_INTERIM, clean_answer};
use super::call::{Asked, Call, End, Responder};
use crate::OriginError;
use crate::origin::{H2_STREAM_WINDOW, H2Connection, Origin};
use bytes::Bytes;
use h2::Reason;
use qanat_http::h2::{H2Sink, H2Source, request_to_h2, response_from_h2};
use qanat_http::{
    BodyLength, Choke, HeadError, Headers, Interim, Limits, Relay, RelayError, ResponseHead, Sent, Sink, Source,
    Stalled, StreamError, Whole,
};
use qanat_transport::AnsweredBy;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Serves one call on a stream of `connection`.
pub(super) async fn exchange<B: Source + Unpin, R: Responder>(
    origin: &Origin,
    connection: H2Connection,
    whole: Option<Bytes>,
    call: &mut Call<B, R>,
) -> Attempt {
    let (body, mut asked) = call.split();
    match whole {
        Some(bytes) => with_body(origin, connection, &mut Whole::new(bytes), &mut asked).await,
        None => with_body(origin, connection, body, &mut asked).await,
    }
}

enum Step {
    Head(http::Response<h2::RecvStream>),
    Informational(http::Response<()>),
    Canceled,
    BadBody(StreamError),
    /// The origin takes none of the request's body.
    Stalled,
    Failed(h2::Error),
}

async fn with_body<S: Source + ?Sized, R: Responder>(
    origin: &Origin,
    mut connection: H2Connection,
    body: &mut S,
    call: &mut Asked<'_, R>,
) -> Attempt {
    let closed = |error: &h2::Error| OriginError::Closed { address: origin.address(), reason: error.to_string() };
    let ready = poll_fn(|cx| {
        if call.poll_canceled(cx).is_ready() {
            return Poll::Ready(None);
        }
        connection.send.poll_ready(cx).map(Some)
    });
    match ready.await {
        None => return Attempt::End(End::Canceled),
        Some(Err(error)) => return Attempt::Lost { sent: Sent::No, error: closed(&error) },
        Some(Ok(())) => {}
    }
    let scheme = if origin.is_tls() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP };
    let Ok(request) = request_to_h2(call.head, call.length, scheme) else {
        return Attempt::End(End::Failed(OriginError::BadRequest("the request can't be written as HTTP/2")));
    };
    let bodiless = call.length.is_nothing();
    let (mut response, stream) = match connection.send.send_request(request, bodiless) {
        Ok(sent) => sent,
        Err(error) => return Attempt::Lost { sent: Sent::No, error: closed(&error) },
    };
    let mut sink = if bodiless { H2Sink::ended(stream) } else { H2Sink::new(stream, Reason::CANCEL) };
    let mut upload = Relay::new();
    let mut interim = Interim::of_origin();
    let head = loop {
        let step = poll_fn(|cx| {
            let step = poll_head(cx, &mut response, body, &mut sink, &mut upload, bodiless, call);
            if step.is_pending() && chokes(&connection.choke, &upload, call) {
                Poll::Ready(Step::Stalled)
            } else {
                step
            }
        })
        .await;
        match step {
            Step::Head(head) => break head,
            Step::Informational(head) => {
                let mut head = ResponseHead {
                    status: head.status().as_u16(),
                    headers: qanat_http::h2::headers_from_h2(head.headers()),
                };
                if let Some(error) = refused_informational(origin, &head, &mut interim) {
                    sink.reset_with(Reason::PROTOCOL_ERROR);
                    return Attempt::End(End::Failed(error));
                }
                if head.status != 100
                    && let Some(responder) = &mut call.responder
                {
                    clean_answer(&mut head);
                    responder.informational(head);
                }
            }
            Step::Canceled => {
                body.stop();
                sink.reset_with(Reason::CANCEL);
                return Attempt::End(End::Canceled);
            }
            Step::BadBody(error) => return Attempt::End(End::Failed(OriginError::Client(error))),
            Step::Stalled => {
                sink.reset_with(Reason::CANCEL);
                return Attempt::End(End::Failed(OriginError::UploadStalled { address: origin.address() }));
            }
            Step::Failed(error) => {
                // REFUSED_STREAM and a GOAWAY below this stream say that nothing was done (RFC 9113 8.7).
                let unseen = error.reason() == Some(Reason::REFUSED_STREAM)
                    || (error.is_go_away() && error.reason() == Some(Reason::NO_ERROR));
                let sent = match () {
                    () if upload.bytes() > 0 => Sent::Body,
                    () if unseen => Sent::No,
                    () => Sent::Head,
                };
                return Attempt::Lost { sent, error: closed(&error) };
            }
        }
    };
    answer(origin, &connection.choke, head, body, sink, upload, bodiless, call).await
}

/// Whether this request's body stands and keeps other visitors' from the origin.
fn chokes<R>(choke: &Choke, upload: &Relay, call: &Asked<'_, R>) -> bool {
    upload.is_blocked() && choke.stands(upload.bytes(), call.upload.stood())
}

fn poll_head<S: Source + ?Sized, R: Responder>(
    cx: &mut Context<'_>,
    response: &mut h2::client::ResponseFuture,
    body: &mut S,
    sink: &mut H2Sink,
    upload: &mut Relay,
    bodiless: bool,
    call: &mut Asked<'_, R>,
) -> Poll<Step> {
    if call.poll_canceled(cx).is_ready() {
        return Poll::Ready(Step::Canceled);
    }
    if !bodiless && !upload.is_done() {
        match upload.poll(cx, body, sink) {
            Poll::Ready(Err(RelayError::Source(error))) => return Poll::Ready(Step::BadBody(error)),
            Poll::Ready(_) => {}
            Poll::Pending => match call.upload.poll(cx, upload, body, MAX_STALLED) {
                Poll::Ready(Stalled::Source(error)) => return Poll::Ready(Step::BadBody(error)),
                Poll::Ready(Stalled::Sink) => return Poll::Ready(Step::Stalled),
                Poll::Pending => {}
            },
        }
    }
    if let Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
        return Poll::Ready(Step::Informational(head));
    }
    Pin::new(response).poll(cx).map(|outcome| match outcome {
        Ok(head) => Step::Head(head),
        Err(error) => Step::Failed(error),
    })
}

/// What is wrong with an interim head: its size, their rate, or that it is a 101, which HTTP/2 has not (RFC 9113 8.6).
fn refused_informational(origin: &Origin, head: &ResponseHead, interim: &mut Interim) -> Option<OriginError> {
    let address = || origin.address();
    if head.status == 101 {
        return Some(OriginError::BadResponse { address: address(), reason: "101 over HTTP/2".to_owned() });
    }
    if let Err(error) = Limits::ANSWERS.check(&head.headers) {
        return Some(OriginError::HeadTooLarge { address: address(), reason: error.to_string() });
    }
    let reason = || TOO_MUCH_INTERIM.to_owned();
    (!interim.take(&head.headers)).then(|| OriginError::BadResponse { address: address(), reason: reason() })
}

#[allow(clippy::too_many_arguments)] // the state of one exchange
async fn answer<S: Source + ?Sized, R: Responder>(
    origin: &Origin,
    choke: &Choke,
    response: http::Response<h2::RecvStream>,
    body: &mut S,
    mut sink: H2Sink,
    mut upload: Relay,
    bodiless: bool,
    call: &mut Asked<'_, R>,
) -> Attempt {
    let end_stream = response.body().is_end_stream();
    let (mut head, length) = match response_from_h2(&response, &call.head.method, end_stream, &Limits::ANSWERS) {
        Ok(parsed) => parsed,
        Err(error) => {
            sink.reset_with(Reason::PROTOCOL_ERROR);
            let (address, reason) = (origin.address(), error.to_string());
            return Attempt::End(End::Failed(match error {
                HeadError::TooLarge(_) | HeadError::TooManyFields(_) => OriginError::HeadTooLarge { address, reason },
                _ => OriginError::BadResponse { address, reason },
            }));
        }
    };
    let status = head.status;
    clean_answer(&mut head);
    let mut from_origin = H2Source::new(response.into_body(), length).with_window(H2_STREAM_WINDOW as usize);
    let Ok(mut to_client) = call.respond(head, length, AnsweredBy::Origin) else {
        body.stop();
        from_origin.stop();
        sink.reset_with(Reason::CANCEL);
        return Attempt::End(End::Canceled);
    };
    let mut download = Relay::new();
    let mut none: Option<Headers> = None;
    let outcome = poll_fn(|cx| {
        if !bodiless && !upload.is_done() {
            let stands = match upload.poll(cx, body, &mut sink) {
                Poll::Ready(Err(RelayError::Source(_))) => true,
                Poll::Ready(_) => false,
                Poll::Pending => {
                    call.upload.poll(cx, &upload, body, MAX_STALLED).is_ready() || chokes(choke, &upload, call)
                }
            };
            if stands {
                to_client.reset();
                return Poll::Ready(Err(RelayError::Sink(StreamError::Reset)));
            }
        }
        if length == BodyLength::Absent {
            return to_client.poll_finish(cx, &mut none).map_ok(|()| 0).map_err(RelayError::Sink);
        }
        if let Poll::Ready(ended) = download.poll(cx, &mut from_origin, &mut to_client) {
            return Poll::Ready(ended);
        }
        // Its edge takes none of it.
        call.download.poll(cx, &download, &mut from_origin, MAX_STALLED).map(|stalled| {
            to_client.reset();
            Err(match stalled {
                Stalled::Sink => RelayError::Sink(StreamError::Reset),
                Stalled::Source(error) => RelayError::Source(error),
            })
        })
    })
    .await;
    *call.trailers_dropped |= to_client.has_dropped_trailers();
    match outcome {
        Ok(_) => {
            if !bodiless && !upload.is_done() {
                // An h2 origin that has answered whole and wants the rest no more says RST_STREAM; until then it goes on.
                let rest = poll_fn(|cx| match upload.poll(cx, body, &mut sink) {
                    Poll::Ready(_) => Poll::Ready(true),
                    Poll::Pending => call.upload.poll(cx, &upload, body, MAX_LINGER).map(|_| false),
                });
                if !rest.await {
                    body.stop();
                    sink.reset_with(Reason::CANCEL);
                }
            }
            Attempt::End(End::Answered(status))
        }
        Err(RelayError::Sink(_)) => {
            body.stop();
            from_origin.stop();
            sink.reset_with(Reason::CANCEL);
            Attempt::End(End::Canceled)
        }
        Err(RelayError::Source(error)) => {
            body.stop();
            Attempt::End(End::Broken { status, reason: error.to_string() })
        }
    }
}
