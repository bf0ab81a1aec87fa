//! How much an origin may say before its answer (S19).

use crate::Headers;
use tokio::time::Instant;

/// Bytes of interim heads at once: any one that an answer's limits let pass …
const MAX_BYTES: f64 = 128.0 * 1024.0;
/// … and for each second after.
const PER_SECOND: f64 = 4.0 * 1024.0;
/// What a head costs beside its fields.
const EACH: usize = 256;

/// The 1xx heads before one answer. They are bounded by their rate, so that an origin may tell of its progress for hours (RFC 9110
/// 15.2) and none can keep us busy with nothing else.
#[derive(Debug)]
pub struct Interim {
    max: f64,
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Interim {
    /// Of an origin.
    pub fn of_origin() -> Self {
        Self::bounded(1.0)
    }

    /// As a connector passes them on: what it let through may come closer together here.
    pub fn of_connector() -> Self {
        Self::bounded(2.0)
    }

    fn bounded(times: f64) -> Self {
        Self { max: MAX_BYTES * times, per_second: PER_SECOND * times, left: MAX_BYTES * times, at: Instant::now() }
    }

    /// Whether one more with these fields is borne.
    pub fn take(&mut self, fields: &Headers) -> bool {
        let now = Instant::now();
        let since = now.duration_since(std::mem::replace(&mut self.at, now)).as_secs_f64();
        let bytes: usize = fields.iter().map(|field| field.name.len() + field.value.len() + 4).sum();
        self.left = (self.left + since * self.per_second).min(self.max) - (EACH + bytes) as f64;
        self.left >= -(EACH as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Case 73.
    #[tokio::test(start_paused = true)]
    async fn progress_may_be_told_for_ever_and_a_stream_of_thousands_ends() {
        let (mut slow, mut fast) = (Interim::of_origin(), Interim::of_origin());
        for _ in 0..10_000 {
            tokio::time::advance(Duration::from_millis(100)).await;
            assert!(slow.take(&Headers::new()));
        }
        let borne = (0..3000).take_while(|_| fast.take(&Headers::new())).count();
        assert!((400..600).contains(&borne), "{borne}");
        let mut large = Headers::new();
        large.push("Link", vec![b'x'; 128 * 1024 - 8]);
        assert!(Interim::of_origin().take(&large), "as large as a head may be");
    }
}
