//! Rows of their own length: adds the elements of each row.

use skysail_container::{Batch, Ctx, Model, Outputs, Result, Signature};

/// Answers the sum of each row; 0 for an empty one.
#[derive(Debug)]
pub struct Sum;

impl Model for Sum {
    fn signature() -> Signature {
        Signature::new()
            .input("x", "f64[-1]")
            .output("sum", "f64")
            .max_batch(64)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Sum)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let x = batch.f64("x")?;
        let sums = out.tensor_mut::<f64>("sum")?;
        for (range, sum) in batch.row_ranges("x")?.zip(sums) {
            // Added to the zero that is there: `Iterator::sum` of nothing is -0.0.
            x[range].iter().for_each(|x| *sum += x);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skysail_container::{Cell, Payload, Worker};

    #[test]
    fn each_row_is_added_on_its_own() {
        let row = |values: &[f64]| {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            let dims = [values.len() as u32][..].into();
            [Cell::variable(Payload::copy_from_slice(&bytes), dims)]
        };
        let mut worker = Worker::<Sum>::load(Ctx::new(".")).expect("loads");
        let rows = [row(&[1.5, 2.0]), row(&[]), row(&[-4.0])];
        let answer = worker.predict_rows(&rows).expect("answers");
        assert_eq!(
            answer.columns[0].as_slice(),
            Some(&[3.5_f64, 0.0, -4.0][..])
        );
    }
}
