//! Clipper's predict body: `{"input": <vector>}` or `{"input_batch": [<vector>, ...]}`.
//!
//! `input` wins where both are present, in any order, even over a batch with mistakes in its
//! vectors. `version` may be there, and what [`crate::options`] names; other members are stepped
//! over.
//!
//! # Invariants
//! - Every body gives either rows or an error that says where; none panics.
//! - No member of ours appears twice.
//!
//! # Cost
//! Vectors are read in place. Payloads take at most 4 times the body for `floats`, 8 times for
//! `doubles` of one digit each where the expected length is wrong.

use skysail_core::InputType;
use skysail_rpc::PayloadBuf;

use super::JsonLimits;
use super::cursor::Cursor;
use super::error::{Field, JsonError, JsonErrorKind};
use super::vector::{VectorReader, wrong_type};
use crate::options::{Key, RequestOptions, Value};

/// A decoded predict body.
#[derive(Debug)]
pub struct PredictBody {
    /// One row an input; none only for an empty `input_batch`.
    pub rows: Vec<RowInput>,
    /// Whether it came as `input_batch`, which is answered in another shape.
    pub batch: bool,
    /// The version that shall answer.
    pub version: Option<String>,
    /// What else the body asks for.
    pub options: RequestOptions,
}

/// One input.
#[derive(Debug, Default)]
pub struct RowInput {
    /// Elements end to end, little-endian; the text of a string; the decoded bytes.
    pub data: PayloadBuf,
    /// Numbers in the vector; 1 for `strings` and `bytes`, whose vector is one string.
    pub elements: usize,
}

/// Reads a predict body whose vectors are of type `kind`.
///
/// `expected_elements` only saves allocations: rows of any length are returned, and the caller
/// compares. An empty vector is a row of 0 elements. `row` makes the buffer that a vector of
/// numbers is written to.
///
/// # Errors
/// If the body is not such an object, a number does not fit its element type, or a limit is
/// passed.
pub fn parse_predict(
    body: &[u8],
    kind: InputType,
    expected_elements: Option<usize>,
    limits: &JsonLimits,
    row: &dyn Fn() -> PayloadBuf,
) -> Result<PredictBody, JsonError> {
    let mut cursor = Cursor::new(body, limits);
    let reader = VectorReader::new(kind, expected_elements, body, row);
    let mut members = Members {
        reader,
        input: None,
        batch: None,
        version: None,
        options: RequestOptions::default(),
    };
    cursor.document(|cursor, name| members.read_member(cursor, name))?;
    members.finish(&cursor)
}

/// The members of a body that mean something.
struct Members<'a> {
    reader: VectorReader<'a>,
    input: Option<RowInput>,
    /// The batch, or what is wrong with its vectors.
    batch: Option<Result<Vec<RowInput>, JsonError>>,
    version: Option<String>,
    options: RequestOptions,
}

impl Members<'_> {
    fn read_member(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Result<(), JsonError> {
        if let Some(option) = Key::of_clipper(name) {
            return self.read_option(cursor, option);
        }
        match name {
            "input" => self
                .read_input(cursor)
                .map_err(|error| error.within(Field::Input)),
            "input_batch" => self.read_batch(cursor),
            "version" => self
                .read_version(cursor)
                .map_err(|error| error.within(Field::Version)),
            _ => cursor.skip_value(1),
        }
    }

    fn read_input(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if self.input.is_some() {
            return Err(cursor.error(JsonErrorKind::Duplicate));
        }
        self.input = Some(self.reader.read(cursor)?);
        Ok(())
    }

    fn read_option(&mut self, cursor: &mut Cursor<'_>, option: Key) -> Result<(), JsonError> {
        cursor.peek();
        let start = cursor.at;
        let value = Value::read(cursor, 1)?;
        let set = self.options.set(option, value);
        set.map_err(|what| {
            JsonError::at(start, JsonErrorKind::Option { what }).within(Field::Option(option))
        })
    }

    fn read_version(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if self.version.is_some() {
            return Err(cursor.error(JsonErrorKind::Duplicate));
        }
        if cursor.peek() != Some(b'"') {
            return Err(wrong_type(cursor, "String"));
        }
        let text = cursor.text()?;
        if text.raw_bytes() > cursor.limits.string_bytes_max {
            return Err(cursor.limit("a string is too long", cursor.limits.string_bytes_max));
        }
        self.version = Some(text.decode().into_owned());
        Ok(())
    }

    /// Reads the batch. What is wrong with its vectors only counts if there is no `input`, so
    /// that is kept and the batch stepped over.
    fn read_batch(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if self.batch.is_some() {
            return Err(cursor.error(JsonErrorKind::Duplicate).within(Field::Batch));
        }
        let (start, numbers_left) = (cursor.at, cursor.numbers_left);
        let batch = match self.input {
            Some(_) => cursor.skip_value(1).map(|()| Vec::new()),
            None => self.read_rows(cursor),
        };
        if batch.is_err() {
            (cursor.at, cursor.numbers_left) = (start, numbers_left);
            if cursor.skip_value(1).is_err() {
                return batch.map(|_| ());
            }
        }
        self.batch = Some(batch);
        Ok(())
    }

    fn read_rows(&mut self, cursor: &mut Cursor<'_>) -> Result<Vec<RowInput>, JsonError> {
        if cursor.peek() != Some(b'[') {
            return Err(wrong_type(cursor, "Array").within(Field::Batch));
        }
        cursor.at += 1;
        let mut rows = Vec::new();
        if cursor.take(b']') {
            return Ok(rows);
        }
        while rows.len() < cursor.limits.rows_max {
            let field = Field::Row(rows.len());
            rows.push(
                self.reader
                    .read(cursor)
                    .map_err(|error| error.within(field))?,
            );
            if !cursor
                .another(b']')
                .map_err(|error| error.within(Field::Batch))?
            {
                return Ok(rows);
            }
        }
        let error = cursor.limit("a batch has too many inputs", cursor.limits.rows_max);
        Err(error.within(Field::Batch))
    }

    fn finish(self, cursor: &Cursor<'_>) -> Result<PredictBody, JsonError> {
        let (version, options) = (self.version, self.options);
        match (self.input, self.batch) {
            (Some(input), _) => Ok(PredictBody {
                rows: vec![input],
                batch: false,
                version,
                options,
            }),
            (None, Some(rows)) => Ok(PredictBody {
                rows: rows?,
                batch: true,
                version,
                options,
            }),
            (None, None) => Err(cursor.error(JsonErrorKind::NoInput)),
        }
    }
}

#[cfg(test)]
mod tests;
