//! `skysail package`: a model's folder as one that runs elsewhere, or as the context of an image.
//!
//! [`kind`] finds what is served, [`files`] what goes in; [`environment`] and [`libraries`] say what
//! that needs of this machine; [`render`] writes the programs and the Dockerfile; [`output`] puts the
//! whole in its place at once.
//!
//! # Invariants
//! - The same folder, environment and options give the same bytes.
//! - Packages have versions pinned; what no index has is taken along.

mod environment;
mod files;
mod kind;
mod libraries;
mod output;
mod render;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use self::environment::{Environment, Wanted};
use self::files::{Files, cannot_read, gather};
use self::kind::{Kind, Subject, detect};
use self::output::{MANIFEST, Output};
use self::render::Facts;
use crate::console::{note, print, usage};
use crate::container::onnx_program;
use crate::python::Interpreter;

/// What programs are based on where this machine's system is not known.
const SYSTEM: &str = "debian:bookworm-slim";

/// `skysail package`.
#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:
  skysail package digits                                 what is served is found; see digits-package
  skysail package digits --python .venv/bin/python --wheels --model digits --version 3
  skysail package digits --image && docker build -t digits digits-package
  skysail package scorers --entry linear.py:Linear --output linear -- --workers 2
  skysail package java --entry com.example.Linear --sdk-jar skysail.jar

Then, where it is to run (Python: after venv/bin/pip install -r requirements.txt, see docs/guides/package.md):
  digits-package/run --selftest
  skysail deploy --model digits --version 3 --input doubles -- $PWD/digits-package/run"
)]
pub(crate) struct Args {
    /// The model's files: a Python file with @skysail.model, an estimator (.joblib, .pkl, .skops), an
    /// .onnx file, classes or a jar, or an executable
    model_dir: PathBuf,
    /// Where the package goes [default: MODEL_DIR-package, here]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Add what makes an image of it: a Dockerfile, with a health check and a user
    #[arg(long)]
    image: bool,
    /// The image that this one is based on
    #[arg(long, value_name = "IMAGE", requires = "image")]
    base: Option<String>,
    /// What is served: FILE or FILE.py:CLASS in MODEL_DIR, or a Java class
    #[arg(long)]
    entry: Option<String>,
    /// Name of the model, unless SKYSAIL_MODEL or --model says otherwise when it runs
    #[arg(long, value_name = "NAME", value_parser = name)]
    model: Option<String>,
    /// Version of the model, likewise
    #[arg(long, value_name = "NAME", value_parser = name)]
    version: Option<String>,
    #[command(flatten)]
    interpreter: Interpreter,
    /// Take all Python packages along, so that no index is needed, and not only those of no index
    #[arg(long)]
    wheels: bool,
    /// A Python package that the model needs and no import shows; may be repeated
    #[arg(long, value_name = "PACKAGE")]
    requirement: Vec<String>,
    /// The SDK's jar, where it is not in MODEL_DIR
    #[arg(long, value_name = "FILE")]
    sdk_jar: Option<PathBuf>,
    /// A file of MODEL_DIR that would be left out as secret or made by a tool; may be repeated
    #[arg(long, value_name = "PATH")]
    include: Vec<PathBuf>,
    /// Replace a package that is there
    #[arg(long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Arguments that the container is always started with
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// A name of a model or a version.
fn name(text: &str) -> Result<String, String> {
    let is_named = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if begins && text.len() <= 63 && text.bytes().all(is_named) {
        return Ok(text.to_owned());
    }
    Err("expected 1 to 63 letters, digits, '.', '_' or '-', the first a letter or digit".to_owned())
}

/// What a package has besides the model's files.
#[derive(Default)]
struct Needs {
    environment: Option<Environment>,
    notes: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let folder = &self.model_dir;
        if !folder.is_dir() {
            let shown = folder.display();
            return Err(usage(anyhow!(
                "no folder {shown}: name the one with the model's files"
            )));
        }
        let found = gather(folder, &self.include)?;
        let subject = detect(folder, &found, self.entry.as_deref())?;
        self.check_options(subject.kind)?;
        let output = Output::new(folder, &self.target()?, self.force)?;
        output.copy_model(folder, &found.files)?;
        let needs = self.take_along(&output, &found, &subject)?;
        let manifest = self.write_texts(&output, &found, &subject, &needs)?;
        let target = output.finish()?;
        self.tell(&target, &found, &needs, manifest);
        Ok(ExitCode::SUCCESS)
    }

    /// Options of one kind have no effect on others.
    fn check_options(&self, kind: Kind) -> Result<()> {
        let has_python_options = self.wheels || !self.requirement.is_empty();
        let wrong = if has_python_options && !kind.is_python() {
            "--wheels and --requirement are for Python"
        } else if self.sdk_jar.is_some() && kind != Kind::Java {
            "--sdk-jar is for Java"
        } else {
            return Ok(());
        };
        Err(usage(anyhow!(
            "{wrong}, and the model is of kind {}",
            kind.name()
        )))
    }

    fn target(&self) -> Result<PathBuf> {
        if let Some(output) = &self.output {
            return Ok(output.clone());
        }
        let folder = &self.model_dir;
        let full = folder
            .canonicalize()
            .map_err(|error| cannot_read(folder, &error))?;
        let name = full.file_name().unwrap_or_default().to_string_lossy();
        Ok(PathBuf::from(format!("{name}-package")))
    }

    /// Copies what the model needs of this machine.
    fn take_along(&self, output: &Output, found: &Files, subject: &Subject) -> Result<Needs> {
        let mut needs = Needs::default();
        match subject.kind {
            Kind::Python | Kind::Sklearn => {
                let mut environment = self.ask_python(output, found, subject)?;
                output.write("requirements.txt", &environment.requirements(), false)?;
                needs.notes = std::mem::take(&mut environment.notes);
                needs.environment = Some(environment);
            }
            Kind::Onnx => {
                let program = onnx_program()?;
                output.copy(&program, "bin/skysail-onnx", true)?;
                take_libraries(output, &program)?;
            }
            Kind::Java => self.take_sdk_jar(output, found)?,
            Kind::Native => take_libraries(output, &self.model_dir.join(&subject.entry))?,
        }
        Ok(needs)
    }

    fn ask_python(&self, output: &Output, found: &Files, subject: &Subject) -> Result<Environment> {
        let is_python = |path: &Path| path.extension().is_some_and(|ending| ending == "py");
        let files = found.files.iter().filter(|file| is_python(&file.path));
        let wanted = Wanted {
            subject,
            files: files.map(|file| file.path.display().to_string()).collect(),
            requirements: &self.requirement,
            all: self.wheels,
        };
        let folder = std::path::absolute(&self.model_dir)?;
        Environment::ask(&self.interpreter, &folder, &wanted, &output.path("wheels"))
    }

    fn take_sdk_jar(&self, output: &Output, found: &Files) -> Result<()> {
        let is_there = |file: &files::File| file.path.file_name() == Some("skysail.jar".as_ref());
        let inside = found.files.iter().find(|file| is_there(file));
        let inside = inside.map(|file| self.model_dir.join(&file.path));
        let jar = self.sdk_jar.clone().or(inside).ok_or_else(|| {
            usage(anyhow!(
                "{} has no skysail.jar: name it with --sdk-jar (docs/guides/jvm.md)",
                self.model_dir.display()
            ))
        })?;
        libraries::check_sdk_jar(&jar)?;
        output.copy(&jar, "lib/skysail.jar", false)
    }

    /// The programs, the image's files and the manifest, which it gives.
    fn write_texts(
        &self,
        output: &Output,
        found: &Files,
        subject: &Subject,
        needs: &Needs,
    ) -> Result<Value> {
        let mut files = found.files.iter();
        let facts = Facts {
            subject,
            model: self.model.as_deref(),
            version: self.version.as_deref(),
            arguments: &self.arguments,
            has_python_files: files
                .any(|file| file.path.extension().is_some_and(|end| end == "py")),
        };
        output.write("run", &render::run(&facts), true)?;
        output.write("health", render::HEALTH, true)?;
        let python = needs
            .environment
            .as_ref()
            .map(|found| found.python.as_str());
        if self.image {
            let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
            let system = render::system_image(&system).unwrap_or_else(|| SYSTEM.to_owned());
            let default = || render::base(subject.kind, python.unwrap_or_default(), &system);
            let base = self.base.clone().unwrap_or_else(default);
            let has_wheels = output.path("wheels").exists();
            output.write(
                "Dockerfile",
                &render::dockerfile(&facts, &base, has_wheels),
                false,
            )?;
            output.write(".dockerignore", render::DOCKERIGNORE, false)?;
        }
        let manifest = json!({
            "format": "skysail-package/1",
            "skysail": env!("CARGO_PKG_VERSION"),
            "kind": subject.kind.name(),
            "entry": subject.entry,
            "model": self.model,
            "version": self.version,
            "python": python,
            "packages": needs.environment.as_ref().map(|found| &found.packages),
        });
        output.write(MANIFEST, &format!("{manifest:#}\n"), false)?;
        Ok(manifest)
    }

    fn tell(&self, target: &Path, found: &Files, needs: &Needs, mut manifest: Value) {
        if self.json {
            manifest["output"] = json!(target);
            manifest["left_out"] = json!(found.left_out);
            manifest["notes"] = json!(needs.notes);
            return print(&manifest.to_string());
        }
        for line in &found.left_out {
            note(&format!("left out: {line}"));
        }
        for line in &needs.notes {
            note(&format!("note: {line}"));
        }
        let text = |key: &str| manifest[key].as_str().unwrap_or_default().to_owned();
        let place = target.display();
        print(&format!(
            "packed {} ({}) into {place}",
            text("entry"),
            text("kind")
        ));
        if self.image {
            print(&format!("  docker build -t NAME {place}"));
        }
        if needs.environment.is_some() {
            print(&format!(
                "  python3 -m venv {place}/venv && {place}/venv/bin/pip install -r {place}/requirements.txt"
            ));
        }
        print(&format!("  {place}/run --selftest"));
        let model = self.model.as_deref().unwrap_or("NAME");
        let version = self.version.as_deref().unwrap_or("VERSION");
        print(&format!(
            "  skysail deploy --model {model} --version {version} --input TYPE -- {place}/run"
        ));
    }
}

fn take_libraries(output: &Output, program: &Path) -> Result<()> {
    for library in libraries::of_program(program)? {
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        output.copy(&library, &format!("lib/{name}"), false)?;
    }
    Ok(())
}
