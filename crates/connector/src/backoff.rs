//! How long to wait before the next dial. Pure: randomness is passed in.

use std::time::Duration;

/// Upper bounds of the delay before the first, second … retry. The delay is drawn evenly below the bound, so that the jitter is
/// not cut off by the cap (case 54); the last bound and a dial stay within 15 s of a network's return (case 26).
const SPREAD: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(7), Duration::from_secs(9), Duration::from_secs(12)];
/// The first retry of a connection that never was up.
const FIRST_SPREAD: Duration = Duration::from_secs(2);
const MIN_DELAY: Duration = Duration::from_millis(100);
/// A refusal that says there is no use in trying again is believed for so long.
const PERMANENT_DELAY: Duration = Duration::from_secs(60);
/// Delay before retry number `failures` (1 is the first); it grows up to retry number `retries`.
pub(crate) fn retry_delay(failures: u32, retries: u32, was_up: bool, random: f64) -> Duration {
    let index = (failures.min(retries).max(1) as usize - 1).min(SPREAD.len() - 1);
    let spread = if index == 0 && !was_up { FIRST_SPREAD } else { SPREAD[index] };
    MIN_DELAY + (spread - MIN_DELAY).mul_f64(random)
}

/// How long a connection that the edge sent away for a restart goes on returning at a quick pace.
pub(crate) const RETURNING: Duration = Duration::from_secs(10);
/// Pace of one that found the edge still away.
const RETURN_PACE: Duration = Duration::from_millis(300);

/// Delay before dial number `tries` (0 is the first) of a connection that was told to return `within` a time. No back-off: an
/// edge of so many connectors spreads them by `within` itself.
pub(crate) fn return_delay(tries: u32, within: Duration, random: f64) -> Duration {
    if tries == 0 {
        return within.mul_f64(random);
    }
    within.clamp(RETURN_PACE, SPREAD[0]).mul_f64(0.5 + random)
}

/// Longest delay of a dial that has a reason to be made at once: connections don't come together all the same.
const AT_ONCE: Duration = Duration::from_millis(300);

/// Delay of such a dial.
pub(crate) fn hurried_delay(random: f64) -> Duration {
    AT_ONCE.mul_f64(random)
}

/// Delay that a refusal asks for: never less, spread by a quarter so that the refused don't return together.
pub(crate) fn refused_delay(retry_after: Duration, should_retry: bool, random: f64) -> Duration {
    let least = if should_retry { retry_after } else { retry_after.max(PERMANENT_DELAY) };
    let least = least.clamp(Duration::from_secs(1), Duration::from_secs(3600));
    least + (least / 4).min(Duration::from_secs(10)).mul_f64(random)
}

/// Which configured edge attempt number `attempt` goes to, and by how many of its addresses to turn.
pub(crate) fn place(attempt: usize, edges: usize) -> (usize, usize) {
    (attempt % edges, attempt / edges)
}

/// Evenly from 0 to 1.
pub(crate) fn random() -> f64 {
    rand::random_range(0.0..1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attempts_go_round_the_edges_and_then_round_their_addresses() {
        assert_eq!((0..6).map(|a| place(a, 2)).collect::<Vec<_>>(), [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]);
        assert_eq!(place(3, 1), (0, 3));
    }

    #[test]
    fn a_refusal_is_honoured_and_a_permanent_one_believed_for_a_minute() {
        let s = Duration::from_secs;
        assert_eq!(refused_delay(s(30), true, 0.0), s(30));
        assert!(refused_delay(s(30), true, 1.0) <= s(38));
        assert!(refused_delay(s(0), false, 0.0) >= s(60));
        assert!(refused_delay(s(0), true, 0.0) >= s(1));
        assert!(refused_delay(s(u64::MAX / 2), true, 1.0) <= s(3610));
    }

    /// Case 54: the first retry after a loss lies evenly in five seconds, for all that were up.
    #[test]
    fn the_first_retries_are_spread_over_five_seconds() {
        let s = Duration::from_secs_f64;
        assert!(retry_delay(1, 5, true, 0.0) <= s(0.1) && retry_delay(1, 5, true, 1.0) == s(5.0));
        assert!(retry_delay(1, 5, true, 0.5) > s(2.4) && retry_delay(1, 5, true, 0.5) < s(2.6));
    }

    #[test]
    fn at_the_cap_no_second_holds_more_than_a_tenth() {
        let delays: Vec<Duration> = (0..10_000).map(|i| retry_delay(99, 5, true, f64::from(i) / 10_000.0)).collect();
        for window in 0..13 {
            let (from, to) = (Duration::from_secs(window), Duration::from_secs(window + 1));
            assert!(delays.iter().filter(|d| **d >= from && **d < to).count() <= 1000);
        }
    }

    #[test]
    fn who_was_sent_away_for_a_restart_returns_at_a_quick_pace_and_not_at_once() {
        let ms = Duration::from_millis;
        assert_eq!((return_delay(0, ms(400), 0.0), return_delay(0, ms(400), 1.0)), (ms(0), ms(400)));
        assert_eq!((return_delay(1, ms(400), 0.0), return_delay(9, ms(400), 1.0)), (ms(200), ms(600)));
        assert_eq!((return_delay(1, ms(0), 0.0), return_delay(1, ms(0), 1.0)), (ms(150), ms(450)));
        assert_eq!((return_delay(0, ms(16_000), 1.0), return_delay(1, ms(16_000), 1.0)), (ms(16_000), ms(7_500)));
    }

    proptest! {
        #[test]
        fn every_delay_is_short_enough_to_be_back_in_time(failures in 1u32..1000, retries in 0u32..9, was_up: bool, random in 0.0f64..1.0) {
            let delay = retry_delay(failures, retries, was_up, random);
            prop_assert!(delay >= MIN_DELAY && delay <= Duration::from_secs(12));
        }
    }
}
