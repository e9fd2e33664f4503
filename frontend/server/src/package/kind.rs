//! What a model's folder holds: which file is served, and by which container.
//!
//! Code comes before data: where a folder has a program or a class, its joblib and ONNX files are
//! what that reads. Of several candidates none is guessed, but `model.py`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Result, anyhow};

use super::files::{Files, cannot_read};
use crate::console::usage;

/// Bytes at the start of a file that show what it is.
const HEAD_BYTES: u64 = 4096;
/// The largest Python file or class that is looked into.
const SOURCE_BYTES_MAX: u64 = 4 << 20;

/// A container in some language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A Python file with a model.
    Python,
    /// A file of an estimator.
    Sklearn,
    /// An ONNX file.
    Onnx,
    /// A class of the JVM.
    Java,
    /// An executable.
    Native,
}

/// What is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    /// A path in the folder, for Python with `:NAME` where that was said; a class's name for Java.
    pub(crate) entry: String,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Python => "python",
            Kind::Sklearn => "sklearn",
            Kind::Onnx => "onnx",
            Kind::Java => "java",
            Kind::Native => "native",
        }
    }

    pub(crate) fn is_python(self) -> bool {
        matches!(self, Kind::Python | Kind::Sklearn)
    }

    fn is_code(self) -> bool {
        !matches!(self, Kind::Sklearn | Kind::Onnx)
    }
}

/// Finds what is served, or takes what `entry` says.
pub(crate) fn detect(folder: &Path, files: &Files, entry: Option<&str>) -> Result<Subject> {
    if let Some(entry) = entry {
        return named(folder, files, entry);
    }
    let mut found = Vec::new();
    for file in &files.files {
        found.extend(of_file(folder, &file.path, file.is_executable)?);
    }
    if found.iter().any(|subject| subject.kind.is_code()) {
        found.retain(|subject| subject.kind.is_code());
    }
    if let Some(at) = found.iter().position(|subject| subject.entry == "model.py") {
        return Ok(found.swap_remove(at));
    }
    if found.len() > 1 {
        let entry = |subject: &Subject| format!("--entry {}", subject.entry);
        let entries = found.iter().map(entry).collect::<Vec<_>>().join(", ");
        let (folder, count) = (folder.display(), found.len());
        return Err(usage(anyhow!(
            "{folder} has {count} candidates, say which is served: {entries}"
        )));
    }
    found.pop().ok_or_else(|| nothing(folder, files))
}

fn nothing(folder: &Path, files: &Files) -> anyhow::Error {
    let is_jar = |file: &super::files::File| file.path.extension().is_some_and(|end| end == "jar");
    let folder = folder.display();
    if files.files.iter().any(is_jar) {
        return usage(anyhow!(
            "{folder} has a jar: say which of its classes implements skysail.Model, with --entry CLASS"
        ));
    }
    usage(anyhow!(
        "{folder} has no model that is known: expected a Python file with @skysail.model, a .joblib, \
         .pkl, .skops or .onnx file, a class that implements skysail.Model, a jar, or an executable; \
         --entry FILE names one"
    ))
}

/// The subject that a user names.
fn named(folder: &Path, files: &Files, entry: &str) -> Result<Subject> {
    let path = entry
        .split_once(".py:")
        .map_or(entry, |(stem, _)| &entry[..stem.len() + 3]);
    let subject = |kind, entry: &str| Subject {
        kind,
        entry: entry.to_owned(),
    };
    let Some(file) = files.files.iter().find(|file| file.path == Path::new(path)) else {
        let ends = |end: &str| {
            let mut files = files.files.iter();
            files.any(|file| file.path.extension().is_some_and(|found| found == end))
        };
        // A class's name is no file's.
        return if (ends("jar") || ends("class")) && !entry.contains('/') {
            Ok(subject(Kind::Java, entry))
        } else {
            let folder = folder.display();
            Err(usage(anyhow!(
                "--entry {entry}: {folder} has no file {path}"
            )))
        };
    };
    let ending = file.path.extension().unwrap_or_default().to_string_lossy();
    match &*ending {
        "py" => Ok(subject(Kind::Python, entry)),
        "class" => Ok(subject(Kind::Java, &class_name(&file.path))),
        "jar" => Err(usage(anyhow!(
            "--entry {entry}: say which of its classes implements skysail.Model, with --entry CLASS"
        ))),
        _ => of_file(folder, &file.path, file.is_executable)?.ok_or_else(|| {
            usage(anyhow!(
                "--entry {entry} is no model: expected a .py, .joblib, .pkl, .skops, .onnx or .class \
                 file, or an executable of Linux (chmod +x?)"
            ))
        }),
    }
}

/// What a file is, if it is a candidate.
fn of_file(folder: &Path, path: &Path, is_executable: bool) -> Result<Option<Subject>> {
    let is_at_top = path.components().count() == 1;
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let text = || head(&folder.join(path), SOURCE_BYTES_MAX);
    let kind = match &*ending {
        "py" if is_at_top && is_model(&text()?) => Kind::Python,
        "joblib" | "pkl" | "pickle" | "skops" if is_at_top => Kind::Sklearn,
        "onnx" if is_at_top => Kind::Onnx,
        "class" if has(&text()?, b"skysail/Model") => {
            let entry = class_name(path);
            // A class within another is a part of that.
            let kind = Kind::Java;
            return Ok((!entry.contains('$')).then_some(Subject { kind, entry }));
        }
        _ if is_at_top && is_executable && is_program(&head(&folder.join(path), HEAD_BYTES)?) => {
            Kind::Native
        }
        _ => return Ok(None),
    };
    let entry = path.display().to_string();
    Ok(Some(Subject { kind, entry }))
}

fn class_name(path: &Path) -> String {
    path.with_extension("")
        .display()
        .to_string()
        .replace('/', ".")
}

fn is_model(source: &[u8]) -> bool {
    has(source, b"skysail.model(")
        || (has(source, b"from skysail import") && has(source, b"@model("))
}

/// An executable for Linux: one with an interpreter, or one that stands at a fixed address.
/// A shared library has neither.
fn is_program(head: &[u8]) -> bool {
    let word = |at: usize| {
        head.get(at..at + 2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
    };
    let is_elf64 = head.starts_with(b"\x7fELF\x02\x01");
    let (kind, headers) = (word(16), word(56).unwrap_or_default());
    let (start, size) = (word(32).unwrap_or_default(), word(54).unwrap_or_default());
    let mut kinds =
        (0..headers).map(|at| word(usize::from(start) + usize::from(at) * usize::from(size)));
    // ET_EXEC; ET_DYN with PT_INTERP.
    is_elf64 && (kind == Some(2) || (kind == Some(3) && kinds.any(|kind| kind == Some(3))))
}

/// Whether bytes stand in others.
pub(crate) fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn head(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max).read_to_end(&mut bytes));
    read.map_err(|error| cannot_read(path, &error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::files::gather;

    const MODEL: &str =
        "import skysail\n@skysail.model(x='f32', returns='f32')\ndef f(x): return x\n";

    fn detected(
        files: &[(&str, &str)],
        entry: Option<&str>,
    ) -> Result<(&'static str, String), String> {
        let folder = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let files = gather(folder.path(), &[]).expect("read");
        let place = folder.path().display().to_string();
        detect(folder.path(), &files, entry)
            .map(|subject| (subject.kind.name(), subject.entry))
            .map_err(|error| error.to_string().replace(&place, "DIR"))
    }

    #[test]
    fn a_folder_with_one_model_says_itself_what_it_is() {
        let is = |files: &[(&str, &str)]| detected(files, None).expect("known");
        assert_eq!(
            is(&[("linear.py", MODEL), ("helper.py", "x = 1")]),
            ("python", "linear.py".into())
        );
        assert_eq!(
            is(&[("d.joblib", ""), ("notes.txt", "")]),
            ("sklearn", "d.joblib".into())
        );
        assert_eq!(is(&[("d.onnx", "")]), ("onnx", "d.onnx".into()));
        let class = [
            ("com/a/Linear.class", "..skysail/Model.."),
            ("com/a/Linear$X.class", "skysail/Model"),
        ];
        assert_eq!(is(&class), ("java", "com.a.Linear".into()));
    }

    #[test]
    fn code_comes_before_data_and_model_py_before_other_code() {
        let is = |files: &[(&str, &str)]| detected(files, None).expect("known");
        assert_eq!(
            is(&[("linear.py", MODEL), ("w.joblib", "")]),
            ("python", "linear.py".into())
        );
        assert_eq!(
            is(&[("a.py", MODEL), ("model.py", MODEL)]),
            ("python", "model.py".into())
        );
    }

    #[test]
    fn two_candidates_are_told_and_one_can_be_named() {
        let files = [("a.py", MODEL), ("b.py", MODEL)];
        let told = "DIR has 2 candidates, say which is served: --entry a.py, --entry b.py";
        assert_eq!(detected(&files, None), Err(told.into()));
        let named = detected(&files, Some("b.py:f"));
        assert_eq!(named, Ok(("python", "b.py:f".into())));
        let told = detected(&files, Some("c.py"));
        assert_eq!(told, Err("--entry c.py: DIR has no file c.py".into()));
    }

    #[test]
    fn what_is_no_model_is_told_with_what_would_be_one() {
        let told = detected(&[("README.md", "")], None).expect_err("none");
        assert!(
            told.starts_with("DIR has no model that is known: expected a Python file"),
            "{told}"
        );
        let told = detected(&[("app.jar", "")], None).expect_err("no class");
        assert!(told.contains("--entry CLASS"), "{told}");
        let class = detected(&[("app.jar", "")], Some("com.a.Linear"));
        assert_eq!(class, Ok(("java", "com.a.Linear".into())));
        let told = detected(&[("README.md", "")], Some("README.md")).expect_err("no model");
        assert!(told.starts_with("--entry README.md is no model"), "{told}");
    }

    #[test]
    fn a_program_is_told_from_a_shared_library() {
        let this = std::env::current_exe().expect("a program");
        assert!(is_program(&head(&this, HEAD_BYTES).expect("read")));
        assert!(!is_program(b"#!/bin/sh\n") && !is_program(b"\x7fELF\x02\x01"));
    }
}
