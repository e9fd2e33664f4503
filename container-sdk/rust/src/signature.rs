//! What a model takes and gives, declared once.

use skysail_rpc::limits::BATCH_ROWS_MAX;
use skysail_rpc::tensor::SchemaError;
use skysail_rpc::{Schema, TensorSpec};

use crate::StartError;

/// Most rows of a batch, unless the signature says otherwise.
const MAX_BATCH_DEFAULT: usize = 64;

/// A model's tensors and the most rows that it takes in one batch.
///
/// A tensor's text is an element type and the dimensions of one row: `f32[784]`, `i64` (a
/// scalar a row), `f32[-1,8]` (-1: rows may differ), `string`, `bytes[3]`. Element types are
/// `bool`, `u8` to `u64`, `i8` to `i64`, `f16`, `bf16`, `f32`, `f64`, `bytes` and `string`.
///
/// A text that is not like that is reported when the container starts.
///
/// ```
/// use skysail_container::Signature;
/// let signature = Signature::new().input("x", "f32[784]").output("y", "f32[10]").max_batch(64);
/// assert!(signature.build().is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct Signature {
    schema: Schema,
    max_batch: usize,
    error: Option<SchemaError>,
}

impl Default for Signature {
    fn default() -> Self {
        Signature {
            schema: Schema::default(),
            max_batch: MAX_BATCH_DEFAULT,
            error: None,
        }
    }
}

impl Signature {
    /// No tensors yet, batches of at most 64 rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input tensor.
    #[must_use]
    pub fn input(mut self, name: &str, text: &str) -> Self {
        let spec = self.parse(name, text);
        self.schema.inputs.extend(spec);
        self
    }

    /// Adds an output tensor.
    #[must_use]
    pub fn output(mut self, name: &str, text: &str) -> Self {
        let spec = self.parse(name, text);
        self.schema.outputs.extend(spec);
        self
    }

    /// Sets the most rows of one batch, 1 to 65536.
    #[must_use]
    pub fn max_batch(mut self, rows: usize) -> Self {
        self.max_batch = rows;
        self
    }

    /// The schema and the most rows of a batch.
    ///
    /// # Errors
    /// The first thing that is wrong with the signature.
    pub fn build(self) -> Result<(Schema, usize), StartError> {
        self.error
            .map_or(Ok(()), Err)
            .map_err(StartError::Signature)?;
        self.schema.check().map_err(StartError::Signature)?;
        let (found, limit) = (self.max_batch, BATCH_ROWS_MAX as usize);
        if found == 0 || found > limit {
            return Err(StartError::MaxBatch { found, limit });
        }
        Ok((self.schema, found))
    }

    fn parse(&mut self, name: &str, text: &str) -> Option<TensorSpec> {
        let parsed = TensorSpec::parse(name, text);
        parsed
            .map_err(|error| self.error.get_or_insert(error).clone())
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(signature: Signature) -> String {
        signature.build().expect_err("not valid").to_string()
    }

    #[test]
    fn says_what_is_wrong_when_it_is_built() {
        let start = "the model's signature is not valid: ";
        let bad = Signature::new().input("x", "f33[2]").output("y", "oops");
        assert!(error(bad).starts_with(&format!("{start}'f33[2]' is not a tensor type")));
        let none = Signature::new().input("x", "f32");
        assert_eq!(
            error(none),
            format!("{start}outputs has 0 tensors, 1 to 32 allowed")
        );
        let twice = Signature::new()
            .input("x", "f32")
            .input("x", "f32")
            .output("y", "f32");
        assert_eq!(error(twice), format!("{start}tensor 'x' appears twice"));
        let empty = Signature::new()
            .input("x", "f32")
            .output("y", "f32")
            .max_batch(0);
        assert_eq!(
            error(empty),
            format!("{start}max_batch is 0, 1 to 65536 allowed")
        );
    }

    #[test]
    fn keeps_the_order_of_the_tensors() {
        let signature = Signature::new()
            .input("b", "f32")
            .input("a", "string")
            .output("y", "i64");
        let (schema, max_batch) = signature.build().expect("valid");
        assert_eq!(schema.to_string(), "(b: f32, a: string) -> (y: i64)");
        assert_eq!(max_batch, MAX_BATCH_DEFAULT);
    }
}
