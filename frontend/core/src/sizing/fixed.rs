//! A fixed number of rows, or what is there after a wait.

use std::time::Duration;

use super::Sizer;

/// Waits for `size` rows, at most `wait`.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    size: usize,
    wait: Duration,
}

impl Fixed {
    /// Batches of `size` rows, at least 1.
    #[must_use]
    pub fn new(size: usize, wait: Duration) -> Self {
        Fixed {
            size: size.max(1),
            wait,
        }
    }
}

impl Sizer for Fixed {
    fn size_max(&self) -> usize {
        self.size
    }

    fn wait_max(&self) -> Duration {
        self.wait
    }
}
