//! A query on its way to a replica.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_core::Input;
use skysail_core::lane::LaneQuery;
use skysail_core::queue::Queued;
use skysail_rpc::Schema;

use crate::shards::Flight;
use crate::ticket::{Answerer, Said};

/// Times that a query is sent to another replica after it lost one.
pub(crate) const FAIL_OVERS_MAX: u8 = 1;

/// A query: its input, its time, and whom to tell.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) input: Input,
    /// What the input was checked against.
    pub(crate) schema: Arc<Schema>,
    pub(crate) arrival: Instant,
    pub(crate) deadline: Instant,
    pub(crate) fail_overs: u8,
    pub(crate) answerer: Answerer,
    pub(crate) flight: Option<Flight>,
}

impl Ask {
    /// Ends the query: those who joined it and the one who asked are told.
    pub(crate) fn answer(self, said: Said) {
        if let Some(flight) = self.flight {
            flight.complete(&said);
        }
        self.answerer.answer(said);
    }

    /// The latency objective that its deadline came from.
    pub(crate) fn objective(&self) -> Duration {
        self.deadline.saturating_duration_since(self.arrival)
    }

    /// Whether it may be given to another replica after losing one.
    pub(crate) fn may_fail_over(&self, now: Instant) -> bool {
        self.fail_overs < FAIL_OVERS_MAX && self.deadline > now
    }
}

impl Queued for Ask {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn bytes(&self) -> usize {
        self.input.weight()
    }
}

impl LaneQuery for Ask {
    fn arrival(&self) -> Instant {
        self.arrival
    }
}
