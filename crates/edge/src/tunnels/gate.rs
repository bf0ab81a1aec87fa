//! Whether requests may be sent on a connection, decided with the sending itself: once a gate is shut and settled, nothing more goes
//! through, whatever its sender had seen before.

use std::sync::atomic::{AtomicU64, Ordering};

/// Set: shut.
const SHUT: u64 = 1 << 63;

/// Who sends a request's head is inside while it does.
///
/// One number holds both whether it is shut and how many are inside. Going in is one addition to it, shutting is one change of the
/// same number, so one of the two comes first: either who goes in sees that it is shut and turns back, or who shuts it sees somebody
/// inside and waits, in `settle`, until they have left. Thus no request slips through between the look at the table and the stream:
/// what is sent at all was sent before `settle` returned.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicU64);

/// Somebody inside.
#[must_use]
pub(crate) struct Inside<'a>(&'a Gate);

impl Gate {
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) & SHUT == 0
    }

    /// `None`: it is shut. For the time of one poll, never across an await: `settle` waits for it.
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        if !self.is_open() {
            // Not even for a moment, so that `settle` sees it empty.
            return None;
        }
        let inside = Inside(self);
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        (before & SHUT == 0).then_some(inside)
    }

    /// True when it was open.
    pub(super) fn shut(&self) -> bool {
        self.0.fetch_or(SHUT, Ordering::AcqRel) & SHUT == 0
    }

    /// True when it was shut.
    pub(super) fn reopen(&self) -> bool {
        self.0.fetch_and(!SHUT, Ordering::AcqRel) & SHUT != 0
    }

    /// After `shut`: returns once nobody is inside. Each stays for the time of one poll, some microseconds.
    pub(super) fn settle(&self) {
        while self.0.load(Ordering::Acquire) & !SHUT != 0 {
            std::thread::yield_now();
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn it_opens_and_shuts() {
        let gate = Gate::default();
        let inside = gate.enter();
        assert!(gate.is_open() && inside.is_some() && gate.shut() && !gate.shut());
        assert!(!gate.is_open() && gate.enter().is_none());
        drop(inside);
        gate.settle();
        assert!(gate.reopen() && !gate.reopen() && gate.enter().is_some());
    }

    /// Threads go in and out without a pause; each time after `settle`, nobody may be at work.
    #[test]
    fn nobody_is_inside_once_a_shut_gate_has_settled() {
        let gate = Arc::new(Gate::default());
        let (closed, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let (gate, closed, over) = (gate.clone(), closed.clone(), over.clone());
                std::thread::spawn(move || {
                    let mut sent = 0_u64;
                    while !over.load(Ordering::Relaxed) {
                        if let Some(_inside) = gate.enter() {
                            assert!(!closed.load(Ordering::SeqCst), "something was sent through a shut gate");
                            sent += 1;
                        }
                    }
                    sent
                })
            })
            .collect();
        for _ in 0..50 {
            gate.shut();
            gate.settle();
            closed.store(true, Ordering::SeqCst);
            std::thread::yield_now();
            closed.store(false, Ordering::SeqCst);
            gate.reopen();
            std::thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
        assert!(workers.into_iter().map(|worker| worker.join().unwrap()).sum::<u64>() > 0);
    }
}
