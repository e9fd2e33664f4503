//! Two classifiers of handwritten digits, with the weights and images beside this crate.
//!
//! `digits/train.py` wrote them, and `digits/report.json` says how many of the test images it
//! found right by the same weights.

use serde::Deserialize;
use skysail_container::{Batch, Ctx, Model, Outputs, Result, Signature};

/// Pixels of an image.
pub const PIXELS: usize = 64;

/// Softmax regression, 64 to 10.
#[derive(Debug)]
pub struct DigitsLinear(Network);

/// A neural network, 64 to 32 to 10.
#[derive(Debug)]
pub struct DigitsMlp(Network);

impl Model for DigitsLinear {
    fn signature() -> Signature {
        signature()
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(DigitsLinear(serde_json::from_str(include_str!("../digits/digits-linear.json"))?))
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        self.0.predict(batch, out)
    }
}

impl Model for DigitsMlp {
    fn signature() -> Signature {
        signature()
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(DigitsMlp(serde_json::from_str(include_str!("../digits/digits-mlp.json"))?))
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        self.0.predict(batch, out)
    }
}

fn signature() -> Signature {
    Signature::new().input("x", "f32[64]").output("digit", "i32").max_batch(256)
}

/// Dense layers with ReLU between them; see `digits/README.md`.
#[derive(Debug, Deserialize)]
struct Network {
    input_scale: f32,
    layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
struct Layer {
    /// A row for each input, a column for each output.
    weights: Vec<Vec<f32>>,
    bias: Vec<f32>,
}

impl Network {
    fn predict(&self, batch: &Batch, out: &mut Outputs) -> Result<()> {
        let images = batch.f32("x")?.chunks(PIXELS);
        for (image, digit) in images.zip(out.tensor_mut::<i32>("digit")?) {
            *digit = self.digit(image);
        }
        Ok(())
    }

    /// The digit whose output is the largest.
    fn digit(&self, image: &[f32]) -> i32 {
        let mut values: Vec<f32> = image.iter().map(|pixel| pixel * self.input_scale).collect();
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                values.iter_mut().for_each(|value| *value = value.max(0.0));
            }
            values = layer.apply(&values);
        }
        let largest = (0..).zip(&values).max_by(|(_, a), (_, b)| a.total_cmp(b));
        largest.map_or(-1, |(digit, _)| digit)
    }
}

impl Layer {
    fn apply(&self, inputs: &[f32]) -> Vec<f32> {
        let mut outputs = self.bias.clone();
        for (input, weights) in inputs.iter().zip(&self.weights) {
            for (output, weight) in outputs.iter_mut().zip(weights) {
                *output += input * weight;
            }
        }
        outputs
    }
}

/// An image that no model was trained on.
#[derive(Clone, Debug)]
pub struct TestImage {
    /// The digit that it shows.
    pub label: i32,
    /// Its pixels, 0 to 16, row by row.
    pub pixels: Vec<u8>,
}

/// The images of the test split.
///
/// # Panics
/// If the file that is part of this crate is damaged.
#[must_use]
pub fn test_images() -> Vec<TestImage> {
    let number = |field: &str| field.parse().expect("the test split holds small integers");
    let image = |line: &str| {
        let mut fields = line.split(',').map(number);
        let label = fields.next().expect("a label before the pixels");
        TestImage { label: i32::from(label), pixels: fields.collect() }
    };
    include_str!("../digits/digits-test.csv").lines().skip(1).map(image).collect()
}

/// What the training script measured on the test split.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Offline {
    /// Images that the model had right.
    pub correct: u64,
}

/// What the training script measured of a model.
///
/// # Panics
/// If the file that is part of this crate is damaged.
#[must_use]
pub fn offline(model: &str) -> Option<Offline> {
    #[derive(Deserialize)]
    struct Report {
        models: std::collections::BTreeMap<String, Offline>,
    }
    let report = include_str!("../digits/report.json");
    let report: Report = serde_json::from_str(report).expect("the report is JSON");
    report.models.get(model).copied()
}

#[cfg(test)]
mod tests {
    use skysail_container::{Cell, Payload, Worker};

    use super::*;

    fn correct<M: Model>() -> u64 {
        let mut worker = Worker::<M>::load(Ctx::new(".")).unwrap();
        let images = test_images();
        let mut correct = 0;
        for images in images.chunks(100) {
            let rows: Vec<[Cell; 1]> = images.iter().map(|image| [cell(image)]).collect();
            let answer = worker.predict_rows(&rows).unwrap();
            let digits = answer.columns[0].as_slice::<i32>().unwrap().to_vec();
            correct += images.iter().zip(digits).filter(|(i, digit)| i.label == *digit).count();
        }
        correct as u64
    }

    fn cell(image: &TestImage) -> Cell {
        let bytes = image.pixels.iter().flat_map(|pixel| f32::from(*pixel).to_le_bytes());
        Cell::fixed(Payload::copy_from_slice(&bytes.collect::<Vec<_>>()))
    }

    #[test]
    fn both_models_are_as_accurate_as_when_they_were_trained() {
        assert!(test_images().len() >= 800);
        assert_eq!(correct::<DigitsLinear>(), offline("digits-linear").unwrap().correct);
        assert_eq!(correct::<DigitsMlp>(), offline("digits-mlp").unwrap().correct);
    }
}
