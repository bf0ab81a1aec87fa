//! How long a connector and its origin took until an answer's head was there, as our connector tells our edge: microseconds in decimal
//! digits, the connector's own and, where an origin was asked, the origin's after a comma.

use std::fmt::Write;
use std::time::Duration;

/// Longest text of one.
const LONGEST: usize = 41;

/// What is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// In the connector itself: rules, checks, waiting for a place at the origin.
    pub connector: Duration,
    /// From when the origin was asked, or dialled, to the head of its answer; `None`: no origin was asked.
    pub origin: Option<Duration>,
}

/// One as text, without an allocation.
pub struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Took {
    /// As it travels.
    pub fn encode(self) -> Text {
        let mut text = Text { bytes: [0; LONGEST], length: 0 };
        let mut digits = itoa::Buffer::new();
        // Two numbers of 64 bits and a comma have room.
        let _ = text.write_str(digits.format(micros(self.connector)));
        if let Some(origin) = self.origin {
            let _ = text.write_str(",");
            let _ = text.write_str(digits.format(micros(origin)));
        }
        text
    }

    /// `None`: what came is none, or longer than a day, and nobody's time.
    pub fn decode(text: &[u8]) -> Option<Self> {
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.len() <= 11 && text.bytes().all(|b| b.is_ascii_digit());
            let micros: u64 = text.parse().ok().filter(|_| is_number)?;
            Some(Duration::from_micros(micros)).filter(|took| *took <= Duration::from_secs(86_400))
        };
        let text = std::str::from_utf8(text).ok()?;
        match text.split_once(',') {
            Some((connector, origin)) => Some(Self { connector: number(connector)?, origin: Some(number(origin)?) }),
            None => Some(Self { connector: number(text)?, origin: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_time_is_none() {
        for bad in ["", ",", "1,", ",1", "-1", "+1", " 1", "1,2,3", "1.5", "99999999999", "86400000001", "\u{ff11}"] {
            assert_eq!(Took::decode(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Took::decode(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(connector in 0..86_400_000_000_u64, origin in proptest::option::of(0..86_400_000_000_u64)) {
            let took = Took { connector: Duration::from_micros(connector), origin: origin.map(Duration::from_micros) };
            prop_assert_eq!(Took::decode(took.encode().as_bytes()), Some(took));
        }

        #[test]
        fn whatever_comes_is_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let _ = Took::decode(&bytes);
        }
    }

    #[test]
    fn the_longest_has_room() {
        let took = Took { connector: Duration::MAX, origin: Some(Duration::MAX) };
        assert_eq!(took.encode().as_bytes(), b"18446744073709551615,18446744073709551615");
    }
}
