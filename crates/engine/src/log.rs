//! The engine's warnings on their way to Python's log: through the event queues of the edges and connectors that run, never
//! by a lock that a request waits for long, and few of a kind, so that nobody outside can fill a log with them.

use qanat_boundary::EngineWarning;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

/// Of one place in the code, so many lines …
const MOST: u64 = 5;
/// … in this time.
const EVERY: Duration = Duration::from_secs(10);
/// Longest text of one field.
const LONGEST: usize = 1024;

type Hearing = dyn Fn(EngineWarning) + Send + Sync;

/// Where warnings go while it is kept.
pub(crate) type Sink = Arc<Hearing>;

static SINKS: Mutex<Vec<Weak<Hearing>>> = Mutex::new(Vec::new());

/// Sends warnings to `sink` from now on, as long as the caller keeps it.
pub(crate) fn hear(sink: impl Fn(EngineWarning) + Send + Sync + 'static) -> Sink {
    let sink: Sink = Arc::new(sink);
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    // A process has one subscriber; were there another already, it would have the warnings.
    INSTALLED.get_or_init(|| tracing::subscriber::set_global_default(Bridge::default()).is_ok());
    let mut sinks = lock(&SINKS);
    sinks.retain(|sink| sink.strong_count() > 0);
    sinks.push(Arc::downgrade(&sink));
    sink
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Bridge {
    /// By place in the code, of which there are few.
    seen: Mutex<HashMap<Identifier, Window>>,
}

struct Window {
    since: Instant,
    told: u64,
    held_back: u64,
}

impl Bridge {
    /// Whether one more from there may pass now; how many did not since the last one that did.
    fn passes(&self, place: Identifier, now: Instant) -> Option<u64> {
        let mut seen = lock(&self.seen);
        let window = seen.entry(place).or_insert(Window { since: now, told: 0, held_back: 0 });
        if now.duration_since(window.since) >= EVERY {
            (window.since, window.told) = (now, 0);
        }
        if window.told >= MOST {
            window.held_back += 1;
            return None;
        }
        window.told += 1;
        Some(std::mem::take(&mut window.held_back))
    }
}

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The answers to PINGs of ours are none of h2's own (crates/transport/src/http2/beat.rs).
        metadata.is_event() && *metadata.level() <= Level::WARN && metadata.target() != "h2::proto::ping_pong"
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let Some(held_back) = self.passes(metadata.callsite(), Instant::now()) else { return };
        let level = if *metadata.level() == Level::ERROR { "error" } else { "warning" };
        let mut texts = Texts::default();
        event.record(&mut texts);
        let warning =
            EngineWarning { level, target: metadata.target(), message: texts.message, fields: texts.fields, held_back };
        let sinks: Vec<Sink> = lock(&SINKS).iter().filter_map(Weak::upgrade).collect();
        sinks.iter().for_each(|sink| sink(warning.clone()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Texts {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Texts {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Bounded(String::new());
        // Its only error is that it is full.
        let _ = text.write_fmt(value);
        match field.name() {
            "message" => self.message = text.0,
            name => self.fields.push((name, text.0)),
        }
    }
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

/// A text that takes no more than `LONGEST` bytes.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if self.0.len() + letter.len_utf8() > LONGEST {
                return Err(fmt::Error);
            }
            self.0.push(letter);
        }
        Ok(())
    }
}
