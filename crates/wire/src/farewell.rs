//! What an edge says when it stops and will be back: within which time its connectors shall spread their return. Our own addition:
//! over QUIC it is the reason of the connection's end, which a stock connector only logs; over HTTP/2 a request of its own.

use std::time::Duration;

const PREFIX: &str = "the edge restarts: return within ";
const SUFFIX: &str = " ms";
/// Nobody waits longer for an edge's sake.
const MAX_WITHIN: Duration = Duration::from_secs(60);

/// The reason of the end.
pub fn reason(within: Duration) -> String {
    format!("{PREFIX}{}{SUFFIX}", milliseconds(within))
}

/// What [`reason`] says; `None` for any other.
pub fn read_reason(reason: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(reason).ok()?;
    read_milliseconds(text.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?)
}

/// The value of [`crate::names::RETURN_HEADER`].
pub fn milliseconds(within: Duration) -> u64 {
    u64::try_from(within.as_millis()).unwrap_or(u64::MAX)
}

/// Reads it.
pub fn read_milliseconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().map_or(MAX_WITHIN, Duration::from_millis).min(MAX_WITHIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_reasons_are_none() {
        for other in
            ["", "disconnected", "the edge restarts: return within ms", "the edge restarts: return within -1 ms"]
        {
            assert_eq!(read_reason(other.as_bytes()), None, "{other}");
        }
        assert_eq!(read_reason(b"the edge restarts: return within 99999999999999999999999 ms"), Some(MAX_WITHIN));
    }

    proptest! {
        #[test]
        fn what_is_said_is_read(within in 0_u64..200_000) {
            let within = Duration::from_millis(within);
            prop_assert_eq!(read_reason(reason(within).as_bytes()), Some(within.min(MAX_WITHIN)));
            prop_assert_eq!(read_milliseconds(&milliseconds(within).to_string()), Some(within.min(MAX_WITHIN)));
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read_reason(&bytes);
        }
    }
}
