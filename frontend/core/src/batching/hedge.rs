//! How much may be asked twice.
//!
//! Every dispatched row earns a part of a token; a copy costs one. Copies ride in another
//! replica's next batch, so they cost that replica a row, not a batch.

/// Most tokens saved up, in rows: enough for a large batch.
const TOKENS_MAX: f64 = 256.0;

/// The budget of copies.
#[derive(Clone, Copy, Debug)]
pub struct HedgeBudget {
    share: f64,
    tokens: f64,
}

impl HedgeBudget {
    /// Copies may be this share of the dispatched rows; 0 turns hedging off.
    #[must_use]
    pub fn new(share: f64) -> Self {
        HedgeBudget {
            share: share.clamp(0.0, 1.0),
            tokens: 0.0,
        }
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.share > 0.0
    }

    /// Rows were dispatched.
    pub fn earn(&mut self, rows: usize) {
        self.tokens = (self.tokens + self.share * rows as f64).min(TOKENS_MAX);
    }

    /// Takes a token, if there is one.
    pub fn spend(&mut self) -> bool {
        let any = self.tokens >= 1.0;
        if any {
            self.tokens -= 1.0;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_within_their_share() {
        let mut budget = HedgeBudget::new(0.05);
        assert!(!budget.spend(), "nothing is earned yet");
        budget.earn(100);
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 5);
        budget.earn(1_000_000);
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), 256);
    }
}
