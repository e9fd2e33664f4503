//! Times within a batcher: nanoseconds since it was made.
//!
//! Differences are seconds, because predictions are. Nothing here saturates within 500 years.

/// A moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(u64);

const NANOS: f64 = 1e9;

impl At {
    /// This many nanoseconds after the batcher was made.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> At {
        At(nanos)
    }

    /// Nanoseconds after the batcher was made.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The moment this many seconds later, or earlier if negative.
    #[must_use]
    pub fn after(self, seconds: f64) -> At {
        // The cast saturates; a negative sum becomes 0.
        let nanos = (seconds * NANOS) as i64;
        At(self.0.saturating_add_signed(nanos))
    }

    /// Seconds since `earlier`, negative if that is later.
    #[must_use]
    pub fn since(self, earlier: At) -> f64 {
        (self.0 as i64).wrapping_sub(earlier.0 as i64) as f64 / NANOS
    }
}
