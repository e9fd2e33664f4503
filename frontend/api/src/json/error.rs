//! What is wrong with a body: the member, the element and the offset, in Clipper's words.
//!
//! `Display` gives the `<what>` that Clipper puts into its answer; [`JsonError::cause`] the whole
//! `cause`. Clipper's own sentences are kept to the letter, missing spaces included, since they
//! are part of its contract.

use std::fmt;

use crate::options::Key;

/// What to do where an application takes tensors.
pub(crate) const TENSORS_ELSEWHERE: &str = "the application takes tensors, which this route cannot say; \
                                            use POST /v2/models/{app}/infer";

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// The member that it is wrong with, unless it is the body itself.
    pub field: Option<Field>,
    /// The element of that member's vector.
    pub element: Option<usize>,
    /// The byte of the body at which it was noticed.
    pub offset: usize,
}

/// What can be wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// The body is JSON, but no object.
    NotObject,
    /// Neither `input` nor `input_batch` is there.
    NoInput,
    /// A member of feedback is not there.
    Missing(&'static str),
    /// The body is not JSON.
    Syntax(&'static str),
    /// A member appears twice.
    Duplicate,
    /// A member has another type; both as Clipper calls them (`Array`, `String`).
    Type {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// An element of a vector has another type.
    ElementType {
        /// What it must be: `int`, `float` or `double`.
        expected: &'static str,
        /// What it is, as Clipper calls it.
        found: &'static str,
    },
    /// A number that its element type cannot hold.
    Range {
        /// The number, shortened.
        number: String,
        /// `int`, `float` or `double`.
        expected: &'static str,
    },
    /// A number with a fraction or an exponent, where integers are asked for.
    NotInteger {
        /// The number, shortened.
        number: String,
    },
    /// A string that is not base64.
    NotBase64,
    /// Vectors, where named tensors are asked for.
    Tensors,
    /// An option with a wrong value.
    Option {
        /// What it must be.
        what: &'static str,
    },
    /// Nested arrays that are not of a tensor's shape.
    Shape {
        /// The dimension.
        dimension: usize,
        /// What each of its arrays must have.
        expected: u64,
        /// What one of them has.
        found: u64,
    },
    /// Arrays nested neither as deep as a tensor's shape nor not at all.
    Nesting,
    /// Elements that JSON cannot say.
    NoJsonForm {
        /// Their datatype.
        datatype: &'static str,
    },
    /// More of something than allowed.
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
}

/// A member of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `input`.
    Input,
    /// `input_batch` as a whole.
    Batch,
    /// One vector of `input_batch`.
    Row(usize),
    /// `version`.
    Version,
    /// One of [`crate::options`].
    Option(Key),
    /// `uid` of feedback.
    Uid,
    /// `label` of feedback.
    Label,
}

impl JsonError {
    /// An error that belongs to no member (yet).
    pub(crate) fn at(offset: usize, kind: JsonErrorKind) -> JsonError {
        JsonError {
            kind,
            field: None,
            element: None,
            offset,
        }
    }

    /// The same error, in `field`.
    pub(super) fn within(mut self, field: Field) -> JsonError {
        self.field = Some(field);
        self
    }

    /// What is wrong, in plain words and without Clipper's.
    #[must_use]
    pub fn plain(&self) -> String {
        match &self.kind {
            JsonErrorKind::Type { expected, found } => {
                let (expected, found) = (expected.to_lowercase(), found.to_lowercase());
                format!("expected {expected}, found {found}")
            }
            JsonErrorKind::ElementType { expected, found } => {
                let (element, found) = (self.element.unwrap_or(0), found.to_lowercase());
                format!("element {element} is {found}, expected {expected}")
            }
            JsonErrorKind::Duplicate => "appears twice".to_owned(),
            JsonErrorKind::NotObject => "the body is not an object".to_owned(),
            JsonErrorKind::Range { number, expected } => {
                format!("{number} does not fit {expected}")
            }
            JsonErrorKind::NotInteger { number } => format!("{number} is not an integer"),
            JsonErrorKind::Limit { what, limit } => format!("{what}, at most {limit} allowed"),
            JsonErrorKind::Syntax(what) => {
                format!("not valid JSON at byte {}: {what}", self.offset)
            }
            _ => self.to_string(),
        }
    }

    /// The text of the answer to feedback. Unlike Clipper's it calls `uid` what it is.
    #[must_use]
    pub fn feedback_text(&self) -> String {
        const SCHEMA: &str = "\n  {\n   \"uid\" := int,\n   \"input\" := [double] | [int] | [string] | \
                              [byte] | [float],\n   \"label\" := double\n  }\n";
        let what = match self.kind {
            JsonErrorKind::NotObject => "Can only get key-value pair from an object".to_owned(),
            _ => self.to_string(),
        };
        format!("Error parsing JSON: {what}. Expected JSON schema: {SCHEMA}")
    }

    /// The text of the answer's `cause`.
    #[must_use]
    pub fn cause(&self) -> String {
        const SCHEMA: &str =
            "\n  {\n   \"input\" := [double] | [int] | [string] | [byte] | [float],\n  }\n";
        match self.kind {
            JsonErrorKind::NotObject => self.to_string(),
            _ => format!("Error parsing JSON: {self}. Expected JSON schema: {SCHEMA}"),
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field;
        match &self.kind {
            JsonErrorKind::NotObject => f.write_str("JSON schema invalid")?,
            JsonErrorKind::NoInput => {
                f.write_str("JSON object does not have required keys input or input_batch")?;
            }
            JsonErrorKind::Missing(key) => {
                write!(f, "JSON object does not have required key: {key}")?;
            }
            JsonErrorKind::Syntax(what) => write!(f, "JSON parse error: {what}")?,
            JsonErrorKind::Duplicate => write!(f, "JSON key {} appears twice", Place(field))?,
            JsonErrorKind::Type { expected, found } => {
                let key = Place(field);
                write!(
                    f,
                    "Type mismatch! JSON key {key} expected type {expected}but found type {found}"
                )?;
            }
            JsonErrorKind::ElementType { expected, found } => {
                write!(f, "Array input of type {found} is not of type {expected}")?;
            }
            JsonErrorKind::Range { number, expected } => {
                write!(f, "{number} is out of range for type {expected}")?;
            }
            JsonErrorKind::NotInteger { number } => write!(f, "{number} is not an integer")?,
            JsonErrorKind::Tensors => f.write_str(TENSORS_ELSEWHERE)?,
            JsonErrorKind::Option { what } => write!(f, "JSON key {} {what}", Place(field))?,
            JsonErrorKind::Shape {
                dimension,
                expected,
                found,
            } => write!(
                f,
                "an array has {found} elements, dimension {dimension} of the shape has {expected}"
            )?,
            JsonErrorKind::Nesting => {
                f.write_str("arrays are neither nested as deep as the shape nor flat")?;
            }
            JsonErrorKind::NoJsonForm { datatype } => {
                write!(f, "{datatype} has no JSON form; send it as binary data")?;
            }
            JsonErrorKind::NotBase64 => write!(f, "{} is not a base64 string", Place(field))?,
            JsonErrorKind::Limit { what, limit } => write!(f, "{what}, at most {limit} allowed")?,
        }
        if let Some(element) = self.element {
            write!(f, ", element {element} of {}", Place(field))?;
        }
        match self.kind {
            JsonErrorKind::Syntax(_) => write!(f, " (offset {})", self.offset),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for JsonError {}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Input => f.write_str("input"),
            Field::Batch => f.write_str("input_batch"),
            Field::Row(index) => write!(f, "input_batch[{index}]"),
            Field::Version => f.write_str("version"),
            Field::Option(key) => f.write_str(key.clipper_name()),
            Field::Uid => f.write_str("uid"),
            Field::Label => f.write_str("label"),
        }
    }
}

/// A field in a sentence.
struct Place(Option<Field>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(field) => field.fmt(f),
            None => f.write_str("body"),
        }
    }
}
