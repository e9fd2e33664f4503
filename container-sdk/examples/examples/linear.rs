//! A linear scorer, 784 pixels to 10 scores; `w.json` holds 784 rows of 10 weights.
use skysail_container::{Batch, Ctx, Model, Outputs, Result, Signature, serve};

struct Linear(Vec<[f32; 10]>);

impl Model for Linear {
    fn signature() -> Signature {
        Signature::new()
            .input("x", "f32[784]")
            .output("y", "f32[10]")
            .max_batch(64)
    }
    fn load(ctx: &Ctx) -> Result<Self> {
        Ok(Linear(serde_json::from_str(
            &ctx.read_to_string("w.json")?,
        )?))
    }
    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        for (x, y) in batch
            .f32("x")?
            .chunks(784)
            .zip(out.f32_mut("y")?.chunks_mut(10))
        {
            for (x, w) in x.iter().zip(&self.0) {
                y.iter_mut().zip(w).for_each(|(y, w)| *y += x * w);
            }
        }
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    serve::<Linear>()
}
