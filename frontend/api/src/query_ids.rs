//! Numbers of queries: unique over restarts, without a durable write for each.
//!
//! Blocks are reserved durably; the next one is fetched when half of the present one is
//! used. After a crash the rest of a block is skipped, never used twice.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skysail_control::{Control, ControlError};

/// Numbers in one block.
const BLOCK: u64 = 1 << 20;

/// Gives out numbers below 2^53.
#[derive(Debug)]
pub struct QueryIds {
    control: Arc<Control>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    block: Range<u64>,
    spare: Option<Range<u64>>,
    fetching: bool,
}

impl QueryIds {
    /// Reserves the first block.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn open(control: Arc<Control>) -> Result<QueryIds, ControlError> {
        let block = control.reserve_query_ids(BLOCK)?;
        let state = Arc::new(Mutex::new(State {
            block,
            spare: None,
            fetching: false,
        }));
        Ok(QueryIds { control, state })
    }

    /// The next number; `None` if the present block is used up and the store has not given
    /// another one.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        if state.block.is_empty() {
            state.block = state.spare.take()?;
        }
        let id = state.block.next();
        let half = state.block.end - state.block.start < BLOCK / 2;
        if half && state.spare.is_none() && !state.fetching {
            state.fetching = true;
            self.fetch();
        }
        id
    }

    #[cold]
    fn fetch(&self) {
        let (control, state) = (self.control.clone(), self.state.clone());
        tokio::task::spawn_blocking(move || {
            let fetched = control.reserve_query_ids(BLOCK);
            let mut state = lock(&state);
            state.fetching = false;
            match fetched {
                Ok(block) => state.spare = Some(block),
                Err(error) => tracing::error!(%error, "no further query ids could be reserved"),
            }
        });
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
