//! W3C trace context. Without a collector it passes untouched. With one, the edge is a span of the traces that are sampled: the
//! tunnel gets a `traceparent` that names it, and what a collector wants to know goes with the line of the access log.

use qanat_http::Headers;
use serde::Serialize;

/// A request's span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Trace {
    trace_id: String,
    span_id: String,
    /// The caller's, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
}

impl Trace {
    /// Makes the edge part of the caller's trace, if that is sampled, or of a new one. `sample`: how many, 0 to 1; a caller can only
    /// have less, since anybody may be one. 0: nobody collects.
    pub(crate) fn begin(headers: &mut Headers, sample: f64) -> Option<Self> {
        if sample <= 0.0 || sample < 1.0 && rand::random::<f64>() >= sample {
            return None;
        }
        let told: Vec<_> = headers.get_all("traceparent").cloned().collect();
        let parent = if let [only] = &told[..] { parse(only) } else { None };
        let (trace_id, parent_span_id) = match parent {
            Some((_, _, sampled)) if !sampled => return None,
            Some((trace_id, span_id, _)) => (trace_id.to_owned(), Some(span_id.to_owned())),
            None => {
                // What can't be continued says nothing of the new one (Trace Context, 3.3).
                headers.remove("tracestate");
                (format!("{:032x}", rand::random::<u128>().max(1)), None)
            }
        };
        let span_id = format!("{:016x}", rand::random::<u64>().max(1));
        headers.set(&b"Traceparent"[..], format!("00-{trace_id}-{span_id}-01"));
        Some(Self { trace_id, span_id, parent_span_id })
    }
}

/// Trace id, span id, and whether the trace is sampled. Of a version to come what version 00 knows is read (Trace Context, 3.2.4).
fn parse(value: &[u8]) -> Option<(&str, &str, bool)> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.splitn(5, '-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_one = version.len() == 2 && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
    let is_good = is_one && [version, trace, span, flags].into_iter().all(hex) && version != "ff";
    let is_whole = version != "00" || parts.next().is_none();
    let is_some = trace.bytes().any(|b| b != b'0') && span.bytes().any(|b| b != b'0');
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    (is_good && is_whole && is_some).then_some((trace, span, sampled))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn begun(lines: &[&str], sample: f64) -> (Option<Trace>, Headers) {
        let mut headers = Headers::new();
        for line in lines {
            headers.push("traceparent", (*line).to_owned());
        }
        headers.push("tracestate", "a=1");
        (Trace::begin(&mut headers, sample), headers)
    }

    #[test]
    fn without_a_collector_it_passes_untouched() {
        let given = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let (trace, headers) = begun(&[&given], 0.0);
        assert!(trace.is_none());
        assert_eq!(headers.get("traceparent").unwrap(), &given);
    }

    #[test]
    fn a_sampled_trace_goes_on_through_the_edge() {
        for version in ["00", "01"] {
            let (trace, headers) = begun(&[&format!("{version}-{TRACE}-00f067aa0ba902b7-01")], 1.0);
            let trace = trace.unwrap();
            assert_eq!((trace.trace_id.as_str(), trace.parent_span_id.as_deref()), (TRACE, Some("00f067aa0ba902b7")));
            assert_eq!(headers.get("traceparent").unwrap(), &format!("00-{TRACE}-{}-01", trace.span_id));
            assert_eq!(headers.get("tracestate").unwrap(), "a=1");
        }
    }

    #[test]
    fn a_callers_no_holds_and_its_fields_stay() {
        let given = format!("00-{TRACE}-00f067aa0ba902b7-00");
        let (trace, headers) = begun(&[&given], 1.0);
        assert!(trace.is_none() && headers.get("traceparent").unwrap() == &given);
    }

    #[test]
    fn what_is_no_context_begins_a_new_one() {
        let zero = "0".repeat(32);
        for bad in [
            "x".to_owned(),
            format!("00-{zero}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
        ] {
            let (trace, headers) = begun(&[&bad], 1.0);
            let trace = trace.unwrap();
            assert!(trace.parent_span_id.is_none() && trace.trace_id != TRACE, "{bad}");
            assert_eq!(headers.get_all("traceparent").count(), 1);
            assert!(!headers.contains("tracestate"));
        }
        let given = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert!(begun(&[&given, &given], 1.0).0.unwrap().parent_span_id.is_none(), "two are none");
    }
}
