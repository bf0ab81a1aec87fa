//! What ends with much in memory ends in its turn.

use std::ops::ControlFlow;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// One at a time, in order of arrival.
static TURN: Semaphore = Semaphore::const_new(1);

/// Takes `step` after step until it breaks, all other work that is ready between two of them. A visitor may leave a hundred
/// bodies unread at once; to free a megabyte costs milliseconds where memory is slow, and is done under the lock of the
/// connection that everybody else's bodies share. Outside of a runtime all is done at once.
pub fn discard(mut step: impl FnMut() -> ControlFlow<()> + Send + 'static) {
    let Ok(runtime) = Handle::try_current() else {
        while step().is_continue() {}
        return;
    };
    runtime.spawn(async move {
        loop {
            let turn = TURN.acquire().await;
            let flow = step();
            // Whoever is next would run right away.
            yield_now().await;
            drop(turn);
            if flow.is_break() {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    #[test]
    fn without_a_runtime_all_is_done_at_once() {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        discard(move || {
            if count.fetch_add(1, Ordering::Relaxed) < 9 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        assert_eq!(taken.load(Ordering::Relaxed), 10);
    }

    #[tokio::test]
    async fn other_work_comes_between_two_steps() {
        let steps = Arc::new(Mutex::new(Vec::new()));
        for who in 0..3 {
            let (steps, mut left) = (steps.clone(), 2);
            discard(move || {
                steps.lock().unwrap().push(who);
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        }
        let mut seen = Vec::new();
        while seen.last() != Some(&6) {
            yield_now().await;
            seen.push(steps.lock().unwrap().len());
        }
        assert!(
            seen.windows(2).all(|pair| pair[1] - pair[0] <= 1),
            "no two steps without a look between them: {seen:?}"
        );
        assert_eq!(*steps.lock().unwrap(), [0, 1, 2, 0, 1, 2], "each in its turn");
    }
}
