//! A model that does nothing, to measure everything else.

use skysail_container::{Batch, Ctx, Model, Outputs, Result, Signature};

/// Answers 1 to every row; does not read its input.
#[derive(Debug)]
pub struct Noop;

impl Model for Noop {
    fn signature() -> Signature {
        Signature::new()
            .input("x", "f32[784]")
            .output("y", "f32")
            .max_batch(1024)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Noop)
    }

    fn predict(&mut self, _: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        out.f32_mut("y")?.fill(1.0);
        Ok(())
    }
}
