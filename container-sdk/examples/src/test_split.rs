//! The images that the digits models were not trained on, and what `digits/train.py` measured
//! with them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// An image of a digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestImage {
    /// The digit that it shows.
    pub label: i32,
    /// Its 8x8 pixels, 0 to 16, row by row.
    pub pixels: Vec<u8>,
}

/// What the training script measured of a model on the test images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Offline {
    /// Images that the model had right.
    pub correct: u64,
}

/// The test images.
///
/// # Panics
/// If the file that is part of this crate is damaged.
#[must_use]
pub fn images() -> Vec<TestImage> {
    let image = |line: &str| {
        let mut numbers = line
            .split(',')
            .map(|n| n.parse::<u8>().expect("small numbers"));
        let label = numbers.next().expect("a label before the pixels").into();
        TestImage {
            label,
            pixels: numbers.collect(),
        }
    };
    include_str!("../digits/digits-test.csv")
        .lines()
        .skip(1)
        .map(image)
        .collect()
}

/// What the training script measured of `model`.
///
/// # Panics
/// If the file that is part of this crate is damaged.
#[must_use]
pub fn offline(model: &str) -> Option<Offline> {
    #[derive(Deserialize)]
    struct Report {
        models: BTreeMap<String, Offline>,
    }
    let report = include_str!("../digits/report.json");
    let report: Report = serde_json::from_str(report).expect("the report is JSON");
    report.models.get(model).copied()
}
