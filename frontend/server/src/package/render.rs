//! The texts of a package: what runs it, what checks it, and what makes an image of it.

use std::fmt::Write as _;

use super::kind::{Kind, Subject};

/// The user of an image: a number, so that an orchestrator can check that it is not root.
const USER: u32 = 65532;
/// Where a package lies in an image.
const HOME: &str = "/app";

/// The health check, the same for every package.
pub(crate) const HEALTH: &str = include_str!("health.sh");

/// What the texts say.
pub(crate) struct Facts<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) model: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
    /// Arguments of the container that always come first.
    pub(crate) arguments: &'a [String],
    /// Whether there are modules that an estimator's file may name.
    pub(crate) has_python_files: bool,
}

/// The program `run`: what a front end starts, and an image.
pub(crate) fn run(facts: &Facts) -> String {
    let Facts { subject, .. } = facts;
    let mut text = format!(
        "#!/bin/sh\n# Serves {} ({}); every option of a container may follow: --help tells them.\n\
         set -eu\nhere=$(CDPATH='' cd -- \"$(dirname -- \"$0\")\" && pwd)\n\
         export SKYSAIL_MODEL_PATH=\"${{SKYSAIL_MODEL_PATH:-$here/model}}\"\n",
        comment(&subject.entry),
        subject.kind.name()
    );
    for (name, value) in [("MODEL", facts.model), ("VERSION", facts.version)] {
        if let Some(value) = value {
            // A string takes everything; so below.
            let _ = writeln!(
                text,
                "export SKYSAIL_{name}=\"${{SKYSAIL_{name}:-{value}}}\""
            );
        }
    }
    text.push_str(&program(facts));
    for argument in facts.arguments {
        let _ = write!(text, " {}", quoted(argument));
    }
    text.push_str(" \"$@\"\n");
    text
}

/// The line that becomes the container, without its arguments.
fn program(facts: &Facts) -> String {
    let entry = quoted(&facts.subject.entry);
    let libraries = "export LD_LIBRARY_PATH=\"$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\"\n";
    match facts.subject.kind {
        Kind::Python => {
            format!("{PYTHON}exec \"$python\" -m skysail serve \"$here/model/\"{entry}")
        }
        Kind::Sklearn => {
            let modules = if facts.has_python_files {
                "export PYTHONPATH=\"$here/model${PYTHONPATH:+:$PYTHONPATH}\"\n"
            } else {
                ""
            };
            format!("{PYTHON}{modules}exec \"$python\" -m skysail sklearn \"$here/model/\"{entry}")
        }
        Kind::Onnx => {
            format!("{libraries}exec \"$here/bin/skysail-onnx\" \"$here/model/\"{entry}")
        }
        Kind::Java => format!(
            "exec \"${{SKYSAIL_JAVA:-java}}\" -cp \"$here/lib/*:$here/model:$here/model/*\" \
             skysail.Skysail {entry}"
        ),
        Kind::Native => format!("{libraries}exec \"$here/model/\"{entry}"),
    }
}

const PYTHON: &str = "\
python=${SKYSAIL_PYTHON:-}
if [ -z \"$python\" ]; then
    # By `python3 -m venv venv && venv/bin/pip install -r requirements.txt` beside this file.
    if [ -x \"$here/venv/bin/python\" ]; then python=$here/venv/bin/python; else python=python3; fi
fi
";

/// The base image of a kind where the user names none. `python` is such as `3.11`; `system` is the
/// system on which programs were built.
pub(crate) fn base(kind: Kind, python: &str, system: &str) -> String {
    match kind {
        Kind::Python | Kind::Sklearn => format!("python:{python}-slim-bookworm"),
        Kind::Java => "eclipse-temurin:17-jre-noble".to_owned(),
        Kind::Onnx | Kind::Native => system.to_owned(),
    }
}

/// The image of the system that `/etc/os-release` tells: programs need its glibc or a newer one.
pub(crate) fn system_image(os_release: &str) -> Option<String> {
    let value = |name: &str| {
        let mut lines = os_release.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"'))
    };
    match value("ID")? {
        "debian" => Some(format!("debian:{}-slim", value("VERSION_CODENAME")?)),
        "ubuntu" => Some(format!("ubuntu:{}", value("VERSION_ID")?)),
        _ => None,
    }
}

/// The Dockerfile.
pub(crate) fn dockerfile(facts: &Facts, base: &str, has_wheels: bool) -> String {
    let kind = facts.subject.kind;
    let mut text = format!(
        "# A container of a model for Skysail; `skysail package` made it.\n\
         ARG BASE={base}\nFROM ${{BASE}}\n\n\
         WORKDIR {HOME}\n\
         # The front end's socket: a volume is mounted here, and takes owner and mode from it.\n\
         RUN install -d -m 0700 -o {USER} -g {USER} /run/skysail\n"
    );
    if kind.is_python() {
        text.push_str("COPY requirements.txt ./\n");
        if has_wheels {
            text.push_str("COPY wheels wheels\n");
        }
        text.push_str(
            "RUN python3 -m venv venv && \
             venv/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.txt\n\
             ENV PYTHONDONTWRITEBYTECODE=1\n",
        );
    }
    let _ = write!(
        text,
        "COPY . .\n\n\
         # Which model it is comes from these variables and the SDK's others, or behind the image's name.\n\
         ENV SKYSAIL_RPC=ipc:///run/skysail/rpc.sock \\\n    \
         SKYSAIL_HEALTH_FILE=/dev/shm/skysail-health\n\
         USER {USER}:{USER}\n\n\
         # Whether its serving loop goes round, with a front end or without.\n\
         HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD [\"{HOME}/health\"]\n\
         ENTRYPOINT [\"{HOME}/run\"]\n"
    );
    if let Some(model) = facts.model {
        let version = facts.version.unwrap_or("unknown");
        let _ = write!(
            text,
            "LABEL org.opencontainers.image.title=\"{model}\" \\\n      \
             org.opencontainers.image.version=\"{version}\"\n"
        );
    }
    text
}

/// What an image does not take from the folder.
pub(crate) const DOCKERIGNORE: &str = "Dockerfile\n.dockerignore\nvenv\n";

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:=,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A text in a comment, which a line's end would end.
fn comment(text: &str) -> String {
    text.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(kind: Kind, entry: &str) -> Subject {
        Subject {
            kind,
            entry: entry.into(),
        }
    }

    fn facts<'a>(subject: &'a Subject, arguments: &'a [String]) -> Facts<'a> {
        Facts {
            subject,
            model: Some("digits"),
            version: None,
            arguments,
            has_python_files: false,
        }
    }

    #[test]
    fn each_kind_becomes_its_container_with_the_arguments_behind() {
        let last = |kind, entry: &str, arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
            let text = run(&facts(&subject(kind, entry), &arguments));
            assert!(
                text.contains("export SKYSAIL_MODEL=\"${SKYSAIL_MODEL:-digits}\"\n"),
                "{text}"
            );
            assert!(!text.contains("SKYSAIL_VERSION"), "{text}");
            text.lines().last().expect("a line").to_owned()
        };
        assert_eq!(
            last(Kind::Python, "model.py:A", &["--workers", "2"]),
            "exec \"$python\" -m skysail serve \"$here/model/\"model.py:A --workers 2 \"$@\""
        );
        assert_eq!(
            last(Kind::Sklearn, "it's.joblib", &[]),
            "exec \"$python\" -m skysail sklearn \"$here/model/\"'it'\\''s.joblib' \"$@\""
        );
        assert_eq!(
            last(Kind::Onnx, "d.onnx", &[]),
            "exec \"$here/bin/skysail-onnx\" \"$here/model/\"d.onnx \"$@\""
        );
        assert_eq!(
            last(Kind::Native, "linear", &[]),
            "exec \"$here/model/\"linear \"$@\""
        );
        assert!(last(Kind::Java, "a.B", &[]).ends_with(" skysail.Skysail a.B \"$@\""));
    }

    #[test]
    fn an_image_is_checked_runs_as_nobody_and_gets_its_signals_itself() {
        let python = subject(Kind::Sklearn, "d.joblib");
        let text = dockerfile(&facts(&python, &[]), "python:3.11-slim-bookworm", true);
        for line in [
            "ARG BASE=python:3.11-slim-bookworm\nFROM ${BASE}\n",
            "COPY requirements.txt ./\nCOPY wheels wheels\nRUN python3 -m venv venv && ",
            "\nUSER 65532:65532\n",
            " CMD [\"/app/health\"]\nENTRYPOINT [\"/app/run\"]\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        let native = subject(Kind::Native, "linear");
        let text = dockerfile(&facts(&native, &[]), "debian:bookworm-slim", false);
        assert!(!text.contains("pip"), "{text}");
    }

    #[test]
    fn programs_go_onto_the_system_that_they_were_built_on() {
        let debian = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(
            system_image(debian).as_deref(),
            Some("debian:bookworm-slim")
        );
        let ubuntu = "ID=ubuntu\nVERSION_ID=\"24.04\"\n";
        assert_eq!(system_image(ubuntu).as_deref(), Some("ubuntu:24.04"));
        assert_eq!(system_image("ID=arch\n"), None);
    }
}
