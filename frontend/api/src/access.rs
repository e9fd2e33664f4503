//! Who may do what: the one layer of authorisation under every port.
//!
//! A port finds the route of a request in its table ([`routes`]), which says what is needed
//! there, and asks [`Access::admit`]. Where a front end is open everybody is let in; where it
//! wants tokens, a request has to bring `Authorization: Bearer TOKEN`, and the token the scope.
//!
//! ```text
//!              no token, wrong, expired ──► 401      wrong again and again ──► 429
//! request ──► route ──► token ──► scope ──► application ──► let in
//!   not in the table ─► any token, then 404 or 405    │            └─► 403
//!                                        403 ◄────────┘
//! ```
//!
//! Scopes are explicit: none implies another. A right token is let in whatever others do from
//! the same address: with 256 random bits a token is not found by trying, so locking an address
//! out would harm nobody but its neighbours.
//!
//! # Invariants
//! - A route that is not in its port's table is reached by nobody, in every mode.
//! - No token is kept, logged or printed here: only its SHA-256 is known.
//! - Of wrong tokens at most [`ADDRESSES_MAX`] addresses are remembered.
//!
//! # Cost
//! Open: the look-up of the route. Tokens: one SHA-256 of 47 bytes, a binary search, and the wall
//! clock; no lock unless the token is wrong.

mod failures;
pub mod routes;
mod scope;
mod token;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use hyper::header::{
    ALLOW, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::Extensions;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use thiserror::Error;

pub use failures::ADDRESSES_MAX;
pub use scope::{Scope, UnknownScope, listed};
pub use token::{Digest, NoDigest, Secret, TOKENS_MAX, Token, Tokens, TokensError};

use failures::Failures;
use routes::Found;

/// Who is let in at the ports of a front end.
#[derive(Debug)]
pub struct Access(Mode);

#[derive(Debug)]
enum Mode {
    Open,
    Tokens(Door),
}

/// Where a token is wanted.
#[derive(Debug)]
struct Door {
    tokens: Arc<ArcSwap<Tokens>>,
    failures: Mutex<Failures>,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it says no more than that there is a front end.
    Nothing,
    /// Any token that is right.
    AnyToken,
    /// A token of this scope.
    Scope(Scope),
}

/// Who asks, as far as a request tells.
#[derive(Clone, Debug)]
pub struct Caller<'a> {
    /// Its `Authorization` header; empty where it has several.
    pub authorization: Option<&'a [u8]>,
    /// Where it comes from, if that is known.
    pub peer: Option<IpAddr>,
}

/// The address that a connection comes from, as the accept loop puts it into the extensions of
/// each request that brings a token: only wrong ones are counted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The time by both clocks: expiry is by the calendar, waiting is not.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For waiting.
    pub monotonic: Instant,
    /// For expiry: seconds since 1970.
    pub unix_seconds: u64,
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub struct Granted {
    /// None where no token is needed.
    token: Option<Arc<Token>>,
}

/// Why a request is turned away before anything is done for it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// There is no token.
    #[error("a token is needed: send 'Authorization: Bearer TOKEN'")]
    Missing,
    /// There is something else than a token.
    #[error("the Authorization header is not 'Bearer TOKEN'")]
    NoBearer,
    /// It is none of the front end's.
    #[error("the token is not known here: it is wrong, or it was revoked")]
    Unknown,
    /// It was right once.
    #[error("the token '{name}' has expired")]
    Expired {
        /// Its name.
        name: String,
    },
    /// One wrong token too many.
    #[error("too many wrong tokens came from this address: wait {} s", whole_seconds(*.wait))]
    TooMany {
        /// For how long the next wrong one is answered so.
        wait: Duration,
    },
    /// It is for something else.
    #[error("the token '{name}' has scope {}, this needs scope {needed}", listed(.has))]
    Scope {
        /// Its name.
        name: String,
        /// Its scopes.
        has: Vec<Scope>,
        /// The one that it lacks.
        needed: Scope,
    },
    /// It is for other applications.
    #[error("the token '{name}' is for other applications{}", named(.application.as_deref()))]
    Application {
        /// Its name.
        name: String,
        /// The one that was asked for, if it was one.
        application: Option<String>,
    },
    /// The port's table does not have the path.
    #[error("no such path: {}", .path.escape_default())]
    NoRoute {
        /// The path.
        path: String,
    },
    /// The port's table has the path, but not with this method.
    #[error("{method} is not allowed here, only {allowed}")]
    OtherMethod {
        /// The method.
        method: Method,
        /// Those with which it is there.
        allowed: String,
    },
}

impl Access {
    /// Lets everybody in who reaches the ports.
    #[must_use]
    pub fn open() -> Access {
        Access(Mode::Open)
    }

    /// Lets in who has one of `tokens`, as they are when asked.
    #[must_use]
    pub fn by_tokens(tokens: Arc<ArcSwap<Tokens>>) -> Access {
        Access(Mode::Tokens(Door {
            tokens,
            failures: Mutex::default(),
        }))
    }

    /// Whether `caller` may use the route that was found for its request.
    ///
    /// What is not in the table is there for nobody. Saying so needs some token, so that nobody
    /// else learns what there is.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(
        &self,
        caller: &Caller<'_>,
        found: &Found<'_>,
        now: impl FnOnce() -> Now,
    ) -> Result<Granted, Denied> {
        let (need, application) = match found {
            Found::Listed { need, application } => (*need, application.as_deref()),
            _ => (Need::AnyToken, None),
        };
        let granted = self.check(caller, need, now)?;
        if let Need::Scope(Scope::Query | Scope::Feedback) = need {
            granted.may_use(application)?;
        }
        match found {
            Found::Listed { .. } => Ok(granted),
            Found::OtherMethod { method, allowed } => Err(Denied::OtherMethod {
                method: (*method).clone(),
                allowed: allowed.clone(),
            }),
            Found::Nothing { path } => Err(Denied::NoRoute {
                path: (*path).to_owned(),
            }),
        }
    }

    /// As [`Access::admit`], of a request whose message says which application it is for: whoever
    /// reads that asks [`Granted::may_use`].
    ///
    /// # Errors
    /// Why not.
    pub fn admit_unnamed(
        &self,
        caller: &Caller<'_>,
        found: &Found<'_>,
        now: impl FnOnce() -> Now,
    ) -> Result<Granted, Denied> {
        match found {
            Found::Listed { need, .. } => self.check(caller, *need, now),
            _ => self.admit(caller, found, now),
        }
    }

    /// Whether `caller` has what is needed. Whoever knows the application only later asks
    /// [`Granted::may_use`] then.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        caller: &Caller<'_>,
        needed: Need,
        now: impl FnOnce() -> Now,
    ) -> Result<Granted, Denied> {
        let Mode::Tokens(door) = &self.0 else {
            return Ok(Granted { token: None });
        };
        if needed == Need::Nothing {
            return Ok(Granted { token: None });
        }
        let token = door.token(caller, now())?;
        match needed {
            Need::Scope(scope) if !token.scopes.contains(&scope) => Err(Denied::Scope {
                name: token.name.to_string(),
                has: token.scopes.clone(),
                needed: scope,
            }),
            _ => Ok(Granted { token: Some(token) }),
        }
    }
}

impl Door {
    fn token(&self, caller: &Caller<'_>, now: Now) -> Result<Arc<Token>, Denied> {
        let header = caller.authorization.ok_or(Denied::Missing)?;
        let secret = bearer(header).ok_or(Denied::NoBearer)?;
        let Some(token) = self.tokens.load().find(&Digest::of(secret)) else {
            return Err(self.wrong(caller.peer, now.monotonic));
        };
        if token.has_expired(now.unix_seconds) {
            let name = token.name.to_string();
            return Err(Denied::Expired { name });
        }
        Ok(token)
    }

    #[cold]
    fn wrong(&self, peer: Option<IpAddr>, now: Instant) -> Denied {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match peer.and_then(|peer| failures.count(peer, now)) {
            Some(wait) => Denied::TooMany { wait },
            None => Denied::Unknown,
        }
    }
}

/// The token of an `Authorization` header.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(b"Bearer ".len())?;
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// What a request says before its body.
pub trait Head {
    /// Its headers.
    fn headers(&self) -> &HeaderMap;
    /// What came with it on this side.
    fn extensions(&self) -> &Extensions;
}

impl<B> Head for Request<B> {
    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn extensions(&self) -> &Extensions {
        self.extensions()
    }
}

impl Head for Parts {
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

impl<'a> Caller<'a> {
    /// Who makes a request.
    #[must_use]
    pub fn of(request: &'a impl Head) -> Caller<'a> {
        let mut headers = request.headers().get_all(AUTHORIZATION).iter();
        let authorization = match (headers.next(), headers.next()) {
            // Which of several counts is ambiguous, so none does.
            (Some(_), Some(_)) => Some(&b""[..]),
            (first, _) => first.map(HeaderValue::as_bytes),
        };
        let peer = request.extensions().get::<Peer>();
        Caller {
            authorization,
            peer: peer.map(|peer| peer.0),
        }
    }
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Now {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Now {
            monotonic: Instant::now(),
            unix_seconds: since_1970.unwrap_or_default().as_secs(),
        }
    }
}

impl Granted {
    /// The name of its token, if there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        Some(self.token.as_ref()?.name.as_str())
    }

    /// Whether it may ask this application, or, where a request names none, all of them.
    ///
    /// # Errors
    /// If its token is for other applications.
    pub fn may_use(&self, application: Option<&str>) -> Result<(), Denied> {
        let Some(token) = self.token.as_ref().filter(|token| token.is_restricted()) else {
            return Ok(());
        };
        let is_named = |name: &str| token.applications.iter().any(|one| one.as_str() == name);
        if application.is_some_and(is_named) {
            return Ok(());
        }
        Err(Denied::Application {
            name: token.name.to_string(),
            application: application.map(str::to_owned),
        })
    }
}

impl Denied {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Denied::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Denied::Scope { .. } | Denied::Application { .. } => StatusCode::FORBIDDEN,
            Denied::NoRoute { .. } => StatusCode::NOT_FOUND,
            Denied::OtherMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Denied::Missing | Denied::NoBearer | Denied::Unknown | Denied::Expired { .. } => {
                StatusCode::UNAUTHORIZED
            }
        }
    }

    /// The header that belongs to the status, if one does.
    #[must_use]
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Denied::TooMany { wait } => Some((RETRY_AFTER, whole_seconds(*wait).into())),
            Denied::OtherMethod { allowed, .. } => Some((ALLOW, allowed.parse().ok()?)),
            Denied::Scope { .. } | Denied::Application { .. } | Denied::NoRoute { .. } => None,
            Denied::Missing | Denied::NoBearer | Denied::Unknown | Denied::Expired { .. } => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
        }
    }
}

/// Rounded up, so that whoever waits as long has waited long enough.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn named(application: Option<&str>) -> Cow<'static, str> {
    match application {
        Some(name) => format!(" than '{}'", name.escape_default()).into(),
        None => ", and this is for all".into(),
    }
}

#[cfg(test)]
mod tests;
