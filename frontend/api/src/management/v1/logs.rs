//! The ends of replicas' log files.
//!
//! Files lie at `LOG_DIR/MODEL/VERSION/replica-N.log`. Model and version are checked [`Name`]s
//! and N is a number, so that no path is made of what a client sends. Logs of a version that was
//! removed can still be read, by naming the version.
//!
//! # Invariants
//! - At most [`TAIL_BYTES_MAX`] of log text are read for one answer, whatever the files hold.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path as FilePath, PathBuf};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use skysail_control::ControlError;
use skysail_core::Name;

use super::{Answer, Refusal, Shared, blocking, query_refusal, shown};
use crate::frontend::Frontend;

/// Bytes of all files that are read for one answer.
const TAIL_BYTES_MAX: u64 = 2 << 20;
/// Lines of one file.
const LINES_MAX: usize = 10_000;
/// Lines of one file unless the request says otherwise.
const LINES_DEFAULT: usize = 100;
/// Parameters of the query.
const PARAMETERS: [&str; 3] = ["version", "replica", "lines"];
/// Files of one version.
const FILES_MAX: usize = 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The current one where there is none.
    #[serde(default)]
    version: Option<String>,
    /// All where there is none.
    #[serde(default)]
    replica: Option<u32>,
    #[serde(default = "lines_default")]
    lines: usize,
}

fn lines_default() -> usize {
    LINES_DEFAULT
}

#[derive(Serialize)]
struct Tails {
    model: Name,
    version: Name,
    replicas: Vec<Tail>,
}

#[derive(Serialize)]
struct Tail {
    replica: u32,
    /// The oldest first.
    lines: Vec<String>,
}

pub(super) async fn tails(
    State(frontend): State<Shared>,
    Path(model): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer {
    let Query(asked) = asked.map_err(|fault| query_refusal(&fault, &PARAMETERS))?;
    if asked.lines > LINES_MAX {
        let message = format!("lines is {}, at most {LINES_MAX} allowed", asked.lines);
        return Err(Refusal::invalid(Some("lines".to_owned()), message));
    }
    shown(&blocking(&frontend, move |frontend| read(frontend, &model, &asked)).await??)
}

fn read(frontend: &Frontend, model: &str, asked: &Asked) -> Result<Tails, Refusal> {
    let (model, version) = names(frontend, model, asked.version.as_deref())?;
    let directory = frontend.log_dir.join(model.as_str()).join(version.as_str());
    let found = match asked.replica {
        Some(replica) => vec![replica],
        None => indexes(&directory).map_err(|error| unreadable(&directory, &error))?,
    };
    let bytes_max = TAIL_BYTES_MAX / found.len().max(1) as u64;
    let mut replicas = Vec::new();
    for replica in found {
        let path = directory.join(format!("replica-{replica}.log"));
        match tail(&path, bytes_max, asked.lines) {
            Ok(lines) => replicas.push(Tail { replica, lines }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    if replicas.is_empty() {
        return Err(nothing(&model, &version, asked.replica));
    }
    Ok(Tails {
        model,
        version,
        replicas,
    })
}

fn names(
    frontend: &Frontend,
    model: &str,
    version: Option<&str>,
) -> Result<(Name, Name), ControlError> {
    let name = |field, text| Name::new(text).map_err(|error| ControlError::Name { field, error });
    let checked = name("model", model)?;
    if let Some(version) = version {
        return Ok((checked, name("version", version)?));
    }
    let registry = frontend.control.registry();
    let model = || model.to_owned();
    let found = registry.models.get(&checked);
    let found = found.ok_or_else(|| ControlError::ModelMissing { model: model() })?;
    let current = found.current.clone();
    let current = current.ok_or_else(|| ControlError::CurrentMissing { model: model() })?;
    Ok((checked, current))
}

/// Replicas that have a log, in order.
fn indexes(directory: &FilePath) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries.take(FILES_MAX) {
        let name = entry?.file_name();
        let index = name.to_str().and_then(|name| name.strip_prefix("replica-"));
        let index = index.and_then(|name| name.strip_suffix(".log"));
        found.extend(index.and_then(|index| index.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// The last `lines_max` lines within the last `bytes_max` bytes.
fn tail(path: &FilePath, bytes_max: u64, lines_max: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<_> = text.lines().collect();
    if start > 0 && lines.len() > 1 {
        // Its beginning was cut off.
        lines.remove(0);
    }
    let first = lines.len().saturating_sub(lines_max);
    Ok(lines[first..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect())
}

fn nothing(model: &Name, version: &Name, replica: Option<u32>) -> Refusal {
    let (field, which) = match replica {
        Some(replica) => ("replica", format!("replica {replica} of ")),
        None => ("version", String::new()),
    };
    let message = format!(
        "there is no log of {which}model '{model}' version '{version}'; only deployed replicas \
         have logs"
    );
    Refusal::not_found(field, message)
}

fn unreadable(path: &FilePath, error: &io::Error) -> Refusal {
    let path = PathBuf::from(path);
    tracing::warn!(path = %path.display(), %error, "a log cannot be read");
    Refusal::unavailable(format!("log {} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_last_whole_lines() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("replica-0.log");
        fs::write(&path, b"one\ntwo\nth\xffee\n").expect("written");
        assert_eq!(
            tail(&path, 1 << 10, 2).expect("read"),
            ["two", "th\u{fffd}ee"]
        );
        assert_eq!(tail(&path, 11, 9).expect("read"), ["two", "th\u{fffd}ee"]);
        assert_eq!(tail(&path, 1 << 10, 0).expect("read"), Vec::<String>::new());
    }

    #[test]
    fn lists_logs_in_the_order_of_their_numbers() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for file in [
            "replica-10.log",
            "replica-2.log",
            "replica-2.log.1",
            "other",
            "replica-x.log",
        ] {
            fs::write(directory.path().join(file), "").expect("written");
        }
        assert_eq!(indexes(directory.path()).expect("read"), [2, 10]);
        let absent = directory.path().join("absent");
        assert_eq!(indexes(&absent).expect("nothing"), Vec::<u32>::new());
    }
}
