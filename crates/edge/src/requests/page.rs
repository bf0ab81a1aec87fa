//! The answers that the edge makes itself: an HTML page, problem details (RFC 9457) or a gRPC status, as the client asks.

use crate::cause::Cause;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use qanat_http::{Headers, ResponseHead, tokens};

/// What a gRPC status message has no place for (gRPC over HTTP2, *Percent-Encoded*), beside what isn't ASCII.
const UNPRINTED: &AsciiSet = &CONTROLS.add(b'%');

/// How the client wants an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Html,
    Json,
    Grpc,
    /// As `cloudflared tail` reads it.
    Management,
}

/// Chooses by Content-Type and Accept; HTML when nothing is said.
pub(crate) fn form_of(headers: &Headers) -> Form {
    if is_grpc(headers) {
        return Form::Grpc;
    }
    let (mut html, mut json) = (None, None);
    for range in headers.get_all("accept").flat_map(|v| tokens(v)) {
        let mut parts = range.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let kind = parts.next().unwrap_or_default();
        let weight = parts
            .find_map(|p| p.strip_prefix(b"q=").or_else(|| p.strip_prefix(b"Q=")))
            .and_then(|q| std::str::from_utf8(q).ok()?.parse::<f32>().ok())
            .unwrap_or(1.0);
        let is = |name: &str| kind.eq_ignore_ascii_case(name.as_bytes());
        if is("text/html") || is("application/xhtml+xml") || is("text/*") {
            html = html.max(Some(thousandths(weight)));
        } else if is("application/problem+json") || is("application/json") {
            json = json.max(Some(thousandths(weight)));
        }
    }
    match (html, json) {
        (_, None | Some(0)) => Form::Html,
        (Some(html), Some(json)) if html >= json => Form::Html,
        _ => Form::Json,
    }
}

/// A gRPC call.
pub(crate) fn is_grpc(headers: &Headers) -> bool {
    headers.get("content-type").is_some_and(|t| has_prefix(t, b"application/grpc"))
}

fn thousandths(weight: f32) -> u16 {
    (weight.clamp(0.0, 1.0) * 1000.0) as u16
}

fn has_prefix(value: &[u8], prefix: &[u8]) -> bool {
    value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// What the page tells.
pub(crate) struct Failure<'a> {
    pub(crate) cause: Cause,
    /// Usually the cause's own.
    pub(crate) status: u16,
    /// Request id.
    pub(crate) ray: &'a Bytes,
    /// More words, shown only to the operator unless the cause is the client's doing.
    pub(crate) detail: &'a str,
    pub(crate) location: &'a str,
}

/// The answer's head and body. The head announces the body's length; who sends it leaves the body out for HEAD.
pub(crate) fn render(form: Form, failure: &Failure<'_>) -> (ResponseHead, Bytes) {
    let Failure { cause, status, ray, .. } = failure;
    let mut headers = Headers::with_capacity(10);
    let body = match form {
        Form::Grpc => {
            headers.push(&b"Content-Type"[..], &b"application/grpc"[..]);
            headers.push(&b"grpc-status"[..], grpc_status(*status).to_string());
            headers.push(&b"grpc-message"[..], grpc_message(failure));
            Bytes::new()
        }
        Form::Json => {
            headers.push(&b"Content-Type"[..], &b"application/problem+json"[..]);
            json(failure).into()
        }
        Form::Management => {
            headers.push(&b"Content-Type"[..], &b"application/json"[..]);
            management(failure).into()
        }
        Form::Html => {
            headers.push(&b"Content-Type"[..], &b"text/html; charset=utf-8"[..]);
            html(failure).into()
        }
    };
    if form != Form::Grpc {
        headers.push(&b"Content-Length"[..], body.len().to_string());
    }
    headers.push(&b"Cache-Control"[..], &b"no-store"[..]);
    headers.push(&b"X-Qanat-Error"[..], cause.code().as_bytes());
    headers.push(&b"Cf-Ray"[..], (*ray).clone());
    match cause {
        Cause::MethodNotAllowed => headers.push(&b"Allow"[..], &b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"[..]),
        Cause::Overloaded | Cause::HeldTooMany => headers.push(&b"Retry-After"[..], &b"1"[..]),
        _ => {}
    }
    (ResponseHead { status: if form == Form::Grpc { 200 } else { *status }, headers }, body)
}

/// The number that users of this protocol's hosted edge know.
fn error_number(cause: Cause) -> Option<u16> {
    matches!(cause, Cause::NoConnection | Cause::NoActiveNode).then_some(1033)
}

/// Visible words beyond the title: never the connector's text unless it is about the client's own request.
fn detail<'a>(failure: &Failure<'a>) -> &'a str {
    match failure.cause {
        Cause::BadRequest | Cause::HeadTooLarge | Cause::TargetTooLong | Cause::MethodNotAllowed => failure.detail,
        _ => "",
    }
}

fn json(failure: &Failure<'_>) -> String {
    let cause = failure.cause;
    let mut problem = serde_json::json!({
        "type": format!("urn:qanat:error:{}", cause.code()),
        "title": cause.title(),
        "status": failure.status,
        "detail": if detail(failure).is_empty() { cause.advice() } else { detail(failure) },
        "cause": cause.code(),
        "hop": cause.fault().name(),
        "retryable": cause.is_retryable(),
        "request_id": String::from_utf8_lossy(failure.ray),
        "location": failure.location,
    });
    if let Some(number) = error_number(cause) {
        problem["code"] = number.into();
    }
    problem.to_string()
}

fn management(failure: &Failure<'_>) -> String {
    let cause = failure.cause;
    let code = error_number(cause).unwrap_or(failure.status);
    let message = format!("{}. {}", cause.title(), cause.advice());
    serde_json::json!({"success": false, "errors": [{"code": code, "message": message}]}).to_string()
}

fn html(failure: &Failure<'_>) -> String {
    let cause = failure.cause;
    let code = error_number(cause).map_or_else(String::new, |n| format!(" <small>error {n}</small>"));
    let more = match detail(failure) {
        "" => String::new(),
        text => format!("<p>{}</p>\n", escape(text)),
    };
    let retry = if cause.is_retryable() { "yes" } else { "no" };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{status} {title}</title></head>\n<body>\n<h1>{status} {title}{code}</h1>\n{more}<p>{advice}</p>\n\
         <dl><dt>hop</dt><dd>{hop}</dd><dt>cause</dt><dd>{cause}</dd><dt>worth a retry</dt><dd>{retry}</dd>\
         <dt>request id</dt><dd>{ray}</dd><dt>edge</dt><dd>{location}</dd></dl>\n</body>\n</html>\n",
        status = failure.status,
        title = escape(cause.title()),
        advice = escape(cause.advice()),
        hop = cause.fault().name(),
        cause = cause.code(),
        ray = escape(&String::from_utf8_lossy(failure.ray)),
        location = escape(failure.location),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// As gRPC's table of HTTP statuses has it.
fn grpc_status(status: u16) -> u8 {
    match status {
        400 | 413 | 414 | 431 => 13,
        401 => 16,
        403 => 7,
        404 | 405 | 410 | 421 => 12,
        408 | 499 => 1,
        _ => 14,
    }
}

/// Percent-encoded as gRPC wants it.
fn grpc_message(failure: &Failure<'_>) -> String {
    let text = format!(
        "{}: {} (request id {})",
        failure.cause.code(),
        failure.cause.title(),
        String::from_utf8_lossy(failure.ray)
    );
    utf8_percent_encode(&text, UNPRINTED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(*name, *value);
        }
        headers
    }

    fn failure(cause: Cause, ray: &Bytes) -> Failure<'_> {
        Failure { cause, status: cause.status(), ray, detail: "<b>", location: "lab" }
    }

    #[test]
    fn the_form_follows_accept_and_grpc() {
        let cases = [
            ("*/*", Form::Html),
            ("", Form::Html),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Html),
            ("application/json", Form::Json),
            ("application/problem+json", Form::Json),
            ("text/html;q=0.5, application/json", Form::Json),
            ("text/html, application/json;q=0.9", Form::Html),
            ("application/json;q=0", Form::Html),
            ("application/json;q=x", Form::Json),
        ];
        for (accept, form) in cases {
            assert_eq!(form_of(&headers(&[("Accept", accept)])), form, "{accept}");
        }
        assert_eq!(form_of(&headers(&[])), Form::Html);
        assert_eq!(
            form_of(&headers(&[("Content-Type", "application/grpc+proto"), ("Accept", "application/json")])),
            Form::Grpc
        );
    }

    #[test]
    fn a_page_names_number_hop_request_and_may_not_be_stored() {
        let ray = Bytes::from_static(b"0123456789abcdef-lab");
        let (head, body) = render(Form::Html, &failure(Cause::NoConnection, &ray));
        let text = std::str::from_utf8(&body).unwrap();
        assert_eq!(head.status, 530);
        for part in ["1033", "tunnel", "0123456789abcdef-lab", "no_connection"] {
            assert!(text.contains(part), "{part}");
        }
        assert_eq!(head.headers.get("cache-control").unwrap(), "no-store");
        assert_eq!(head.headers.get("x-qanat-error").unwrap(), "no_connection");
        assert_eq!(head.headers.get("content-length").unwrap(), &body.len().to_string());
        let (_, body) = render(Form::Json, &failure(Cause::NoConnection, &ray));
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((problem["code"].as_u64(), problem["retryable"].as_bool()), (Some(1033), Some(true)));
        let (head, body) = render(Form::Grpc, &failure(Cause::GrpcNeedsHttp2, &ray));
        assert!(head.status == 200 && body.is_empty());
        assert_eq!(head.headers.get("grpc-status").unwrap(), "14");
        let (_, body) = render(Form::Html, &failure(Cause::BadRequest, &ray));
        assert!(std::str::from_utf8(&body).unwrap().contains("&lt;b&gt;"));
        let (_, body) = render(Form::Html, &failure(Cause::OriginRefused, &ray));
        assert!(!std::str::from_utf8(&body).unwrap().contains("&lt;b&gt;"));
    }

    proptest! {
        #[test]
        fn any_accept_is_survived(accept in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut headers = Headers::new();
            headers.push("accept", accept);
            let _ = form_of(&headers);
        }
    }
}
