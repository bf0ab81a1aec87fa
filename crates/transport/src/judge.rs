//! The rule by which a link is suspect: what was sent on it isn't acknowledged within a small multiple of its round trip. No clock
//! of its own and no network: it is told what a link's counters say, and answers when to look again.

use std::time::{Duration, Instant};

/// A dead line is told from a lost packet by nothing but time. In this one QUIC has asked again three times on a short line, and TCP
/// has once sent again what was lost.
const LEAST: Duration = Duration::from_millis(200);
/// An acknowledgement may wait so long for others to go with (RFC 9000 18.2, max_ack_delay).
const ACK_DELAY: Duration = Duration::from_millis(25);
/// A limit is waited for in so many looks, so that a halt of this process counts as one of them.
const LOOKS: u32 = 4;
/// A peer that was silent for a while and came back gets a quarter more than that from then on, up to so much: its host is busy.
const MOST_PATIENT: Duration = Duration::from_millis(750);
/// After this time half of that is forgotten.
const FORGETS: Duration = Duration::from_secs(60);

/// Whether something that was sent awaits its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    No,
    /// Something was sent since; it may need no acknowledgement.
    Perhaps,
    Yes,
}

/// What a link's counters say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// How often something came that shows that the peer takes what is sent.
    pub(crate) heard: u64,
    /// How often something was sent that the peer must react to.
    pub(crate) sent: u64,
    pub(crate) awaited: Awaited,
    /// The round trip, and how much it varies.
    pub(crate) rtt: Duration,
    pub(crate) variation: Duration,
}

/// What comes of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is awaited: look again, not before so long, when something was sent.
    Quiet(Duration),
    /// Look again after so long.
    Wait(Duration),
    /// The same, and a sign of life is due.
    Overdue(Duration),
    Suspect,
}

/// One link's judge.
pub(crate) struct Judge {
    heard: u64,
    sent: u64,
    /// What is counted from `sent` on was sent after everything before it was acknowledged.
    is_clear: bool,
    /// How long something has been awaited, as far as it was looked at; `None`: nothing is, as far as is known.
    waited: Option<Duration>,
    /// How long it was looked at without that.
    idle: Duration,
    looked: Instant,
    planned: Duration,
    /// The longest silence of late, and when it was.
    silence: (Duration, Instant),
}

impl Judge {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            heard: 0,
            sent: 0,
            is_clear: false,
            waited: None,
            idle: Duration::ZERO,
            looked: now,
            planned: Duration::ZERO,
            silence: (Duration::ZERO, now),
        }
    }

    /// How long what was sent may remain without an acknowledgement. QUIC asks again after one probe timeout (RFC 9002 6.2.1) and
    /// after three: both are answered within three, a round trip, and half a one to spare.
    pub(crate) fn limit(&self, now: Instant, rtt: Duration, variation: Duration) -> Duration {
        let probe = rtt + 4 * variation + ACK_DELAY;
        let patient = self.silence(now) * 5 / 4;
        LEAST.max(3 * probe + rtt * 3 / 2).max(patient.min(MOST_PATIENT))
    }

    fn silence(&self, now: Instant) -> Duration {
        let (longest, at) = self.silence;
        let halvings = now.saturating_duration_since(at).as_secs() / FORGETS.as_secs();
        longest / 2u32.saturating_pow(u32::try_from(halvings).unwrap_or(u32::MAX))
    }

    fn note_silence(&mut self, now: Instant, lasted: Duration) {
        if lasted > self.silence(now) {
            self.silence = (lasted, now);
        }
    }

    /// Takes a look.
    pub(crate) fn look(&mut self, now: Instant, reading: &Reading) -> Verdict {
        let limit = self.limit(now, reading.rtt, reading.variation);
        let tick = limit / LOOKS;
        // Of a halt of our own no more than two looks count: what came meanwhile may lie in the socket.
        let passed = now.saturating_duration_since(self.looked).min(2 * self.planned);
        self.looked = now;
        let verdict = if reading.heard != self.heard {
            if let Some(waited) = self.waited {
                self.note_silence(now, waited + passed);
            }
            (self.heard, self.sent, self.idle) = (reading.heard, reading.sent, Duration::ZERO);
            self.is_clear = reading.awaited == Awaited::No;
            self.waited = (reading.awaited == Awaited::Yes).then_some(Duration::ZERO);
            if self.is_clear { Verdict::Quiet(tick) } else { Verdict::Wait(tick) }
        } else {
            self.still(reading, limit, tick, passed)
        };
        self.planned = match verdict {
            Verdict::Wait(wait) | Verdict::Overdue(wait) => wait,
            // Until then nothing was awaited.
            Verdict::Quiet(_) | Verdict::Suspect => Duration::ZERO,
        };
        verdict
    }

    /// Nothing was heard since the last look.
    fn still(&mut self, reading: &Reading, limit: Duration, tick: Duration, passed: Duration) -> Verdict {
        let is_more = reading.sent != self.sent;
        self.sent = reading.sent;
        let waited = match self.waited {
            Some(waited) => waited + passed,
            None if is_more || reading.awaited == Awaited::Yes => Duration::ZERO,
            None => {
                self.idle += passed;
                // What had to be acknowledged would have been sent again by now.
                self.is_clear |= self.idle >= limit || reading.awaited == Awaited::No;
                return if self.is_clear { Verdict::Quiet(tick) } else { Verdict::Wait(tick) };
            }
        };
        self.waited = Some(waited);
        // A timer may come a little early.
        match limit.saturating_sub(waited) {
            left if left < Duration::from_millis(2) => Verdict::Suspect,
            left if waited.is_zero() => Verdict::Wait((tick / 2).min(left)),
            left => Verdict::Overdue(tick.min(left)),
        }
    }

    /// Of a suspect link: how long it has been silent, at least.
    pub(crate) fn waited(&self) -> Duration {
        self.waited.unwrap_or_default()
    }

    /// After a suspicion: it is heard again.
    pub(crate) fn recovered(&mut self, now: Instant) {
        if let Some(waited) = self.waited.take() {
            let since = now.saturating_duration_since(self.looked);
            self.note_silence(now, (waited + since).min(MOST_PATIENT));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubt::Line;
    use crate::http2::beat::{Beat, Http2Life};
    use proptest::prelude::*;
    use std::sync::Arc;

    const LINE: Reading =
        Reading { heard: 1, sent: 1, awaited: Awaited::No, rtt: Duration::from_micros(300), variation: Duration::ZERO };

    /// A judge that has seen a link at rest, and the time then.
    fn at_rest(line: Reading) -> (Judge, Instant) {
        let now = Instant::now();
        let mut judge = Judge::new(now);
        assert!(matches!(judge.look(now, &line), Verdict::Quiet(_)));
        (judge, now)
    }

    /// Looks when it is told to until the link is suspect; after how long that was.
    fn until_suspect(judge: &mut Judge, from: Instant, line: Reading) -> Option<Duration> {
        let mut now = from;
        for _ in 0..100 {
            match judge.look(now, &line) {
                Verdict::Suspect => return Some(now - from),
                Verdict::Quiet(_) => return None,
                Verdict::Wait(wait) | Verdict::Overdue(wait) => now += wait,
            }
        }
        None
    }

    #[test]
    fn what_was_sent_to_a_dead_peer_makes_it_suspect_after_a_small_multiple_of_the_round_trip() {
        for (rtt_ms, at_most_ms) in [(0, 205), (1, 205), (20, 205), (50, 320), (300, 1450)] {
            let line = Reading { rtt: Duration::from_millis(rtt_ms), ..LINE };
            let (mut judge, now) = at_rest(line);
            let after = until_suspect(&mut judge, now, Reading { sent: 2, awaited: Awaited::Perhaps, ..line });
            let after = after.unwrap_or_else(|| panic!("{rtt_ms}"));
            assert!((Duration::from_millis(195)..=Duration::from_millis(at_most_ms)).contains(&after), "{after:?}");
        }
    }

    #[test]
    fn what_needs_no_acknowledgement_is_not_waited_for() {
        let (mut judge, now) = at_rest(LINE);
        let only_acknowledges = Reading { awaited: Awaited::Perhaps, ..LINE };
        assert_eq!(until_suspect(&mut judge, now, only_acknowledges), None);
        // Though it isn't known when it was sent.
        assert!(matches!(judge.look(now, &Reading { heard: 2, ..only_acknowledges }), Verdict::Wait(_)));
        assert_eq!(until_suspect(&mut judge, now, Reading { heard: 2, ..only_acknowledges }), None);
    }

    #[test]
    fn under_load_a_dead_peer_is_suspect_as_soon_as_something_is_sent_again() {
        let (mut judge, now) = at_rest(LINE);
        let last = Reading { heard: 2, sent: 5, awaited: Awaited::Perhaps, ..LINE };
        let Verdict::Wait(wait) = judge.look(now, &last) else { panic!() };
        let after = until_suspect(&mut judge, now + wait, Reading { sent: 6, ..last }).unwrap();
        assert!(wait + after < Duration::from_millis(300));
    }

    #[test]
    fn a_halt_of_our_own_is_not_the_peers() {
        let (mut judge, mut now) = at_rest(LINE);
        let line = Reading { sent: 2, awaited: Awaited::Yes, ..LINE };
        let Verdict::Wait(_) = judge.look(now, &line) else { panic!() };
        now += Duration::from_secs(5);
        assert!(matches!(judge.look(now, &line), Verdict::Overdue(_)), "there is time to read what came");
        assert!(matches!(judge.look(now, &Reading { heard: 2, awaited: Awaited::No, ..line }), Verdict::Quiet(_)));
    }

    #[test]
    fn a_host_that_is_busy_now_and_then_is_given_more_time_and_not_for_ever() {
        let (mut judge, now) = at_rest(LINE);
        let line = Reading { sent: 2, awaited: Awaited::Yes, ..LINE };
        assert!(until_suspect(&mut judge, now, line).is_some());
        let later = now + Duration::from_millis(400);
        judge.recovered(later);
        let limit = |at| judge.limit(at, LINE.rtt, LINE.variation);
        assert!(limit(later) >= Duration::from_millis(450), "{:?}", limit(later));
        assert!(limit(later) <= MOST_PATIENT);
        assert_eq!(limit(later + Duration::from_secs(600)), LEAST);
    }

    /// Exchanges over a line that loses packets, as QUIC repeats them: when they are acknowledged is drawn, and the judge looks when
    /// it wants to. How often it was wrong.
    fn false_alarms(rtt: Duration, lost: f64, busy: Duration, exchanges: u32) -> u32 {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) as f64 / (1u64 << 53) as f64
        };
        let line = Reading { rtt, ..LINE };
        let (mut judge, mut now) = at_rest(line);
        let (mut reading, mut alarms) = (line, 0);
        for _ in 0..exchanges {
            // A packet, and two at each probe timeout; each way, what comes of it may be lost. The host reads when it has time.
            let probe = rtt + ACK_DELAY;
            let mut answered = None;
            for (round, packets) in [1, 2, 2, 2, 2, 2].into_iter().enumerate() {
                let sent = probe * (2u32.pow(round as u32) - 1);
                let came = (0..packets).any(|_| draw() >= lost) && draw() >= lost;
                answered = answered.or(came.then(|| sent + rtt + busy.mul_f64(draw())));
            }
            let answer = now + answered.unwrap_or(Duration::from_secs(10));
            (reading.sent, reading.awaited) = (reading.sent + 1, Awaited::Yes);
            let mut is_alarmed = false;
            while now < answer {
                now = match judge.look(now, &reading) {
                    Verdict::Suspect => {
                        is_alarmed = true;
                        answer
                    }
                    Verdict::Quiet(wait) | Verdict::Wait(wait) | Verdict::Overdue(wait) => answer.min(now + wait),
                };
            }
            if is_alarmed {
                judge.recovered(now);
            }
            alarms += u32::from(is_alarmed);
            (reading.heard, reading.awaited) = (reading.heard + 1, Awaited::No);
            judge.look(now, &reading);
        }
        alarms
    }

    #[test]
    fn lost_packets_a_long_line_and_a_busy_host_raise_no_alarm() {
        let ms = Duration::from_millis;
        for (rtt, lost, busy) in
            [(1, 0.0, 0), (1, 0.05, 0), (50, 0.05, 0), (300, 0.0, 0), (300, 0.0, 100), (1, 0.0, 180)]
        {
            assert_eq!(false_alarms(ms(rtt), lost, ms(busy), 5_000), 0, "{rtt} ms, {lost} lost, {busy} ms busy");
        }
        // All of it at once: the peer has less than one in a thousand to put up with.
        assert!(false_alarms(ms(300), 0.05, ms(50), 5_000) <= 5);
        assert!(false_alarms(ms(1), 0.0, ms(400), 5_000) <= 50, "after the first it is known to be busy");
    }

    /// Draws from 0 to 1, the same for the same `what`.
    fn drawn(what: [u64; 4]) -> f64 {
        let mixed = what.into_iter().fold(0x9e37_79b9_7f4a_7c15_u64, |all, one| {
            let all = (all ^ one).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (all ^ (all >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (all >> 32)
        });
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }

    /// When segments that were sent at `sends` (seconds) are there, in order, as TCP repeats them: when a later one is acknowledged
    /// (RFC 8985 6), else after a tail loss probe (7) and then the timeout of Linux, which doubles.
    fn delivered(sends: &[f64], rtt: f64, lost: f64, way: [u64; 2]) -> Vec<f64> {
        let is_lost = |segment: usize, round: u32| drawn([way[0], way[1], segment as u64, round.into()]) < lost;
        let mut last = 0.0_f64;
        let arrivals = sends.iter().enumerate().map(|(segment, first)| {
            let (mut sent, mut round) = (*first, 0);
            while is_lost(segment, round) && round < 12 {
                let timer = match round {
                    0 => sent + (2.0 * rtt).max(0.01),
                    _ => sent + (1.5 * rtt).max(0.2) * f64::from(1 << (round - 1)),
                };
                let later = (segment + 1..sends.len()).filter(|other| sends[*other] > sent && !is_lost(*other, 0));
                let learnt = later.map(|other| sends[other] + 1.25 * rtt).fold(f64::INFINITY, f64::min);
                (sent, round) = (timer.min(learnt), round + 1);
            }
            last = last.max(sent + rtt / 2.0);
            last
        });
        arrivals.collect()
    }

    /// As `false_alarms`, over TCP: a request, and a PING whenever the judge wants a sign of life.
    fn false_alarms_over_tcp(rtt: Duration, lost: f64, exchanges: u64) -> u32 {
        let line = Reading { rtt, ..LINE };
        let (mut judge, mut now) = at_rest(line);
        let (mut reading, mut alarms) = (line, 0);
        let beat = Arc::new(Beat::default());
        beat.measured(rtt);
        for exchange in 0..exchanges {
            let told = Http2Life(beat.clone()).read();
            (reading.rtt, reading.variation) = (told.rtt, told.variation);
            let began = now;
            let mut sends = vec![0.0];
            (reading.sent, reading.awaited) = (reading.sent + 1, Awaited::Yes);
            loop {
                let there = delivered(&sends, rtt.as_secs_f64(), lost, [exchange, 0]);
                let answered = delivered(&there, rtt.as_secs_f64(), lost, [exchange, 1])[0];
                let answer = began + Duration::from_secs_f64(answered);
                if now >= answer {
                    break;
                }
                now = match judge.look(now, &reading) {
                    Verdict::Suspect => {
                        alarms += 1;
                        judge.recovered(answer);
                        answer
                    }
                    Verdict::Overdue(wait) => {
                        sends.push((now - began).as_secs_f64());
                        reading.sent += 1;
                        answer.min(now + wait)
                    }
                    Verdict::Quiet(wait) | Verdict::Wait(wait) => answer.min(now + wait),
                };
            }
            beat.measured(now - began);
            (reading.heard, reading.awaited) = (reading.heard + 1, Awaited::No);
            judge.look(now, &reading);
        }
        alarms
    }

    #[test]
    fn segments_that_are_lost_or_a_long_line_raise_no_alarm_over_tcp() {
        let alarms = |rtt, lost| false_alarms_over_tcp(Duration::from_millis(rtt), lost, 5_000);
        for (rtt, lost) in [(1, 0.0), (300, 0.0), (1, 0.01), (50, 0.01), (1, 0.05), (50, 0.05)] {
            assert_eq!(alarms(rtt, lost), 0, "{rtt} ms, {lost} lost");
        }
        // Both at once: few, and what they cost is that new requests take another link until this one is heard.
        assert!(alarms(300, 0.01) <= 2);
        assert!(alarms(300, 0.05) <= 15);
    }

    proptest! {
        /// Whatever is sent and however often one looks, who hears within the limit suspects nobody.
        #[test]
        fn who_is_heard_in_time_is_never_suspect(
            rtt_ms in 0u64..400,
            steps in proptest::collection::vec((0u64..40, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let line = Reading { rtt: Duration::from_millis(rtt_ms), ..LINE };
            let (mut judge, mut now) = at_rest(line);
            let limit = judge.limit(now, line.rtt, line.variation);
            let (mut reading, mut heard_at) = (line, now);
            for (ms, sends, hears) in steps {
                now += Duration::from_millis(ms);
                if hears || now - heard_at + Duration::from_millis(45) >= limit {
                    (reading.heard, heard_at) = (reading.heard + 1, now);
                    reading.awaited = Awaited::No;
                }
                if sends {
                    reading.sent += 1;
                    reading.awaited = Awaited::Perhaps;
                }
                prop_assert_ne!(judge.look(now, &reading), Verdict::Suspect);
            }
        }
    }
}
