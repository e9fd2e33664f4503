//! An ONNX file: tract's model of it, and the signature that it tells.

use std::path::Path;

use skysail_container::Signature;
use tract_onnx::model::ParseResult;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::{DimLike, Framework};

use crate::lower::lower;
use crate::quiet::quietly;

/// What the open first dimension is called.
const BATCH: &str = "skysail_batch";
/// The latest operator set of which files are compared with onnxruntime. Tract reads later ones by
/// the rules of those that it knows.
const OPERATOR_SET_MAX: i64 = 22;

/// A readable file.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) model: TypedModel,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    /// Rows that must be run at a time; `None`: any number.
    pub(crate) rows_fixed: Option<usize>,
    max_batch: usize,
}

/// What is wanted of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The outputs to be answered; all if none are named.
    pub(crate) outputs: &'a [String],
    pub(crate) max_batch: usize,
    /// Whether a later operator set than is known is taken.
    pub(crate) any_version: bool,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) datum: DatumType,
    /// Dimensions of a row; `None` where rows differ.
    pub(crate) dims: Vec<Option<usize>>,
}

/// What keeps a file from being served, in a line.
type Result<T> = std::result::Result<T, String>;

impl Graph {
    /// Reads a file.
    pub(crate) fn read(path: &Path, wanted: Wanted<'_>) -> Result<Graph> {
        // Before tract: what it says of these is about Protocol Buffers.
        match std::fs::metadata(path) {
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
            Ok(found) if !found.is_file() => {
                return Err(format!("{} is no file: name a .onnx file", path.display()));
            }
            Ok(found) if found.len() == 0 => return Err(format!("{} is empty", path.display())),
            Ok(_) => {}
        }
        // A file may be anything, and tract does not check all of it.
        let read = quietly(|| Graph::understand(path, wanted));
        let read = read.unwrap_or_else(|panic| Err(format!("it is not valid: {panic}")));
        read.map_err(|error| format!("{} cannot be served: {error}", path.display()))
    }

    fn understand(path: &Path, wanted: Wanted<'_>) -> Result<Graph> {
        let mut model = parse(path, wanted.any_version)?;
        if model.input_outlets().is_ok_and(<[_]>::is_empty) || model.outputs.is_empty() {
            return Err("it is no ONNX model: it has no inputs or no outputs".to_owned());
        }
        choose(&mut model, wanted.outputs)?;
        let rows_fixed = open_first_dimension(&mut model)?;
        let names = output_names(&model);
        let typed = model.into_typed().map_err(|error| unsupported(&error))?;
        let mut graph = Graph {
            inputs: Vec::new(),
            outputs: Vec::new(),
            model: typed,
            rows_fixed,
            max_batch: wanted.max_batch,
        };
        graph.inputs = graph.input_ports()?;
        graph.outputs = graph.output_ports(names)?;
        Ok(graph)
    }

    fn input_ports(&self) -> Result<Vec<Port>> {
        let outlets = self.model.input_outlets().map_err(|error| line(&error))?;
        let port = |outlet: &OutletId| {
            let name = self.model.node(outlet.node).name.clone();
            self.port("input", name, *outlet)
        };
        outlets.iter().map(port).collect()
    }

    fn output_ports(&self, names: Vec<String>) -> Result<Vec<Port>> {
        let ports = names.into_iter().zip(&self.model.outputs);
        ports
            .map(|(name, outlet)| self.port("output", name, *outlet))
            .collect()
    }

    fn port(&self, side: &str, name: String, outlet: OutletId) -> Result<Port> {
        let fact = self.model.outlet_fact(outlet);
        let fact = fact.map_err(|error| line(&error))?;
        let mut dims = fact.shape.iter();
        let is_batch = |first: &TDim| match self.rows_fixed {
            Some(rows) => first.to_usize().ok() == Some(rows),
            None => *first == self.model.symbols.sym(BATCH).to_dim(),
        };
        if !dims.next().is_some_and(is_batch) {
            let shape = &fact.shape;
            return Err(format!(
                "{side} '{name}' has shape {shape:?}, whose first dimension is not the batch's; \
                 --output names the outputs that are answered"
            ));
        }
        Ok(Port {
            // Shapes and places that tract computes with; what is answered is cast.
            datum: match fact.datum_type {
                DatumType::TDim => DatumType::I64,
                other => other,
            },
            dims: dims.map(|dim| dim.to_usize().ok()).collect(),
            name,
        })
    }

    /// Whether rows are run one by one.
    pub(crate) fn is_row_wise(&self) -> bool {
        let mut ports = self.inputs.iter().chain(&self.outputs);
        ports.any(|port| port.dims.contains(&None))
    }

    /// What the file takes and gives.
    pub(crate) fn signature(&self) -> Signature {
        let signature = Signature::new().max_batch(self.max_batch);
        let signature = self.inputs.iter().fold(signature, |signature, port| {
            signature.input(&port.name, &port.text())
        });
        self.outputs.iter().fold(signature, |signature, port| {
            signature.output(&port.name, &port.text())
        })
    }
}

impl Port {
    /// Such as `f32[3,-1]`.
    pub(crate) fn text(&self) -> String {
        let datum = datum_text(self.datum);
        if self.dims.is_empty() {
            return datum;
        }
        let size = |dim: &Option<usize>| dim.map_or("-1".to_owned(), |size| size.to_string());
        let dims: Vec<String> = self.dims.iter().map(size).collect();
        format!("{datum}[{}]", dims.join(","))
    }
}

fn datum_text(datum: DatumType) -> String {
    match datum {
        DatumType::String => "string".to_owned(),
        // Tract's names are the signature's, for all that has one there.
        other => format!("{other:?}").to_lowercase(),
    }
}

/// The file as tract's model, with the operators that [`lower`] brings.
fn parse(path: &Path, any_version: bool) -> Result<InferenceModel> {
    let no_model = |error| format!("it is no ONNX model: {}", line(&error));
    let mut file = onnx().proto_model_for_path(path).map_err(no_model)?;
    check_version(&file, any_version)?;
    if let Some(graph) = &mut file.graph {
        lower(graph);
    }
    // Where tensors lie that the file keeps outside of itself.
    let folder = path.parent().and_then(Path::to_str);
    let ParseResult {
        model,
        unresolved_inputs,
        ..
    } = onnx().parse(&file, folder).map_err(no_model)?;
    match unresolved_inputs.first() {
        Some(name) => Err(format!("it is not valid: nothing in it gives '{name}'")),
        None => Ok(model),
    }
}

fn check_version(file: &ModelProto, any_version: bool) -> Result<()> {
    let mut sets = file.opset_import.iter();
    let own = sets.find(|set| ["", "ai.onnx"].contains(&set.domain.as_str()));
    match own.map_or(0, |set| set.version) {
        later if later > OPERATOR_SET_MAX && !any_version => Err(format!(
            "it is of operator set {later}, {OPERATOR_SET_MAX} is the latest that is known: write it \
             for that one, or say --any-version"
        )),
        _ => Ok(()),
    }
}

/// Leaves the outputs that are asked for.
fn choose(model: &mut InferenceModel, asked: &[String]) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let names = output_names(model);
    let place = |name: &String| {
        let found = names.iter().position(|known| known == name);
        let outlet = found.map(|place| model.outputs[place]);
        outlet.ok_or_else(|| format!("it has no output '{name}'; it has {}", names.join(", ")))
    };
    model.outputs = asked.iter().map(place).collect::<Result<Vec<_>>>()?;
    Ok(())
}

fn output_names(model: &InferenceModel) -> Vec<String> {
    let name = |outlet: &OutletId| {
        let label = model.outlet_label(*outlet);
        label.unwrap_or(&model.node(outlet.node).name).to_owned()
    };
    model.outputs.iter().map(name).collect()
}

/// Gives all inputs a first dimension of one name. The number that it has in the file, if it has one.
fn open_first_dimension(model: &mut InferenceModel) -> Result<Option<usize>> {
    let batch = model.symbols.sym(BATCH).to_dim();
    let mut rows_fixed = None;
    for index in 0..model.inputs.len() {
        let name = model.node(model.inputs[index].node).name.clone();
        let fact = model
            .input_fact(index)
            .map_err(|error| line(&error))?
            .clone();
        let Some(first) = fact.shape.dim(0) else {
            return Err(format!("input '{name}' has no dimension for the batch"));
        };
        let number = first.concretize().and_then(|dim| dim.to_usize().ok());
        if index > 0 && number != rows_fixed {
            return Err(format!(
                "input '{name}' has another first dimension than the first input"
            ));
        }
        rows_fixed = number;
        if number.is_none() {
            let mut open = fact;
            open.shape.set_dim(0, batch.clone());
            let set = model.set_input_fact(index, open);
            set.map_err(|error| line(&error))?;
        }
    }
    Ok(rows_fixed)
}

/// What tract does not know, and what to do where that is known.
fn unsupported(error: &TractError) -> String {
    let why = line(error);
    let operator = why.split_once("Unimplemented(");
    let Some((operator, _)) = operator.and_then(|(_, rest)| rest.split_once(')')) else {
        return format!("tract cannot run it: {why}");
    };
    let advice = match operator {
        "ZipMap" => "convert it with the option zipmap=False",
        _ => "serve it by its own library, or name outputs that do without by --output",
    };
    format!("tract does not know the operator {operator}: {advice}")
}

/// An error and its causes in one line.
pub(crate) fn line(error: &TractError) -> String {
    let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.dedup();
    let text = causes.join(": ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
