//! The folder that a package is written into: made beside its place and moved there when it is whole.
//!
//! # Invariants
//! - What is replaced was a package: nothing else is ever removed.
//! - A package that cannot be finished leaves nothing behind.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use super::files::{File, cannot_read};
use crate::console::usage;

/// The file that a package is known by.
pub(crate) const MANIFEST: &str = "skysail-package.json";

/// A package in the making.
pub(crate) struct Output {
    folder: TempDir,
    target: PathBuf,
}

impl Output {
    /// Begins a package of `model` that will be `target`.
    pub(crate) fn new(model: &Path, target: &Path, force: bool) -> Result<Self> {
        let target = std::path::absolute(target)?;
        let parent = target.parent().unwrap_or(Path::new("/"));
        let place = parent
            .canonicalize()
            .map_err(|error| usage(anyhow!("cannot make {}: {error}", target.display())))?;
        let name = target.file_name().ok_or_else(|| {
            usage(anyhow!(
                "--output {} is no name of a folder",
                target.display()
            ))
        })?;
        let target = place.join(name);
        let model = model
            .canonicalize()
            .map_err(|error| cannot_read(model, &error))?;
        if target.starts_with(&model) || model.starts_with(&target) {
            return Err(usage(anyhow!(
                "{} and the model's folder {} lie in one another: name another with --output",
                target.display(),
                model.display()
            )));
        }
        check_free(&target, force)?;
        let folder = tempfile::Builder::new()
            .prefix(".skysail-package-")
            .tempdir_in(&place);
        let folder = folder
            .map_err(|error| usage(anyhow!("cannot write into {}: {error}", place.display())))?;
        Ok(Output { folder, target })
    }

    /// Where a file of the package is now.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// A text, which may be a program.
    pub(crate) fn write(&self, path: &str, text: &str, is_executable: bool) -> Result<()> {
        let to = self.path(path);
        std::fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))?;
        set_mode(&to, is_executable)
    }

    /// A file of elsewhere.
    pub(crate) fn copy(&self, from: &Path, to: &str, is_executable: bool) -> Result<()> {
        let to = self.path(to);
        make_parent(&to)?;
        std::fs::copy(from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        set_mode(&to, is_executable)
    }

    /// The model's files, into `model`.
    pub(crate) fn copy_model(&self, folder: &Path, files: &[File]) -> Result<()> {
        for File {
            path,
            is_executable,
            link,
        } in files
        {
            let to = Path::new("model").join(path);
            let to = to
                .to_str()
                .ok_or_else(|| usage(anyhow!("{} has a name that is not UTF-8", path.display())))?;
            match link {
                None => self.copy(&folder.join(path), to, *is_executable)?,
                Some(target) => {
                    let to = self.path(to);
                    make_parent(&to)?;
                    symlink(target, &to)
                        .with_context(|| format!("cannot make the link {}", to.display()))?;
                }
            }
        }
        Ok(())
    }

    /// Moves the package to its place, and what was there away: the place.
    pub(crate) fn finish(self) -> Result<PathBuf> {
        let Output { folder, target } = self;
        let moved = || format!("cannot make {}", target.display());
        set_mode(folder.path(), true)?;
        let old = folder.path().with_extension("old");
        let is_replaced = target.exists();
        if is_replaced {
            std::fs::rename(&target, &old).with_context(moved)?;
        }
        std::fs::rename(folder.path(), &target).with_context(moved)?;
        if is_replaced {
            std::fs::remove_dir_all(&old)
                .with_context(|| format!("cannot remove {}", old.display()))?;
        }
        Ok(target)
    }
}

/// Refuses what is there and is no package, and a package that is not to be replaced.
fn check_free(target: &Path, force: bool) -> Result<()> {
    let shown = target.display();
    let Ok(about) = std::fs::symlink_metadata(target) else {
        return Ok(());
    };
    if !about.is_dir() {
        return Err(usage(anyhow!(
            "{shown} is there and no folder: name another with --output"
        )));
    }
    let mut entries = std::fs::read_dir(target).map_err(|error| cannot_read(target, &error))?;
    if entries.next().is_none() || (force && target.join(MANIFEST).is_file()) {
        return Ok(());
    }
    let advice = if target.join(MANIFEST).is_file() {
        "say --force to replace the package that it holds"
    } else {
        "it is no package, and nothing else is replaced: name another with --output"
    };
    Err(usage(anyhow!("{shown} is not empty; {advice}")))
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().expect("a file of the package is in it");
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}

/// Everyone may read it: an image runs as another user than the one who makes it.
fn set_mode(path: &Path, is_executable: bool) -> Result<()> {
    let mode = if is_executable { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(result: Result<Output>) -> String {
        result.err().expect("refused").to_string()
    }

    #[test]
    fn only_a_package_is_replaced_and_only_when_asked() {
        let folder = tempfile::tempdir().expect("a directory");
        let (model, target) = (folder.path().join("m"), folder.path().join("out"));
        std::fs::create_dir(&model).expect("made");
        std::fs::create_dir(&target).expect("made");
        let new = |force| Output::new(&model, &target, force);
        new(false).expect("an empty folder is free");
        std::fs::write(target.join("mine"), "").expect("written");
        assert!(told(new(true)).contains("nothing else is replaced"));
        std::fs::write(target.join(MANIFEST), "").expect("written");
        assert!(told(new(false)).contains("say --force"));
        let output = new(true).expect("a package");
        output.write("run", "x", true).expect("written");
        output.finish().expect("moved");
        assert!(target.join("run").exists() && !target.join("mine").exists());
        let left = std::fs::read_dir(folder.path()).expect("read").count();
        assert_eq!(left, 2, "nothing is left beside it");
    }

    #[test]
    fn a_package_lies_outside_of_its_model() {
        let folder = tempfile::tempdir().expect("a directory");
        let inside = folder.path().join("out");
        assert!(told(Output::new(folder.path(), &inside, false)).contains("lie in one another"));
        let model = folder.path().join("m");
        std::fs::create_dir(&model).expect("made");
        assert!(told(Output::new(&model, folder.path(), true)).contains("lie in one another"));
    }
}
