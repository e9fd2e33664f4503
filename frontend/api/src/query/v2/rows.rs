//! Tensors of a request to the inputs of queries, one a row, under the model's schema.
//!
//! # Invariants
//! - What is returned are rows of the schema's tensors, in its order; every check of sizes is made
//!   before anything is copied.
//!
//! # Cost
//! Each row is copied once, into the version's row log where that has room. A single row that was
//! parsed from JSON stays where it is.

use bytes::Bytes;
use skysail_core::Input;
use skysail_rpc::{Cell, DataType, PayloadBuf, Schema, TensorSpec};
use smallvec::SmallVec;

use super::error::V2Error;
use super::header::elements_of;
use super::request::{Data, InputTensor};
use super::{ROWS_MAX, Shape};

/// Sizes of a row's variable dimensions.
type Variable = SmallVec<[u32; 2]>;

/// A tensor of the schema with the client's data, checked.
struct Matched<'a> {
    spec: &'a TensorSpec,
    rows: usize,
    /// Elements of a row.
    elements: usize,
    variable: Variable,
    data: Data,
}

/// The inputs of the queries that the tensors are. Each time that it is called, `buffers` gives a
/// row's, one a tensor.
///
/// # Errors
/// If they are not rows of the schema's tensors.
pub(in crate::query) fn inputs(
    tensors: Vec<InputTensor>,
    schema: &Schema,
    buffers: impl Fn() -> SmallVec<[PayloadBuf; 1]>,
) -> Result<Vec<Input>, V2Error> {
    let matched = matched(tensors, schema)?;
    let rows = matched[0].rows;
    if matched.iter().any(|tensor| tensor.rows != rows) {
        return Err(unequal());
    }
    check_count(rows)?;
    let is_written = |tensor: &Matched<'_>| matches!(tensor.data, Data::Written(_));
    if rows == 1 && matched.iter().all(is_written) {
        let cells = matched.into_iter().map(Matched::into_only_row);
        return Ok(vec![Input(cells.collect::<Result<_, _>>()?)]);
    }
    let mut readers: Vec<_> = matched.iter().map(Reader::new).collect();
    let mut inputs = Vec::with_capacity(rows);
    for _ in 0..rows {
        let bufs = buffers();
        let cells = readers
            .iter_mut()
            .zip(bufs)
            .map(|(reader, buf)| reader.next(buf));
        inputs.push(Input(cells.collect::<Result<_, _>>()?));
    }
    readers.iter().try_for_each(Reader::check_end)?;
    Ok(inputs)
}

/// How many rows tensors have whose schema is not known.
///
/// # Errors
/// If they disagree, or a request may not have as many.
pub(super) fn count(tensors: &[InputTensor]) -> Result<usize, V2Error> {
    let mut counts = tensors.iter().map(|tensor| {
        let rows = tensor.shape.first().copied().ok_or_else(|| {
            let name = tensor.name.escape_default();
            V2Error::invalid(format!("input '{name}' has shape [], rows come first"))
        })?;
        check_count(usize::try_from(rows).unwrap_or(usize::MAX))
    });
    let rows = counts.next().expect("a request has an input")?;
    for other in counts {
        if other? != rows {
            return Err(unequal());
        }
    }
    Ok(rows)
}

/// The same number of rows, if a request may have as many.
fn check_count(rows: usize) -> Result<usize, V2Error> {
    match rows {
        1..=ROWS_MAX => Ok(rows),
        _ => Err(V2Error::invalid(format!(
            "the request has {rows} rows, 1 to {ROWS_MAX} allowed"
        ))),
    }
}

fn unequal() -> V2Error {
    V2Error::invalid("inputs have different numbers of rows")
}

fn matched(mut tensors: Vec<InputTensor>, schema: &Schema) -> Result<Vec<Matched<'_>>, V2Error> {
    let mut matched = Vec::with_capacity(schema.inputs.len());
    for spec in &schema.inputs {
        let at = tensors.iter().position(|tensor| tensor.name == spec.name);
        let tensor = at.map(|at| tensors.swap_remove(at)).ok_or_else(|| {
            V2Error::invalid(format!(
                "input '{}' is missing, the model is {schema}",
                spec.name
            ))
        })?;
        matched.push(Matched::new(spec, tensor)?);
    }
    match tensors.first() {
        None => Ok(matched),
        Some(other) => Err(V2Error::invalid(format!(
            "unexpected input '{}', the model is {schema}",
            other.name.escape_default()
        ))),
    }
}

/// The datatype that the protocol has for one of ours.
pub(super) fn wire(datatype: DataType) -> DataType {
    match datatype {
        DataType::String => DataType::Bytes,
        other => other,
    }
}

impl<'a> Matched<'a> {
    fn new(spec: &'a TensorSpec, tensor: InputTensor) -> Result<Matched<'a>, V2Error> {
        if tensor.datatype != wire(spec.datatype) {
            return Err(V2Error::invalid(format!(
                "input '{}' is {}, the model takes {}",
                spec.name,
                tensor.datatype.name(),
                wire(spec.datatype).name()
            )));
        }
        let (rows, variable) = fit(spec, &tensor.shape)?;
        let elements = elements_of(tensor.shape.get(1..).unwrap_or_default())?;
        let matched = Matched {
            spec,
            rows,
            elements,
            variable,
            data: tensor.data,
        };
        matched.check_size()?;
        Ok(matched)
    }

    fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Written(data) => data.as_bytes(),
            Data::Body(data) => data,
            Data::Behind(_) | Data::Region(_) => &[],
        }
    }

    /// Elements of a fixed width must be there to the byte; strings tell when they are read.
    fn check_size(&self) -> Result<(), V2Error> {
        let Some(width) = self.spec.datatype.width() else {
            return Ok(());
        };
        let found = self.bytes().len();
        let expected = self
            .elements
            .checked_mul(self.rows)
            .and_then(|all| all.checked_mul(width));
        if expected == Some(found) {
            return Ok(());
        }
        Err(V2Error::invalid(format!(
            "unexpected size for input '{}': {found} bytes, its shape has {}",
            self.spec.name,
            expected.unwrap_or(usize::MAX)
        )))
    }

    fn into_only_row(self) -> Result<Cell, V2Error> {
        if self.spec.datatype.width().is_none() {
            let mut reader = Reader::new(&self);
            let cell = reader.next(PayloadBuf::default())?;
            reader.check_end()?;
            return Ok(cell);
        }
        match self.data {
            Data::Written(data) => Ok(Cell::variable(data.freeze(), self.variable)),
            _ => unreachable!("only called for what was written"),
        }
    }
}

/// How many rows a shape has, and the sizes of the dimensions that vary.
fn fit(spec: &TensorSpec, shape: &Shape) -> Result<(usize, Variable), V2Error> {
    let wrong = || {
        let expected = with_rows(spec);
        V2Error::invalid(format!(
            "input '{}' has shape {shape:?}, the model takes {expected:?} with rows first",
            spec.name
        ))
    };
    let (rows, dims) = shape.split_first().ok_or_else(wrong)?;
    let rows = usize::try_from(*rows).map_err(|_| wrong())?;
    // A scalar a row may come as a list of one.
    if spec.dims.is_empty() && *dims == [1] {
        return Ok((rows, Variable::new()));
    }
    if dims.len() != spec.dims.len() {
        return Err(wrong());
    }
    let mut variable = Variable::new();
    for (found, expected) in dims.iter().zip(&spec.dims) {
        match *expected {
            -1 => variable.push(u32::try_from(*found).map_err(|_| wrong())?),
            fixed if u64::try_from(fixed) == Ok(*found) => {}
            _ => return Err(wrong()),
        }
    }
    Ok((rows, variable))
}

/// A tensor's shape as metadata tells it: -1 for the rows, then its dimensions.
pub(super) fn with_rows(spec: &TensorSpec) -> Vec<i64> {
    std::iter::once(-1)
        .chain(spec.dims.iter().copied())
        .collect()
}

/// Takes a tensor apart, a row at a time.
struct Reader<'a> {
    tensor: &'a Matched<'a>,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(tensor: &'a Matched<'a>) -> Self {
        Reader {
            rest: tensor.bytes(),
            tensor,
        }
    }

    /// The next row, in `buf` if its elements have a width.
    fn next(&mut self, mut buf: PayloadBuf) -> Result<Cell, V2Error> {
        let Some(width) = self.tensor.spec.datatype.width() else {
            return self.next_strings();
        };
        let (row, rest) = self.rest.split_at(self.tensor.elements * width);
        self.rest = rest;
        buf.extend_from_slice(row);
        Ok(Cell::variable(buf.freeze(), self.tensor.variable.clone()))
    }

    fn next_strings(&mut self) -> Result<Cell, V2Error> {
        let name = &self.tensor.spec.name;
        let short = || {
            V2Error::invalid(format!(
                "unexpected size for input '{name}': its strings end early"
            ))
        };
        // Each takes four bytes at least, so that no count asks for more room than there is data.
        let mut strings = Vec::with_capacity(self.tensor.elements.min(self.rest.len() / 4));
        for _ in 0..self.tensor.elements {
            let (length, rest) = self.rest.split_first_chunk().ok_or_else(short)?;
            let length = u32::from_le_bytes(*length) as usize;
            let (string, rest) = rest.split_at_checked(length).ok_or_else(short)?;
            strings.push(string);
            self.rest = rest;
        }
        let cell = Cell::strings(strings, self.tensor.variable.clone());
        cell.map_err(|error| V2Error::invalid(error.to_string()))
    }

    fn check_end(&self) -> Result<(), V2Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let (name, left) = (&self.tensor.spec.name, self.rest.len());
        let message =
            format!("unexpected size for input '{name}': {left} bytes follow its strings");
        Err(V2Error::invalid(message))
    }
}

/// The shape of a body that is nothing but one tensor: one row, its variable dimension by the
/// length.
///
/// # Errors
/// If the model has several inputs or the input several variable dimensions.
pub(super) fn raw(body: Bytes, schema: &Schema) -> Result<InputTensor, V2Error> {
    let [spec] = schema.inputs.as_slice() else {
        let message =
            format!("a raw binary request needs a model of one input, this one is {schema}");
        return Err(V2Error::invalid(message));
    };
    let tensor = |dims: Shape, data| InputTensor {
        name: spec.name.clone(),
        datatype: wire(spec.datatype),
        shape: std::iter::once(1).chain(dims).collect(),
        data,
    };
    let Some(width) = spec.datatype.width() else {
        return raw_string(spec, &body, tensor);
    };
    let fixed: i64 = spec.dims.iter().filter(|dim| **dim > 0).product();
    let row_bytes = usize::try_from(fixed)
        .unwrap_or(usize::MAX)
        .saturating_mul(width);
    let times = (body.len() / row_bytes.max(1)) as u64;
    if spec.variable_dims() > 1 {
        let message =
            format!("a raw binary request may leave one dimension open, {spec} leaves more");
        return Err(V2Error::invalid(message));
    }
    let dims = spec
        .dims
        .iter()
        .map(|dim| u64::try_from(*dim).unwrap_or(times));
    Ok(tensor(dims.collect(), Data::Body(body)))
}

/// The whole body is one string.
fn raw_string(
    spec: &TensorSpec,
    body: &[u8],
    tensor: impl Fn(Shape, Data) -> InputTensor,
) -> Result<InputTensor, V2Error> {
    let is_one = spec.dims.iter().all(|dim| matches!(*dim, -1 | 1));
    let length = u32::try_from(body.len()).ok().filter(|_| is_one);
    let length = length.ok_or_else(|| {
        V2Error::invalid(format!(
            "a raw binary request is one string, {spec} takes more"
        ))
    })?;
    let mut data = PayloadBuf::with_capacity(body.len() + 4);
    data.extend_from_slice(&length.to_le_bytes());
    data.extend_from_slice(body);
    let dims = spec.dims.iter().map(|_| 1);
    Ok(tensor(dims.collect(), Data::Written(data)))
}
