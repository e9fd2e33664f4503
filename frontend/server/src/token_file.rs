//! The tokens of a data directory: `DATA_DIR/tokens.toml`.
//!
//! ```toml
//! [[token]]
//! name = "dashboard"
//! sha256 = "9f86d0…"
//! scopes = ["query"]
//! applications = ["digits"]
//! created_unix_seconds = 1790000000
//! expires_unix_seconds = 1797776000
//! ```
//!
//! `skysail tokens` changes it, under a lock of the directory; a front end looks whether it has
//! changed, so that a token counts, or counts no more, without a restart.
//!
//! # Invariants
//! - The file is replaced whole, and durable when [`change`] returns.
//! - A file that is not understood changes nothing of what a front end lets in; where there is no
//!   file nobody is let in.
//!
//! # Cost
//! A look at the file's dates every [`LOOK_EVERY`], on the first core, and nothing per request.

use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use skysail_api::access::{Token, Tokens};

use crate::data_dir::write_private;
use crate::seen::Seen;

/// How soon what was changed counts.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of the file; as many tokens as are allowed take less, with a few applications each.
const BYTES_MAX: u64 = 1 << 20;

/// The whole file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    token: Vec<Token>,
}

/// The file of a running front end.
#[derive(Debug)]
pub(crate) struct TokenFile {
    data_dir: PathBuf,
    seen: Option<Seen>,
    tokens: Arc<ArcSwap<Tokens>>,
}

/// Where the tokens of a data directory are.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("tokens.toml")
}

impl TokenFile {
    /// Reads the tokens of `data_dir`: none if there is no file yet.
    ///
    /// # Errors
    /// If the file cannot be read or understood.
    pub(crate) fn open(data_dir: &Path) -> Result<TokenFile> {
        let seen = Seen::of(&path(data_dir));
        let tokens = Tokens::new(read(data_dir)?).with_context(|| wrong(data_dir))?;
        Ok(TokenFile {
            data_dir: data_dir.to_owned(),
            seen,
            tokens: Arc::new(ArcSwap::from_pointee(tokens)),
        })
    }

    /// The tokens, kept current.
    pub(crate) fn tokens(&self) -> Arc<ArcSwap<Tokens>> {
        self.tokens.clone()
    }

    /// Keeps the tokens current until dropped.
    pub(crate) async fn watch(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.refresh();
        }
    }

    fn refresh(&mut self) {
        let seen = Seen::of(&path(&self.data_dir));
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        let tokens = read(&self.data_dir).and_then(|tokens| Ok(Tokens::new(tokens)?));
        match tokens {
            Ok(tokens) => {
                tracing::info!(tokens = tokens.len(), "the tokens were read");
                self.tokens.store(Arc::new(tokens));
            }
            Err(error) => {
                let (file, error) = (path(&self.data_dir), format!("{error:#}"));
                let file = file.display();
                tracing::error!(%file, error, "the tokens stay as they were: their file is wrong");
            }
        }
    }
}

/// The tokens of `data_dir`: none if there is no file.
///
/// # Errors
/// If the file cannot be read or understood.
pub(crate) fn read(data_dir: &Path) -> Result<Vec<Token>> {
    let file = match File::open(path(data_dir)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.with_context(|| wrong(data_dir))?,
    };
    let mut text = String::new();
    let bytes = file.take(BYTES_MAX + 1).read_to_string(&mut text);
    if bytes.with_context(|| wrong(data_dir))? as u64 > BYTES_MAX {
        bail!("{}: it has more than {BYTES_MAX} bytes", wrong(data_dir));
    }
    let content: Content = toml::from_str(&text).with_context(|| wrong(data_dir))?;
    Ok(content.token)
}

/// Changes the tokens of `data_dir`, which is made if need be. When it returns they are durable.
///
/// # Errors
/// What `change` refuses, or if the file cannot be read or written.
pub(crate) fn change<T>(
    data_dir: &Path,
    change: impl FnOnce(&mut Vec<Token>) -> Result<T>,
) -> Result<T> {
    if !data_dir.is_dir() {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir);
        made.with_context(|| format!("cannot make {}", data_dir.display()))?;
    }
    let folder = File::open(data_dir);
    let folder = folder.with_context(|| format!("cannot open {}", data_dir.display()))?;
    // Of two that change it at once, each sees what the other did; closing unlocks.
    folder.lock().context("cannot lock the data directory")?;
    let mut tokens = read(data_dir)?;
    let done = change(&mut tokens)?;
    // What a front end would refuse is not written.
    Tokens::new(tokens.clone())?;
    write(&folder, data_dir, &Content { token: tokens })
        .with_context(|| format!("cannot write {}", path(data_dir).display()))?;
    Ok(done)
}

fn write(folder: &File, data_dir: &Path, content: &Content) -> Result<()> {
    let text = toml::to_string(content).context("tokens are not TOML")?;
    let text =
        format!("# Written by 'skysail tokens'. Tokens are known by their SHA-256.\n\n{text}");
    let new = data_dir.join("tokens.toml.new");
    write_private(&new, text.as_bytes())?;
    // Made by root for a front end of another user, it is that user's.
    let owner = folder.metadata()?;
    if new.metadata()?.uid() != owner.uid() {
        chown(&new, Some(owner.uid()), Some(owner.gid()))?;
    }
    std::fs::rename(&new, path(data_dir))?;
    folder.sync_all()?;
    Ok(())
}

fn wrong(data_dir: &Path) -> String {
    format!("cannot use the tokens in {}", path(data_dir).display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use skysail_api::access::{Digest, Scope};
    use skysail_core::Name;

    use super::*;

    fn token(name: &str) -> Token {
        Token {
            name: Name::new(name).expect("a name"),
            sha256: Digest::of(name.as_bytes()),
            scopes: vec![Scope::Query, Scope::Admin],
            applications: vec![Name::new("digits").expect("a name")],
            created_unix_seconds: 5,
            expires_unix_seconds: Some(7),
        }
    }

    fn try_add(data_dir: &Path, name: &str) -> Result<()> {
        change(data_dir, |tokens| {
            tokens.push(token(name));
            Ok(())
        })
    }

    fn add(data_dir: &Path, name: &str) {
        try_add(data_dir, name).expect("written");
    }

    #[test]
    fn what_was_written_is_read_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("new");
        assert_eq!(read(&data_dir).expect("nothing"), []);
        add(&data_dir, "a");
        add(&data_dir, "b");
        assert_eq!(read(&data_dir).expect("right"), [token("a"), token("b")]);
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path(&data_dir)), mode(&data_dir)), (0o600, 0o700));
    }

    #[test]
    fn what_is_refused_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        add(folder.path(), "a");
        let twice = try_add(folder.path(), "a");
        let told = twice.expect_err("two of a name").to_string();
        assert!(told.contains("named 'a'"), "{told}");
        let refused: Result<()> = change(folder.path(), |tokens| {
            tokens.clear();
            bail!("no")
        });
        assert!(refused.is_err());
        assert_eq!(read(folder.path()).expect("right"), [token("a")]);
    }

    #[test]
    fn changes_count_without_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = TokenFile::open(folder.path()).expect("no file yet");
        let tokens = file.tokens();
        assert!(tokens.load().is_empty());
        for (name, count) in [("a", 1), ("b", 2)] {
            add(folder.path(), name);
            file.refresh();
            assert_eq!(tokens.load().len(), count);
        }
        change(folder.path(), |tokens| {
            tokens.clear();
            Ok(())
        })
        .expect("written");
        file.refresh();
        assert!(tokens.load().is_empty());
        add(folder.path(), "a");
        file.refresh();
        std::fs::remove_file(path(folder.path())).expect("removed");
        file.refresh();
        assert!(tokens.load().is_empty(), "no file lets nobody in");
    }

    #[test]
    fn a_broken_file_leaves_a_front_end_its_tokens() {
        let folder = tempfile::tempdir().expect("a folder");
        add(folder.path(), "a");
        let mut file = TokenFile::open(folder.path()).expect("right");
        let good = std::fs::read_to_string(path(folder.path())).expect("there");
        for broken in ["[[token", &good.replace("scopes", "scope"), &good.repeat(2)] {
            std::fs::write(path(folder.path()), broken).expect("written");
            file.refresh();
            assert_eq!(file.tokens().load().len(), 1, "{broken}");
            let told = TokenFile::open(folder.path()).expect_err("a start is refused");
            assert!(told.to_string().contains("tokens.toml"), "{told:#}");
        }
        std::fs::write(path(folder.path()), "").expect("written");
        file.refresh();
        assert!(file.tokens().load().is_empty(), "it is understood again");
    }
}
