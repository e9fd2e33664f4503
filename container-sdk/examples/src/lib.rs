//! The bundled example containers.
//!
//! | name | inputs → outputs | does |
//! |---|---|---|
//! | `digits-linear` | x: f32\[64\] → digit: i32 | softmax regression on 8x8 images, see `digits/` |
//! | `digits-mlp` | x: f32\[64\] → digit: i32 | the same with one hidden layer |
//! | `noop` | x: f32\[784\] → y: f32 | answers 1 without reading its input; measures the rest |
//! | `sum` | x: f64\[-1\] → sum: f64 | adds the elements of each row; rows differ in length |
//! | `upper` | text: string → upper: string | texts in capitals |
//!
//! They run inside the `skysail` program, as `skysail example-container NAME`. The models of the
//! conformance suite ([`suite`]) run there as `skysail suite-container --model NAME`.

#![forbid(unsafe_code)]

pub mod digits;
pub mod noop;
pub mod suite;
pub mod sum;
pub mod test_split;
pub mod upper;

use std::process::ExitCode;

use skysail_container::{Options, run};

/// Runs a bundled container with the given options until it ends.
pub type Run = fn(Options) -> ExitCode;

const BUNDLED: [(&str, Run); 5] = [
    ("digits-linear", run::<digits::Linear>),
    ("digits-mlp", run::<digits::Mlp>),
    ("noop", run::<noop::Noop>),
    ("sum", run::<sum::Sum>),
    ("upper", run::<upper::Upper>),
];

/// The bundled container of that name.
#[must_use]
pub fn bundled(name: &str) -> Option<Run> {
    BUNDLED
        .iter()
        .find(|(bundled, _)| *bundled == name)
        .map(|(_, run)| *run)
}

/// The names that [`bundled`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUNDLED.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_passes_its_self_test() {
        let mut options = Options::default();
        options.selftest = true;
        for name in names() {
            let run = bundled(name).expect("a bundled name");
            assert_eq!(run(options.clone()), ExitCode::SUCCESS, "{name}");
        }
        assert!(bundled("digits").is_none());
    }
}
