//! A file as a model of the SDK.

use std::ops::Range;
use std::sync::Arc;

use skysail_container::{Batch, Ctx, Outputs, Predictor, Result, Signature, Source, Unfit};
use tract_onnx::prelude::*;

use crate::file::{Graph, line};
use crate::tensors;

impl Source for Graph {
    type Loaded = Loaded;

    fn sdk(&self) -> &str {
        concat!("onnx/", env!("CARGO_PKG_VERSION"))
    }

    fn signature(&self) -> Signature {
        Graph::signature(self)
    }

    fn load(&self, _: &Ctx) -> Result<Loaded> {
        let plan = self.model.clone().into_optimized();
        let plan = plan.and_then(IntoRunnable::into_runnable);
        let unfit = |error: TractError| Unfit(format!("tract cannot run it: {}", line(&error)));
        Ok(Loaded {
            plan: plan.map_err(unfit)?,
            graph: self.clone(),
        })
    }
}

/// A file whose plan is made.
pub(crate) struct Loaded {
    plan: Arc<TypedRunnableModel>,
    graph: Graph,
}

impl Predictor for Loaded {
    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let rows = batch.rows();
        let at_a_time = match self.graph.rows_fixed {
            Some(fixed) => fixed,
            None if self.graph.is_row_wise() => 1,
            None => rows,
        };
        for first in (0..rows).step_by(at_a_time) {
            self.run(batch, first..rows.min(first + at_a_time), out)?;
        }
        Ok(())
    }
}

impl Loaded {
    /// Answers some rows of a batch.
    fn run(&self, batch: &Batch, rows: Range<usize>, out: &mut Outputs) -> Result<()> {
        let count = self.graph.rows_fixed.unwrap_or(rows.len());
        let input = |(index, port)| {
            let tensor = tensors::input(batch, index, port, rows.clone(), count)?;
            Ok(tensor.into_tvalue())
        };
        let inputs = self.graph.inputs.iter().enumerate().map(input);
        let outputs = self.plan.run(inputs.collect::<Result<TVec<_>>>()?);
        let outputs = outputs.map_err(|error| line(&error))?;
        for (index, (port, tensor)) in self.graph.outputs.iter().zip(&outputs).enumerate() {
            tensors::output(out, index, port, tensor, rows.clone())?;
        }
        Ok(())
    }
}
