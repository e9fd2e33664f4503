//! A model of the package `skysail` as the Rust SDK takes it.

use std::sync::Arc;

use pyo3::exceptions::PyBaseException;
use pyo3::intern;
use pyo3::prelude::*;
use skysail_container::{
    Batch, Ctx, Outputs, Predictor, Result, Signature, Source, Unfit, View, Views,
    warm_up_with_zeros,
};

use crate::values::{Shower, take, targets};

/// Batches that a model may keep before it is shown copies: arrays that wait for the garbage
/// collector look as if they were kept.
const KEPT_MAX: u32 = 8;

/// A model that is not loaded: `skysail._model.Definition`.
pub(crate) struct Definition {
    python: Py<PyAny>,
    signature: Signature,
}

impl Definition {
    /// # Errors
    /// If it is no definition.
    pub(crate) fn new(definition: &Bound<'_, PyAny>) -> PyResult<Self> {
        let tensors = |side| -> PyResult<Vec<(String, String)>> {
            definition
                .getattr(side)?
                .call_method0("items")?
                .try_iter()?
                .map(|item| item?.extract())
                .collect()
        };
        let max_batch = definition.getattr("max_batch")?.extract()?;
        let mut signature = Signature::new().max_batch(max_batch);
        for (name, text) in tensors("inputs")? {
            signature = signature.input(&name, &text);
        }
        for (name, text) in tensors("outputs")? {
            signature = signature.output(&name, &text);
        }
        let python = definition.clone().unbind();
        Ok(Definition { python, signature })
    }
}

impl Source for Definition {
    type Loaded = Loaded;

    fn sdk(&self) -> &str {
        concat!("python/", env!("CARGO_PKG_VERSION"))
    }

    fn signature(&self) -> Signature {
        self.signature.clone()
    }

    fn load(&self, ctx: &Ctx) -> Result<Loaded> {
        Python::attach(|py| {
            let arguments = (ctx.directory(), ctx.model(), ctx.version());
            let loaded = self.python.bind(py).call_method1("load", arguments);
            let loaded = loaded.map_err(|error| failure(py, &error))?;
            Ok(Loaded {
                step: loaded.getattr("step")?.unbind(),
                python: loaded.unbind(),
                views: Views::default(),
                kept: 0,
            })
        })
    }
}

/// A loaded model: `skysail._glue.Loaded`.
pub(crate) struct Loaded {
    python: Py<PyAny>,
    step: Py<PyAny>,
    views: Views,
    /// Batches that the model kept.
    kept: u32,
}

impl Predictor for Loaded {
    fn warm_up(&mut self, signature: &Signature, ctx: &Ctx) -> Result<()> {
        let is_done: bool = Python::attach(|py| {
            let said = self.python.bind(py).call_method0("warm_up");
            said.and_then(|done| done.extract())
                .map_err(|error| failure(py, &error))
        })?;
        if is_done {
            return Ok(());
        }
        warm_up_with_zeros(self, signature, ctx)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, ctx: &Ctx) -> Result<()> {
        Python::attach(|py| {
            let mut shower = Shower {
                views: &mut self.views,
                copies: self.kept >= KEPT_MAX,
                shown: Vec::new(),
            };
            let inputs = shower.inputs(py, batch)?;
            let shown = shower.shown;
            let remaining = ctx.deadline().map(|_| ctx.remaining().as_secs_f64());
            let arguments = (batch.rows(), inputs, targets(py, out)?, remaining);
            let answer = self.step.bind(py).call1(arguments);
            let taken = match answer {
                Ok(answer) => take(&answer, out),
                Err(error) => Err(failure(py, &error)),
            };
            self.keep(&shown);
            taken
        })
    }
}

impl Loaded {
    /// Lets a model have what it kept of a batch, before the batch is answered.
    fn keep(&mut self, shown: &[Arc<View>]) {
        let kept = shown.iter().filter(|view| Arc::strong_count(view) > 1);
        let mut lent = kept.filter(|view| view.is_lent()).peekable();
        if lent.peek().is_none() {
            return;
        }
        for view in lent {
            if let Err(error) = self.views.keep(view) {
                // The model's arrays would show other queries.
                tracing::error!(%error, "no memory for a batch that the model keeps");
                std::process::abort();
            }
        }
        self.kept += 1;
        if self.kept == KEPT_MAX {
            tracing::warn!("the model keeps its input arrays; it is given copies from now on");
        }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        Python::attach(|py| {
            if let Err(error) = self.python.bind(py).call_method0("unload") {
                let error = failure(py, &error);
                tracing::error!(%error, "the model does not unload");
            }
        });
    }
}

/// An exception as an error, its traceback in the log.
fn failure(py: Python<'_>, error: &PyErr) -> skysail_container::Error {
    match told(error.value(py)) {
        Ok((false, message)) => message.into(),
        Ok((true, message)) => Unfit(message).into(),
        Err(_) => error.to_string().into(),
    }
}

/// Whether not the model is to blame, and the exception in one line.
fn told(error: &Bound<'_, PyBaseException>) -> PyResult<(bool, String)> {
    let py = error.py();
    let glue = py.import(intern!(py, "skysail._glue"))?;
    glue.call_method1(intern!(py, "told"), (error,))?.extract()
}
