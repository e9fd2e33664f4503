//! Bearer tokens: how they are made, what is kept of them, how one is found.
//!
//! A token is `sky_` and 256 random bits in base64url: 47 characters. Only its SHA-256 is kept;
//! with so many random bits no salt and no slow hash are needed. Tokens lie ordered by hash and
//! are searched by its first 8 bytes, which nobody can choose; the whole is then compared in
//! constant time.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skysail_core::Name;
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::Scope;

/// Tokens of a front end.
pub const TOKENS_MAX: usize = 1024;
/// What a token begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "sky_";
/// Clocks of different machines differ: so much longer is a token taken.
const LEEWAY_SECONDS: u64 = 60;

/// A token itself, which is shown once and kept nowhere.
pub struct Secret(String);

/// The SHA-256 of a token; its text is in hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// A text that is not the SHA-256 of anything.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected a SHA-256: 64 characters of hex")]
pub struct NoDigest;

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What it is called; unique.
    pub name: Name,
    /// What it is known by; unique.
    pub sha256: Digest,
    /// What it is for; at least one.
    pub scopes: Vec<Scope>,
    /// The applications that it may query and give feedback to; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applications: Vec<Name>,
    /// When it was made, since 1970.
    pub created_unix_seconds: u64,
    /// Until when it is taken, since 1970; none: until it is revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_unix_seconds: Option<u64>,
}

/// The tokens of a front end, by hash.
#[derive(Debug, Default)]
pub struct Tokens(Vec<Arc<Token>>);

/// Why tokens cannot be those of a front end.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TokensError {
    /// Two cannot be told apart.
    #[error("two tokens are named '{0}', or are the same")]
    Twice(Name),
    /// One is for nothing.
    #[error("the token '{0}' has no scope")]
    NoScope(Name),
    /// There are too many.
    #[error("there are {0} tokens, at most {TOKENS_MAX} allowed")]
    TooMany(usize),
}

impl Secret {
    /// The token of these random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Secret {
        Secret(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
    }

    /// The token, to be shown to whoever asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

/// Whoever prints what holds it does not print it.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Digest {
    /// The SHA-256 of a token.
    #[must_use]
    pub fn of(token: &[u8]) -> Digest {
        Digest(Sha256::digest(token).into())
    }

    fn prefix(&self) -> &[u8] {
        &self.0[..8]
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        let bytes = digest.0.iter();
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Digest {
    type Error = NoDigest;

    fn try_from(text: String) -> Result<Digest, NoDigest> {
        let mut bytes = [0; 32];
        // from_str_radix would take a sign for a digit.
        let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return Err(NoDigest);
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NoDigest)?;
        }
        Ok(Digest(bytes))
    }
}

impl Token {
    /// Whether it is too old at this time.
    #[must_use]
    pub fn has_expired(&self, now_unix_seconds: u64) -> bool {
        let until = |expires: u64| expires.saturating_add(LEEWAY_SECONDS);
        self.expires_unix_seconds
            .is_some_and(|expires| until(expires) < now_unix_seconds)
    }

    /// Whether it is for some applications only.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        !self.applications.is_empty()
    }
}

impl Tokens {
    /// Checks that they can be told apart.
    ///
    /// # Errors
    /// Which are wrong.
    pub fn new(mut tokens: Vec<Token>) -> Result<Tokens, TokensError> {
        if tokens.len() > TOKENS_MAX {
            return Err(TokensError::TooMany(tokens.len()));
        }
        let (mut names, mut digests) = (HashSet::new(), HashSet::new());
        for token in &tokens {
            if token.scopes.is_empty() {
                return Err(TokensError::NoScope(token.name.clone()));
            }
            if !names.insert(&token.name) || !digests.insert(&token.sha256) {
                return Err(TokensError::Twice(token.name.clone()));
            }
        }
        tokens.sort_by(|one, other| one.sha256.cmp(&other.sha256));
        Ok(Tokens(tokens.into_iter().map(Arc::new).collect()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The token of this hash.
    pub(super) fn find(&self, digest: &Digest) -> Option<Arc<Token>> {
        let prefix = |token: &Token| token.sha256.prefix().cmp(digest.prefix());
        let first = self.0.partition_point(|token| prefix(token).is_lt());
        let mut alike = self.0[first..]
            .iter()
            .take_while(|token| prefix(token).is_eq());
        let is_it = |token: &&Arc<Token>| bool::from(token.sha256.0.ct_eq(&digest.0));
        alike.find(is_it).cloned()
    }
}
