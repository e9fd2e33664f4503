//! What the head of an HTTP/1 request says that hyper does not tell.
//!
//! Of a request with both `Transfer-Encoding` and `Content-Length` hyper drops the length, as RFC
//! 9112 (6.3) allows. Whoever sends one may want two servers to see two different requests, so
//! that it is refused; for that the lines of a head are searched for one name.
//!
//! # Cost
//! A search for the end of each line of a head, and one comparison. Bodies are not looked at.

use std::io::BufRead;

const NAME: &[u8; 15] = b"content-length:";

/// A head of which some bytes were seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    /// How the line that is not whole begins.
    line: [u8; NAME.len()],
    line_bytes: usize,
    has_begun: bool,
    is_over: bool,
    has_length: bool,
}

impl Head {
    /// Whether a line names a length.
    pub(super) fn has_length(&self) -> bool {
        self.has_length
    }

    /// Looks at what comes next, up to the end of the head.
    pub(super) fn see(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !self.is_over && !rest.is_empty() {
            let mut after = rest;
            let bytes = after.skip_until(b'\n').expect("a slice can be read");
            self.see_part(&rest[..bytes]);
            rest = after;
        }
    }

    /// Looks at bytes of one line.
    fn see_part(&mut self, part: &[u8]) {
        let room = &mut self.line[self.line_bytes..];
        let kept = room.len().min(part.len());
        room[..kept].copy_from_slice(&part[..kept]);
        self.line_bytes += kept;
        if part.ends_with(b"\n") {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let line = &self.line[..self.line_bytes];
        let is_empty = matches!(line, b"\n" | b"\r\n");
        self.has_length |= line.eq_ignore_ascii_case(NAME);
        // Empty lines may stand before a request.
        self.is_over = is_empty && self.has_begun;
        self.has_begun |= !is_empty;
        self.line_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a length is seen, in whatever pieces the text comes.
    #[track_caller]
    fn sees(text: &str) -> bool {
        let mut whole = Head::default();
        whole.see(text.as_bytes());
        for size in 1..text.len() {
            let mut head = Head::default();
            text.as_bytes()
                .chunks(size)
                .for_each(|piece| head.see(piece));
            assert_eq!(head.has_length(), whole.has_length(), "{text:?} by {size}");
        }
        whole.has_length()
    }

    #[test]
    fn sees_a_length_in_the_head_and_nowhere_else() {
        assert!(sees("POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc"));
        assert!(sees("\r\n\nPOST / HTTP/1.1\nHost: x\nContent-Length:3\n"));
        for other in [
            "POST / HTTP/1.1\r\nhost: x\r\n\r\ncontent-length: 3\r\n",
            "POST /content-length:3 HTTP/1.1\r\nx-content-length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nx: content-length: 3\r\ncontent-lengths: 3\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 3",
            "",
        ] {
            assert!(!sees(other), "{other:?}");
        }
    }
}
