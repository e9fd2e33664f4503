//! Who is let in, with a clock that the tests hold.

use hyper::header::HOST;
use skysail_core::Name;

use super::routes::{MANAGEMENT_PORT, QUERY_PORT};
use super::*;

const HOUR: u64 = 3600;
const PEER: &str = "192.0.2.1";

/// A token for `scopes` and all applications.
fn token(name: &str, scopes: &[Scope]) -> (Secret, Token) {
    let mut random = [7; 32];
    random[..name.len()].copy_from_slice(name.as_bytes());
    let secret = Secret::new(random);
    let token = Token {
        name: Name::new(name).expect("a name"),
        sha256: secret.digest(),
        scopes: scopes.to_vec(),
        applications: Vec::new(),
        created_unix_seconds: 0,
        expires_unix_seconds: None,
    };
    (secret, token)
}

/// Tokens, and a time.
struct Bench {
    access: Access,
    tokens: Arc<ArcSwap<Tokens>>,
    now: Now,
}

impl Bench {
    fn new(tokens: Vec<Token>) -> Bench {
        let tokens = Arc::new(ArcSwap::from_pointee(Tokens::new(tokens).expect("right")));
        Bench {
            access: Access::by_tokens(tokens.clone()),
            tokens,
            now: Now {
                monotonic: Instant::now(),
                unix_seconds: 100 * HOUR,
            },
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.monotonic += Duration::from_secs(seconds);
        self.now.unix_seconds += seconds;
    }

    fn knock(&self, header: Option<&str>, peer: &str, need: Need) -> Result<Granted, Denied> {
        let caller = Caller {
            authorization: header.map(str::as_bytes),
            peer: Some(peer.parse().expect("an address")),
        };
        self.access.check(&caller, need, || self.now)
    }

    /// What is said to whoever has this token.
    fn ask(&self, secret: &Secret, scope: Scope) -> Result<Granted, Denied> {
        let header = format!("Bearer {}", secret.reveal());
        self.knock(Some(&header), PEER, Need::Scope(scope))
    }

    fn wrong(&self, peer: &str) -> Denied {
        let denied = self.knock(Some("Bearer sky_wrong"), peer, Need::AnyToken);
        denied.expect_err("it is wrong")
    }
}

#[test]
fn a_token_is_let_in_to_its_scopes_and_to_no_other() {
    let (secret, both) = token("both", &[Scope::Query, Scope::Metrics]);
    let bench = Bench::new(vec![both]);
    for scope in [Scope::Query, Scope::Metrics] {
        let granted = bench.ask(&secret, scope).expect("its scope");
        assert_eq!(granted.name(), Some("both"));
    }
    for scope in [Scope::Admin, Scope::Feedback] {
        let denied = bench.ask(&secret, scope).expect_err("not its scope");
        assert_eq!((denied.status().as_u16(), denied.header()), (403, None));
        let told = denied.to_string();
        let says = format!("has scope query, metrics, this needs scope {scope}");
        assert!(told.contains(&says), "{told}");
    }
}

#[test]
fn no_scope_implies_another() {
    for has in Scope::ALL {
        let (secret, one) = token("one", &[has]);
        let bench = Bench::new(vec![one]);
        for needed in Scope::ALL {
            assert_eq!(bench.ask(&secret, needed).is_ok(), has == needed);
        }
    }
}

#[test]
fn who_has_no_token_or_a_wrong_one_is_told_so_with_401() {
    let (secret, one) = token("one", &[Scope::Query]);
    let bench = Bench::new(vec![one]);
    let right = secret.reveal();
    let need = Need::Scope(Scope::Query);
    for (header, denied) in [
        (None, Denied::Missing),
        (Some(String::new()), Denied::NoBearer),
        (Some("Bearer".to_owned()), Denied::NoBearer),
        (Some("Bearer   ".to_owned()), Denied::NoBearer),
        (Some(format!("Basic {right}")), Denied::NoBearer),
        (Some(right.to_owned()), Denied::NoBearer),
        (Some(format!("Bearer {right}x")), Denied::Unknown),
        (Some(format!("Bearer {}", &right[1..])), Denied::Unknown),
        (Some("Bearer sky_".to_owned()), Denied::Unknown),
    ] {
        let told = bench.knock(header.as_deref(), PEER, need);
        let told = told.expect_err("not right");
        assert_eq!(told, denied, "{header:?}");
        assert_eq!(told.status(), StatusCode::UNAUTHORIZED);
        let bearer = (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        assert_eq!(told.header(), Some(bearer));
    }
    for header in [format!("bearer {right}"), format!("BEARER   {right} ")] {
        let granted = bench.knock(Some(&header), PEER, need);
        assert!(granted.is_ok(), "schemes have no case: {header}");
    }
}

#[test]
fn a_token_is_taken_until_a_minute_after_its_end() {
    let (secret, mut one) = token("one", &[Scope::Query]);
    one.expires_unix_seconds = Some(101 * HOUR);
    let mut bench = Bench::new(vec![one]);
    bench.pass(HOUR + 60);
    assert!(bench.ask(&secret, Scope::Query).is_ok(), "clocks differ");
    bench.pass(1);
    let denied = bench.ask(&secret, Scope::Query).expect_err("too old");
    let name = "one".to_owned();
    assert_eq!(denied, Denied::Expired { name });
    assert_eq!(denied.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn a_token_that_is_revoked_is_unknown_at_once() {
    let (secret, one) = token("one", &[Scope::Query]);
    let (other_secret, other) = token("other", &[Scope::Query]);
    let bench = Bench::new(vec![one, other.clone()]);
    assert!(bench.ask(&secret, Scope::Query).is_ok());
    let left = Tokens::new(vec![other]).expect("right");
    bench.tokens.store(Arc::new(left));
    let denied = bench.ask(&secret, Scope::Query).expect_err("revoked");
    assert_eq!(denied, Denied::Unknown);
    assert!(bench.ask(&other_secret, Scope::Query).is_ok());
}

#[test]
fn a_token_for_an_application_asks_no_other() {
    let (secret, mut one) = token("one", &[Scope::Query, Scope::Admin]);
    one.applications = vec![Name::new("digits").expect("a name")];
    let bench = Bench::new(vec![one]);
    let header = format!("Bearer {}", secret.reveal());
    let admit = |found: &Found<'_>| {
        let caller = Caller {
            authorization: Some(header.as_bytes()),
            peer: None,
        };
        bench.access.admit(&caller, found, || bench.now)
    };
    let post = Method::POST;
    assert!(admit(&QUERY_PORT.by_path(&post, "/digits/predict")).is_ok());
    let other = admit(&QUERY_PORT.by_path(&post, "/spam/predict")).expect_err("another");
    assert_eq!(other.status(), StatusCode::FORBIDDEN);
    assert!(other.to_string().ends_with("than 'spam'"), "{other}");
    let path = "/api/v1/models";
    let admin = MANAGEMENT_PORT.by_pattern(&post, Some(path), path);
    assert!(admit(&admin).is_ok(), "only what queries is restricted");
    let all = Found::Listed {
        need: Need::Scope(Scope::Query),
        application: None,
    };
    let denied = admit(&all).expect_err("what names no application is for all");
    assert_eq!(denied.status(), StatusCode::FORBIDDEN);
}

#[test]
fn what_is_not_in_the_table_is_told_to_who_has_some_token() {
    let (secret, one) = token("one", &[Scope::Metrics]);
    let bench = Bench::new(vec![one]);
    let header = format!("Bearer {}", secret.reveal());
    let admit = |authorization| {
        let caller = Caller {
            authorization,
            peer: None,
        };
        let found = QUERY_PORT.by_path(&Method::GET, "/nothing");
        let denied = bench.access.admit(&caller, &found, || bench.now);
        denied.expect_err("there is nothing").status().as_u16()
    };
    assert_eq!(admit(None), 401);
    assert_eq!(admit(Some(header.as_bytes())), 404);
}

#[test]
fn what_is_not_in_the_table_is_refused_by_an_open_front_end_too() {
    let caller = Caller {
        authorization: None,
        peer: None,
    };
    let never = || -> Now { unreachable!("no clock is read") };
    let admit = |method, path| {
        let found = QUERY_PORT.by_path(method, path);
        Access::open().admit(&caller, &found, never)
    };
    assert!(admit(&Method::POST, "/a/predict").is_ok());
    let denied = admit(&Method::POST, "/a\n/b").expect_err("no such path");
    assert_eq!((denied.status().as_u16(), denied.header()), (404, None));
    assert_eq!(denied.to_string(), "no such path: /a\\n/b");
    let denied = admit(&Method::PUT, "/a/predict").expect_err("no such method");
    assert_eq!(denied.status().as_u16(), 405);
    assert_eq!(
        denied.header(),
        Some((ALLOW, HeaderValue::from_static("POST")))
    );
}

#[test]
fn an_open_front_end_and_signs_of_life_need_no_token() {
    let caller = Caller {
        authorization: None,
        peer: None,
    };
    let never = || -> Now { unreachable!("no clock is read") };
    let open = Access::open();
    let granted = open.check(&caller, Need::Scope(Scope::Admin), never);
    let granted = granted.expect("open");
    assert_eq!((granted.name(), granted.may_use(None)), (None, Ok(())));
    let closed = Bench::new(vec![]).access;
    assert!(closed.check(&caller, Need::Nothing, never).is_ok());
}

#[test]
fn wrong_tokens_make_their_address_wait_longer_and_longer() {
    let mut bench = Bench::new(vec![]);
    for _ in 0..10 {
        assert_eq!(bench.wrong(PEER), Denied::Unknown, "people mistype");
    }
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let denied = bench.wrong(PEER);
        let wait = Duration::from_secs(seconds);
        assert_eq!(denied, Denied::TooMany { wait });
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(denied.header(), Some((RETRY_AFTER, seconds.into())));
        bench.now.monotonic += Duration::from_secs(seconds);
        assert_eq!(bench.wrong(PEER), Denied::Unknown, "it has waited");
    }
    assert!(matches!(bench.wrong(PEER), Denied::TooMany { .. }));
    assert_eq!(bench.wrong("192.0.2.2"), Denied::Unknown, "another one");
    bench.pass(HOUR);
    assert_eq!(bench.wrong(PEER), Denied::Unknown);
    assert_eq!(bench.wrong(PEER), Denied::Unknown, "it begins anew");
}

#[test]
fn a_right_token_is_let_in_from_an_address_that_is_to_wait() {
    let (secret, one) = token("one", &[Scope::Query]);
    let bench = Bench::new(vec![one]);
    for _ in 0..20 {
        bench.wrong(PEER);
    }
    assert!(matches!(bench.wrong(PEER), Denied::TooMany { .. }));
    assert!(bench.ask(&secret, Scope::Query).is_ok());
}

#[test]
fn a_network_of_ipv6_counts_as_one_address() {
    let bench = Bench::new(vec![]);
    for host in 1..=10 {
        bench.wrong(&format!("2001:db8:0:1::{host}"));
    }
    let waits = |peer| matches!(bench.wrong(peer), Denied::TooMany { .. });
    assert!(waits("2001:db8:0:1:ffff::1"));
    assert!(!waits("2001:db8:0:2::1"));
    for _ in 0..9 {
        bench.wrong("::ffff:192.0.2.9");
    }
    assert!(
        !waits("192.0.2.9") && waits("::ffff:192.0.2.9"),
        "one address"
    );
}

#[test]
fn only_so_many_addresses_are_remembered() {
    let mut failures = Failures::default();
    let now = Instant::now();
    for number in 0..2 * ADDRESSES_MAX as u32 + 1 {
        let address = std::net::Ipv4Addr::from_bits(number).into();
        assert_eq!(failures.count(address, now), None);
        assert!(failures.addresses() <= ADDRESSES_MAX);
    }
    assert_eq!(failures.addresses(), 1);
}

#[test]
fn tokens_that_cannot_be_told_apart_are_refused() {
    let (_, one) = token("one", &[Scope::Query]);
    let (_, other) = token("other", &[Scope::Query]);
    let refused = |tokens| Tokens::new(tokens).expect_err("refused").to_string();
    let same_name = Token {
        name: one.name.clone(),
        ..other.clone()
    };
    let same_hash = Token {
        sha256: one.sha256.clone(),
        ..other.clone()
    };
    for twin in [same_name, same_hash] {
        let told = refused(vec![one.clone(), twin]);
        assert!(told.starts_with("two tokens are named"), "{told}");
    }
    let idle = Token {
        scopes: vec![],
        ..other
    };
    assert!(refused(vec![idle]).contains("no scope"));
    let many = vec![one; TOKENS_MAX + 1];
    assert!(refused(many).contains("1025 tokens, at most 1024"));
}

#[test]
fn each_of_many_tokens_is_found() {
    let of = |number: usize| token(&format!("t{number}"), &[Scope::Query]);
    let tokens = (0..TOKENS_MAX).map(|number| of(number).1).collect();
    let bench = Bench::new(tokens);
    for number in 0..TOKENS_MAX {
        let granted = bench.ask(&of(number).0, Scope::Query).expect("known");
        assert_eq!(granted.name(), Some(format!("t{number}").as_str()));
    }
}

#[test]
fn a_token_is_long_and_is_not_printed_by_accident() {
    let secret = Secret::new([0xfb; 32]);
    let text = secret.reveal();
    assert_eq!(text, "sky_-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s");
    assert_eq!(format!("{secret:?}"), "Secret");
    // SHA-256("abc"), FIPS 180-2, B.1.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(String::from(Digest::of(b"abc")), abc);
    assert_eq!(Digest::try_from(abc.to_owned()), Ok(Digest::of(b"abc")));
    for wrong in [
        "",
        &abc[1..],
        &abc.replace('b', "g"),
        &abc.replace("ba", "+a"),
    ] {
        assert_eq!(Digest::try_from(wrong.to_owned()), Err(NoDigest), "{wrong}");
    }
}

#[test]
fn scopes_have_names() {
    for scope in Scope::ALL {
        assert_eq!(scope.to_string().parse(), Ok(scope));
        assert_eq!(
            serde_json::to_value(scope).expect("a text"),
            scope.to_string()
        );
    }
    let error = "root".parse::<Scope>().expect_err("none").to_string();
    assert!(
        error.contains("query, feedback, admin or metrics"),
        "{error}"
    );
}

#[test]
fn a_request_with_two_authorizations_brings_none() {
    let request = |count: usize| {
        let mut request = Request::builder().header(HOST, "localhost");
        for _ in 0..count {
            request = request.header(AUTHORIZATION, "Bearer sky_x");
        }
        let peer = Peer(PEER.parse().expect("an address"));
        request.extension(peer).body(()).expect("a request")
    };
    assert_eq!(Caller::of(&request(0)).authorization, None);
    let one = request(1);
    assert_eq!(Caller::of(&one).authorization, Some(&b"Bearer sky_x"[..]));
    assert_eq!(Caller::of(&one).peer, Some(PEER.parse().expect("one")));
    assert_eq!(Caller::of(&request(2)).authorization, Some(&b""[..]));
}
