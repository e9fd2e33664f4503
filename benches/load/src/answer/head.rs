//! The head of an answer: what it says of the body and of the connection.

use httparse::{EMPTY_HEADER, Error, Header, ParserConfig, Status};

use super::{Fault, HEAD_BYTES_MAX};

/// Headers that most answers stay below.
const HEADERS: usize = 32;
/// Most headers of an answer.
const HEADERS_MAX: usize = 1024;

/// What is kept of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) keeps_connection: bool,
}

/// What ends the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Its length; 0 where there is none.
    Length(usize),
    /// The last chunk.
    Chunked,
    /// The end of the connection.
    UntilEnd,
}

/// The head at the start of `bytes` and its length; of an interim answer (1xx) the length only.
/// `None` if it is not whole.
pub(super) fn parse(
    bytes: &[u8],
    is_to_head: bool,
) -> Result<Option<(Option<Head>, usize)>, Fault> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    match parse_into(bytes, is_to_head, &mut headers) {
        Err(Error::TooManyHeaders) => parse_many(bytes, is_to_head),
        parsed => checked(parsed),
    }
}

#[cold]
fn parse_many(bytes: &[u8], is_to_head: bool) -> Result<Option<(Option<Head>, usize)>, Fault> {
    let mut headers = vec![EMPTY_HEADER; HEADERS_MAX];
    checked(parse_into(bytes, is_to_head, &mut headers))
}

/// A head that was parsed, or its length so far.
type Parsed = Result<(usize, Option<Result<Option<Head>, Fault>>), Error>;

fn checked(parsed: Parsed) -> Result<Option<(Option<Head>, usize)>, Fault> {
    match parsed {
        Ok((length, _)) if length > HEAD_BYTES_MAX => Err(Fault::Malformed),
        Ok((length, Some(head))) => head.map(|head| Some((head, length))),
        Ok((_, None)) => Ok(None),
        Err(_) => Err(Fault::Malformed),
    }
}

fn parse_into<'b>(bytes: &'b [u8], is_to_head: bool, headers: &mut [Header<'b>]) -> Parsed {
    let mut response = httparse::Response::new(headers);
    match ParserConfig::default().parse_response(&mut response, bytes)? {
        Status::Partial => Ok((bytes.len(), None)),
        Status::Complete(length) => Ok((length, Some(judged(&response, is_to_head)))),
    }
}

/// What a head means; `None` for an interim one.
fn judged(response: &httparse::Response<'_, '_>, is_to_head: bool) -> Result<Option<Head>, Fault> {
    let status = response.code.expect("a complete head has a status");
    if (100..200).contains(&status) && status != 101 {
        return Ok(None);
    }
    let mut fields = Fields::new(response.version == Some(1));
    for header in &*response.headers {
        fields.take(header)?;
    }
    let has_no_body = is_to_head || matches!(status, 101 | 204 | 304);
    let framing = match (fields.coding, fields.length) {
        _ if has_no_body => Framing::Length(0),
        (Some(Coding::Chunked), _) => Framing::Chunked,
        (Some(Coding::Other), _) => Framing::UntilEnd,
        (None, Some(length)) => Framing::Length(length),
        (None, None) => Framing::UntilEnd,
    };
    let has_two = fields.coding.is_some() && fields.length.is_some();
    Ok(Some(Head {
        status,
        framing,
        keeps_connection: fields.keep_connection()
            && status != 101
            && framing != Framing::UntilEnd
            && !has_two,
    }))
}

/// What the headers say of the framing.
struct Fields {
    is_http_11: bool,
    says_close: bool,
    says_keep_alive: bool,
    length: Option<usize>,
    coding: Option<Coding>,
}

/// The last transfer coding.
#[derive(Clone, Copy)]
enum Coding {
    Chunked,
    Other,
}

impl Fields {
    fn new(is_http_11: bool) -> Self {
        Self {
            is_http_11,
            says_close: false,
            says_keep_alive: false,
            length: None,
            coding: None,
        }
    }

    fn take(&mut self, header: &Header<'_>) -> Result<(), Fault> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // Most names differ in their length already.
        match header.name.len() {
            10 if is("connection") => self.connection(header.value),
            14 if is("content-length") => self.content_length(header.value)?,
            17 if is("transfer-encoding") => self.transfer_encoding(header.value)?,
            _ => {}
        }
        Ok(())
    }

    fn keep_connection(&self) -> bool {
        !self.says_close && (self.is_http_11 || self.says_keep_alive)
    }

    fn connection(&mut self, value: &[u8]) {
        for option in items(value) {
            self.says_close |= option.eq_ignore_ascii_case(b"close");
            self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// One length, however often it is told.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        for item in items(value) {
            let is_number = !item.is_empty() && item.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(item).map_err(|_| Fault::Malformed)?;
            let length = text.parse().ok().filter(|_| is_number);
            let length = length.ok_or(Fault::Malformed)?;
            if *self.length.get_or_insert(length) != length {
                return Err(Fault::Malformed);
            }
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if !self.is_http_11 {
            return Err(Fault::Malformed);
        }
        for coding in items(value) {
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding = Some(if is_chunked {
                Coding::Chunked
            } else {
                Coding::Other
            });
        }
        Ok(())
    }
}

/// The items of a list.
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
