//! What a model takes and gives: named tensors by the shape of one row.

use smallvec::SmallVec;
use thiserror::Error;

use super::DataType;
use crate::limits::{RANK_MAX, TENSOR_NAME_BYTES_MAX, TENSORS_MAX};

/// Dimensions of one row; -1 is variable.
pub type Dims = SmallVec<[i64; 4]>;

/// One named tensor, by the shape of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Unique among the inputs, or among the outputs.
    pub name: String,
    /// Element type.
    pub datatype: DataType,
    /// Without the batch dimension; empty for a scalar, -1 where rows may differ.
    pub dims: Dims,
}

/// The tensors of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// In the order that parts name them by.
    pub inputs: Vec<TensorSpec>,
    /// In the order that parts name them by.
    pub outputs: Vec<TensorSpec>,
}

/// Why a schema is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaError {
    /// No tensors on one side, or too many.
    #[error("{side} has {count} tensors, 1 to {TENSORS_MAX} allowed")]
    TensorCount {
        /// `inputs` or `outputs`.
        side: &'static str,
        /// How many there are.
        count: usize,
    },
    /// An empty or long tensor name.
    #[error("tensor name has {bytes} bytes, 1 to {TENSOR_NAME_BYTES_MAX} allowed")]
    TensorName {
        /// Its length.
        bytes: usize,
    },
    /// Two tensors of one side have one name.
    #[error("tensor '{0}' appears twice")]
    Duplicate(String),
    /// Too many dimensions.
    #[error("tensor '{name}' has {rank} dimensions, at most {RANK_MAX} allowed")]
    Rank {
        /// The tensor.
        name: String,
        /// Its rank.
        rank: usize,
    },
    /// A dimension that is neither -1 nor positive, or a row too large to address.
    #[error(
        "tensor '{name}' has dimension {dim}, expected -1 or 1 to {}",
        i32::MAX
    )]
    Dimension {
        /// The tensor.
        name: String,
        /// The dimension.
        dim: i64,
    },
    /// A text that is not like `f32[784]`.
    #[error("'{0}' is not a tensor type, expected one like f32, i64[3], f32[-1,8] or string")]
    Text(String),
}

impl TensorSpec {
    /// A tensor from a text such as `f32[784]`, `i64` (a scalar a row) or `f32[-1,8]`.
    ///
    /// # Errors
    /// If the text is not a datatype with optional dimensions.
    pub fn parse(name: &str, text: &str) -> Result<TensorSpec, SchemaError> {
        let wrong = || SchemaError::Text(text.to_owned());
        let (datatype, dims) = match text.split_once('[') {
            None => (text, Dims::new()),
            Some((datatype, rest)) => {
                let inner = rest.strip_suffix(']').ok_or_else(wrong)?;
                let dims: Result<Dims, _> = inner.split(',').map(|d| d.trim().parse()).collect();
                (datatype, dims.map_err(|_| wrong())?)
            }
        };
        let datatype = DataType::from_name(datatype.trim()).ok_or_else(wrong)?;
        let spec = TensorSpec {
            name: name.to_owned(),
            datatype,
            dims,
        };
        spec.check()?;
        Ok(spec)
    }

    /// Elements of one row, or `None` if rows differ.
    #[must_use]
    pub fn row_elements(&self) -> Option<usize> {
        self.dims.iter().try_fold(1_usize, |product, dim| {
            product.checked_mul(usize::try_from(*dim).ok()?)
        })
    }

    /// Bytes of one row, or `None` if rows differ.
    #[must_use]
    pub fn row_bytes(&self) -> Option<usize> {
        self.row_elements()?.checked_mul(self.datatype.width()?)
    }

    /// How many dimensions are variable.
    #[must_use]
    pub fn variable_dims(&self) -> usize {
        self.dims.iter().filter(|dim| **dim < 0).count()
    }

    fn check(&self) -> Result<(), SchemaError> {
        let bytes = self.name.len();
        if bytes == 0 || bytes > TENSOR_NAME_BYTES_MAX {
            return Err(SchemaError::TensorName { bytes });
        }
        if self.dims.len() > RANK_MAX {
            return Err(SchemaError::Rank {
                name: self.name.clone(),
                rank: self.dims.len(),
            });
        }
        let mut product = 1_i64;
        for dim in &self.dims {
            product = product.saturating_mul((*dim).max(1));
            if !(*dim == -1 || *dim > 0) || product > i64::from(i32::MAX) {
                return Err(SchemaError::Dimension {
                    name: self.name.clone(),
                    dim: *dim,
                });
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.datatype)?;
        if self.dims.is_empty() {
            return Ok(());
        }
        let dims: Vec<String> = self.dims.iter().map(ToString::to_string).collect();
        write!(f, "[{}]", dims.join(","))
    }
}

impl Schema {
    /// Checks counts, names and dimensions.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), SchemaError> {
        for (side, tensors) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            if tensors.is_empty() || tensors.len() > TENSORS_MAX {
                return Err(SchemaError::TensorCount {
                    side,
                    count: tensors.len(),
                });
            }
            for (index, spec) in tensors.iter().enumerate() {
                spec.check()?;
                if tensors[..index]
                    .iter()
                    .any(|earlier| earlier.name == spec.name)
                {
                    return Err(SchemaError::Duplicate(spec.name.clone()));
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = |specs: &[TensorSpec]| {
            specs
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        write!(f, "({}) -> ({})", side(&self.inputs), side(&self.outputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_text_form_it_prints() {
        for text in ["f32[784]", "i64", "f32[-1,8]", "string", "bytes[3]"] {
            let spec = TensorSpec::parse("x", text).expect("a tensor type");
            assert_eq!(spec.to_string(), format!("x: {text}"));
        }
        for text in [
            "",
            "f33",
            "f32[",
            "f32[0]",
            "f32[-2]",
            "f32[a]",
            "f32[2147483647,2]",
        ] {
            assert!(TensorSpec::parse("x", text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_what_is_wrong_with_a_schema() {
        let x = TensorSpec::parse("x", "f32").expect("valid");
        let schema = Schema {
            inputs: vec![x.clone(), x.clone()],
            outputs: vec![x.clone()],
        };
        assert_eq!(schema.check(), Err(SchemaError::Duplicate("x".into())));
        let schema = Schema {
            inputs: vec![x],
            outputs: vec![],
        };
        assert_eq!(
            schema.check().map_err(|e| e.to_string()),
            Err("outputs has 0 tensors, 1 to 32 allowed".into())
        );
    }
}
