//! What each route needs: one table a port, in which what is missing is refused.
//!
//! The management port is found by the pattern that its router matched, the query port by the
//! path. `GET` stands for `HEAD` too. A segment `{app}` is the application, to which a token may
//! be restricted.

use std::borrow::Cow;

use hyper::Method;

use super::{Need, Scope};

const ADMIN: Need = Need::Scope(Scope::Admin);
const QUERY: Need = Need::Scope(Scope::Query);
const FEEDBACK: Need = Need::Scope(Scope::Feedback);
const METRICS: Need = Need::Scope(Scope::Metrics);

/// The management port.
pub static MANAGEMENT_PORT: Routes = Routes(&[
    // Whether it lives, and what any front end offers: nothing about this one.
    ("GET", "/health", Need::Nothing),
    ("GET", "/admin/ping", Need::Nothing),
    // Whether clients may come: for balancers, which have no token.
    ("GET", "/ready", Need::Nothing),
    ("GET", "/openapi.json", Need::Nothing),
    ("GET", "/metrics", METRICS),
    ("POST", "/admin/add_app", ADMIN),
    ("POST", "/admin/delete_app", ADMIN),
    ("POST", "/admin/get_application", ADMIN),
    ("POST", "/admin/get_all_applications", ADMIN),
    ("POST", "/admin/add_model_links", ADMIN),
    ("POST", "/admin/delete_model_links", ADMIN),
    ("POST", "/admin/get_linked_models", ADMIN),
    ("POST", "/admin/get_state", ADMIN),
    ("POST", "/admin/add_model", ADMIN),
    ("POST", "/admin/delete_versioned_model", ADMIN),
    ("POST", "/admin/set_model_version", ADMIN),
    ("POST", "/admin/get_model", ADMIN),
    ("POST", "/admin/get_all_models", ADMIN),
    ("POST", "/admin/get_container", ADMIN),
    ("POST", "/admin/get_all_containers", ADMIN),
    ("GET", "/api/v1/applications", ADMIN),
    ("POST", "/api/v1/applications", ADMIN),
    ("GET", "/api/v1/applications/{name}", ADMIN),
    ("DELETE", "/api/v1/applications/{name}", ADMIN),
    ("PUT", "/api/v1/applications/{name}/links", ADMIN),
    ("DELETE", "/api/v1/applications/{name}/links", ADMIN),
    ("GET", "/api/v1/applications/{name}/advice", ADMIN),
    ("GET", "/api/v1/models", ADMIN),
    ("POST", "/api/v1/models", ADMIN),
    ("GET", "/api/v1/models/{model}", ADMIN),
    ("DELETE", "/api/v1/models/{model}", ADMIN),
    ("PUT", "/api/v1/models/{model}/current", ADMIN),
    ("POST", "/api/v1/models/{model}/rollback", ADMIN),
    ("DELETE", "/api/v1/models/{model}/versions/{version}", ADMIN),
    (
        "PUT",
        "/api/v1/models/{model}/versions/{version}/deployment",
        ADMIN,
    ),
    (
        "DELETE",
        "/api/v1/models/{model}/versions/{version}/deployment",
        ADMIN,
    ),
    ("PATCH", "/api/v1/models/{model}/deployment", ADMIN),
    ("GET", "/api/v1/models/{model}/logs", ADMIN),
    ("GET", "/api/v1/replicas", ADMIN),
    ("GET", "/api/v1/status", ADMIN),
    ("GET", "/api/v1/load", ADMIN),
    ("GET", "/api/v1/explain/{model}", ADMIN),
]);

/// Clipper's routes of the query port. Those of V2 are found by their paths
/// ([`crate::query::v2::path`]), and gRPC's by their methods.
pub static QUERY_PORT: Routes = Routes(&[
    ("POST", "/{app}/predict", QUERY),
    ("POST", "/{app}/update", FEEDBACK),
    ("GET", "/metrics", METRICS),
    ("GET", "/openapi.json", Need::Nothing),
]);

/// A route: method, pattern, need.
pub(crate) type Route = (&'static str, &'static str, Need);

/// The routes of a port.
#[derive(Debug)]
pub struct Routes(&'static [Route]);

/// What a table says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'p> {
    /// A route.
    Listed {
        /// What it needs.
        need: Need,
        /// The application that the path names.
        application: Option<Cow<'p, str>>,
    },
    /// The path, but not with this method.
    OtherMethod {
        /// The method.
        method: &'p Method,
        /// Those with which it is there, as the `Allow` header has them.
        allowed: String,
    },
    /// Nothing.
    Nothing {
        /// The path.
        path: &'p str,
    },
}

impl Routes {
    /// What stands for the pattern that a router matched with this path, if it matched one.
    #[must_use]
    pub fn by_pattern<'p>(
        &self,
        method: &'p Method,
        pattern: Option<&str>,
        path: &'p str,
    ) -> Found<'p> {
        let matched = |listed: &str| (Some(listed) == pattern).then_some(None);
        self.find(method, path, matched)
    }

    /// What stands for a path. One slash at its end makes no difference.
    #[must_use]
    pub fn by_path<'p>(&self, method: &'p Method, path: &'p str) -> Found<'p> {
        let bare = path.strip_suffix('/').unwrap_or(path);
        self.find(method, path, |pattern| matched(pattern, bare))
    }

    /// All of them.
    #[cfg(test)]
    pub(crate) fn all(&self) -> &'static [Route] {
        self.0
    }

    /// The first route whose pattern is `matched`, which gives the application.
    fn find<'p>(
        &self,
        method: &'p Method,
        path: &'p str,
        matched: impl Fn(&str) -> Option<Option<&'p str>>,
    ) -> Found<'p> {
        let asked = match method.as_str() {
            "HEAD" => "GET",
            other => other,
        };
        let mut allowed = Vec::new();
        for &(listed, pattern, need) in self.0 {
            let Some(application) = matched(pattern) else {
                continue;
            };
            if listed == asked {
                let application = application.map(Cow::Borrowed);
                return Found::Listed { need, application };
            }
            allowed.push(listed);
        }
        if allowed.is_empty() {
            return Found::Nothing { path };
        }
        Found::OtherMethod {
            method,
            allowed: allowed.join(",").replace("GET", "GET,HEAD"),
        }
    }
}

/// Whether a path has the pattern; if so, the application in it.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<Option<&'p str>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut application = None;
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(application),
            (Some("{app}"), Some(name)) if !name.is_empty() => application = Some(name),
            (Some(any), Some(name)) if any.starts_with('{') && !name.is_empty() => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'p>(method: &'p Method, path: &'p str) -> Found<'p> {
        QUERY_PORT.by_path(method, path)
    }

    #[test]
    fn a_path_names_the_application() {
        for path in ["/digits/predict", "/digits/predict/"] {
            let found = Found::Listed {
                need: QUERY,
                application: Some("digits".into()),
            };
            assert_eq!(of(&Method::POST, path), found, "{path}");
        }
    }

    #[test]
    fn what_is_not_listed_is_not_found() {
        for path in [
            "/",
            "",
            "/predict",
            "//predict",
            "/a/b/predict",
            "/a/predict//",
            "/a/predict/b",
        ] {
            assert_eq!(of(&Method::POST, path), Found::Nothing { path }, "{path}");
        }
        let path = "/api/v1/applications/a";
        for pattern in [None, Some(path)] {
            let found = MANAGEMENT_PORT.by_pattern(&Method::GET, pattern, path);
            assert_eq!(found, Found::Nothing { path }, "a path is no pattern");
        }
    }

    #[test]
    fn a_method_that_is_not_listed_is_told_which_are() {
        let allowed = |found| match found {
            Found::OtherMethod { allowed, .. } => allowed,
            other => panic!("{other:?}"),
        };
        assert_eq!(allowed(of(&Method::GET, "/a/predict")), "POST");
        let manage = |method, path| MANAGEMENT_PORT.by_pattern(method, Some(path), path);
        let put = manage(&Method::PUT, "/api/v1/applications");
        assert_eq!(allowed(put), "GET,HEAD,POST");
        let head = manage(&Method::HEAD, "/metrics");
        assert!(matches!(head, Found::Listed { need: METRICS, .. }));
    }

    #[test]
    fn only_signs_of_life_need_no_token() {
        let open = |routes: &Routes| {
            let routes = routes
                .0
                .iter()
                .filter(|(_, _, need)| *need == Need::Nothing);
            routes.map(|(_, pattern, _)| *pattern).collect::<Vec<_>>()
        };
        assert_eq!(
            open(&MANAGEMENT_PORT),
            ["/health", "/admin/ping", "/ready", "/openapi.json"]
        );
        assert_eq!(open(&QUERY_PORT), ["/openapi.json"]);
    }
}
