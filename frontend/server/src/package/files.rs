//! The files of a model's folder that go into a package, and those that do not.
//!
//! # Invariants
//! - Nothing outside of the folder gets in, and no secret by accident: both are told.
//! - The order is that of the names, so that one folder gives one package.

use std::fs::{DirEntry, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::console::usage;

/// Folders that tools make again, or that are a history.
const MADE: [&str; 10] = [
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    ".venv",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "node_modules",
];
/// Names of files and folders that hold secrets, and endings of such names.
const SECRET: [&str; 8] = [
    ".env",
    ".netrc",
    ".pypirc",
    ".ssh",
    ".aws",
    ".docker",
    "join.token",
    "tokens.toml",
];
const SECRET_ENDINGS: [&str; 6] = [".env", ".pem", ".key", ".p12", ".pfx", "_rsa"];

/// A file or a link, by its path in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) is_executable: bool,
    /// Where a link leads, as it stands there.
    pub(crate) link: Option<PathBuf>,
}

/// What a folder has.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) files: Vec<File>,
    /// Paths that were left out, with the reason.
    pub(crate) left_out: Vec<String>,
}

/// Reads a folder; `include` names what would be left out otherwise.
pub(crate) fn gather(folder: &Path, include: &[PathBuf]) -> Result<Files> {
    let root = folder
        .canonicalize()
        .map_err(|error| cannot_read(folder, &error))?;
    let mut walk = Walk {
        root,
        include,
        found: Files::default(),
    };
    walk.folder(Path::new(""))?;
    for path in include {
        let is_there = |file: &File| file.path.starts_with(path);
        if !walk.found.files.iter().any(is_there) {
            let (path, folder) = (path.display(), folder.display());
            return Err(usage(anyhow!(
                "--include {path}: {folder} has no such file"
            )));
        }
    }
    Ok(walk.found)
}

struct Walk<'a> {
    root: PathBuf,
    include: &'a [PathBuf],
    found: Files,
}

impl Walk<'_> {
    fn folder(&mut self, at: &Path) -> Result<()> {
        let here = self.root.join(at);
        let read = |error| cannot_read(&here, &error);
        let entries = std::fs::read_dir(&here).map_err(read)?;
        let mut entries: Vec<DirEntry> = entries.collect::<Result<_, _>>().map_err(read)?;
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            let path = at.join(entry.file_name());
            let about = entry
                .metadata()
                .map_err(|error| cannot_read(&entry.path(), &error))?;
            self.entry(&path, &about)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, about: &Metadata) -> Result<()> {
        if let Some(reason) = self.unwanted(path, about) {
            // A folder that is left out may hold a file that is wanted.
            if about.is_dir() && self.include.iter().any(|wanted| wanted.starts_with(path)) {
                return self.folder(path);
            }
            self.leave_out(path, reason);
        } else if about.is_dir() {
            self.folder(path)?;
        } else if about.is_symlink() {
            let link = Some(self.link(path)?);
            self.add(path, false, link);
        } else if about.is_file() {
            let full = self.root.join(path);
            std::fs::File::open(&full).map_err(|error| cannot_read(&full, &error))?;
            self.add(path, about.permissions().mode() & 0o111 != 0, None);
        } else {
            self.leave_out(path, "neither a file nor a folder");
        }
        Ok(())
    }

    /// Why it is left out, unless it is named to be kept.
    fn unwanted(&self, path: &Path, about: &Metadata) -> Option<&'static str> {
        if self.include.iter().any(|wanted| path.starts_with(wanted)) {
            return None;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_environment = || about.is_dir() && self.root.join(path).join("pyvenv.cfg").exists();
        if MADE.contains(&&*name) || name.ends_with(".pyc") || is_environment() {
            Some("made by a tool")
        } else if SECRET.contains(&&*name) || SECRET_ENDINGS.iter().any(|end| name.ends_with(end)) {
            Some("it may be secret")
        } else {
            None
        }
    }

    /// A link, if it stays in the folder wherever that is.
    fn link(&self, path: &Path) -> Result<PathBuf> {
        let full = self.root.join(path);
        let target = std::fs::read_link(&full).map_err(|error| cannot_read(&full, &error))?;
        let leads = full
            .canonicalize()
            .map_err(|error| cannot_read(&full, &error))?;
        if target.is_absolute() || !leads.starts_with(&self.root) {
            return Err(usage(anyhow!(
                "{} is a link to {}, which a package would not have: put the file in its place, \
                 or make it a relative link inside the folder",
                full.display(),
                target.display()
            )));
        }
        Ok(target)
    }

    fn add(&mut self, path: &Path, is_executable: bool, link: Option<PathBuf>) {
        let path = path.to_owned();
        self.found.files.push(File {
            path,
            is_executable,
            link,
        });
    }

    fn leave_out(&mut self, path: &Path, reason: &str) {
        let line = format!("{} ({reason})", path.display());
        self.found.left_out.push(line);
    }
}

pub(crate) fn cannot_read(path: &Path, error: &std::io::Error) -> anyhow::Error {
    usage(anyhow!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a directory");
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "x").expect("written");
        }
        folder
    }

    fn paths(files: &Files) -> Vec<String> {
        let path = |file: &File| file.path.display().to_string();
        files.files.iter().map(path).collect()
    }

    #[test]
    fn secrets_and_what_tools_made_are_left_out_and_told() {
        let names = [
            "model.py",
            ".env",
            "prod.env",
            "a/tls.key",
            "a/w.npy",
            ".git/HEAD",
            "my/pyvenv.cfg",
            "__pycache__/m.pyc",
        ];
        let folder = folder(&names);
        let found = gather(folder.path(), &[]).expect("read");
        assert_eq!(paths(&found), ["a/w.npy", "model.py"]);
        let told = [
            ".env (it may be secret)",
            ".git (made by a tool)",
            "__pycache__ (made by a tool)",
            "a/tls.key (it may be secret)",
            "my (made by a tool)",
            "prod.env (it may be secret)",
        ];
        assert_eq!(found.left_out, told);
        let kept = gather(folder.path(), &["a/tls.key".into()]).expect("read");
        assert_eq!(paths(&kept), ["a/tls.key", "a/w.npy", "model.py"]);
        let error = gather(folder.path(), &["b".into()]).expect_err("none");
        assert!(error.to_string().starts_with("--include b: "), "{error}");
    }

    #[test]
    fn links_stay_links_inside_and_are_refused_to_the_outside() {
        let folder = folder(&["v1/w.npy"]);
        symlink("v1/w.npy", folder.path().join("w.npy")).expect("made");
        let found = gather(folder.path(), &[]).expect("read");
        assert_eq!(found.files[1].link, Some("v1/w.npy".into()));
        symlink("/etc/passwd", folder.path().join("x")).expect("made");
        let error = gather(folder.path(), &[]).expect_err("outside").to_string();
        assert!(error.contains("x is a link to /etc/passwd"), "{error}");
        std::fs::remove_file(folder.path().join("x")).expect("gone");
        symlink("nowhere", folder.path().join("x")).expect("made");
        let error = gather(folder.path(), &[])
            .expect_err("dangling")
            .to_string();
        assert!(error.starts_with("cannot read "), "{error}");
    }
}
