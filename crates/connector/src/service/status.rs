//! `http_status:CODE`: the status itself, without reading the request's body.

use super::call::{Call, End, Responder};
use bytes::Bytes;
use qanat_http::h1::response_has_no_body;
use qanat_http::{BodyLength, Headers, RequestHead, ResponseHead, Sink, Source};
use qanat_transport::AnsweredBy;
use std::future::poll_fn;

/// Reads the target: 100 to 999.
pub(super) fn parse_target(target: &str) -> Result<u16, String> {
    let code = target.parse::<u16>().ok().filter(|code| (100..=999).contains(code));
    code.ok_or_else(|| format!("`{target}` is not a valid status code (100 to 999)"))
}

/// Answers with a status and nothing else. 1xx can't end a request: they are answered as 502 would confuse, so 500 with the code
/// in `X-Qanat-Status`.
pub(super) async fn serve<B: Source + Unpin, R: Responder>(code: u16, from: AnsweredBy, call: &mut Call<B, R>) -> End {
    let mut headers = Headers::with_capacity(2);
    let mut status = code;
    if code < 200 {
        status = 500;
        headers.push(Bytes::from_static(b"X-Qanat-Status"), code.to_string());
    }
    if let Some(kind) = grpc(&call.head) {
        return grpc_error(kind, grpc_status(status), format!("http_status:{code}"), headers, from, call).await;
    }
    answer(ResponseHead { status, headers }, Bytes::new(), from, call).await
}

/// The content type of a gRPC call.
pub(super) fn grpc(head: &RequestHead) -> Option<Bytes> {
    let content_type = head.headers.get("content-type")?;
    content_type.get(..16)?.eq_ignore_ascii_case(b"application/grpc").then(|| content_type.clone())
}

/// "Trailers only": a head that is the whole answer, of the call's own content type.
pub(super) async fn grpc_error<B: Source + Unpin, R: Responder>(
    kind: Bytes,
    status: &'static str,
    message: String,
    mut headers: Headers,
    from: AnsweredBy,
    call: &mut Call<B, R>,
) -> End {
    headers.push(Bytes::from_static(b"Content-Type"), kind);
    headers.push(Bytes::from_static(b"grpc-status"), status);
    headers.push(Bytes::from_static(b"grpc-message"), message);
    answer(ResponseHead { status: 200, headers }, Bytes::new(), from, call).await
}

/// gRPC's mapping of HTTP statuses.
fn grpc_status(status: u16) -> &'static str {
    match status {
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 502 | 503 | 504 => "14",
        _ => "2",
    }
}

/// Sends a refusal of the connector's own, in words.
pub(crate) async fn refuse<B: Source + Unpin, R: Responder>(
    status: u16,
    why: &'static str,
    call: &mut Call<B, R>,
) -> End {
    let mut headers = Headers::with_capacity(3);
    headers.push("Content-Type", "text/plain; charset=utf-8");
    headers.push("Cache-Control", "no-store");
    if status == 503 {
        headers.push("Retry-After", "2");
    }
    answer(ResponseHead { status, headers }, Bytes::from_static(why.as_bytes()), AnsweredBy::Connector, call).await
}

/// Sends a whole answer of our own; the rest of the request's body isn't wanted.
pub(super) async fn answer<B: Source + Unpin, R: Responder>(
    mut head: ResponseHead,
    body: Bytes,
    from: AnsweredBy,
    call: &mut Call<B, R>,
) -> End {
    let status = head.status;
    let method = call.head.method.clone();
    let length = body.len() as u64;
    if status != 204 && status != 304 {
        head.headers.push(Bytes::from_static(b"Content-Length"), length.to_string());
    }
    let bodiless = response_has_no_body(&method, status);
    let announced = if bodiless { BodyLength::Absent } else { BodyLength::Exact(length) };
    let Ok(mut sink) = call.split().1.respond(head, announced, from) else { return End::Canceled };
    call.body.stop();
    let mut rest = Some(body).filter(|b| !b.is_empty() && !bodiless);
    let sent = poll_fn(|cx| {
        if rest.is_some() {
            std::task::ready!(sink.poll_ready(cx))?;
            if let Some(data) = rest.take() {
                sink.send(data);
            }
        }
        sink.poll_finish(cx, &mut None)
    });
    match sent.await {
        Ok(()) if from == AnsweredBy::Connector => End::Told,
        Ok(()) => End::Answered(status),
        Err(_) => End::Canceled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_100_to_999() {
        assert_eq!(parse_target("404"), Ok(404));
        for bad in ["99", "1000", "", "4o4", "-1"] {
            assert!(parse_target(bad).is_err(), "{bad}");
        }
    }
}
