//! A place in a JSON text, and how to step over what lies there.
//!
//! # Invariants
//! - `at <= body.len()`.
//! - Recursion is counted: `skip_value` never goes deeper than `limits.depth_max`.

use super::JsonLimits;
use super::error::{JsonError, JsonErrorKind};
use super::number::{Fault, number_text};
use super::text::Text;

/// A place in a body.
pub(crate) struct Cursor<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) at: usize,
    pub(crate) limits: &'a JsonLimits,
    /// How many more numbers the body may hold.
    pub(crate) numbers_left: usize,
    /// How many more strings its tensors may hold.
    pub(crate) strings_left: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(body: &'a [u8], limits: &'a JsonLimits) -> Self {
        Cursor {
            body,
            at: 0,
            limits,
            numbers_left: limits.numbers_max,
            strings_left: limits.strings_max,
        }
    }

    /// The next byte that is not white space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.at = skip_space(self.body, self.at);
        self.body.get(self.at).copied()
    }

    /// Steps over `byte` if it comes next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn error(&self, kind: JsonErrorKind) -> JsonError {
        JsonError::at(self.at, kind)
    }

    pub(crate) fn syntax(&self, what: &'static str) -> JsonError {
        self.error(JsonErrorKind::Syntax(what))
    }

    pub(crate) fn limit(&self, what: &'static str, limit: usize) -> JsonError {
        self.error(JsonErrorKind::Limit { what, limit })
    }

    /// The string that comes next, whose quote was seen.
    pub(crate) fn text(&mut self) -> Result<Text<'a>, JsonError> {
        let (text, end) = Text::scan(self.body, self.at + 1)?;
        self.at = end;
        Ok(text)
    }

    /// The name of the next member and the colon after it.
    pub(crate) fn key(&mut self) -> Result<Text<'a>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax("expected a member name in quotes"));
        }
        let key = self.text()?;
        if key.raw_bytes() > self.limits.key_bytes_max {
            return Err(self.limit("a member name is too long", self.limits.key_bytes_max));
        }
        if self.take(b':') {
            Ok(key)
        } else {
            Err(self.syntax("expected ':'"))
        }
    }

    /// Reads a document that is an object, a member at a time; `read` is given the name.
    ///
    /// # Errors
    /// If it is no object, or something follows it; what `read` says.
    pub(crate) fn document<E: From<JsonError>>(
        &mut self,
        read: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_object = self.peek() == Some(b'{');
        if is_object {
            self.members(read)?;
        } else {
            self.skip_value(0)?;
        }
        if self.peek().is_some() {
            return Err(self.syntax("nothing may follow the document").into());
        }
        match is_object {
            true => Ok(()),
            false => Err(JsonError::at(0, JsonErrorKind::NotObject).into()),
        }
    }

    /// Reads the members of the object whose brace was seen.
    pub(crate) fn members<E: From<JsonError>>(
        &mut self,
        mut read: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        self.at += 1;
        if self.take(b'}') {
            return Ok(());
        }
        for _ in 0..self.limits.keys_max {
            let name = self.key()?.decode();
            read(self, &name)?;
            if !self.another(b'}')? {
                return Ok(());
            }
        }
        let limit = self.limits.keys_max;
        Err(self.limit("an object has too many members", limit).into())
    }

    /// After a member or an element: whether another follows, or `close` ended them.
    pub(crate) fn another(&mut self, close: u8) -> Result<bool, JsonError> {
        if self.take(b',') {
            Ok(true)
        } else if self.take(close) {
            Ok(false)
        } else if close == b'}' {
            Err(self.syntax("expected ',' or '}'"))
        } else {
            Err(self.syntax("expected ',' or ']'"))
        }
    }

    /// What Clipper calls the type of the value that comes next.
    pub(crate) fn type_name(&mut self) -> Result<&'static str, JsonError> {
        self.peek();
        type_name(&self.body[self.at..]).ok_or_else(|| self.syntax("expected a value"))
    }

    /// Steps over a value that lies in `depth` objects and arrays.
    pub(crate) fn skip_value(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{' | b'[') if depth >= self.limits.depth_max => {
                Err(self.limit("nesting is too deep", self.limits.depth_max))
            }
            Some(b'{') => self.skip_object(depth + 1),
            Some(b'[') => self.skip_array(depth + 1),
            Some(b'"') => self.text().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ => self.skip_word(),
        }
    }

    fn skip_object(&mut self, depth: usize) -> Result<(), JsonError> {
        self.members(|cursor, _| cursor.skip_value(depth))
    }

    fn skip_array(&mut self, depth: usize) -> Result<(), JsonError> {
        self.at += 1;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.skip_value(depth)?;
            if !self.another(b']')? {
                return Ok(());
            }
        }
    }

    fn skip_number(&mut self) -> Result<(), JsonError> {
        self.count_numbers(1)?;
        let text = number_text(self.body, self.at).map_err(|fault| match fault {
            Fault::Syntax(at) => JsonError::at(at, JsonErrorKind::Syntax("invalid number")),
            _ => self.syntax("invalid number"),
        })?;
        self.at = text.end;
        Ok(())
    }

    fn skip_word(&mut self) -> Result<(), JsonError> {
        let rest = &self.body[self.at..];
        let word = ["true", "false", "null"]
            .into_iter()
            .find(|w| rest.starts_with(w.as_bytes()));
        self.at += word.ok_or_else(|| self.syntax("expected a value"))?.len();
        Ok(())
    }

    /// Counts `numbers` more, of which the last has been seen.
    pub(crate) fn count_numbers(&mut self, numbers: usize) -> Result<(), JsonError> {
        match self.numbers_left.checked_sub(numbers) {
            Some(left) => self.numbers_left = left,
            None => {
                return Err(self.limit("the body has too many numbers", self.limits.numbers_max));
            }
        }
        Ok(())
    }
}

/// The offset of the first byte from `at` on that is not white space.
#[inline(always)]
pub(crate) fn skip_space(body: &[u8], mut at: usize) -> usize {
    while matches!(body.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// What Clipper calls the type of the value that `text` starts with, if it looks like one.
pub(crate) fn type_name(text: &[u8]) -> Option<&'static str> {
    Some(match text.first()? {
        b'{' => "Object",
        b'[' => "Array",
        b'"' => "String",
        b'-' | b'0'..=b'9' => "Number",
        _ if text.starts_with(b"true") => "True",
        _ if text.starts_with(b"false") => "False",
        _ if text.starts_with(b"null") => "Null",
        _ => return None,
    })
}
