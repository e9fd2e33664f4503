//! What a query counts in the size of a batch.
//!
//! A model whose time grows with the length of its inputs, and not with their number alone, says
//! in what they are measured: then a batch is as large as its queries together are long.

use serde::{Deserialize, Serialize};
use skysail_rpc::Schema;

use crate::Input;

/// In what queries are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cost {
    /// Each query counts 1.
    #[default]
    Rows,
    /// Elements of its tensors, as tokens are; of byte strings each is one.
    Elements,
    /// Bytes of its tensors.
    Bytes,
}

impl Cost {
    /// Whether every query counts 1.
    #[must_use]
    pub fn is_rows(&self) -> bool {
        *self == Cost::Rows
    }

    /// What an input of `schema` counts, at least 1.
    #[must_use]
    pub fn of(self, input: &Input, schema: &Schema) -> u32 {
        let bytes = || input.0.iter().map(|cell| cell.data().len());
        let cost: usize = match self {
            Cost::Rows => 1,
            Cost::Bytes => bytes().sum(),
            Cost::Elements => {
                let cells = input.0.iter().zip(&schema.inputs);
                let elements = cells.map(|(cell, spec)| match spec.datatype.width() {
                    Some(width) => cell.data().len() / width,
                    None => cell.ends().len(),
                });
                elements.sum()
            }
        };
        u32::try_from(cost).unwrap_or(u32::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use skysail_rpc::tensor::TensorSpec;
    use skysail_rpc::{Cell, payload::Payload};
    use smallvec::smallvec;

    use super::*;

    #[test]
    fn tokens_are_elements_and_texts_are_bytes() {
        let inputs = [("ids", "i64[-1]"), ("text", "bytes")];
        let specs = inputs.map(|(name, text)| TensorSpec::parse(name, text).expect("a tensor"));
        let schema = Schema {
            inputs: specs.to_vec(),
            outputs: Vec::new(),
        };
        let ids = Cell::variable(Payload::copy_from_slice(&[0; 56]), smallvec![7]);
        let text = Cell::strings([b"twelve bytes".as_slice()], smallvec![]).expect("short");
        let input = Input(smallvec![ids, text]);
        let costs = [Cost::Rows, Cost::Elements, Cost::Bytes].map(|cost| cost.of(&input, &schema));
        assert_eq!(costs, [1, 7 + 1, 56 + 12]);
    }

    #[test]
    fn an_empty_input_counts_too() {
        let schema = Schema::default();
        assert_eq!(Cost::Bytes.of(&Input::default(), &schema), 1);
    }
}
