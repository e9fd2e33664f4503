//! Keeps web pages away from a front end that listens on loopback.
//!
//! Loopback needs no token, but a browser on this machine would let any page reach it: by a
//! form or script of another origin, or by a host name that was made to point at 127.0.0.1.
//! So a request on a loopback socket must name a loopback host, and its `Origin`, if it has
//! one, must be a loopback one.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};

/// Why a request is refused, if it is.
#[must_use]
pub fn refusal(headers: &HeaderMap) -> Option<&'static str> {
    let host_is_ours = |value: &HeaderValue| value.to_str().is_ok_and(is_loopback);
    if !headers.get_all(HOST).iter().all(host_is_ours) {
        return Some("the Host header does not name a loopback address");
    }
    let origin_is_ours = |value: &HeaderValue| {
        let origin = value.to_str().ok();
        let host = origin.and_then(|origin| Some(origin.split_once("://")?.1));
        host.is_some_and(is_loopback)
    };
    if !headers.get_all(ORIGIN).iter().all(origin_is_ours) {
        return Some("the Origin header does not name a loopback address");
    }
    None
}

/// Whether `HOST[:PORT]` names this machine.
fn is_loopback(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = without_port.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(hyper::header::HeaderName, &'static str)]) -> HeaderMap {
        let value = |text: &'static str| HeaderValue::from_static(text);
        pairs
            .iter()
            .map(|(name, text)| (name.clone(), value(text)))
            .collect()
    }

    #[test]
    fn takes_loopback_names_only() {
        for good in [
            "localhost",
            "LOCALHOST:1337",
            "127.0.0.1:1337",
            "127.1.2.3",
            "[::1]:80",
        ] {
            assert_eq!(refusal(&headers(&[(HOST, good)])), None, "{good}");
        }
        for bad in [
            "evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:1337",
            "",
        ] {
            assert!(refusal(&headers(&[(HOST, bad)])).is_some(), "{bad}");
        }
        assert_eq!(refusal(&HeaderMap::new()), None, "HTTP/1.0 has no Host");
    }

    #[test]
    fn refuses_requests_that_another_site_makes() {
        let of = |origin| refusal(&headers(&[(HOST, "localhost"), (ORIGIN, origin)]));
        assert_eq!(of("http://localhost:3000"), None);
        assert!(of("https://evil.example").is_some());
        assert!(of("null").is_some());
    }
}
