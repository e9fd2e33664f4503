use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

/// What a connection came to: status, body and whether it may be used again, or why not.
type Came = Result<(u16, Vec<u8>, bool), Fault>;

/// What comes of pieces and then the end of the connection.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, is_to_head: bool) -> Came {
    let mut reader = Reader::new(is_to_head);
    let owned = |answer: Answer<'_>| (answer.status, answer.body.to_vec(), answer.keeps_connection);
    for piece in pieces {
        if let Some(answer) = reader.read(piece)? {
            return Ok(owned(answer));
        }
    }
    reader.end().map(owned)
}

fn whole(text: impl AsRef<[u8]>) -> Came {
    read([text.as_ref()], false)
}

/// A complete answer, by status, body and whether the connection is kept.
fn answer(status: u16, body: &str, keeps: bool) -> Came {
    Ok((status, body.into(), keeps))
}

#[test]
fn each_framing_ends_where_it_says() {
    for (text, came) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            answer(200, "hi", true),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            answer(200, "", true),
        ),
        (
            "HTTP/1.1 503 \r\nContent-Length:2\r\n\r\nno",
            answer(503, "no", true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA ; x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
            answer(200, "abc0123456789", true),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n1\r\na\r\n00\r\na: b\r\nc: d\r\n\r\n",
            answer(200, "a", true),
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\nto the end",
            answer(200, "to the end", false),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nx",
            answer(200, "x", false),
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", answer(204, "", true)),
        (
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
            answer(304, "", true),
        ),
        ("HTTP/1.1 101 Switching\r\n\r\n", answer(101, "", false)),
        (
            "\r\nHTTP/1.1 200\r\ncontent-length: 1\r\n\r\nx",
            answer(200, "x", true),
        ),
    ] {
        assert_eq!(whole(text), came, "{text:?}");
    }
    let to_head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    assert_eq!(read([&to_head[..]], true), answer(200, "", true));
}

#[test]
fn interim_answers_are_passed_over() {
    let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    assert_eq!(whole(text), answer(200, "ok", true));
    assert_eq!(whole("HTTP/1.1 100 Continue\r\n\r\n"), Err(Fault::Ended));
}

#[test]
fn a_connection_is_kept_unless_the_server_or_the_framing_says_otherwise() {
    let keeps = |version: &str, lines: &str, rest: &str| {
        let text = format!("HTTP/{version} 200 OK\r\ncontent-length: 1\r\n{lines}\r\nx{rest}");
        whole(text).expect("an answer").2
    };
    assert!(keeps("1.1", "", ""));
    assert!(keeps("1.1", "connection: keep-alive\r\n", ""));
    assert!(!keeps("1.1", "Connection: Close\r\n", ""));
    assert!(!keeps(
        "1.1",
        "connection: upgrade\r\nconnection: a, close\r\n",
        ""
    ));
    assert!(!keeps("1.0", "", ""));
    assert!(keeps("1.0", "connection: Keep-Alive\r\n", ""));
    assert!(!keeps("1.0", "connection: keep-alive, close\r\n", ""));
    assert!(
        !keeps("1.1", "", "H"),
        "something follows that belongs to no request"
    );
    let two = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(whole(two), answer(200, "", false));
}

#[test]
fn what_is_not_http_is_refused() {
    for text in [
        "HTTP/2 200 OK\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        assert_eq!(whole(text), Err(Fault::Malformed), "{text:?}");
    }
    for chunks in [
        "\r\n",
        "g\r\n",
        "1\n",
        "1;x\n\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "0\r\n\rx",
        "1\rx",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(whole(&text), Err(Fault::Malformed), "{text:?}");
    }
}

#[test]
fn an_answer_that_is_cut_off_is_none() {
    for whole_text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        for end in 0..whole_text.len() {
            assert_eq!(whole(&whole_text[..end]), Err(Fault::Ended), "{end}");
        }
    }
}

#[test]
fn bodies_and_heads_have_limits() {
    let over = BODY_BYTES_MAX + 1;
    let told = format!("HTTP/1.1 200 OK\r\ncontent-length: {over}\r\n\r\n");
    assert_eq!(whole(told), Err(Fault::TooLong));
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(whole(format!("{chunked}{over:x}\r\n")), Err(Fault::TooLong));
    assert_eq!(
        whole(format!("{chunked}ffffffffffffffffffff\r\n")),
        Err(Fault::TooLong)
    );
    let mib = [b'x'; 1 << 20];
    let pieces =
        |count| std::iter::once(&b"HTTP/1.1 200 OK\r\n\r\n"[..]).chain(vec![&mib[..]; count]);
    let until_end = read(pieces(16), false).expect("it is as long as is allowed");
    assert_eq!(until_end.1.len(), BODY_BYTES_MAX);
    assert_eq!(read(pieces(17), false), Err(Fault::TooLong));

    let aside = "x".repeat(1 << 20);
    assert_eq!(
        whole(format!("{chunked}1;{aside}\r\n")),
        Err(Fault::Malformed)
    );
    assert_eq!(
        whole(format!("{chunked}0\r\na: {aside}\r\n\r\n")),
        Err(Fault::Malformed)
    );
    let head = |bytes: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\na: {}\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    assert_eq!(whole(head(HEAD_BYTES_MAX / 2)), answer(200, "", true));
    assert_eq!(whole(head(HEAD_BYTES_MAX)), Err(Fault::Malformed));
    let unfinished = head(HEAD_BYTES_MAX);
    let unfinished = &unfinished.as_bytes()[..HEAD_BYTES_MAX + 10];
    assert_eq!(read(unfinished.chunks(1000), false), Err(Fault::Malformed));
    let many = |count: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{}\r\n",
            "a: b\r\n".repeat(count)
        )
    };
    assert_eq!(whole(many(1000)), answer(200, "", true));
    assert_eq!(whole(many(1024)), Err(Fault::Malformed));
}

#[test]
fn a_reader_reads_one_answer_after_the_other() {
    let mut reader = Reader::new(false);
    let texts = [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nho\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n!",
    ];
    for (text, body) in texts.iter().zip(["hi", "ho", "!"]) {
        let (first, second) = text.as_bytes().split_at(text.len() - 7);
        assert_eq!(reader.read(first), Ok(None));
        let answer = reader.read(second).expect("HTTP").expect("whole");
        assert_eq!(
            (answer.body, answer.keeps_connection),
            (body.as_bytes(), true)
        );
        reader.next();
    }
}

/// The bytes of an answer of any framing, with what servers put around one.
fn any_answer() -> impl Strategy<Value = Vec<u8>> {
    let status = prop_oneof![
        Just(200_u16),
        Just(201),
        Just(204),
        Just(304),
        Just(404),
        Just(503)
    ];
    let lines = prop::collection::vec(
        prop::sample::select(vec![
            "x-a: 1",
            "Connection: close",
            "connection: keep-alive",
            "Date: Thu, 01 Jan 1970 00:00:00 GMT",
            "x-empty:",
            "set-cookie:  a=b; c ",
        ]),
        0..5,
    );
    let chunks = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..4);
    (status, lines, chunks, 0..3_usize, 0..3_usize, any::<bool>()).prop_map(
        |(status, lines, chunks, framing, interim, has_trailer)| {
            let mut text = Vec::new();
            for _ in 0..interim {
                text.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
            }
            text.extend_from_slice(format!("HTTP/1.1 {status} Some Reason\r\n").as_bytes());
            for line in lines {
                text.extend_from_slice(format!("{line}\r\n").as_bytes());
            }
            let has_body = !matches!(status, 204 | 304);
            let length: usize = chunks.iter().map(Vec::len).sum();
            let told = match framing {
                0 => format!("Content-Length: {length}\r\n\r\n"),
                1 if has_body => "transfer-encoding: chunked\r\n\r\n".to_owned(),
                _ => "\r\n".to_owned(),
            };
            text.extend_from_slice(told.as_bytes());
            for chunk in chunks.iter().filter(|_| has_body) {
                if framing == 1 {
                    text.extend_from_slice(format!("{:x};e=1\r\n", chunk.len()).as_bytes());
                }
                text.extend_from_slice(chunk);
                if framing == 1 {
                    text.extend_from_slice(b"\r\n");
                }
            }
            if framing == 1 && has_body {
                let trailer = if has_trailer { "x-t: 1\r\n" } else { "" };
                text.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
            }
            text
        },
    )
}

/// The pieces between cuts, which are fractions of the whole.
fn cut<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &text[pair[0]..pair[1]])
        .collect()
}

/// What hyper's client makes of the same bytes and the end of the connection.
async fn read_by_hyper(text: &[u8]) -> Option<(u16, Bytes)> {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let handshake = http1::handshake(TokioIo::new(near)).await;
    let (mut sender, connection) = handshake.expect("nothing is sent yet");
    let connection = tokio::spawn(connection);
    let response = sender.send_request(hyper::Request::new(Empty::<Bytes>::new()));
    let response = tokio::spawn(response);
    tokio::task::yield_now().await; // the answer must not come before the request
    let mut request = [0; 16];
    tokio::io::AsyncReadExt::read_exact(&mut far, &mut request)
        .await
        .expect("a request");
    far.write_all(text).await.expect("room");
    far.shutdown().await.expect("open");
    let response = response.await.expect("no panic").ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    drop(connection.await);
    Some((status, body))
}

proptest! {
    #[test]
    fn what_comes_out_does_not_depend_on_the_cuts(
        text in any_answer(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let came = whole(&text);
        prop_assert!(came.is_ok(), "{came:?}");
        prop_assert_eq!(read(cut(&text, &cuts), false), came.clone());
        prop_assert_eq!(read(text.chunks(1), false), came);
    }

    #[test]
    fn damaged_answers_come_to_the_same_however_they_are_cut(
        text in any_answer(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut text = text;
        for (place, byte) in damages {
            let place = place.index(text.len());
            text[place] = byte;
        }
        // What follows an answer is known only where it came with it.
        let verdict = |came: Came| match came {
            Ok((status, body, _)) => Some((status, body)),
            Err(_) => None,
        };
        let came = verdict(whole(&text));
        prop_assert_eq!(verdict(read(cut(&text, &cuts), false)), came.clone());
        prop_assert_eq!(verdict(read(text.chunks(1), false)), came);
    }

    #[test]
    fn hypers_client_reads_the_same(text in any_answer()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let hypers = runtime.block_on(read_by_hyper(&text));
        let ours = whole(&text).ok().map(|(status, body, _)| (status, Bytes::from(body)));
        prop_assert_eq!(ours, hypers);
    }
}
