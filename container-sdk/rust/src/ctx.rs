//! What surrounds a call of the model.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Result;

/// The model's names and files, and the time that the batch at hand has left.
///
/// To log, use the `tracing` macros; the container writes them to standard error.
#[derive(Clone, Debug)]
pub struct Ctx {
    model: String,
    version: String,
    directory: PathBuf,
    deadline: Option<Instant>,
}

impl Ctx {
    /// A context outside any container, for an author's tests.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let (model, version) = ("local".to_owned(), "0".to_owned());
        Ctx {
            model,
            version,
            directory: directory.into(),
            deadline: None,
        }
    }

    pub(crate) fn named(mut self, model: &str, version: &str) -> Self {
        model.clone_into(&mut self.model);
        version.clone_into(&mut self.version);
        self
    }

    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// The name under which the model is served; `local` where it is not served.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The version under which the model is served; `0` where it is not served.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The file `name` in the model's directory (`--path`, by default the current one).
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }

    /// The model's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The text of a file in the model's directory.
    ///
    /// # Errors
    /// If it cannot be read or is not UTF-8; the message names the file.
    pub fn read_to_string(&self, name: impl AsRef<Path>) -> Result<String> {
        let path = self.path(name);
        let told = |error| format!("cannot read {}: {error}", path.display());
        Ok(std::fs::read_to_string(&path).map_err(told)?)
    }

    /// The bytes of a file in the model's directory.
    ///
    /// # Errors
    /// If it cannot be read; the message names the file.
    pub fn read(&self, name: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = self.path(name);
        let told = |error| format!("cannot read {}: {error}", path.display());
        Ok(std::fs::read(&path).map_err(told)?)
    }

    /// The last deadline in the batch, where there is one.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Until the last deadline in the batch; zero when it has passed. Outside of a batch
    /// with a deadline, [`Duration::MAX`].
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let now = Instant::now();
        self.deadline.map_or(Duration::MAX, |deadline| {
            deadline.saturating_duration_since(now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_files_in_the_models_directory_and_names_missing_ones() {
        let ctx = Ctx::new("/no/such/place");
        assert_eq!(ctx.path("w.json"), Path::new("/no/such/place/w.json"));
        let error = ctx
            .read_to_string("w.json")
            .expect_err("missing")
            .to_string();
        assert!(
            error.starts_with("cannot read /no/such/place/w.json: "),
            "{error}"
        );
        assert_eq!(ctx.read("w.json").expect_err("missing").to_string(), error);
    }

    #[test]
    fn a_deadline_that_has_passed_leaves_nothing() {
        let mut ctx = Ctx::new(".");
        assert_eq!(ctx.remaining(), Duration::MAX);
        ctx.set_deadline(Some(Instant::now()));
        assert_eq!(ctx.remaining(), Duration::ZERO);
    }
}
