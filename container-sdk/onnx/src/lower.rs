//! Operators that tract lacks, by those that it has; and no operator that is another's.
//!
//! | operator of `ai.onnx.ml` | becomes |
//! |---|---|
//! | `Scaler` | `(cast(x) - offset) * scale` |
//! | `ArrayFeatureExtractor` | `gather` on the last axis, by all indices |
//!
//! Tract tells operators by their names alone. One of a domain that it does not know gets its domain
//! into its name, so that it is refused and not taken for ONNX's.
//!
//! # Invariants
//! - What a node gave is given under the same name afterwards. Other names have a part that no
//!   converter writes.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// Of operators that `lower` brings.
const LEARNING: &str = "ai.onnx.ml";
/// Whose operators tract knows.
const KNOWN: [&str; 3] = ["", "ai.onnx", LEARNING];

/// Rewrites what tract lacks or would mistake, in the graphs of its nodes too.
pub(crate) fn lower(graph: &mut GraphProto) {
    for mut node in std::mem::take(&mut graph.node) {
        let attributes = node.attribute.iter_mut();
        let inner = attributes.filter_map(|attribute| attribute.g.as_mut());
        inner.for_each(lower);
        match (node.domain.as_str(), node.op_type.as_str()) {
            (LEARNING, "Scaler") => scaler(&node, graph),
            (LEARNING, "ArrayFeatureExtractor") => extractor(&node, graph),
            (domain, operator) if !KNOWN.contains(&domain) => {
                node.op_type = format!("{domain}.{operator}");
                graph.node.push(node);
            }
            _ => graph.node.push(node),
        }
    }
}

fn scaler(node: &NodeProto, graph: &mut GraphProto) {
    let (x, y) = (part(&node.input, 0), part(&node.output, 0));
    let to = attribute("to", DataType::Float as i64);
    let mut last = step(graph, "Cast", [x, ""], &inside(y, "float"), Some(to));
    for (name, operator) in [("offset", "Sub"), ("scale", "Mul")] {
        let given = node.attribute.iter().find(|given| given.name == name);
        let Some(given) = given.filter(|given| !given.floats.is_empty()) else {
            continue;
        };
        let constant = constant(
            graph,
            &inside(y, name),
            TensorProto {
                dims: vec![given.floats.len().try_into().unwrap_or(i64::MAX)],
                data_type: DataType::Float as i32,
                float_data: given.floats.clone(),
                ..TensorProto::default()
            },
        );
        last = step(
            graph,
            operator,
            [&last, &constant],
            &inside(y, operator),
            None,
        );
    }
    step(graph, "Identity", [&last, ""], y, None);
}

fn extractor(node: &NodeProto, graph: &mut GraphProto) {
    let (x, places, y) = (
        part(&node.input, 0),
        part(&node.input, 1),
        part(&node.output, 0),
    );
    let all = shape(graph, &inside(y, "all"), vec![-1]);
    let flat = step(graph, "Reshape", [places, &all], &inside(y, "places"), None);
    let axis = attribute("axis", -1);
    // Of constants on one axis it gives one row, where gather gives none.
    let mut constants = graph.initializer.iter();
    if constants.any(|given| given.name == x && given.dims.len() == 1) {
        let found = inside(y, "found");
        let found = step(graph, "Gather", [x, &flat], &found, Some(axis));
        let row = shape(graph, &inside(y, "row"), vec![1, -1]);
        step(graph, "Reshape", [&found, &row], y, None);
    } else {
        step(graph, "Gather", [x, &flat], y, Some(axis));
    }
}

/// Adds a node that gives `output`; an input without a name is none.
fn step(
    graph: &mut GraphProto,
    operator: &str,
    inputs: [&str; 2],
    output: &str,
    attribute: Option<AttributeProto>,
) -> String {
    let inputs = inputs.iter().filter(|input| !input.is_empty());
    graph.node.push(NodeProto {
        op_type: operator.to_owned(),
        name: inside(output, operator),
        input: inputs.map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attribute.into_iter().collect(),
        ..NodeProto::default()
    });
    output.to_owned()
}

fn constant(graph: &mut GraphProto, name: &str, tensor: TensorProto) -> String {
    graph.initializer.push(TensorProto {
        name: name.to_owned(),
        ..tensor
    });
    name.to_owned()
}

fn shape(graph: &mut GraphProto, name: &str, dims: Vec<i64>) -> String {
    let tensor = TensorProto {
        dims: vec![dims.len().try_into().unwrap_or(i64::MAX)],
        data_type: DataType::Int64 as i32,
        int64_data: dims,
        ..TensorProto::default()
    };
    constant(graph, name, tensor)
}

fn attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

/// A name within what gives `output`.
fn inside(output: &str, name: &str) -> String {
    format!("{output}/skysail/{name}")
}

/// The value at `index`; a broken file may have none, which tract refuses.
fn part(names: &[String], index: usize) -> &str {
    names.get(index).map_or("", String::as_str)
}
