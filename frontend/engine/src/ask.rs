//! A query on its way to a replica.

use std::sync::Arc;
use std::time::Instant;

use skysail_core::Input;
use skysail_rpc::Schema;

use crate::shards::Flight;
use crate::ticket::{Answerer, Said};

/// A query: its input, its time, and whom to tell.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) input: Input,
    /// What the input was checked against.
    pub(crate) schema: Arc<Schema>,
    /// Its application's place in the lane.
    pub(crate) application: usize,
    pub(crate) deadline: Instant,
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
