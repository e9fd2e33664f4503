//! Messages to requests.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use skysail_rpc::{DataType, PayloadBuf};
use tonic::metadata::MetadataMap;

use super::generated::infer_parameter::ParameterChoice;
use super::generated::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::generated::{InferParameter, InferTensorContents, ModelInferRequest};
use crate::options::Value;
use crate::query::v2::{
    Data, ID_BYTES_MAX, InferRequest, InputTensor, RANK_MAX, RequestParameters, Shape, TENSORS_MAX,
    TensorParameters, V2Error, WantedOutput, datatype_of, elements_of,
};

/// A request, and the names that it is for.
pub(super) struct Inbound {
    pub(super) model: String,
    pub(super) version: String,
    pub(super) request: InferRequest,
}

impl TryFrom<ModelInferRequest> for Inbound {
    type Error = V2Error;

    fn try_from(message: ModelInferRequest) -> Result<Inbound, V2Error> {
        let mut parameters = RequestParameters::default();
        for (name, value) in message.parameters {
            parameters.set(&name, value_of(value))?;
        }
        // What gRPC returns is never JSON.
        parameters.binary_outputs = true;
        check_counts(&message.inputs, &message.outputs, &message.id)?;
        let outputs = message.outputs.into_iter().map(output);
        let request = InferRequest {
            id: (!message.id.is_empty()).then_some(message.id),
            inputs: inputs(message.inputs, message.raw_input_contents)?,
            outputs: outputs.collect::<Result<_, _>>()?,
            parameters,
        };
        request.check_names()?;
        Ok(Inbound {
            model: message.model_name,
            version: message.model_version,
            request,
        })
    }
}

fn check_counts(
    inputs: &[InferInputTensor],
    outputs: &[InferRequestedOutputTensor],
    id: &str,
) -> Result<(), V2Error> {
    if inputs.is_empty() {
        return Err(V2Error::invalid("the request has no 'inputs'"));
    }
    for (what, count) in [("inputs", inputs.len()), ("outputs", outputs.len())] {
        if count > TENSORS_MAX {
            let message = format!("the request has {count} {what}, at most {TENSORS_MAX} allowed");
            return Err(V2Error::invalid(message));
        }
    }
    if id.len() > ID_BYTES_MAX {
        let message = format!(
            "the id has {} bytes, at most {ID_BYTES_MAX} allowed",
            id.len()
        );
        return Err(V2Error::invalid(message));
    }
    Ok(())
}

fn value_of(parameter: InferParameter) -> Value {
    match parameter.parameter_choice {
        Some(ParameterChoice::BoolParam(value)) => Value::Bool(value),
        Some(ParameterChoice::Int64Param(value)) => {
            u64::try_from(value).map_or(Value::Negative(value), Value::Unsigned)
        }
        Some(ParameterChoice::Uint64Param(value)) => Value::Unsigned(value),
        Some(ParameterChoice::DoubleParam(value)) => Value::Number(value),
        Some(ParameterChoice::StringParam(value)) => Value::Text(value),
        None => Value::Other,
    }
}

fn tensor_parameters(
    parameters: HashMap<String, InferParameter>,
) -> Result<TensorParameters, V2Error> {
    let mut taken = TensorParameters::default();
    for (name, value) in parameters {
        taken.set(&name, value_of(value))?;
    }
    Ok(taken)
}

fn output(message: InferRequestedOutputTensor) -> Result<WantedOutput, V2Error> {
    let parameters = tensor_parameters(message.parameters)?;
    let region = parameters.region_slice()?;
    Ok(WantedOutput {
        name: message.name,
        binary: region.is_none(),
        region,
    })
}

/// Raw contents belong to the inputs that are not in shared memory, in their order.
fn inputs(messages: Vec<InferInputTensor>, raw: Vec<Bytes>) -> Result<Vec<InputTensor>, V2Error> {
    let (is_raw, mut raw) = (!raw.is_empty(), raw.into_iter());
    let mut inputs = Vec::with_capacity(messages.len());
    for message in messages {
        let region = tensor_parameters(message.parameters)?.region_slice()?;
        let (datatype, shape) = (datatype_of(&message.datatype)?, shape(&message.shape)?);
        let data = match (region, is_raw, message.contents) {
            (Some(slice), _, None) => Data::Region(slice),
            (None, true, None) => Data::Body(raw.next().ok_or_else(|| {
                V2Error::invalid(format!("input '{}' has no raw contents", message.name))
            })?),
            (None, false, Some(contents)) => {
                Data::Written(typed(&message.name, datatype, contents)?)
            }
            (None, false, None) => {
                // A tensor without elements needs no contents.
                Data::Written(PayloadBuf::default())
            }
            (Some(_), _, Some(_)) | (None, true, Some(_)) => {
                return Err(V2Error::invalid(format!(
                    "input '{}' has contents, and raw contents or shared memory besides",
                    message.name
                )));
            }
        };
        inputs.push(InputTensor {
            name: message.name,
            datatype,
            shape,
            data,
        });
    }
    match raw.len() {
        0 => Ok(inputs),
        left => Err(V2Error::invalid(format!(
            "unexpected additional input data: {left} raw contents belong to no input"
        ))),
    }
}

fn shape(dims: &[i64]) -> Result<Shape, V2Error> {
    let sizes: Option<Shape> = dims.iter().map(|dim| u64::try_from(*dim).ok()).collect();
    let sizes = sizes
        .filter(|sizes| sizes.len() <= RANK_MAX)
        .ok_or_else(|| {
            V2Error::invalid(format!(
                "the shape {dims:?} has a negative size or too many dimensions"
            ))
        })?;
    elements_of(&sizes)?;
    Ok(sizes)
}

/// Typed contents in the form of raw ones.
fn typed(
    name: &str,
    datatype: DataType,
    contents: InferTensorContents,
) -> Result<PayloadBuf, V2Error> {
    let mut out = PayloadBuf::default();
    let c = contents;
    let fits = match datatype {
        DataType::Bool => each(&mut out, c.bool_contents, |x| Some(u8::from(x))),
        DataType::Uint8 => each(&mut out, c.uint_contents, |x| u8::try_from(x).ok()),
        DataType::Uint16 => each(&mut out, c.uint_contents, |x| u16::try_from(x).ok()),
        DataType::Uint32 => each(&mut out, c.uint_contents, Some),
        DataType::Uint64 => each(&mut out, c.uint64_contents, Some),
        DataType::Int8 => each(&mut out, c.int_contents, |x| i8::try_from(x).ok()),
        DataType::Int16 => each(&mut out, c.int_contents, |x| i16::try_from(x).ok()),
        DataType::Int32 => each(&mut out, c.int_contents, Some),
        DataType::Int64 => each(&mut out, c.int64_contents, Some),
        DataType::Fp32 => each(&mut out, c.fp32_contents, Some),
        DataType::Fp64 => each(&mut out, c.fp64_contents, Some),
        DataType::Bytes | DataType::String => {
            for string in c.bytes_contents {
                out.push(u32::try_from(string.len()).unwrap_or(u32::MAX));
                out.extend_from_slice(&string);
            }
            Some(())
        }
        DataType::Fp16 | DataType::Bf16 => None,
    };
    fits.map(|()| out).ok_or_else(|| {
        let datatype = datatype.name();
        V2Error::invalid(format!(
            "input '{name}' has contents that are no {datatype}, or need raw contents"
        ))
    })
}

fn each<T, E: skysail_rpc::Element>(
    out: &mut PayloadBuf,
    from: Vec<T>,
    fit: impl Fn(T) -> Option<E>,
) -> Option<()> {
    for element in from {
        out.push(fit(element)?);
    }
    Some(())
}

/// The time that the client gives a call (`grpc-timeout`), if it says one.
pub(super) fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
        InferInputTensor {
            name: name.into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            ..InferInputTensor::default()
        }
    }

    fn message(inputs: Vec<InferInputTensor>, raw: &[&'static [u8]]) -> ModelInferRequest {
        ModelInferRequest {
            model_name: "m".into(),
            inputs,
            raw_input_contents: raw.iter().map(|raw| Bytes::from_static(raw)).collect(),
            ..ModelInferRequest::default()
        }
    }

    fn bytes(message: ModelInferRequest) -> Result<Vec<Vec<u8>>, String> {
        let inbound = Inbound::try_from(message).map_err(|error| error.message)?;
        let of = |input: InputTensor| match input.data {
            Data::Body(bytes) => bytes.to_vec(),
            Data::Written(data) => data.as_bytes().to_vec(),
            other => panic!("{other:?}"),
        };
        Ok(inbound.request.inputs.into_iter().map(of).collect())
    }

    #[test]
    fn raw_contents_belong_to_inputs_in_order() {
        let two = || vec![tensor("a", "INT8", &[1]), tensor("b", "BF16", &[1])];
        assert_eq!(
            bytes(message(two(), &[b"\x01", b"\x02\x03"])),
            Ok(vec![vec![1], vec![2, 3]])
        );
        assert!(
            bytes(message(two(), &[b"\x01"]))
                .expect_err("one less")
                .contains("'b'")
        );
        assert!(
            bytes(message(two(), &[b"", b"", b""]))
                .expect_err("one more")
                .contains("additional")
        );
        let mut both = two();
        both[0].contents = Some(InferTensorContents::default());
        assert!(bytes(message(both, &[b"\x01", b"\x02\x03"])).is_err());
    }

    #[test]
    fn typed_contents_become_raw_ones() {
        let typed = |datatype, contents| {
            let mut one = tensor("a", datatype, &[1]);
            one.contents = Some(contents);
            bytes(message(vec![one], &[])).map(|mut all| all.remove(0))
        };
        let ints = |value| InferTensorContents {
            int_contents: vec![value],
            ..InferTensorContents::default()
        };
        assert_eq!(typed("INT8", ints(-1)), Ok(vec![255]));
        assert_eq!(typed("INT32", ints(-1)), Ok(vec![255; 4]));
        assert!(typed("INT8", ints(128)).is_err());
        let strings = InferTensorContents {
            bytes_contents: vec![Bytes::from_static(b"ab")],
            ..InferTensorContents::default()
        };
        assert_eq!(typed("BYTES", strings), Ok(b"\x02\0\0\0ab".to_vec()));
        assert!(typed("FP16", InferTensorContents::default()).is_err());
    }

    #[test]
    fn refuses_shapes_and_names_that_cannot_be() {
        for (datatype, shape) in [
            ("FP32", vec![-1]),
            ("f32", vec![1]),
            ("FP32", vec![i64::MAX, 2]),
        ] {
            let one = tensor("a", datatype, &shape);
            assert!(
                bytes(message(vec![one], &[b""])).is_err(),
                "{datatype} {shape:?}"
            );
        }
        assert!(bytes(message(vec![], &[])).is_err());
        let twice = vec![tensor("a", "INT8", &[1]), tensor("a", "INT8", &[1])];
        assert!(bytes(message(twice, &[b"\x01", b"\x01"])).is_err());
    }

    #[test]
    fn the_time_of_a_call_has_a_unit() {
        let of = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().expect("ASCII"));
            timeout(&metadata)
        };
        assert_eq!(of("5m"), Some(Duration::from_millis(5)));
        assert_eq!(
            of("99999999H").map(|all| all.as_secs()),
            Some(99_999_999 * 3600)
        );
        for wrong in ["", "m", "5", "5x", "123456789m", "-1m"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(timeout(&MetadataMap::new()), None);
    }
}
