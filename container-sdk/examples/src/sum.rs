//! Sums rows of any length.

use skysail_container::{Batch, Ctx, Model, Outputs, Result, Signature};

/// The model `sum`.
#[derive(Debug)]
pub struct Sum;

impl Model for Sum {
    fn signature() -> Signature {
        Signature::new().input("x", "f64[-1]").output("sum", "f64").max_batch(1024)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Sum)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        for (row, sum) in batch.row_slices::<f64>("x")?.zip(out.tensor_mut::<f64>("sum")?) {
            *sum = row.iter().sum();
        }
        Ok(())
    }
}
