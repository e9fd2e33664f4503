//! The JSON of a request to infer: all of the body, or what stands before binary data.
//!
//! Numbers go straight into a buffer if the shape and the datatype of their tensor stand before
//! its `data`, as all clients write it; else the data is stepped over and read afterwards.
//!
//! # Invariants
//! - Every text gives a request or an error that says where; none panics.
//! - No member of ours appears twice; unknown ones are stepped over.

use std::borrow::Cow;

use skysail_rpc::{DataType, PayloadBuf};

use super::Shape;
use super::elements;
use super::error::V2Error;
use super::parameters::{self, RequestParameters, TensorParameters};
use super::request::{
    Data, ID_BYTES_MAX, InferRequest, InputTensor, RANK_MAX, TENSORS_MAX, WantedOutput,
};
use crate::json::JsonLimits;
use crate::json::cursor::Cursor;
use crate::json::vector::wrong_type;

/// Makes the buffer that a tensor of so many elements is written to.
pub(in crate::query) type Buffer<'a> = dyn Fn(DataType, usize) -> PayloadBuf + 'a;

/// Reads a request.
///
/// # Errors
/// If it is not one, or a limit is passed.
pub(super) fn parse(
    text: &[u8],
    limits: &JsonLimits,
    buffer: &Buffer<'_>,
) -> Result<InferRequest, V2Error> {
    let mut cursor = Cursor::new(text, limits);
    let mut parts = Parts::default();
    cursor.document(|cursor, name| parts.read(cursor, name, buffer))?;
    parts.finish()
}

/// Reads the object at the cursor, a member at a time.
pub(super) fn members(
    cursor: &mut Cursor<'_>,
    read: impl FnMut(&mut Cursor<'_>, &str) -> Result<(), V2Error>,
) -> Result<(), V2Error> {
    match cursor.peek() {
        Some(b'{') => cursor.members(read),
        _ => Err(wrong_type(cursor, "Object").into()),
    }
}

/// Reads the array at the cursor, at most `elements_max` elements of it.
fn list<T, C: Default + Extend<T>>(
    cursor: &mut Cursor<'_>,
    elements_max: usize,
    mut read: impl FnMut(&mut Cursor<'_>, usize) -> Result<T, V2Error>,
) -> Result<C, V2Error> {
    if cursor.peek() != Some(b'[') {
        return Err(wrong_type(cursor, "Array").into());
    }
    cursor.at += 1;
    let mut elements = C::default();
    if cursor.take(b']') {
        return Ok(elements);
    }
    for index in 0..elements_max {
        elements.extend([read(cursor, index)?]);
        if !cursor.another(b']')? {
            return Ok(elements);
        }
    }
    Err(cursor.limit("the list is too long", elements_max).into())
}

fn string(cursor: &mut Cursor<'_>, bytes_max: usize) -> Result<String, V2Error> {
    let text = text(cursor)?;
    if text.len() > bytes_max {
        return Err(cursor.limit("the string is too long", bytes_max).into());
    }
    Ok(text.into_owned())
}

/// The string at the cursor, borrowed where nothing in it is escaped.
fn text<'t>(cursor: &mut Cursor<'t>) -> Result<Cow<'t, str>, V2Error> {
    match cursor.peek() {
        Some(b'"') => Ok(cursor.text()?.decode()),
        _ => Err(wrong_type(cursor, "String").into()),
    }
}

/// Puts a member that was read in its place, which must be empty.
fn once<T>(place: &mut Option<T>, value: T, name: &str) -> Result<(), V2Error> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(V2Error::invalid(format!("member '{name}' appears twice"))),
    }
}

/// The members of a request that mean something.
#[derive(Default)]
struct Parts {
    id: Option<String>,
    parameters: Option<RequestParameters>,
    inputs: Option<Vec<InputTensor>>,
    outputs: Option<Vec<(String, TensorParameters)>>,
}

impl Parts {
    fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        name: &str,
        buffer: &Buffer<'_>,
    ) -> Result<(), V2Error> {
        let read = match name {
            "id" => string(cursor, ID_BYTES_MAX).and_then(|id| once(&mut self.id, id, name)),
            "parameters" => {
                let mut taken = RequestParameters::default();
                parameters::read(cursor, 1, |name, value| taken.set(name, value))
                    .and_then(|()| once(&mut self.parameters, taken, name))
            }
            "inputs" => list(cursor, TENSORS_MAX, |cursor, index| {
                input(cursor, buffer).map_err(|error| error.within(&format!("[{index}]")))
            })
            .and_then(|inputs| once(&mut self.inputs, inputs, name)),
            "outputs" => list(cursor, TENSORS_MAX, |cursor, index| {
                output(cursor).map_err(|error| error.within(&format!("[{index}]")))
            })
            .and_then(|outputs| once(&mut self.outputs, outputs, name)),
            _ => return Ok(cursor.skip_value(1)?),
        };
        read.map_err(|error| error.within(name))
    }

    fn finish(self) -> Result<InferRequest, V2Error> {
        let inputs = self.inputs.filter(|inputs| !inputs.is_empty());
        let inputs = inputs.ok_or_else(|| V2Error::invalid("the request has no 'inputs'"))?;
        let parameters = self.parameters.unwrap_or_default();
        let wanted = |(name, own): (String, TensorParameters)| {
            if own.region.is_some() && own.binary == Some(true) {
                let message = "'binary_data' and 'shared_memory_region' exclude each other";
                return Err(V2Error::invalid(message).within(&format!("output '{name}'")));
            }
            let binary = own.binary.unwrap_or(parameters.binary_outputs);
            let region = own.region_slice()?;
            Ok(WantedOutput {
                name,
                binary: binary && region.is_none(),
                region,
            })
        };
        let outputs = self.outputs.unwrap_or_default().into_iter().map(wanted);
        let request = InferRequest {
            id: self.id.filter(|id| !id.is_empty()),
            outputs: outputs.collect::<Result<_, _>>()?,
            parameters,
            inputs,
        };
        request.check_names()?;
        Ok(request)
    }
}

/// The members of an input.
#[derive(Default)]
struct InputParts {
    name: Option<String>,
    shape: Option<Shape>,
    datatype: Option<DataType>,
    parameters: Option<TensorParameters>,
    data: Option<PayloadBuf>,
    /// Where `data` stands, if it was met too early.
    early: Option<usize>,
}

fn input(cursor: &mut Cursor<'_>, buffer: &Buffer<'_>) -> Result<InputTensor, V2Error> {
    let mut parts = InputParts::default();
    members(cursor, |cursor, name| {
        let read = parts.read(cursor, name, buffer);
        read.map_err(|error| parts.within(name, error))
    })?;
    if let Some(early) = parts.early {
        let end = std::mem::replace(&mut cursor.at, early);
        let read = parts.read_data(cursor, buffer);
        read.map_err(|error| parts.within("data", error))?;
        cursor.at = end;
    }
    parts.finish()
}

impl InputParts {
    /// The same error, about a member of this input.
    fn within(&self, member: &str, error: V2Error) -> V2Error {
        match (&self.name, member) {
            (Some(name), "data") => error.within(&format!("data of '{}'", name.escape_default())),
            _ => error.within(member),
        }
    }

    fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        name: &str,
        buffer: &Buffer<'_>,
    ) -> Result<(), V2Error> {
        match name {
            "name" => once(&mut self.name, string(cursor, usize::MAX)?, name),
            "shape" => once(&mut self.shape, shape(cursor)?, name),
            "datatype" => once(&mut self.datatype, datatype(cursor)?, name),
            "parameters" => {
                let mut taken = TensorParameters::default();
                parameters::read(cursor, 3, |name, value| taken.set(name, value))?;
                once(&mut self.parameters, taken, name)
            }
            "data" if self.shape.is_some() && self.datatype.is_some() => {
                self.read_data(cursor, buffer)
            }
            "data" => {
                cursor.peek();
                once(&mut self.early, cursor.at, name)?;
                // Its numbers are counted when they are read.
                let numbers_left = cursor.numbers_left;
                cursor.skip_value(3)?;
                cursor.numbers_left = numbers_left;
                Ok(())
            }
            _ => Ok(cursor.skip_value(3)?),
        }
    }

    fn read_data(&mut self, cursor: &mut Cursor<'_>, buffer: &Buffer<'_>) -> Result<(), V2Error> {
        let (Some(shape), Some(datatype)) = (&self.shape, self.datatype) else {
            return Err(V2Error::invalid("an input needs 'shape' and 'datatype'"));
        };
        let expected = elements_of(shape)?;
        let mut data = buffer(datatype, expected);
        let found = elements::read(cursor, datatype, shape, expected, &mut data)?;
        if found != expected {
            let message = format!("{found} elements, the shape {shape:?} has {expected}");
            return Err(V2Error::invalid(message));
        }
        once(&mut self.data, data, "data")
    }

    fn finish(self) -> Result<InputTensor, V2Error> {
        let lacks = |what| V2Error::invalid(format!("an input needs '{what}'"));
        let name = self.name.ok_or_else(|| lacks("name"))?;
        let parameters = self.parameters.unwrap_or_default();
        let region = parameters.region_slice()?;
        let data = match (self.data, parameters.binary_bytes, region) {
            (Some(data), None, None) => Data::Written(data),
            (None, Some(bytes), None) => Data::Behind(bytes),
            (None, None, Some(slice)) => Data::Region(slice),
            _ => {
                return Err(V2Error::invalid(format!(
                    "input '{name}' needs exactly one of 'data', 'binary_data_size' and \
                     'shared_memory_region'"
                )));
            }
        };
        Ok(InputTensor {
            shape: self.shape.ok_or_else(|| lacks("shape"))?,
            datatype: self.datatype.ok_or_else(|| lacks("datatype"))?,
            name,
            data,
        })
    }
}

fn output(cursor: &mut Cursor<'_>) -> Result<(String, TensorParameters), V2Error> {
    let (mut name, mut own) = (None, None);
    members(cursor, |cursor, member| match member {
        "name" => once(&mut name, string(cursor, usize::MAX)?, member),
        "parameters" => {
            let mut taken = TensorParameters::default();
            parameters::read(cursor, 3, |name, value| taken.set(name, value))?;
            once(&mut own, taken, member)
        }
        _ => Ok(cursor.skip_value(3)?),
    })?;
    let name = name.ok_or_else(|| V2Error::invalid("an output needs 'name'"))?;
    Ok((name, own.unwrap_or_default()))
}

fn shape(cursor: &mut Cursor<'_>) -> Result<Shape, V2Error> {
    let dims: Shape = list(cursor, RANK_MAX, |cursor, index| {
        use crate::json::number::Scalar;
        cursor.peek();
        let scanned = u64::scan(cursor.body, cursor.at);
        let (dim, end) = scanned.map_err(|_| {
            let message = format!("dimension {index} is not a whole number, 0 or more");
            V2Error::invalid(message)
        })?;
        cursor.at = end;
        Ok(dim)
    })?;
    elements_of(&dims)?;
    Ok(dims)
}

fn datatype(cursor: &mut Cursor<'_>) -> Result<DataType, V2Error> {
    datatype_of(&text(cursor)?)
}

/// The datatype of a protocol name.
pub(in crate::query) fn datatype_of(name: &str) -> Result<DataType, V2Error> {
    // Our own STRING is BYTES to the protocol; short names are the SDK's.
    let known = DataType::from_name(name).filter(|known| known.name() == name);
    let known = known.filter(|known| *known != DataType::String);
    known.ok_or_else(|| {
        let names: Vec<_> = DataType::all()
            .filter(|one| *one != DataType::String)
            .map(DataType::name)
            .collect();
        let name = name.escape_default();
        V2Error::invalid(format!(
            "'{name}' is not a datatype, expected one of {}",
            names.join(", ")
        ))
    })
}

/// Elements of a shape.
pub(in crate::query) fn elements_of(shape: &[u64]) -> Result<usize, V2Error> {
    let product = shape
        .iter()
        .try_fold(1_u64, |product, dim| product.checked_mul(*dim));
    product
        .filter(|product| *product <= i64::MAX as u64 / 8)
        .and_then(|product| usize::try_from(product).ok())
        .ok_or_else(|| V2Error::invalid(format!("the shape {shape:?} has too many elements")))
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    fn parsed(text: &str) -> Result<InferRequest, String> {
        let buffer = |_, _| PayloadBuf::default();
        parse(text.as_bytes(), &JsonLimits::default(), &buffer).map_err(|error| error.message)
    }

    fn written(input: &InputTensor) -> &[u8] {
        match &input.data {
            Data::Written(data) => data.as_bytes(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_a_request_in_any_order_of_members() {
        let usual = r#"{"id":"7","inputs":[{"name":"x","shape":[2,2],"datatype":"INT32",
            "data":[[1,2],[3,4]]}],"outputs":[{"name":"y"}]}"#;
        let turned = r#"{"model_name":"m","outputs":[{"name":"y"}],"inputs":[{"data":[1,2,3,4],
            "datatype":"INT32","shape":[2,2],"name":"x","else":{"a":[1]}}],"id":"7"}"#;
        for text in [usual, turned] {
            let request = parsed(text).expect(text);
            assert_eq!(request.id.as_deref(), Some("7"));
            let [input] = request.inputs.as_slice() else {
                panic!("{request:?}")
            };
            let expected: Shape = smallvec![2, 2];
            assert_eq!((input.name.as_str(), &input.shape), ("x", &expected));
            let bytes: Vec<u8> = (1..=4_i32).flat_map(i32::to_le_bytes).collect();
            assert_eq!(written(input), bytes);
            assert_eq!(request.outputs.len(), 1);
        }
    }

    #[test]
    fn binary_outputs_are_those_that_say_so_themselves_or_all() {
        let text = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BOOL","data":[true]}],
            "parameters":{"binary_data_output":true},
            "outputs":[{"name":"a"},{"name":"b","parameters":{"binary_data":false}}]}"#;
        let request = parsed(text).expect("valid");
        assert!(request.parameters.binary_outputs);
        assert!(request.outputs[0].binary && !request.outputs[1].binary);
    }

    #[test]
    fn an_input_has_one_source_of_data() {
        let with = |source: &str| {
            let text =
                format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32"{source}}}]}}"#);
            parsed(&text).map(|request| matches!(request.inputs[0].data, Data::Behind(4)))
        };
        assert_eq!(with(r#","parameters":{"binary_data_size":4}"#), Ok(true));
        assert_eq!(with(r#","data":[1]"#), Ok(false));
        for wrong in [
            "",
            r#","data":[1],"parameters":{"binary_data_size":4}"#,
            r#","parameters":{"binary_data_size":-4}"#,
            r#","parameters":{"shared_memory_region":"r"}"#,
            r#","data":[1],"parameters":{"shared_memory_region":"r","shared_memory_byte_size":4}"#,
        ] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn says_where_a_request_is_wrong() {
        let cases = [
            ("[]", "the body is not an object"),
            ("{}", "the request has no 'inputs'"),
            (r#"{"inputs":[]}"#, "the request has no 'inputs'"),
            (
                r#"{"inputs":[7]}"#,
                "inputs: [0]: expected object, found number",
            ),
            (
                r#"{"inputs":[{"name":"x","shape":[-1],"datatype":"FP32","data":[]}]}"#,
                "inputs: [0]: shape: dimension 0 is not a whole number, 0 or more",
            ),
            (
                r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1]}]}"#,
                "inputs: [0]: data of 'x': 1 elements, the shape [2] has 2",
            ),
            (
                r#"{"inputs":[{"data":[[1,2],[3]],"name":"x","shape":[2,2],"datatype":"FP32"}]}"#,
                "inputs: [0]: data of 'x': an array has 1 elements, dimension 1 of the shape has 2",
            ),
            (
                r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]},
                    {"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#,
                "input 'x' appears twice",
            ),
            (r#"{"id":"a","id":"b"}"#, "id: member 'id' appears twice"),
            (
                r#"{"parameters":{"triton_x":1}}"#,
                "parameters: parameter 'triton_x' is reserved: names may not begin with 'triton_'",
            ),
            (
                r#"{"parameters":{"timeout":-1}}"#,
                "parameters: parameter 'timeout' must be a number of microseconds, 0 or more",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(parsed(text).map(|_| ()), Err(message.to_owned()), "{text}");
        }
        let huge = r#"{"inputs":[{"name":"x","shape":[4294967296,4294967296],"datatype":"FP32"}]}"#;
        assert!(
            parsed(huge)
                .expect_err("too many")
                .contains("too many elements")
        );
        let other = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"f32","data":[1]}]}"#;
        assert!(
            parsed(other)
                .expect_err("a short name")
                .contains("is not a datatype")
        );
    }

    #[test]
    fn bytes_behind_the_json_are_cut_in_order() {
        let text = r#"{"inputs":[
            {"name":"a","shape":[1],"datatype":"INT8","parameters":{"binary_data_size":1}},
            {"name":"b","shape":[1],"datatype":"INT8","data":[9]},
            {"name":"c","shape":[2],"datatype":"INT8","parameters":{"binary_data_size":2}}]}"#;
        let attached = |behind: &'static [u8]| {
            let mut request = parsed(text).expect("valid");
            request
                .attach(behind.into())
                .map_err(|error| error.message)?;
            let bytes = request.inputs.iter().map(|input| match &input.data {
                Data::Body(bytes) => bytes.to_vec(),
                _ => written(input).to_vec(),
            });
            Ok::<_, String>(bytes.collect::<Vec<_>>())
        };
        assert_eq!(attached(&[1, 2, 3]), Ok(vec![vec![1], vec![9], vec![2, 3]]));
        assert!(
            attached(&[1, 2])
                .expect_err("too few")
                .starts_with("unexpected size for input 'c'")
        );
        let more = attached(&[1, 2, 3, 4]).expect_err("too many");
        assert!(more.starts_with("unexpected additional input data"));
    }
}
