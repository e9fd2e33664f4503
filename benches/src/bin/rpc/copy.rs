//! The physical yardstick: one thread writes the payload and adds it up.

use std::future::{Future, ready};

use anyhow::Result;

use crate::harness::{Answer, Exchange, WINDOW};
use crate::payload::{BYTES_MAX, Source, sum};

/// As many buffers as requests in flight, and who waits in which.
pub(crate) struct Copy {
    buffers: Vec<Vec<u8>>,
    waiting: std::collections::VecDeque<(usize, u64, usize)>,
    free: Vec<usize>,
}

impl Copy {
    pub(crate) fn new() -> Copy {
        Copy {
            buffers: vec![vec![0; BYTES_MAX]; WINDOW],
            waiting: std::collections::VecDeque::with_capacity(WINDOW),
            free: (0..WINDOW).rev().collect(),
        }
    }

    fn add_up(&mut self) -> Result<Answer> {
        let next = self.waiting.pop_front();
        let (buffer, ticket, bytes) = next.expect("asked for no more than was sent");
        self.free.push(buffer);
        let sum = Some(sum(&self.buffers[buffer][..bytes]));
        Ok(Answer { ticket, sum })
    }
}

impl Exchange for Copy {
    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        let buffer = self.free.pop().expect("a buffer for each in flight");
        source.write(&mut self.buffers[buffer][..source.len()], ticket);
        self.waiting.push_back((buffer, ticket, source.len()));
        Ok(())
    }

    fn recv(&mut self) -> impl Future<Output = Result<Answer>> + Send {
        ready(self.add_up())
    }
}
