//! One query's input: a row of each input tensor.

use smallvec::{SmallVec, smallvec};

use skysail_rpc::copies::{self, Copied};
use skysail_rpc::rows::Placed;
use skysail_rpc::{Cell, Payload, PayloadBuf};

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

impl Placed for Input {
    fn first_tensor(&self) -> &Payload {
        self.0[0].data()
    }

    fn move_into(&mut self, mut bufs: SmallVec<[PayloadBuf; 1]>, why: Copied) {
        for (cell, buf) in self.0.iter().zip(&mut bufs) {
            buf.extend_from_slice(cell.data().as_bytes());
            copies::record(why, cell.data().len());
        }
        let cells = bufs.into_iter().map(|buf| Cell::fixed(buf.freeze()));
        *self = Input(cells.collect());
    }
}
