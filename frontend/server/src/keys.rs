//! `skysail keys`: the keys by which containers beyond this machine are known.
//!
//! ```text
//!   DIR/frontend.key     the front end's secret key
//!   DIR/frontend.pub     what its containers are given
//!   DIR/allowed/*.pub    the containers that are let in
//! ```

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use skysail_core::Name;
use skysail_core::grants::Grant;
use skysail_rpc::keys::{KEY_BYTES, SecretKey};

use crate::console::{print, usage};

/// Name of the front end's own key.
const FRONTEND: &str = "frontend";

/// `skysail keys`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key pair: NAME.key, which stays secret, and NAME.pub
    New(New),
}

/// `skysail keys new`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skysail keys new frontend --dir /etc/skysail/keys     the front end's own
  skysail keys new digits --dir .                       a container's that serves the model digits
  skysail keys new gpu-7 --dir . --model digits --model sum")]
pub(crate) struct New {
    /// Name of the key; 'frontend' is the front end's own
    name: Name,
    /// Directory of the two files; made if need be
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A model that the key may register, or '*' for all [default: the one of the key's name]
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

/// Where the front end's secret key is.
pub(crate) fn frontend_key(keys: &Path) -> PathBuf {
    keys.join(FRONTEND).with_extension("key")
}

/// Where the public keys are that are let in.
pub(crate) fn allowed(keys: &Path) -> PathBuf {
    keys.join("allowed")
}

impl Command {
    /// Carries it out and prints what came of it.
    ///
    /// # Errors
    /// If a model's name is none, or a file exists already or cannot be written.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let Command::New(new) = self;
        let grant = Grant::of(new.models.iter().map(String::as_str));
        let grant = grant.context("--model").map_err(usage)?;
        let made = new.make(&grant)?;
        print(&if new.json {
            made.json(&new, &grant)
        } else {
            made.text(&new)
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// A new key pair.
struct Made {
    key_file: PathBuf,
    public_file: PathBuf,
    public_key: String,
}

impl New {
    fn is_frontends(&self) -> bool {
        self.name.as_str() == FRONTEND
    }

    fn make(&self, grant: &Grant) -> Result<Made> {
        let mut random = [0; KEY_BYTES];
        getrandom::fill(&mut random).map_err(|error| anyhow!("no random numbers: {error}"))?;
        let secret = SecretKey::new(random);
        let public_key = secret.public().to_string();
        make_folder(&self.dir)?;
        if self.is_frontends() {
            make_folder(&allowed(&self.dir))?;
        }
        // Names may hold dots, so the extension is not replaced but added.
        let file = |extension| self.dir.join(format!("{}.{extension}", self.name));
        let (key_file, public_file) = (file("key"), file("pub"));
        let models = match self.models.is_empty() {
            true => String::new(),
            false => format!("{grant}\n"),
        };
        write_new(&key_file, &format!("{}\n", secret.to_z85()), 0o600)?;
        if let Err(error) = write_new(&public_file, &format!("{public_key}\n{models}"), 0o644) {
            // It was made a moment ago, and nobody knows it.
            drop(std::fs::remove_file(&key_file));
            return Err(error);
        }
        Ok(Made {
            key_file,
            public_file,
            public_key,
        })
    }
}

impl Made {
    fn json(&self, new: &New, grant: &Grant) -> String {
        let models = match grant {
            Grant::All => vec!["*"],
            Grant::Models(names) if names.is_empty() => vec![new.name.as_str()],
            Grant::Models(names) => names.iter().map(Name::as_str).collect(),
        };
        let made = serde_json::json!({
            "name": new.name.as_str(),
            "key_file": self.key_file,
            "public_file": self.public_file,
            "public_key": self.public_key,
            "models": if new.is_frontends() { vec![] } else { models },
        });
        made.to_string()
    }

    fn text(&self, new: &New) -> String {
        let (key, public) = (self.key_file.display(), self.public_file.display());
        let made = format!("made {key} (keep it secret) and {public}\n");
        if new.is_frontends() {
            let dir = new.dir.display();
            return format!(
                "{made}Next:\n  \
                 skysail serve --keys {dir} --rpc ADDRESS:7000\n  \
                 copy {public} to each container's machine\n  \
                 skysail keys new NAME --dir DIR    for each container, there"
            );
        }
        format!(
            "{made}Next:\n  \
             copy {public} to allowed/ in the front end's --keys directory; no restart is needed\n  \
             start the container with --key {key} --server-key frontend.pub --rpc tcp://ADDRESS:7000"
        )
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))
}

/// Writes a file that must not exist.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(anyhow!(
                "{} exists, and keys are never overwritten: choose another name or directory, or \
                 remove both of its files first",
                path.display()
            ));
        }
        opened => opened.with_context(|| format!("cannot make {}", path.display()))?,
    };
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use skysail_rpc::keys::PublicKey;

    use super::*;

    fn new(name: &str, dir: &Path, models: &[&str]) -> New {
        New {
            name: Name::new(name).expect("a name"),
            dir: dir.to_owned(),
            models: models.iter().map(ToString::to_string).collect(),
            json: false,
        }
    }

    fn make(new: &New) -> Result<Made> {
        new.make(&Grant::of(new.models.iter().map(String::as_str)).expect("names"))
    }

    #[test]
    fn a_pair_is_two_files_of_which_one_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("new");
        let made = make(&new("gpu-7.b", &dir, &["b", "a"])).expect("made");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode(&made.key_file) & 0o777, 0o600);
        assert_eq!(mode(&dir) & 0o777, 0o700);
        assert!(made.key_file.ends_with("gpu-7.b.key"));
        let secret = SecretKey::read(&made.key_file).expect("a secret key");
        let public = PublicKey::read(&made.public_file).expect("a public key");
        assert_eq!(secret.public(), public);
        let text = std::fs::read_to_string(&made.public_file).expect("there");
        assert_eq!(text, format!("{public}\nmodels: a b\n"));
        let other = make(&new("other", &dir, &[])).expect("made");
        assert_ne!(other.public_key, made.public_key);
        let text = std::fs::read_to_string(&other.public_file).expect("there");
        assert_eq!(text, format!("{}\n", other.public_key));
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        for there in ["a.key", "b.pub"] {
            std::fs::write(folder.path().join(there), "precious").expect("written");
        }
        for name in ["a", "b"] {
            let error = make(&new(name, folder.path(), &[])).map(|_| ());
            let error = error.expect_err("refused").to_string();
            assert!(error.contains("never overwritten"), "{error}");
        }
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["a.key", "b.pub"], "no half of a pair is left");
        let precious = std::fs::read(folder.path().join("a.key")).expect("there");
        assert_eq!(precious, b"precious");
    }

    #[test]
    fn it_says_what_to_do_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let frontend = new(FRONTEND, folder.path(), &[]);
        let text = make(&frontend).expect("made").text(&frontend);
        assert!(text.contains("skysail serve --keys"), "{text}");
        assert!(allowed(folder.path()).is_dir() && frontend_key(folder.path()).is_file());
        let container = new("c", folder.path(), &[]);
        let text = make(&container).expect("made").text(&container);
        assert!(
            text.contains("allowed/") && text.contains("--server-key"),
            "{text}"
        );
    }
}
