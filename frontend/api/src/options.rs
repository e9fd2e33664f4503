//! What a request may ask for beside its answer, in every protocol.
//!
//! | option | V2 parameter | Clipper member | effect |
//! |---|---|---|---|
//! | timeout | `timeout`, microseconds | `timeout_micros` | the deadline comes earlier; it never comes later than the objective |
//! | priority | `priority` | `priority` | 0 and 1 as usual; from 2 on the query is served after others under pressure |
//! | cache | `skysail_cache` | `cache` | `false`: asked anew, whatever the cache has |
//! | explain | `skysail_explain` | `explain` | the answer tells how it came about |
//! | uid | `skysail_uid` | `uid` | whose query it is, told back by `explain` |

use std::time::{Duration, Instant};

use skysail_core::batching::Priority;
use skysail_engine::AskOptions;

use crate::json::cursor::Cursor;
use crate::json::error::JsonError;

/// The first priority that lets others go first; 1 is the highest, 0 says nothing.
const PRIORITY_LOW_MIN: u64 = 2;
/// Longest `uid`.
const UID_BYTES_MAX: usize = 256;

/// A value of an option, as JSON and gRPC have them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    Number(f64),
    Text(String),
    /// A list, an object, nothing.
    Other,
}

impl Value {
    /// The value at the cursor, which lies in `depth` objects and arrays.
    pub(crate) fn read(cursor: &mut Cursor<'_>, depth: usize) -> Result<Value, JsonError> {
        if cursor.peek() == Some(b'"') {
            let (text, limit) = (cursor.text()?, cursor.limits.string_bytes_max);
            if text.raw_bytes() > limit {
                return Err(cursor.limit("a string is too long", limit));
            }
            return Ok(Value::Text(text.decode().into_owned()));
        }
        let start = cursor.at;
        cursor.skip_value(depth)?;
        Ok(match &cursor.body[start..cursor.at] {
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            [b'-' | b'0'..=b'9', ..] => Value::number(&cursor.body[start..cursor.at]),
            _ => Value::Other,
        })
    }

    /// A number whose form was checked.
    fn number(text: &[u8]) -> Value {
        let text = String::from_utf8_lossy(text);
        let unsigned = text.parse().map(Value::Unsigned).ok();
        let signed = || text.parse().map(Value::Negative).ok();
        let float = || text.parse().map(Value::Number).ok();
        unsigned
            .or_else(signed)
            .or_else(float)
            .unwrap_or(Value::Other)
    }
}

/// What one request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) priority: Priority,
    pub(crate) cache: bool,
    pub(crate) explain: bool,
    pub(crate) uid: Option<String>,
    seen: u8,
}

impl Default for RequestOptions {
    fn default() -> Self {
        RequestOptions {
            timeout: None,
            priority: Priority::Normal,
            cache: true,
            explain: false,
            uid: None,
            seen: 0,
        }
    }
}

/// Which option is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table above tells what they are")]
pub enum Key {
    Timeout,
    Priority,
    Cache,
    Explain,
    Uid,
}

impl Key {
    /// The option of a V2 parameter.
    pub(crate) fn of_v2(name: &str) -> Option<Key> {
        Some(match name {
            "timeout" => Key::Timeout,
            "priority" => Key::Priority,
            "skysail_cache" => Key::Cache,
            "skysail_explain" => Key::Explain,
            "skysail_uid" => Key::Uid,
            _ => return None,
        })
    }

    /// Its member in Clipper's body.
    pub(crate) fn clipper_name(self) -> &'static str {
        match self {
            Key::Timeout => "timeout_micros",
            Key::Priority => "priority",
            Key::Cache => "cache",
            Key::Explain => "explain",
            Key::Uid => "uid",
        }
    }

    /// The option of a member of Clipper's body.
    pub(crate) fn of_clipper(name: &str) -> Option<Key> {
        let keys = [
            Key::Timeout,
            Key::Priority,
            Key::Cache,
            Key::Explain,
            Key::Uid,
        ];
        keys.into_iter().find(|key| key.clipper_name() == name)
    }
}

impl RequestOptions {
    /// Takes an option.
    ///
    /// # Errors
    /// What it must be, or that it was there already.
    pub(crate) fn set(&mut self, key: Key, value: Value) -> Result<(), &'static str> {
        let bit = 1 << key as u8;
        if self.seen & bit != 0 {
            return Err("appears twice");
        }
        self.seen |= bit;
        match (key, value) {
            // Clients send 0 where they mean none.
            (Key::Timeout, Value::Unsigned(0)) => {}
            (Key::Timeout, Value::Unsigned(us)) => self.timeout = Some(Duration::from_micros(us)),
            (Key::Timeout, _) => return Err("must be a number of microseconds, 0 or more"),
            (Key::Priority, Value::Unsigned(level)) if level >= PRIORITY_LOW_MIN => {
                self.priority = Priority::Low;
            }
            (Key::Priority, Value::Unsigned(_)) => {}
            (Key::Priority, _) => {
                return Err("must be a whole number, 0 or more; 1 is the highest");
            }
            (Key::Cache, Value::Bool(cache)) => self.cache = cache,
            (Key::Explain, Value::Bool(explain)) => self.explain = explain,
            (Key::Cache | Key::Explain, _) => return Err("must be true or false"),
            (Key::Uid, Value::Text(uid)) if uid.len() <= UID_BYTES_MAX => self.uid = Some(uid),
            (Key::Uid, Value::Text(_)) => return Err("is longer than 256 bytes"),
            (Key::Uid, Value::Unsigned(uid)) => self.uid = Some(uid.to_string()),
            (Key::Uid, Value::Negative(uid)) => self.uid = Some(uid.to_string()),
            (Key::Uid, _) => return Err("must be a string or a whole number"),
        }
        Ok(())
    }

    /// Allows at most `limit`, if there is one, whatever the request says itself.
    pub(crate) fn shorten(&mut self, limit: Option<Duration>) {
        self.timeout = self.timeout.into_iter().chain(limit).min();
    }

    /// The objective, or the time that the request allows if that is less.
    pub(crate) fn limit(&self, slo: Duration) -> Duration {
        self.timeout.map_or(slo, |timeout| timeout.min(slo))
    }

    /// How its queries are asked, if it came at `arrival`.
    pub(crate) fn ask(&self, arrival: Instant, slo: Duration) -> AskOptions {
        AskOptions {
            deadline: arrival + self.limit(slo),
            priority: self.priority,
            cache: self.cache,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(Key, Value)]) -> Result<RequestOptions, &'static str> {
        let mut options = RequestOptions::default();
        for (key, value) in pairs {
            options.set(*key, value.clone())?;
        }
        Ok(options)
    }

    #[test]
    fn a_timeout_only_shortens_the_objective() {
        let slo = Duration::from_millis(20);
        let limit = |us| {
            let options = set(&[(Key::Timeout, Value::Unsigned(us))]).expect("valid");
            options.limit(slo)
        };
        assert_eq!(limit(5_000), Duration::from_millis(5));
        assert_eq!(limit(50_000), slo);
        assert_eq!(limit(u64::MAX), slo);
        assert_eq!(limit(0), slo, "0 is none");
    }

    #[test]
    fn values_of_another_type_are_refused() {
        let wrong = [
            (Key::Timeout, Value::Negative(-1)),
            (Key::Timeout, Value::Number(1.5)),
            (Key::Priority, Value::Text("high".into())),
            (Key::Cache, Value::Unsigned(0)),
            (Key::Explain, Value::Other),
            (Key::Uid, Value::Bool(true)),
            (Key::Uid, Value::Text("x".repeat(257))),
        ];
        for pair in wrong {
            assert!(set(std::slice::from_ref(&pair)).is_err(), "{pair:?}");
        }
        let once = (Key::Cache, Value::Bool(false));
        assert_eq!(set(&[once.clone(), once]), Err("appears twice"));
    }

    #[test]
    fn only_priorities_below_the_highest_let_others_go_first() {
        let priority = |level| {
            let options = set(&[(Key::Priority, Value::Unsigned(level))]).expect("valid");
            options.priority
        };
        assert_eq!(
            (priority(0), priority(1)),
            (Priority::Normal, Priority::Normal)
        );
        assert_eq!((priority(2), priority(9)), (Priority::Low, Priority::Low));
    }
}
