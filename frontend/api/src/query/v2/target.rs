//! Names of the protocol to applications and models.

use std::sync::Arc;

use skysail_engine::{Resolved, Route};

use super::error::{Kind, V2Error};
use super::path::Named;
use crate::frontend::Frontend;

/// Whom a request names.
#[derive(Debug)]
pub(in crate::query) struct Target {
    pub(in crate::query) route: Arc<Route>,
    /// The version that it goes to.
    pub(in crate::query) resolved: Resolved,
}

/// The application, or else the model, of a name.
pub(in crate::query) fn route(frontend: &Frontend, name: &str) -> Result<Arc<Route>, V2Error> {
    let engine = &frontend.engine;
    let found = engine.route(name).or_else(|| engine.model_route(name));
    found.ok_or_else(|| {
        let name = name.escape_default();
        V2Error::not_found(format!("no application and no model is named '{name}'"))
    })
}

impl Target {
    /// Looks a name up.
    ///
    /// # Errors
    /// If nothing has it, or there is no such version.
    pub(in crate::query) fn find(
        frontend: &Frontend,
        named: &Named<'_>,
    ) -> Result<Target, V2Error> {
        let route = route(frontend, &named.model)?;
        let version = named
            .version
            .as_deref()
            .filter(|version| !version.is_empty());
        let resolved = route.resolve(version)?;
        Ok(Target { route, resolved })
    }

    /// Its name.
    pub(in crate::query) fn name(&self) -> &str {
        self.route.app.name.as_str()
    }

    /// The version that it goes to; empty if there is none.
    pub(in crate::query) fn version(&self) -> &str {
        let version = self.resolved.version();
        version.map_or("", |version| version.version.as_str())
    }

    /// The error where its tensors are asked for, and no container has told them.
    pub(in crate::query) fn unknown_tensors(&self) -> V2Error {
        let message = format!(
            "no container of '{}' has connected yet, so that its tensors are not known",
            self.name()
        );
        V2Error::new(Kind::Unavailable, message)
    }
}
