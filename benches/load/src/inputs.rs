//! Random queries in Clipper's JSON, no two alike, so that no cache answers them.
//!
//! Some bodies are made at the start. For each query one of them is copied, and a field of fixed
//! width in its first value is overwritten with a running number.
//!
//! # Cost
//! A query: one allocation and one copy of its body.

use bytes::{Bytes, BytesMut};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng};

/// Bodies made at the start.
const BODIES: usize = 64;
/// Characters of a string.
const TEXT_CHARS: usize = 32;
/// Numbers of the field of floats: each is an `f32` of its own in [0, 1).
const FLOATS: u64 = 1 << 24;
/// Digits of the field of integers, and the numbers that have so many.
const INTEGER_DIGITS: usize = 8;
const INTEGERS: u64 = 90_000_000;

/// What a query holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputKind {
    /// So many numbers in [0, 1).
    Floats {
        /// Numbers of a query; at least 1.
        features: usize,
    },
    /// So many integers below 100; the first is a running number of eight digits.
    Integers {
        /// Numbers of a query; at least 1.
        features: usize,
    },
    /// Hexadecimal text of 32 characters, which is valid base64 too.
    Text,
}

/// Endless queries.
#[derive(Debug)]
pub struct RandomInputs {
    kind: InputKind,
    bodies: Vec<Bytes>,
    number: u64,
    /// Where the field begins.
    field: usize,
}

impl RandomInputs {
    /// Queries of `kind`; a seed gives the same ones again.
    ///
    /// # Panics
    /// If a query has no features.
    #[must_use]
    pub fn new(kind: InputKind, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (opening, field) = match kind {
            InputKind::Text => ("{\"input\":\"", "0".repeat(TEXT_CHARS / 2)),
            InputKind::Floats { .. } => ("{\"input\":[", float_field(0)),
            InputKind::Integers { .. } => ("{\"input\":[", integer_field(0)),
        };
        let body = |_| {
            let rest = rest(kind, &mut rng);
            Bytes::from(format!("{opening}{field}{rest}}}"))
        };
        Self {
            kind,
            bodies: (0..BODIES).map(body).collect(),
            number: rng.random_range(0..FLOATS),
            field: opening.len(),
        }
    }

    /// The next query's body.
    pub fn next_body(&mut self) -> Bytes {
        let body = &self.bodies[self.number as usize % BODIES];
        let field = match self.kind {
            InputKind::Floats { .. } => float_field(self.number),
            InputKind::Integers { .. } => integer_field(self.number),
            InputKind::Text => format!("{:016x}", self.number),
        };
        self.number = self.number.wrapping_add(1);
        let mut copy = BytesMut::from(&body[..]);
        copy[self.field..self.field + field.len()].copy_from_slice(field.as_bytes());
        copy.freeze()
    }
}

/// Always ten characters.
fn float_field(number: u64) -> String {
    format!("{:.8}", (number % FLOATS) as f64 / FLOATS as f64)
}

/// Always [`INTEGER_DIGITS`] characters; JSON allows no leading zero.
fn integer_field(number: u64) -> String {
    let number = 10_u64.pow(INTEGER_DIGITS as u32 - 1) + number % INTEGERS;
    number.to_string()
}

/// What follows the field in a body, up to the end of the input.
fn rest(kind: InputKind, rng: &mut Xoshiro256PlusPlus) -> String {
    let mut numbers =
        |features: usize, number: &mut dyn FnMut(&mut Xoshiro256PlusPlus) -> String| {
            assert!(features > 0, "a query has at least one feature");
            let more = (1..features).map(|_| format!(",{}", number(rng)));
            more.collect::<String>() + "]"
        };
    match kind {
        InputKind::Floats { features } => numbers(features, &mut |rng| {
            format!("{:.4}", f64::from(rng.random_range(0..10_000_u32)) / 1e4)
        }),
        InputKind::Integers { features } => numbers(features, &mut |rng| {
            rng.random_range(0..100_u32).to_string()
        }),
        InputKind::Text => format!("{:016x}\"", rng.random::<u64>()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    fn inputs(kind: InputKind, seed: u64, count: usize) -> Vec<Value> {
        let mut inputs = RandomInputs::new(kind, seed);
        let input = |_| {
            let body: Value = serde_json::from_slice(&inputs.next_body()).expect("JSON");
            body["input"].clone()
        };
        (0..count).map(input).collect()
    }

    #[test]
    fn a_query_has_the_type_and_shape_asked_for() {
        for features in [1, 3, 784] {
            for input in inputs(InputKind::Floats { features }, 1, 100) {
                let numbers = input.as_array().expect("a vector");
                assert_eq!(numbers.len(), features);
                assert!(numbers.iter().all(|n| n.is_f64() && n.as_f64() < Some(1.0)));
            }
            for input in inputs(InputKind::Integers { features }, 1, 100) {
                let numbers = input.as_array().expect("a vector");
                assert_eq!(numbers.len(), features);
                let fits = |n: &Value| n.as_u64().is_some_and(|n| i32::try_from(n).is_ok());
                assert!(numbers.iter().all(fits));
            }
        }
        for input in inputs(InputKind::Text, 1, 100) {
            assert_eq!(input.as_str().expect("a string").len(), TEXT_CHARS);
        }
    }

    #[test]
    fn no_two_queries_are_alike_also_as_single_precision() {
        let floats = inputs(InputKind::Floats { features: 1 }, 1, 50_000);
        let bits = |input: &Value| (input[0].as_f64().expect("a float") as f32).to_bits();
        assert_eq!(
            floats.iter().map(bits).collect::<HashSet<_>>().len(),
            50_000
        );
        for kind in [InputKind::Integers { features: 1 }, InputKind::Text] {
            let all: HashSet<_> = inputs(kind, 1, 10_000)
                .iter()
                .map(Value::to_string)
                .collect();
            assert_eq!(all.len(), 10_000);
        }
    }

    #[test]
    fn a_seed_gives_the_same_queries_again() {
        let kind = InputKind::Floats { features: 4 };
        assert_eq!(inputs(kind, 5, 200), inputs(kind, 5, 200));
        assert_ne!(inputs(kind, 5, 200), inputs(kind, 6, 200));
    }
}
