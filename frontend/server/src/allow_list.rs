//! The public keys that a front end lets in: `KEYS/allowed/*.pub`.
//!
//! A key is known by its file's name. The files are looked at whenever somebody knocks, and read
//! again only if one of them has changed, so that a key is added, changed or taken away without
//! a restart. Sessions that are open stay open. A file that is not understood lets nobody in and
//! leaves the others as they are.
//!
//! # Cost
//! A handshake lists the directory and looks at each file's dates: some microseconds a file, on
//! the task that owns the containers' sockets. The directory belongs on a local disk.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use arc_swap::ArcSwap;
use skysail_core::Name;
use skysail_core::grants::{Grant, Grants};
use skysail_rpc::keys::{PublicKey, SecretKey, read_text};
use skysail_rpc::transport::ServerKeys;

use crate::keys;
use crate::seen::Seen;

/// Files that are read; what is beyond lets nobody in.
const KEYS_MAX: usize = 1024;
/// Refusals are logged no more often.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Who is let in, and what they may register.
pub(crate) struct AllowList {
    folder: PathBuf,
    seen: Vec<Seen>,
    names: HashMap<PublicKey, Name>,
    grants: Arc<ArcSwap<Grants>>,
    logged: Option<Instant>,
}

/// The keys of a front end whose directory is `folder`.
///
/// # Errors
/// If it has no secret key that may be used.
pub(crate) fn server_keys(folder: &Path, mut allowed: AllowList) -> Result<ServerKeys> {
    let secret = SecretKey::read(&keys::frontend_key(folder)).with_context(|| {
        let folder = folder.display();
        format!(
            "--keys {folder}: the front end's key cannot be used; \
             'skysail keys new frontend --dir {folder}' makes one"
        )
    })?;
    let authenticate = Box::new(move |key: &PublicKey, address: &str| allowed.name(key, address));
    Ok(ServerKeys {
        secret,
        authenticate,
    })
}

impl AllowList {
    /// Reads the list in the directory of keys `folder`.
    pub(crate) fn open(folder: &Path) -> AllowList {
        let mut list = AllowList {
            folder: keys::allowed(folder),
            seen: Vec::new(),
            names: HashMap::new(),
            grants: Arc::default(),
            logged: None,
        };
        list.refresh();
        if list.names.is_empty() {
            let folder = list.folder.display();
            tracing::warn!(%folder, "no key is let in yet: copy NAME.pub there");
        }
        list
    }

    /// What the holders of keys may register, kept current.
    pub(crate) fn grants(&self) -> Arc<ArcSwap<Grants>> {
        self.grants.clone()
    }

    /// The name of a key that is let in.
    fn name(&mut self, key: &PublicKey, address: &str) -> Option<String> {
        self.refresh();
        let name = self.names.get(key).map(ToString::to_string);
        if name.is_none() && self.may_log() {
            tracing::warn!(%key, address, "an unknown key was turned away");
        }
        name
    }

    /// Whoever knocks again and again shall not fill the log.
    fn may_log(&mut self) -> bool {
        let may = self.logged.is_none_or(|at| at.elapsed() >= LOG_EVERY);
        if may {
            self.logged = Some(Instant::now());
        }
        may
    }

    fn refresh(&mut self) {
        let found = match list(&self.folder) {
            Ok(found) => found,
            Err(error) => {
                if self.may_log() {
                    let folder = self.folder.display();
                    tracing::warn!(%folder, %error, "the allowed keys are unreadable: none is let in");
                }
                Vec::new()
            }
        };
        if found == self.seen {
            return;
        }
        let mut grants = Vec::new();
        self.names.clear();
        for file in &found {
            match self.add(&file.path) {
                Ok(granted) => grants.push(granted),
                Err(error) => {
                    let (file, error) = (file.path.display(), format!("{error:#}"));
                    tracing::warn!(%file, error, "this key is not let in");
                }
            }
        }
        tracing::info!(keys = grants.len(), "the allowed keys were read");
        self.grants.store(Arc::new(grants.into_iter().collect()));
        self.seen = found;
    }

    fn add(&mut self, path: &Path) -> Result<(Name, Grant)> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = Name::new(&stem)?;
        let text = read_text(&File::open(path)?)?;
        let key = PublicKey::parse(&text)?;
        let grant = Grant::parse(&name, text.lines().skip(1))?;
        if let Some(other) = self.names.get(&key) {
            bail!("it is the key of {other}.pub");
        }
        if self.names.len() >= KEYS_MAX {
            return Err(anyhow!("{KEYS_MAX} keys are let in, no more are allowed"));
        }
        self.names.insert(key, name.clone());
        Ok((name, grant))
    }
}

/// The public key files of a directory, by name.
fn list(folder: &Path) -> std::io::Result<Vec<Seen>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "pub") {
            continue;
        }
        found.extend(Seen::of(&path));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "10.0.0.1";

    fn key(number: u8) -> PublicKey {
        SecretKey::new([number; 32]).public()
    }

    fn model(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Folder {
            let folder = tempfile::tempdir().expect("a folder");
            std::fs::create_dir(keys::allowed(folder.path())).expect("made");
            Folder(folder)
        }

        fn file(&self, name: &str) -> PathBuf {
            keys::allowed(self.0.path()).join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.file(name), text).expect("written");
        }
    }

    #[test]
    fn a_key_that_is_added_changed_or_taken_away_counts_at_the_next_handshake() {
        let folder = Folder::new();
        let mut list = AllowList::open(folder.0.path());
        let grants = list.grants();
        assert_eq!(list.name(&key(1), ADDRESS), None);
        folder.write("a.pub", &key(1).to_string());
        assert_eq!(list.name(&key(1), ADDRESS).as_deref(), Some("a"));
        assert!(grants.load().allows("a", &model("a")));
        folder.write("a.pub", &format!("{}\nmodels: m\n", key(1)));
        assert_eq!(list.name(&key(1), ADDRESS).as_deref(), Some("a"));
        assert!(grants.load().allows("a", &model("m")) && !grants.load().allows("a", &model("a")));
        std::fs::rename(folder.file("a.pub"), folder.file("b.pub")).expect("renamed");
        assert_eq!(list.name(&key(1), ADDRESS).as_deref(), Some("b"));
        std::fs::remove_file(folder.file("b.pub")).expect("removed");
        assert_eq!(list.name(&key(1), ADDRESS), None);
        assert!(!grants.load().allows("b", &model("m")));
    }

    #[test]
    fn a_file_that_is_not_understood_leaves_the_others_as_they_are() {
        let folder = Folder::new();
        folder.write("good.pub", &format!("{}\nmodels: *\n", key(1)));
        folder.write("garbage.pub", "no key");
        folder.write("grant.pub", &format!("{}\nmodel: m\n", key(2)));
        folder.write("-name.pub", &key(3).to_string());
        folder.write("secret.key", &key(4).to_string());
        folder.write("twin.pub", &key(1).to_string());
        std::fs::create_dir(folder.file("folder.pub")).expect("made");
        let mut list = AllowList::open(folder.0.path());
        assert_eq!(list.name(&key(1), ADDRESS).as_deref(), Some("good"));
        for other in 2..=4 {
            assert_eq!(list.name(&key(other), ADDRESS), None, "{other}");
        }
        assert!(!list.grants().load().allows("twin", &model("twin")));
    }

    #[test]
    fn a_list_that_cannot_be_read_lets_nobody_in() {
        let folder = Folder::new();
        folder.write("a.pub", &key(1).to_string());
        let mut list = AllowList::open(folder.0.path());
        assert!(list.name(&key(1), ADDRESS).is_some());
        std::fs::remove_dir_all(keys::allowed(folder.0.path())).expect("removed");
        assert_eq!(list.name(&key(1), ADDRESS), None);
    }

    #[test]
    fn without_a_key_of_its_own_a_front_end_says_how_to_make_one() {
        let folder = Folder::new();
        let keys = server_keys(folder.0.path(), AllowList::open(folder.0.path()));
        let error = keys.map(|_| ()).expect_err("no key");
        let told = format!("{error:#}");
        assert!(told.contains("skysail keys new frontend --dir"), "{told}");
    }
}
