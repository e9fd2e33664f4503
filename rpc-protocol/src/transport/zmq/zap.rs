//! ZAP (ZeroMQ RFC 27): libzmq asks who a CURVE peer is, and whether it may come in.
//!
//! Requests come from libzmq itself, in this process; the key in one is the peer's, which it
//! has proved to have. What is not a request for our domain and mechanism is refused.

use crate::keys::PublicKey;
use crate::transport::Authenticate;

/// Where libzmq asks.
pub(super) const ENDPOINT: &str = "inproc://zeromq.zap.01";
/// The domain of the containers' port.
pub(super) const DOMAIN: &str = "skysail";

const VERSION: &[u8] = b"1.0";

/// The answer to a request: both without the frames of its envelope.
pub(super) fn answer(request: &[Vec<u8>], authenticate: &mut Authenticate) -> [Vec<u8>; 6] {
    let user = key_of(request).and_then(|(key, address)| authenticate(&key, &address));
    let (status, text) = match user {
        Some(_) => ("200", "OK"),
        None => ("400", "not allowed"),
    };
    let request_id = request.get(1).cloned().unwrap_or_default();
    let user = user.unwrap_or_default().into_bytes();
    let metadata = Vec::new();
    [
        VERSION.into(),
        request_id,
        status.into(),
        text.into(),
        user,
        metadata,
    ]
}

/// The key that a request asks about, and where its holder connects from.
fn key_of(request: &[Vec<u8>]) -> Option<(PublicKey, String)> {
    let [
        version,
        _id,
        domain,
        address,
        _identity,
        mechanism,
        credentials,
    ] = request
    else {
        return None;
    };
    let ours = version == VERSION && domain == DOMAIN.as_bytes() && mechanism == b"CURVE";
    let key = credentials.as_slice().try_into().ok().filter(|_| ours)?;
    Some((
        PublicKey::new(key),
        String::from_utf8_lossy(address).into_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Vec<Vec<u8>> {
        let key = [7; 32];
        let frames: [&[u8]; 7] = [b"1.0", b"42", b"skysail", b"10.0.0.1", b"", b"CURVE", &key];
        frames.map(Vec::from).to_vec()
    }

    fn answer_of(request: &[Vec<u8>]) -> [Vec<u8>; 6] {
        let mut authenticate: Authenticate = Box::new(|key, address| {
            assert_eq!(address, "10.0.0.1");
            (key == &PublicKey::new([7; 32])).then(|| "alice".to_owned())
        });
        answer(request, &mut authenticate)
    }

    #[test]
    fn a_known_key_is_let_in_by_its_name() {
        let expected: [&[u8]; 6] = [b"1.0", b"42", b"200", b"OK", b"alice", b""];
        assert_eq!(answer_of(&request()), expected.map(Vec::from));
    }

    #[test]
    fn whatever_else_is_asked_is_refused() {
        let wrong: [(usize, &[u8]); 6] = [
            (0, b"2.0"),
            (2, b"other"),
            (5, b"NULL"),
            (6, &[7; 31]),
            (6, &[7; 33]),
            (6, &[8; 32]),
        ];
        let mut requests: Vec<_> = (0..7).map(|frames| request()[..frames].to_vec()).collect();
        requests.push([request(), vec![vec![]]].concat());
        for (index, frame) in wrong {
            let mut request = request();
            request[index] = frame.to_vec();
            requests.push(request);
        }
        for request in requests {
            let [_, id, status, _, user, _] = answer_of(&request);
            assert_eq!(Some(&id), request.get(1).or(Some(&Vec::new())));
            assert_eq!(
                (&status[..], &user[..]),
                (&b"400"[..], &b""[..]),
                "{request:?}"
            );
        }
    }
}
