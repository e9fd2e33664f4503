//! The models of the conformance suite: one program serves the one that `--model` names.
//!
//! `container-sdk/conformance/README.md` defines them; each SDK has the same ones.

mod golden;
mod more;

use skysail_container::{Ctx, Model, Options, Predictor, Result, Signature, Source, run_from};

use crate::sum::Sum;

/// A model of the suite that is not loaded yet.
#[derive(Clone, Copy, Debug)]
pub struct SuiteModel {
    name: &'static str,
    signature: fn() -> Signature,
    load: fn(&Ctx) -> Result<Box<dyn Predictor>>,
}

const MODELS: [SuiteModel; 12] = [
    SuiteModel::of::<Sum>("sum"),
    SuiteModel::of::<golden::Fixed>("golden-fixed"),
    SuiteModel::of::<golden::Texts>("golden-texts"),
    SuiteModel::of::<golden::Types>("golden-types"),
    SuiteModel::of::<golden::Shapes>("golden-shapes"),
    SuiteModel::of::<golden::Picky>("golden-picky"),
    SuiteModel::of::<golden::Slow>("golden-slow"),
    SuiteModel::of::<more::Inputs>("suite-inputs"),
    SuiteModel::of::<more::Wrong>("suite-wrong"),
    SuiteModel::of::<more::SlowLoad>("suite-slow-load"),
    SuiteModel::of::<more::CrashLoad>("suite-crash-load"),
    SuiteModel::of::<more::Files>("suite-files"),
];

impl SuiteModel {
    const fn of<M: Model + 'static>(name: &'static str) -> Self {
        SuiteModel {
            name,
            signature: M::signature,
            load: |ctx| Ok(Box::new(M::load(ctx)?)),
        }
    }
}

impl Source for SuiteModel {
    type Loaded = Box<dyn Predictor>;

    fn signature(&self) -> Signature {
        (self.signature)()
    }

    fn load(&self, ctx: &Ctx) -> Result<Self::Loaded> {
        (self.load)(ctx)
    }
}

/// The model of that name.
#[must_use]
pub fn model(name: &str) -> Option<SuiteModel> {
    MODELS.iter().find(|model| model.name == name).copied()
}

/// The names that [`model`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|model| model.name)
}

/// Serves the model that the options name: the exit status.
///
/// # Errors
/// If the suite has none of that name.
pub fn run(options: &Options) -> std::result::Result<u8, String> {
    let name = options.model.as_deref().unwrap_or_default();
    let model = model(name).ok_or_else(|| {
        let known = names().collect::<Vec<_>>().join(", ");
        format!("--model '{name}' is none of the suite's, which are {known}")
    })?;
    Ok(run_from(&model, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_valid_signature() {
        for name in names() {
            let model = model(name).expect("known");
            let (_, rows) = model.signature().build().expect("valid");
            assert_eq!(rows, 64, "{name}");
        }
        let options = Options::named("other", "1");
        let told = run(&options).expect_err("unknown");
        assert!(
            told.contains("'other'") && told.contains("suite-files"),
            "{told}"
        );
    }
}
