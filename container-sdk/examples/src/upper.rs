//! Texts in capitals: strings in and out.

use skysail_container::{Batch, Ctx, Model, Outputs, Result, Signature};

/// The model `upper`.
#[derive(Debug)]
pub struct Upper;

impl Model for Upper {
    fn signature() -> Signature {
        Signature::new()
            .input("text", "string")
            .output("upper", "string")
            .max_batch(256)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Upper)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        for text in batch.strings("text")? {
            out.push_str("upper", &text.to_uppercase())?;
        }
        Ok(())
    }
}
