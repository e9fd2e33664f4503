//! What a path of the V2 API means.
//!
//! # Invariants
//! - Any path gives a [`Path`] or nothing; names are percent-decoded once, and are checked
//!   nowhere else than where they are looked up.

use std::borrow::Cow;

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::access::routes::Found;
use crate::access::{Need, Scope};

/// A model, or an application, and maybe one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// The name.
    pub model: Cow<'a, str>,
    /// None, or an empty one in gRPC: the one that serves.
    pub version: Option<Cow<'a, str>>,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "they are named as in the protocol")]
pub enum Path<'a> {
    Live,
    Ready,
    Server,
    ModelReady(Named<'a>),
    ModelMetadata(Named<'a>),
    Infer(Named<'a>),
    ModelConfig(Named<'a>),
    ModelStatistics(Named<'a>),
    Statistics,
    Index,
    Load(Cow<'a, str>),
    Unload(Cow<'a, str>),
    TraceSetting(Option<Cow<'a, str>>),
    Logging,
    Memory(MemoryKind, MemoryVerb<'a>),
}

/// Whose shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are named as in the protocol")]
pub enum MemoryKind {
    System,
    Cuda,
}

/// What is to be done with shared memory; without a region: with all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are named as in the protocol")]
pub enum MemoryVerb<'a> {
    Status(Option<Cow<'a, str>>),
    Register(Cow<'a, str>),
    Unregister(Option<Cow<'a, str>>),
}

impl<'a> Path<'a> {
    /// What `path` means, if it is one of V2.
    #[must_use]
    pub fn parse(path: &'a str) -> Option<Path<'a>> {
        let mut segments: [&str; SEGMENTS_MAX] = [""; SEGMENTS_MAX];
        let mut count = 0;
        for segment in path.strip_prefix("/v2")?.split('/') {
            *segments.get_mut(count)? = segment;
            count += 1;
        }
        match &segments[..count] {
            [""] | ["", ""] => Some(Path::Server),
            ["", "health", "live"] => Some(Path::Live),
            ["", "health", "ready"] => Some(Path::Ready),
            ["", "models", "stats"] => Some(Path::Statistics),
            ["", "models", rest @ ..] => Path::of_model(rest),
            ["", "repository", "index"] | ["", "repository", _, "index"] => Some(Path::Index),
            ["", "repository", "models", model, verb]
            | ["", "repository", _, "models", model, verb] => match *verb {
                "load" => Some(Path::Load(decoded(model)?)),
                "unload" => Some(Path::Unload(decoded(model)?)),
                _ => None,
            },
            ["", "trace", "setting"] => Some(Path::TraceSetting(None)),
            ["", "logging"] => Some(Path::Logging),
            ["", "systemsharedmemory", rest @ ..] => memory(MemoryKind::System, rest),
            ["", "cudasharedmemory", rest @ ..] => memory(MemoryKind::Cuda, rest),
            _ => None,
        }
    }

    fn of_model(segments: &[&'a str]) -> Option<Path<'a>> {
        let (model, version, verb) = match segments {
            [model, "versions", version, verb @ ..] => (model, Some(decoded(version)?), verb),
            [model, verb @ ..] => (model, None, verb),
            [] => return None,
        };
        let model = decoded(model)?;
        if let (["trace", "setting"], None) = (verb, &version) {
            return Some(Path::TraceSetting(Some(model)));
        }
        let named = Named { model, version };
        match verb {
            [] => Some(Path::ModelMetadata(named)),
            ["ready"] => Some(Path::ModelReady(named)),
            ["infer"] => Some(Path::Infer(named)),
            ["config"] => Some(Path::ModelConfig(named)),
            ["stats"] => Some(Path::ModelStatistics(named)),
            _ => None,
        }
    }

    /// What asking it needs.
    #[must_use]
    pub fn need(&self, method: &Method) -> Need {
        let changes = *method == Method::POST;
        match self {
            Path::Live | Path::Ready => Need::Nothing,
            Path::Server => Need::AnyToken,
            Path::Load(_) | Path::Unload(_) => Need::Scope(Scope::Admin),
            Path::TraceSetting(_) | Path::Logging if changes => Need::Scope(Scope::Admin),
            _ => Need::Scope(Scope::Query),
        }
    }

    /// The application, or model, that it names.
    fn application(&self) -> Option<&str> {
        match self {
            Path::ModelReady(named)
            | Path::ModelMetadata(named)
            | Path::Infer(named)
            | Path::ModelConfig(named)
            | Path::ModelStatistics(named) => Some(&named.model),
            Path::Load(model) | Path::Unload(model) => Some(model),
            Path::TraceSetting(model) => model.as_deref(),
            _ => None,
        }
    }

    /// What a request for `path`, which was parsed, needs, and whom it is for.
    #[must_use]
    pub fn found<'f>(parsed: Option<&'f Path<'a>>, method: &'f Method, path: &'f str) -> Found<'f> {
        let Some(parsed) = parsed else {
            return Found::Nothing { path };
        };
        let methods = parsed.methods();
        let asked = match method.as_str() {
            "HEAD" => "GET",
            other => other,
        };
        if !methods.contains(&asked) {
            let allowed = methods.join(",").replace("GET", "GET,HEAD");
            return Found::OtherMethod { method, allowed };
        }
        Found::Listed {
            need: parsed.need(method),
            application: parsed.application().map(Cow::Borrowed),
        }
    }

    /// The methods that it may be asked with.
    #[must_use]
    pub fn methods(&self) -> &'static [&'static str] {
        match self {
            Path::Infer(_) | Path::Index | Path::Load(_) | Path::Unload(_) => &["POST"],
            Path::TraceSetting(_) | Path::Logging => &["GET", "POST"],
            Path::Memory(_, MemoryVerb::Register(_) | MemoryVerb::Unregister(_)) => &["POST"],
            _ => &["GET"],
        }
    }
}

/// As many as the longest path has, and the empty one before the first slash.
const SEGMENTS_MAX: usize = 6;

fn memory<'a>(kind: MemoryKind, segments: &[&'a str]) -> Option<Path<'a>> {
    let verb = match segments {
        ["status"] => MemoryVerb::Status(None),
        ["unregister"] => MemoryVerb::Unregister(None),
        ["region", region, "status"] => MemoryVerb::Status(Some(decoded(region)?)),
        ["region", region, "register"] => MemoryVerb::Register(decoded(region)?),
        ["region", region, "unregister"] => MemoryVerb::Unregister(Some(decoded(region)?)),
        _ => return None,
    };
    Some(Path::Memory(kind, verb))
}

/// A name: not empty, UTF-8.
fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    let name = percent_decode_str(segment).decode_utf8().ok()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(model: &'static str, version: Option<&'static str>) -> Named<'static> {
        Named {
            model: model.into(),
            version: version.map(Into::into),
        }
    }

    #[test]
    fn every_path_of_the_protocol_has_its_meaning() {
        let region = || Cow::from("r");
        let cases = [
            ("/v2", Path::Server),
            ("/v2/", Path::Server),
            ("/v2/health/live", Path::Live),
            ("/v2/health/ready", Path::Ready),
            ("/v2/models/m", Path::ModelMetadata(named("m", None))),
            (
                "/v2/models/m/versions/2",
                Path::ModelMetadata(named("m", Some("2"))),
            ),
            ("/v2/models/m/ready", Path::ModelReady(named("m", None))),
            ("/v2/models/a%20b/infer", Path::Infer(named("a b", None))),
            (
                "/v2/models/m/versions/2/infer",
                Path::Infer(named("m", Some("2"))),
            ),
            ("/v2/models/m/config", Path::ModelConfig(named("m", None))),
            (
                "/v2/models/m/versions/1/stats",
                Path::ModelStatistics(named("m", Some("1"))),
            ),
            ("/v2/models/stats", Path::Statistics),
            ("/v2/models/stats/infer", Path::Infer(named("stats", None))),
            ("/v2/repository/index", Path::Index),
            ("/v2/repository/any/index", Path::Index),
            ("/v2/repository/models/m/load", Path::Load("m".into())),
            ("/v2/repository/r/models/m/unload", Path::Unload("m".into())),
            ("/v2/trace/setting", Path::TraceSetting(None)),
            (
                "/v2/models/m/trace/setting",
                Path::TraceSetting(Some("m".into())),
            ),
            ("/v2/logging", Path::Logging),
            (
                "/v2/systemsharedmemory/status",
                Path::Memory(MemoryKind::System, MemoryVerb::Status(None)),
            ),
            (
                "/v2/systemsharedmemory/region/r/register",
                Path::Memory(MemoryKind::System, MemoryVerb::Register(region())),
            ),
            (
                "/v2/cudasharedmemory/unregister",
                Path::Memory(MemoryKind::Cuda, MemoryVerb::Unregister(None)),
            ),
            (
                "/v2/cudasharedmemory/region/r/unregister",
                Path::Memory(MemoryKind::Cuda, MemoryVerb::Unregister(Some(region()))),
            ),
        ];
        for (path, meaning) in cases {
            assert_eq!(Path::parse(path), Some(meaning), "{path}");
        }
    }

    #[test]
    fn every_path_says_what_it_needs_and_whom_it_is_for() {
        let (get, post) = (Method::GET, Method::POST);
        let listed = |need, application: Option<&'static str>| Found::Listed {
            need,
            application: application.map(Cow::Borrowed),
        };
        let query = Need::Scope(Scope::Query);
        let admin = Need::Scope(Scope::Admin);
        let cases = [
            (&get, "/v2/health/ready", listed(Need::Nothing, None)),
            (&get, "/v2", listed(Need::AnyToken, None)),
            (&post, "/v2/models/a%20b/infer", listed(query, Some("a b"))),
            (
                &post,
                "/v2/repository/models/m/unload",
                listed(admin, Some("m")),
            ),
            (&get, "/v2/logging", listed(query, None)),
            (&post, "/v2/logging", listed(admin, None)),
        ];
        for (method, path, found) in cases {
            let parsed = Path::parse(path);
            assert_eq!(Path::found(parsed.as_ref(), method, path), found, "{path}");
        }
        let path = "/v2/models/m/infer";
        let parsed = Path::parse(path);
        let other = Path::found(parsed.as_ref(), &get, path);
        assert!(matches!(other, Found::OtherMethod { allowed, .. } if allowed == "POST"));
    }

    #[test]
    fn other_paths_mean_nothing() {
        for path in [
            "/v1",
            "/v2x",
            "/v2/health",
            "/v2/models",
            "/v2/models/",
            "/v2/models//infer",
            "/v2/models/m/versions/",
            "/v2/models/m/nothing",
            "/v2/models/%ff/infer",
            "/v2/repository/models/m/explode",
            "/v2/a/b/c/d/e/f/g/h/i",
        ] {
            assert_eq!(Path::parse(path), None, "{path}");
        }
    }
}
