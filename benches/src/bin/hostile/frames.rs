//! Frames of HTTP/2, written by hand: no library sends what hostile clients send.

/// What a client says first, with empty settings.
pub(crate) fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings()].concat()
}

/// The same, by a client that lets no body come.
pub(crate) fn preface_without_window() -> Vec<u8> {
    // SETTINGS_INITIAL_WINDOW_SIZE
    let no_window = [0, 4, 0, 0, 0, 0];
    let preface = &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..];
    [preface, &frame(4, 0, 0, &no_window)].concat()
}

pub(crate) fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

pub(crate) fn ping() -> Vec<u8> {
    frame(6, 0, 0, b"12345678")
}

/// `GET path`, whole.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    const END_STREAM_AND_HEADERS: u8 = 0x5;
    frame(1, END_STREAM_AND_HEADERS, stream, &head(path))
}

/// The beginning of a head that goes on.
pub(crate) fn head_without_end(stream: u32, path: &str) -> Vec<u8> {
    frame(1, 0, stream, &head(path))
}

/// More of a head, which goes on: a field of about 1 KiB.
pub(crate) fn continuation(stream: u32) -> Vec<u8> {
    let mut field = vec![0];
    field.extend(literal(b"x"));
    field.extend(literal(&[b'y'; 1000]));
    frame(9, 0, stream, &field)
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    frame(3, 0, stream, &CANCEL)
}

/// The stream of a client's request, counted from 0.
pub(crate) fn stream(index: u32) -> u32 {
    2 * index + 1
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block: entries of the static table, and a path and an authority that are not indexed.
fn head(path: &str) -> Vec<u8> {
    const GET: u8 = 0x82;
    const HTTP: u8 = 0x86;
    const PATH: u8 = 0x04;
    const AUTHORITY: u8 = 0x01;
    let mut head = vec![GET, HTTP, PATH];
    head.extend(literal(path.as_bytes()));
    head.push(AUTHORITY);
    head.extend(literal(b"localhost"));
    head
}

/// A string of a header block, without Huffman's code (RFC 7541, section 5).
fn literal(text: &[u8]) -> Vec<u8> {
    const PREFIX_MAX: usize = 127;
    let mut coded = Vec::with_capacity(text.len() + 3);
    match text.len().checked_sub(PREFIX_MAX) {
        None => coded.push(text.len() as u8),
        Some(mut rest) => {
            coded.push(PREFIX_MAX as u8);
            while rest >= 128 {
                coded.push((rest % 128) as u8 | 0x80);
                rest /= 128;
            }
            coded.push(rest as u8);
        }
    }
    coded.extend(text);
    coded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_length_kind_and_stream_before_its_payload() {
        assert_eq!(
            reset(0x0102),
            [0, 0, 4, 3, 0, 0, 0, 1, 2, 0, 0, 0, 8],
            "13 bytes"
        );
        assert_eq!(settings(), [0, 0, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!(ping().len(), 9 + 8);
    }

    #[test]
    fn lengths_of_strings_are_coded_as_hpack_has_them() {
        // RFC 7541, C.1.2, has 1337 behind five bits; behind seven the rest is 1210.
        assert_eq!(literal(&[b'a'; 1337])[..3], [127, 0xba, 0x09]);
        assert_eq!(literal(&[b'a'; 127])[..2], [127, 0]);
        assert_eq!(literal(b"ab"), [2, b'a', b'b']);
    }

    #[test]
    fn streams_of_clients_are_odd() {
        assert_eq!([0, 1, 99].map(stream), [1, 3, 199]);
    }
}
