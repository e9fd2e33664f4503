//! What an application takes: Clipper's five words, and one for whatever its model takes.

use serde::{Deserialize, Serialize};
use skysail_rpc::DataType;

/// The type of an application's or model's input vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// One base64 string a query.
    Bytes,
    /// Numbers that are 32-bit integers.
    Integers,
    /// Numbers, kept as 32-bit floats.
    Floats,
    /// Numbers, kept as 64-bit floats.
    Doubles,
    /// One string a query.
    Strings,
    /// Named tensors of any datatypes, as the container says. Only the Open Inference Protocol
    /// can say them.
    Tensors,
}

impl InputType {
    /// All types.
    pub const ALL: [InputType; 6] = [
        InputType::Bytes,
        InputType::Integers,
        InputType::Floats,
        InputType::Doubles,
        InputType::Strings,
        InputType::Tensors,
    ];

    /// The name under which it is stored and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            InputType::Bytes => "bytes",
            InputType::Integers => "integers",
            InputType::Floats => "floats",
            InputType::Doubles => "doubles",
            InputType::Strings => "strings",
            InputType::Tensors => "tensors",
        }
    }

    /// Any of Clipper's spellings, and `tensors`.
    #[must_use]
    pub fn parse(text: &str) -> Option<InputType> {
        match text {
            "bytes" | "byte" | "b" => Some(InputType::Bytes),
            "integers" | "ints" | "integer" | "int" | "i" => Some(InputType::Integers),
            "floats" | "float" | "f" => Some(InputType::Floats),
            "doubles" | "double" | "d" => Some(InputType::Doubles),
            "strings" | "string" | "str" | "strs" | "s" => Some(InputType::Strings),
            "tensors" | "tensor" => Some(InputType::Tensors),
            _ => None,
        }
    }

    /// The datatype of the tensor that carries it, where one word says it.
    #[must_use]
    pub fn datatype(self) -> Option<DataType> {
        match self {
            InputType::Bytes => Some(DataType::Bytes),
            InputType::Integers => Some(DataType::Int32),
            InputType::Floats => Some(DataType::Fp32),
            InputType::Doubles => Some(DataType::Fp64),
            InputType::Strings => Some(DataType::String),
            InputType::Tensors => None,
        }
    }
}

impl std::fmt::Display for InputType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for InputType {
    type Err = String;
    fn from_str(text: &str) -> Result<InputType, String> {
        InputType::parse(text).ok_or_else(|| {
            let names: Vec<_> = InputType::ALL.iter().map(|t| t.name()).collect();
            format!(
                "'{text}' is not an input type, expected one of {}",
                names.join(", ")
            )
        })
    }
}
