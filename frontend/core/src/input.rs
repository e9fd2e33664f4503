//! One query's input: a row of each input tensor.

use smallvec::{SmallVec, smallvec};

use skysail_rpc::Cell;

/// A row of each of a model's input tensors, in schema order. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input(pub SmallVec<[Cell; 1]>);

impl Input {
    /// An input of one tensor.
    #[must_use]
    pub fn single(cell: Cell) -> Input {
        Input(smallvec![cell])
    }

    /// Bytes that it keeps alive.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.iter().map(Cell::weight).sum()
    }
}
