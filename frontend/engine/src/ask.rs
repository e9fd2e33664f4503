//! A query on its way to a replica.

use std::sync::Arc;
use std::time::Instant;

use skysail_core::Input;
use skysail_core::batching::Priority;
use skysail_rpc::Schema;

use crate::shards::Flight;
use crate::ticket::{Answerer, Said};

/// How a query wants to be answered. A deadline alone is one, with everything else as usual.
#[derive(Clone, Copy, Debug)]
pub struct AskOptions {
    /// When it is answered at the latest.
    pub deadline: Instant,
    /// Whether it lets others go first.
    pub priority: Priority,
    /// Whether an answer that is there already, or on its way for another query, will do.
    pub cache: bool,
}

impl From<Instant> for AskOptions {
    fn from(deadline: Instant) -> AskOptions {
        AskOptions {
            deadline,
            priority: Priority::Normal,
            cache: true,
        }
    }
}

/// A query: its input, its time, and whom to tell.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) input: Input,
    /// What the input was checked against.
    pub(crate) schema: Arc<Schema>,
    /// Its application's place in the lane.
    pub(crate) application: usize,
    pub(crate) deadline: Instant,
    pub(crate) priority: Priority,
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
}
