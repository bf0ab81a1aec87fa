//! Whether a link is suspect, for everybody who holds it, and the loop that finds it out.

use crate::judge::{Judge, Reading, Verdict};
use crate::moment::Moment;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{sleep, timeout};

/// What came may not have been read yet.
const SECOND_THOUGHT: Duration = Duration::from_millis(5);
/// Who waits for something to be sent looks after so long in any case.
const LOOK_ANYHOW: Duration = Duration::from_secs(5);

/// Whether a link is suspect: what was sent on it isn't acknowledged in time.
#[derive(Default)]
pub(crate) struct Doubt {
    suspect: AtomicBool,
    /// Of a suspect one: when the silence began.
    silent_since: Moment,
    heard_at: Moment,
    changed: Notify,
}

impl Doubt {
    /// It is.
    pub(crate) fn is_on(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// Of a suspect one: since when nothing was heard that was due.
    pub(crate) fn silent_since(&self) -> Instant {
        self.silent_since.get()
    }

    /// Whether something was acknowledged after that.
    pub(crate) fn is_heard_after(&self, moment: Instant) -> bool {
        self.heard_at.get() > moment
    }

    /// Ready at the next change after its first poll.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Who waits for it hears of it last.
    fn set(&self, suspect: bool, told: impl Fn(bool)) {
        self.suspect.store(suspect, Ordering::Release);
        told(suspect);
        self.changed.notify_waiters();
    }
}

/// A link, as it is watched.
pub(crate) trait Line: Send {
    /// What its counters say now.
    fn read(&mut self) -> Reading;
    /// When something was heard last.
    fn heard_at(&self) -> Instant;
    /// Ready when something was sent since the last time.
    fn sending(&self) -> impl Future<Output = ()> + Send;
    /// Ready when something was heard since the last time.
    fn heard(&self) -> impl Future<Output = ()> + Send;
    /// Asks the peer for a sign of life, where acknowledgements are none.
    fn ask(&self) {}
    /// Ready when the network says that nobody is there any more.
    fn refused(&self) -> impl Future<Output = ()> + Send;
}

/// By the clock that tests move.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Watches a link as long as it is polled; `told` hears of each change before who waits for it.
pub(crate) async fn watch(mut line: impl Line, doubt: &Doubt, told: impl Fn(bool)) -> Infallible {
    let mut judge = Judge::new(now());
    loop {
        let reading = line.read();
        doubt.heard_at.set(line.heard_at());
        match judge.look(now(), &reading) {
            Verdict::Quiet(least) => {
                sleep(least).await;
                let _ = timeout(LOOK_ANYHOW, line.sending()).await;
                continue;
            }
            Verdict::Wait(next) => {
                sleep(next).await;
                continue;
            }
            Verdict::Overdue(next) => {
                line.ask();
                tokio::select! {
                    () = sleep(next) => continue,
                    () = line.refused() => {}
                }
            }
            Verdict::Suspect => sleep(SECOND_THOUGHT).await,
        }
        if line.read().heard != reading.heard {
            continue;
        }
        doubt.silent_since.set(now().checked_sub(judge.waited()).unwrap_or_else(now));
        doubt.set(true, &told);
        while line.read().heard == reading.heard {
            line.heard().await;
        }
        judge.recovered(now());
        doubt.set(false, &told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Awaited;
    use std::sync::Arc;
    use std::sync::Mutex;

    /// A peer that a test moves.
    #[derive(Clone, Default)]
    struct Peer(Arc<State>);

    #[derive(Default)]
    struct State {
        counts: Mutex<(u64, u64)>,
        asked: Mutex<usize>,
        sending: Notify,
        heard: Notify,
        gone: Notify,
    }

    impl Peer {
        fn sends(&self) {
            self.0.counts.lock().unwrap().1 += 1;
            self.0.sending.notify_one();
        }
        fn answers(&self) {
            self.0.counts.lock().unwrap().0 += 1;
            self.0.heard.notify_one();
        }
    }

    impl Line for Peer {
        fn read(&mut self) -> Reading {
            let (heard, sent) = *self.0.counts.lock().unwrap();
            let awaited = if sent > heard { Awaited::Yes } else { Awaited::No };
            Reading { heard, sent, awaited, rtt: Duration::from_millis(1), variation: Duration::ZERO }
        }
        fn heard_at(&self) -> Instant {
            now()
        }
        async fn sending(&self) {
            self.0.sending.notified().await;
        }
        async fn heard(&self) {
            self.0.heard.notified().await;
        }
        fn ask(&self) {
            *self.0.asked.lock().unwrap() += 1;
        }
        async fn refused(&self) {
            self.0.gone.notified().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_is_suspect_until_it_is_heard_again_and_at_once_when_nobody_is_there() {
        let (peer, doubt, told) = (Peer::default(), Arc::new(Doubt::default()), Arc::new(Mutex::new(Vec::new())));
        let (line, watched, heard) = (peer.clone(), doubt.clone(), told.clone());
        tokio::spawn(async move { watch(line, &watched, |suspect| heard.lock().unwrap().push(suspect)).await });
        sleep(Duration::from_secs(60)).await;
        assert!(!doubt.is_on(), "nothing was sent");
        peer.sends();
        peer.answers();
        sleep(Duration::from_secs(60)).await;
        assert!(!doubt.is_on());
        for _ in 0..2 {
            let changed = doubt.changed();
            peer.sends();
            changed.await;
            assert!(doubt.is_on() && *peer.0.asked.lock().unwrap() > 0);
            let changed = doubt.changed();
            peer.answers();
            changed.await;
            assert!(!doubt.is_on());
        }
        peer.0.gone.notify_one();
        sleep(Duration::from_secs(1)).await;
        let since = now();
        let changed = doubt.changed();
        peer.sends();
        changed.await;
        assert!(now() - since < Duration::from_millis(300));
        assert_eq!(*told.lock().unwrap(), [true, false, true, false, true]);
    }
}
