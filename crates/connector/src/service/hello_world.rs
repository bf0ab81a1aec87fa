//! `hello_world`: a built-in origin to try a tunnel with. `/` a page, `/uptime`, `/ws` a WebSocket echo, `/sse` a stream of events,
//! `/_health`.

use super::call::{Call, End, Responder};
use super::status;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use qanat_http::h1::{Body, Framing, Reader, Writer};
use qanat_http::{BodyLength, Headers, Limits, Relay, RelayError, RequestHead, ResponseHead, Sink, Source};
use qanat_transport::AnsweredBy;
use std::fmt::Write;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// The pipe between tunnel and echo.
const PIPE: usize = 16 * 1024;
/// Largest message echoed.
const MAX_MESSAGE: usize = 1 << 20;
/// Between two events; `?freq=2s` or `?freq=200ms` changes it, down to `MIN_PERIOD`.
const PERIOD: Duration = Duration::from_secs(10);
const MIN_PERIOD: Duration = Duration::from_millis(10);

static STARTED: LazyLock<(SystemTime, Instant)> = LazyLock::new(|| (SystemTime::now(), Instant::now()));

/// Starts the clock of `/uptime`, unless it runs already.
pub(super) fn start() {
    LazyLock::force(&STARTED);
}

/// Serves one call.
pub(super) async fn serve<B: Source + Unpin, R: Responder>(call: &mut Call<B, R>) -> End {
    let started = &*STARTED;
    let (path, query) = match call.head.target.iter().position(|b| *b == b'?') {
        Some(at) => (call.head.target.slice(..at), call.head.target.slice(at + 1..)),
        None => (call.head.target.clone(), Bytes::new()),
    };
    match path.as_ref() {
        b"/ws" if call.head.websocket => echo(call).await,
        b"/ws" => text(400, "text/plain; charset=utf-8", "a WebSocket is expected here\n".into(), call).await,
        b"/sse" => events(period(&query), call).await,
        b"/_health" => text(200, "text/plain; charset=utf-8", "ok".into(), call).await,
        b"/uptime" => {
            let since = rfc3339(started.0.duration_since(UNIX_EPOCH).unwrap_or_default());
            let up = go_duration(started.1.elapsed());
            text(200, "application/json", format!("{{\"startTime\":\"{since}\",\"uptime\":\"{up}\"}}"), call).await
        }
        _ => {
            if let Some(kind) = status::grpc(&call.head) {
                let (unimplemented, why) = ("12", "hello_world has no such method".to_owned());
                return status::grpc_error(kind, unimplemented, why, Headers::new(), AnsweredBy::Origin, call).await;
            }
            let page = page(&call.head);
            text(200, "text/html; charset=utf-8", page, call).await
        }
    }
}

async fn text<B: Source + Unpin, R: Responder>(
    code: u16,
    kind: &'static str,
    body: String,
    call: &mut Call<B, R>,
) -> End {
    let mut headers = Headers::with_capacity(2);
    headers.push("Content-Type", kind);
    status::answer(ResponseHead { status: code, headers }, body.into(), AnsweredBy::Origin, call).await
}

/// A time since 1970 as `2026-01-02T03:04:05.678Z`.
fn rfc3339(since_1970: Duration) -> String {
    let (days, second) = (since_1970.as_secs() / 86_400, since_1970.as_secs() % 86_400);
    // Years begin in March, so that the day that comes and goes is their last one.
    let day = days + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    format!(
        "{:04}-{month:02}-{of_month:02}T{:02}:{:02}:{:02}.{:03}Z",
        year + era * 400,
        second / 3_600,
        second / 60 % 60,
        second % 60,
        since_1970.subsec_millis()
    )
}

/// As Go prints it, to the millisecond: `1h2m3.004s`, `250ms`.
fn go_duration(time: Duration) -> String {
    let (hours, minutes, seconds) = (time.as_secs() / 3_600, time.as_secs() / 60 % 60, time.as_secs() % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let millis = time.subsec_millis();
    let _ = match (text.is_empty() && seconds == 0, millis) {
        (true, 1..) => write!(text, "{millis}ms"),
        (_, 0) => write!(text, "{seconds}s"),
        _ => write!(text, "{}s", format!("{seconds}.{millis:03}").trim_end_matches('0')),
    };
    text
}

fn page(head: &RequestHead) -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Hello from qanat</title>\n\
         <style>body{font-family:sans-serif;max-width:48rem;margin:4rem auto;padding:0 1rem;line-height:1.5}\
         dl{background:#f4f4f4;padding:1rem;overflow-x:auto;font-family:monospace}dt{font-weight:bold}</style></head>\n\
         <body><h1>Hello, world</h1>\n<p>The tunnel works: this page was made by the connector itself (service \
         <code>hello_world</code>).</p>\n<h2>Your request</h2>\n<dl>\n",
    );
    let mut row = |name: &[u8], value: &[u8]| {
        let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    };
    row(b"Method", &head.method);
    row(b"Target", &head.target);
    row(b"Host", &head.authority);
    for header in &head.headers {
        row(&header.name, &header.value);
    }
    page.push_str("</dl></body></html>\n");
    page
}

fn escape(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn period(query: &[u8]) -> Duration {
    let query = String::from_utf8_lossy(query);
    let wanted = query.split('&').find_map(|pair| pair.strip_prefix("freq="));
    let parsed = wanted.and_then(|text| match text.strip_suffix("ms") {
        Some(millis) => millis.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s')?.parse().ok().map(Duration::from_secs),
    });
    parsed.unwrap_or(PERIOD).max(MIN_PERIOD)
}

/// An event each period until the client goes away.
async fn events<B: Source + Unpin, R: Responder>(period: Duration, call: &mut Call<B, R>) -> End {
    let mut headers = Headers::with_capacity(2);
    headers.push("Content-Type", "text/event-stream; charset=utf-8");
    headers.push("Cache-Control", "no-cache");
    let bodiless = call.head.method.as_ref() == b"HEAD";
    let length = if bodiless { BodyLength::Absent } else { BodyLength::Unknown };
    let head = ResponseHead { status: 200, headers };
    let Ok(mut sink) = call.split().1.respond(head, length, AnsweredBy::Origin) else { return End::Canceled };
    call.body.stop();
    if bodiless {
        let finished = poll_fn(|cx| sink.poll_finish(cx, &mut None)).await;
        return if finished.is_ok() { End::Answered(200) } else { End::Canceled };
    }
    let mut ticks = interval_at(Instant::now(), period);
    let mut counter = 0u64;
    loop {
        let sent = poll_fn(|cx| {
            if sink.poll_stopped(cx).is_ready() {
                return Poll::Ready(false);
            }
            if sink.poll_flush(cx).map(|r| r.is_err()) == Poll::Ready(true) {
                return Poll::Ready(false);
            }
            ready!(ticks.poll_tick(cx));
            Poll::Ready(true)
        });
        if !sent.await || poll_fn(|cx| sink.poll_ready(cx)).await.is_err() {
            return End::Canceled;
        }
        counter += 1;
        sink.send(Bytes::from(format!("id: {counter}\ndata: {counter}\n\n")));
    }
}

/// Echoes every text and binary message, answers pings, closes with the client's code.
async fn echo<B: Source + Unpin, R: Responder>(call: &mut Call<B, R>) -> End {
    let Some(key) = call.head.headers.get("sec-websocket-key").cloned() else {
        return text(400, "text/plain; charset=utf-8", "Sec-WebSocket-Key is missing\n".into(), call).await;
    };
    let mut headers = Headers::with_capacity(3);
    headers.push("Upgrade", "websocket");
    headers.push("Connection", "Upgrade");
    headers.push("Sec-WebSocket-Accept", derive_accept_key(&key));
    let head = ResponseHead { status: 101, headers };
    let Ok(mut sink) = call.split().1.respond(head, BodyLength::Opaque, AnsweredBy::Origin) else {
        return End::Canceled;
    };

    let (near, far) = tokio::io::duplex(PIPE);
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let mut echoing = pin!(async move {
        let mut socket = WebSocketStream::from_raw_socket(far, Role::Server, Some(config)).await;
        while let Some(Ok(message)) = socket.next().await {
            let answered = match message {
                Message::Text(_) | Message::Binary(_) => socket.send(message).await,
                // Pings and closes are answered by the library, when it is next driven.
                _ => socket.flush().await,
            };
            if answered.is_err() {
                break;
            }
        }
    });
    let (reading, writing) = tokio::io::split(near);
    let mut from_echo = Body::new(Reader::new(reading), Framing::Opaque, &Limits::default());
    let mut to_echo = Writer::new(writing);
    to_echo.start(Framing::Opaque);
    let (mut up, mut down) = (Relay::new(), Relay::new());
    let mut echoed = false;
    let outcome = poll_fn(|cx| {
        if !up.is_done()
            && let Poll::Ready(Err(RelayError::Source(error))) = up.poll(cx, &mut call.body, &mut to_echo)
        {
            sink.reset();
            return Poll::Ready(Err(RelayError::Source(error)));
        }
        if !echoed {
            echoed = echoing.as_mut().poll(cx).is_ready();
        }
        down.poll(cx, &mut from_echo, &mut sink)
    })
    .await;
    call.body.stop();
    if outcome.is_ok() { End::Answered(101) } else { End::Canceled }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_is_escaped_in_the_page() {
        let mut headers = Headers::new();
        headers.push("X-Evil", "<script>&\"");
        let head = RequestHead {
            method: "GET".into(),
            target: "/<b>".into(),
            authority: "h".into(),
            version: qanat_http::Version::Http11,
            headers,
            websocket: false,
        };
        let page = page(&head);
        assert!(page.contains("&lt;script&gt;&amp;&quot;") && !page.contains("<script>") && !page.contains("<b>"));
    }

    #[test]
    fn the_clock_is_told_as_stock_tells_it() {
        assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Duration::from_millis(951_827_696_789)), "2000-02-29T12:34:56.789Z");
        assert_eq!(rfc3339(Duration::from_secs(1_798_761_599)), "2026-12-31T23:59:59.000Z");
        assert_eq!(rfc3339(Duration::from_secs(4_107_542_400)), "2100-03-01T00:00:00.000Z");
        for (millis, text) in [(0, "0s"), (250, "250ms"), (1_500, "1.5s"), (60_000, "1m0s"), (3_723_004, "1h2m3.004s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn the_period_of_events_can_be_asked_for() {
        assert_eq!(period(b"freq=2s"), Duration::from_secs(2));
        assert_eq!(period(b"a=b&freq=200ms"), Duration::from_millis(200));
        assert_eq!(period(b"freq=0ms"), MIN_PERIOD);
        assert_eq!(period(b"freq=x"), PERIOD);
    }
}
