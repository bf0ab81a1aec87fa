//! What edge and connector have in common at their boundary to Python, of which they know nothing: settings come down by
//! field, events go up through one bounded queue, lines for the log among them, and counters are read.

mod counter;
mod events;
mod histogram;
mod queue;
mod settings;

pub use counter::{Counter, Held};
pub use histogram::{Histogram, HistogramSnapshot};
pub use queue::{EventQueue, Expendable};
pub use settings::{raw, raw_or_none, seconds};

declare_engine_warning!(structs);
