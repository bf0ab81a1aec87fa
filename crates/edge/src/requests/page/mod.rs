//! The answers that the edge makes itself: an HTML page, problem details (RFC 9457) or a gRPC status, as the client asks.

mod drawn;
mod failure;

use self::drawn::escape;
pub(crate) use self::failure::Failure;
use crate::cause::Cause;
use crate::zones::Slot;
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
    Text,
    Grpc,
    /// As `cloudflared tail` reads it.
    Management,
}

/// Chooses by Content-Type and Accept; HTML when nothing is said.
pub(crate) fn form_of(headers: &Headers) -> Form {
    if is_grpc(headers) {
        return Form::Grpc;
    }
    let (mut html, mut json, mut text) = (None, None, None);
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
        } else if is("text/plain") {
            text = text.max(Some(thousandths(weight)));
        }
    }
    let [html, json, text] = [html, json, text].map(Option::unwrap_or_default);
    if json > html && json >= text {
        Form::Json
    } else if text > html {
        Form::Text
    } else {
        Form::Html
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
        Form::Text => {
            headers.push(&b"Content-Type"[..], &b"text/plain; charset=utf-8"[..]);
            text(failure).into()
        }
        Form::Html => {
            headers.push(&b"Content-Type"[..], &b"text/html; charset=utf-8"[..]);
            match of_the_zone(failure) {
                Some(page) => page.into(),
                None => {
                    headers.push(&b"Content-Security-Policy"[..], drawn::POLICY.as_bytes());
                    drawn::page(failure).into()
                }
            }
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
        Cause::Overloaded | Cause::HeldTooMany | Cause::ControlUnavailable => {
            headers.push(&b"Retry-After"[..], &b"1"[..])
        }
        _ => {}
    }
    if let Some(zone) = failure.zone {
        zone.secure(&mut headers, failure.is_https);
    }
    (ResponseHead { status: if form == Form::Grpc { 200 } else { *status }, headers }, body)
}

/// The zone's own page for it.
fn of_the_zone(failure: &Failure<'_>) -> Option<String> {
    let zone = failure.zone?;
    let page = match (failure.cause.number(), failure.status) {
        (1000.., _) => zone.page_1000.as_ref(),
        (_, 500..) => zone.page_500.as_ref(),
        _ => None,
    }?;
    Some(page.filled(|place| match place {
        Slot::Box => drawn::boxed(failure),
        Slot::Ray => escape(&String::from_utf8_lossy(failure.ray)),
        Slot::ClientIp => escape(&String::from_utf8_lossy(failure.client)),
        Slot::Status => failure.status.to_string(),
        Slot::Title => escape(failure.cause.title()),
        Slot::Advice => escape(failure.cause.advice()),
        Slot::Cause => failure.cause.code().to_owned(),
        Slot::Hostname => escape(&String::from_utf8_lossy(failure.hostname)),
    }))
}

fn json(failure: &Failure<'_>) -> String {
    let cause = failure.cause;
    let mut problem = serde_json::json!({
        "type": format!("urn:qanat:error:{}", cause.code()),
        "title": cause.title(),
        "status": failure.status,
        "detail": if failure.detail().is_empty() { cause.advice() } else { failure.detail() },
        "cause": cause.code(),
        "hop": cause.fault().name(),
        "place": cause.place().name(),
        "retryable": cause.is_retryable(),
        "request_id": String::from_utf8_lossy(failure.ray),
        "location": failure.location,
    });
    if cause.number() != 0 {
        problem["code"] = cause.number().into();
    }
    problem.to_string()
}

fn management(failure: &Failure<'_>) -> String {
    let cause = failure.cause;
    let code = if cause.number() >= 1000 { cause.number() } else { failure.status };
    let message = format!("{}. {}", cause.title(), cause.advice());
    serde_json::json!({"success": false, "errors": [{"code": code, "message": message}]}).to_string()
}

fn text(failure: &Failure<'_>) -> String {
    let cause = failure.cause;
    let number = if cause.number() == 0 { String::new() } else { format!(" (error {})", cause.number()) };
    let more = if failure.detail().is_empty() { String::new() } else { format!("{}\n", failure.detail()) };
    format!(
        "{} {}{number}\n{more}{}\ncause: {}\nbroke at: {}\nrequest id: {}\n",
        failure.status,
        cause.title(),
        cause.advice(),
        cause.code(),
        cause.place().name(),
        String::from_utf8_lossy(failure.ray)
    )
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
        let (hostname, client) = (&b"app.test"[..], &b"192.0.2.1"[..]);
        let (detail, location) = ("<b>", "lab");
        Failure { cause, status: cause.status(), ray, detail, location, hostname, client, zone: None, is_https: true }
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
            ("text/plain", Form::Text),
            ("text/plain;q=0.5, text/html", Form::Html),
            ("text/plain;q=0.5, application/json;q=0.5", Form::Json),
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

    /// What a browser draws of each cause: five places, of which one broke; nothing is fetched; a phone and a dark screen are thought of.
    #[test]
    fn each_page_draws_the_way_and_asks_nothing_of_anywhere() {
        let ray = Bytes::from_static(b"0123456789abcdef-lab");
        for cause in Cause::ALL {
            let (head, body) = render(Form::Html, &failure(*cause, &ray));
            let page = std::str::from_utf8(&body).unwrap();
            assert_eq!(page.matches("<li class=\"broken\">").count(), 1, "{}", cause.code());
            assert_eq!(page.matches("<li class=").count(), 5);
            let broken = page.split("<li class=\"broken\">").nth(1).unwrap();
            assert!(broken.split("</li>").next().unwrap().contains(&format!("<b>{}</b>", cause.place().name())));
            for remote in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link", "<img", "<use"] {
                assert!(!page.contains(remote), "{}: {remote}", cause.code());
            }
            for part in ["lang=\"en\"", "width=device-width", "prefers-color-scheme: dark", "max-width: 34rem", "<h1>"]
            {
                assert!(page.contains(part), "{part}");
            }
            let policy = std::str::from_utf8(head.headers.get("content-security-policy").unwrap()).unwrap();
            assert!(policy.starts_with("default-src 'none'"));
            assert!(body.len() < 8192, "{}", body.len());
        }
    }

    #[test]
    fn the_numbers_that_users_know_are_told() {
        let ray = Bytes::from_static(b"1");
        for (cause, number, status) in [
            (Cause::NoConnection, 1033, 530),
            (Cause::OriginRefused, 521, 502),
            (Cause::OriginTimeout, 522, 504),
            (Cause::OriginDenied, 523, 502),
            (Cause::ResponseTimeout, 524, 504),
            (Cause::OriginTls, 525, 502),
            (Cause::OriginError, 520, 502),
        ] {
            let (head, body) = render(Form::Json, &failure(cause, &ray));
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((head.status, problem["code"].as_u64()), (status, Some(number)));
            let (_, body) = render(Form::Text, &failure(cause, &ray));
            assert!(std::str::from_utf8(&body).unwrap().contains(&format!("(error {number})")));
        }
    }

    #[test]
    fn a_zones_page_stands_for_its_kind_and_what_a_client_wrote_is_escaped() {
        let zones = crate::zones::Zones::default();
        let page = "<p>::RAY_ID:: ::CLIENT_IP:: ::HOSTNAME:: ::STATUS::</p>::CLOUDFLARE_ERROR_1000S_BOX::";
        zones.swap(vec![crate::zones::ZoneRules {
            name: "test".to_owned(),
            hsts: "max-age=60".to_owned(),
            nosniff: true,
            page_1000: page.to_owned(),
            ..Default::default()
        }]);
        let (zone, ray) = (zones.find(b"app.test").unwrap(), Bytes::from_static(b"1-lab"));
        let shown = |cause, is_https| {
            let of = Failure { zone: Some(&zone), hostname: b"<i>.test", is_https, ..failure(cause, &ray) };
            let (head, body) = render(Form::Html, &of);
            (head, String::from_utf8(body.to_vec()).unwrap())
        };
        let (head, body) = shown(Cause::NoConnection, true);
        assert!(body.starts_with("<p>1-lab 192.0.2.1 &lt;i&gt;.test 530</p><h1>530"), "{body}");
        assert!(!head.headers.contains("content-security-policy"), "its own images are its own business");
        assert_eq!(head.headers.get("strict-transport-security").unwrap(), "max-age=60");
        assert_eq!(head.headers.get("x-content-type-options").unwrap(), "nosniff");
        let (head, body) = shown(Cause::OriginRefused, false);
        assert!(body.starts_with("<!doctype html>"), "that kind has the edge's");
        assert!(!head.headers.contains("strict-transport-security"), "not over plain HTTP (RFC 6797 7.2)");
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
