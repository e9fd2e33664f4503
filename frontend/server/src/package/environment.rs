//! The packages that a Python model needs, asked of the Python in whose environment they are.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde_json::json;

use super::kind::{Kind, Subject};
use crate::console::usage;
use crate::python::Interpreter;

/// Runs in that Python; its module doc says what it does.
const SCRIPT: &str = include_str!("environment.py");

/// What is asked for, besides the model's folder.
pub(crate) struct Wanted<'a> {
    pub(crate) subject: &'a Subject,
    /// The model's Python files, by their paths in the folder.
    pub(crate) files: Vec<String>,
    /// Packages that the user names.
    pub(crate) requirements: &'a [String],
    /// Whether every package is packed, not only what no index has.
    pub(crate) all: bool,
}

/// A Python and packages.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Environment {
    /// Such as `3.11`.
    pub(crate) python: String,
    pub(crate) packages: Vec<Package>,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
}

/// A package at its version.
#[derive(Debug, Deserialize, serde::Serialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Its file among the package's wheels, if it is there.
    pub(crate) wheel: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Unfit { error: String },
    Fit(Environment),
}

impl Environment {
    /// Asks a Python; what is packed is written into `wheels`.
    pub(crate) fn ask(
        python: &Interpreter,
        folder: &Path,
        wanted: &Wanted,
        wheels: &Path,
    ) -> Result<Self> {
        let subject = wanted.subject;
        let request = json!({
            "folder": folder,
            "kind": subject.kind.name(),
            "entry": if subject.kind == Kind::Sklearn { &subject.entry } else { "" },
            "files": wanted.files,
            "requirements": wanted.requirements,
            "all": wanted.all,
            "wheels": wheels,
        });
        let mut child = Command::new(&python.python)
            .args(["-B", "-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| crate::python::not_started(&python.python, &error))?;
        let mut input = child.stdin.take().expect("it is piped");
        // One that has ended tells why by its answer, or by none.
        drop(input.write_all(request.to_string().as_bytes()));
        drop(input);
        let output = child.wait_with_output().context("the Python was lost")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let said = text.trim().lines().last().unwrap_or_default();
        let name = python.python.display();
        match serde_json::from_str(said) {
            Ok(Answer::Fit(environment)) => Ok(environment),
            Ok(Answer::Unfit { error }) => Err(usage(anyhow!("{name}: {error}"))),
            Err(_) => Err(usage(anyhow!(
                "{name} cannot say what is installed there (see above); name a Python from 3.9 on \
                 with --python"
            ))),
        }
    }

    /// The text of `requirements.txt`.
    pub(crate) fn requirements(&self) -> String {
        let mut text = String::new();
        if self.packages.iter().any(|package| package.wheel.is_some()) {
            text.push_str("--find-links wheels\n");
        }
        if self.packages.iter().all(|package| package.wheel.is_some()) {
            text.push_str("--no-index\n");
        }
        for Package { name, version, .. } in &self.packages {
            text.push_str(&format!("{name}=={version}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_pinned_and_need_no_index_where_all_is_packed() {
        let package = |name: &str, wheel: Option<&str>| Package {
            name: name.into(),
            version: "1.2".into(),
            wheel: wheel.map(Into::into),
        };
        let of = |packages| {
            let environment = Environment {
                packages,
                ..Environment::default()
            };
            environment.requirements()
        };
        let packed = || package("skysail", Some("skysail-1.2-cp39-abi3-linux_x86_64.whl"));
        assert_eq!(
            of(vec![package("numpy", None), packed()]),
            "--find-links wheels\nnumpy==1.2\nskysail==1.2\n"
        );
        assert_eq!(
            of(vec![packed()]),
            "--find-links wheels\n--no-index\nskysail==1.2\n"
        );
        assert_eq!(of(vec![package("numpy", None)]), "numpy==1.2\n");
    }
}
