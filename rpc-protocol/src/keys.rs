//! Curve25519 keys, by which peers beyond this machine prove who they are, and their files.
//!
//! A key pair is two files: `NAME.key` with the secret key, which nobody but its owner may
//! read, and `NAME.pub` with the public key in its first line. Keys are written in Z85
//! (ZeroMQ RFC 32), 40 characters each. Pairs are made without libzmq's help, so that a build
//! without CURVE makes them too.
//!
//! # Invariants
//! - A secret key is never shown: not by `Debug`, not in an error.
//! - A secret key that others may read is not used.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use curve25519_dalek::montgomery::MontgomeryPoint;
use thiserror::Error;

use crate::limits::KEY_FILE_BYTES_MAX;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Characters of a key in Z85: five for four bytes.
pub const KEY_CHARACTERS: usize = KEY_BYTES / 4 * 5;

const Z85: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// What a peer is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_BYTES]);

/// What a peer proves itself with.
#[derive(Clone)]
pub struct SecretKey([u8; KEY_BYTES]);

/// A text that is no key. It is not shown: it may be a secret one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected {KEY_CHARACTERS} characters of Z85 in the first line")]
pub struct NotAKey;

/// A key file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read key file {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{} holds no key: {source}", path.display())]
    NotAKey {
        /// Which.
        path: PathBuf,
        /// What was expected.
        source: NotAKey,
    },
    /// Others than its owner may read the secret.
    #[error(
        "secret key {} is open to others (mode {mode:04o}, at most 0600 allowed): run chmod 600 on \
         it, and make a new key if others may have read it",
        path.display()
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl PublicKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> PublicKey {
        PublicKey(bytes)
    }

    /// The key in the first line of a public key file's content.
    ///
    /// # Errors
    /// If there is none.
    pub fn parse(text: &str) -> Result<PublicKey, NotAKey> {
        from_z85(text).map(PublicKey)
    }

    /// The key of a public key file.
    ///
    /// # Errors
    /// If it cannot be read or holds no key.
    pub fn read(path: &Path) -> Result<PublicKey, KeyError> {
        let text = File::open(path).and_then(|file| read_text(&file));
        let text = text.map_err(|source| read_error(path, source))?;
        PublicKey::parse(&text).map_err(|source| not_a_key(path, source))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// In Z85.
impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&to_z85(&self.0))
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl SecretKey {
    /// The key of these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> SecretKey {
        SecretKey(bytes)
    }

    /// The key of a secret key file.
    ///
    /// # Errors
    /// If it cannot be read, may be read by others, or holds no key.
    pub fn read(path: &Path) -> Result<SecretKey, KeyError> {
        let error = |source| read_error(path, source);
        let file = File::open(path).map_err(error)?;
        let mode = file.metadata().map_err(error)?.permissions().mode() & 0o7777;
        if mode & !0o600 != 0 {
            let path = path.to_owned();
            return Err(KeyError::Open { path, mode });
        }
        let text = read_text(&file).map_err(error)?;
        let key = from_z85(&text).map_err(|source| not_a_key(path, source))?;
        Ok(SecretKey(key))
    }

    /// The public key that belongs to it (RFC 7748, section 6.1).
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(MontgomeryPoint::mul_base_clamped(self.0).to_bytes())
    }

    /// In Z85, for its file.
    #[must_use]
    pub fn to_z85(&self) -> String {
        to_z85(&self.0)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// The whole text of a key file.
///
/// # Errors
/// If it cannot be read, is no UTF-8, or is longer than [`KEY_FILE_BYTES_MAX`].
pub fn read_text(file: &File) -> std::io::Result<String> {
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)?;
    if text.len() > KEY_FILE_BYTES_MAX {
        let told = format!("it has more than {KEY_FILE_BYTES_MAX} bytes");
        return Err(std::io::Error::other(told));
    }
    Ok(text)
}

fn read_error(path: &Path, source: std::io::Error) -> KeyError {
    let path = path.to_owned();
    KeyError::Read { path, source }
}

fn not_a_key(path: &Path, source: NotAKey) -> KeyError {
    let path = path.to_owned();
    KeyError::NotAKey { path, source }
}

fn to_z85(key: &[u8; KEY_BYTES]) -> String {
    let mut text = String::with_capacity(KEY_CHARACTERS);
    for word in key.as_chunks::<4>().0 {
        let word = u32::from_be_bytes(*word);
        let digits = [85_u32.pow(4), 85_u32.pow(3), 85 * 85, 85, 1];
        text.extend(digits.map(|unit| char::from(Z85[(word / unit % 85) as usize])));
    }
    text
}

fn from_z85(text: &str) -> Result<[u8; KEY_BYTES], NotAKey> {
    let line = text.lines().next().unwrap_or_default().trim();
    let mut key = [0; KEY_BYTES];
    if line.len() != KEY_CHARACTERS {
        return Err(NotAKey);
    }
    let words = key.as_chunks_mut::<4>().0;
    for (word, digits) in words.iter_mut().zip(line.as_bytes().as_chunks::<5>().0) {
        let number = digits.iter().try_fold(0_u32, |number, digit| {
            let value = Z85.iter().position(|known| known == digit)?;
            number.checked_mul(85)?.checked_add(value as u32)
        });
        *word = number.ok_or(NotAKey)?.to_be_bytes();
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use proptest::prelude::*;

    use super::*;

    /// The server's pair in libzmq's manual, zmq_curve(7).
    const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";
    const PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

    #[test]
    fn the_public_key_belongs_to_the_secret_one() {
        let secret = SecretKey(from_z85(SECRET).expect("a key"));
        assert_eq!(secret.public().to_string(), PUBLIC);
        assert_eq!(secret.to_z85(), SECRET);
        // RFC 7748, section 6.1: Alice's.
        let hex = |text: &str| {
            let mut bytes = [0; KEY_BYTES];
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::from_str_radix(&text[2 * index..][..2], 16).expect("hex");
            }
            bytes
        };
        let secret = hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let public = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        assert_eq!(SecretKey::new(secret).public(), PublicKey::new(public));
    }

    proptest! {
        #[test]
        fn z85_comes_back_as_it_was(key: [u8; KEY_BYTES]) {
            prop_assert_eq!(from_z85(&to_z85(&key)), Ok(key));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = PublicKey::parse(&text);
        }
    }

    #[test]
    fn only_the_first_line_counts_and_must_be_a_key() {
        let file = format!("{PUBLIC} \nmodels: a b\n");
        assert_eq!(PublicKey::parse(&file).expect("a key").to_string(), PUBLIC);
        let past_the_end = "#".repeat(40);
        for wrong in ["", &PUBLIC[1..], &PUBLIC.replace('r', " "), &past_the_end] {
            assert_eq!(PublicKey::parse(wrong), Err(NotAKey), "{wrong}");
        }
        let two_bytes_each = "é".repeat(20);
        assert_eq!(PublicKey::parse(&two_bytes_each), Err(NotAKey));
    }

    #[test]
    fn a_secret_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.key");
        std::fs::write(&path, SECRET).expect("written");
        for (mode, fits) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            let permissions = Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("set");
            let read = SecretKey::read(&path);
            assert_eq!(read.is_ok(), fits, "{mode:o}: {read:?}");
            if let Err(error) = read {
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
    }

    #[test]
    fn errors_name_the_file_and_never_the_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.key");
        let missing = SecretKey::read(&path).expect_err("missing").to_string();
        assert!(missing.starts_with("cannot read key file") && missing.contains("a.key"));
        std::fs::write(&path, &SECRET[1..]).expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("set");
        let wrong = SecretKey::read(&path).expect_err("too short").to_string();
        assert!(wrong.contains("40 characters of Z85"), "{wrong}");
        assert!(!wrong.contains(&SECRET[1..]), "{wrong}");
        assert_eq!(format!("{:?}", SecretKey::new([1; 32])), "SecretKey(..)");
        let long = vec![b'a'; KEY_FILE_BYTES_MAX + 1];
        std::fs::write(&path, long).expect("written");
        let error = PublicKey::read(&path).expect_err("too long").to_string();
        assert!(error.contains("more than 65536 bytes"), "{error}");
    }
}
