//! The two models of handwritten digits that `skysail demo` serves.
//!
//! Their weights stand in `digits/*.json`, written by `digits/train.py`; `digits/README.md`
//! gives the format and what the models must answer.

use serde::Deserialize;
use skysail_container::{Batch, Ctx, Model, Outputs, Result, Signature};

/// Pixels of an image.
const PIXELS: usize = 64;
/// Classes, one a digit.
const CLASSES: usize = 10;

/// Softmax regression.
#[derive(Debug)]
pub struct Linear(Network);

/// A network with one hidden layer.
#[derive(Debug)]
pub struct Mlp(Network);

impl Model for Linear {
    fn signature() -> Signature {
        signature()
    }

    fn load(_: &Ctx) -> Result<Self> {
        Network::parse(include_str!("../digits/digits-linear.json")).map(Linear)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        self.0.predict(batch, out)
    }
}

impl Model for Mlp {
    fn signature() -> Signature {
        signature()
    }

    fn load(_: &Ctx) -> Result<Self> {
        Network::parse(include_str!("../digits/digits-mlp.json")).map(Mlp)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        self.0.predict(batch, out)
    }
}

/// Pixels from 0 to 16 in, the digit out.
fn signature() -> Signature {
    Signature::new()
        .input("x", "f32[64]")
        .output("digit", "i32")
        .max_batch(256)
}

/// Dense layers with ReLU between them.
#[derive(Debug, Deserialize)]
struct Network {
    input_scale: f32,
    layers: Vec<Layer>,
    #[serde(skip)]
    scratch: [Vec<f32>; 2],
}

/// `output[o] = bias[o] + Σ input[i] * weights[i][o]`
#[derive(Debug, Deserialize)]
struct Layer {
    weights: Vec<Vec<f32>>,
    bias: Vec<f32>,
}

impl Network {
    fn parse(json: &str) -> Result<Self> {
        let network: Network = serde_json::from_str(json)?;
        let mut width = PIXELS;
        for (index, layer) in network.layers.iter().enumerate() {
            let fits = |row: &Vec<f32>| row.len() == layer.bias.len();
            if layer.weights.len() != width || !layer.weights.iter().all(fits) {
                return Err(format!("layer {index} does not take {width} inputs").into());
            }
            width = layer.bias.len();
        }
        if width != CLASSES {
            return Err(format!("the network has {width} outputs, {CLASSES} expected").into());
        }
        Ok(network)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs) -> Result<()> {
        let images = batch.f32("x")?.chunks(PIXELS);
        for (image, digit) in images.zip(out.tensor_mut::<i32>("digit")?) {
            *digit = self.digit(image);
        }
        Ok(())
    }

    fn digit(&mut self, image: &[f32]) -> i32 {
        let [input, output] = &mut self.scratch;
        input.clear();
        input.extend(image.iter().map(|pixel| pixel * self.input_scale));
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            layer.apply(input, output);
            if index < last {
                output.iter_mut().for_each(|value| *value = value.max(0.0));
            }
            std::mem::swap(input, output);
        }
        index_of_largest(input)
    }
}

impl Layer {
    fn apply(&self, input: &[f32], output: &mut Vec<f32>) {
        output.clone_from(&self.bias);
        for (input, weights) in input.iter().zip(&self.weights) {
            output
                .iter_mut()
                .zip(weights)
                .for_each(|(sum, weight)| *sum += input * weight);
        }
    }
}

/// The first of equal ones; 0 if none is a number.
fn index_of_largest(values: &[f32]) -> i32 {
    let largest = (0..)
        .zip(values)
        .fold((0, f32::NEG_INFINITY), |largest, (index, value)| {
            if *value > largest.1 {
                (index, *value)
            } else {
                largest
            }
        });
    largest.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_split::{self, TestImage};
    use skysail_container::{Cell, Payload, Worker};

    fn row(image: &TestImage) -> [Cell; 1] {
        let pixels = image.pixels.iter();
        let bytes: Vec<u8> = pixels
            .flat_map(|pixel| f32::from(*pixel).to_le_bytes())
            .collect();
        [Cell::fixed(Payload::copy_from_slice(&bytes))]
    }

    /// How many of the test images the model reads right, in batches of `rows`.
    fn correct<M: Model>(rows: usize) -> u64 {
        let mut worker = Worker::<M>::load(Ctx::new(".")).expect("loads");
        let images = test_split::images();
        let right = images.chunks(rows).map(|images| {
            let batch: Vec<[Cell; 1]> = images.iter().map(row).collect();
            let answer = worker.predict_rows(&batch).expect("answers");
            let digits = answer.columns[0].as_slice::<i32>().expect("digits");
            let pairs = images.iter().zip(digits);
            pairs
                .filter(|(image, digit)| image.label == **digit)
                .count() as u64
        });
        right.sum()
    }

    #[test]
    fn both_models_are_as_right_as_the_report_says() {
        assert!(test_split::images().len() >= 800);
        let expected = |model| test_split::offline(model).expect("in the report").correct;
        for rows in [1, 64, 256] {
            assert_eq!(correct::<Linear>(rows), expected("digits-linear"), "{rows}");
            assert_eq!(correct::<Mlp>(rows), expected("digits-mlp"), "{rows}");
        }
    }

    #[test]
    fn a_network_of_another_shape_does_not_load() {
        let error = |json| Network::parse(json).expect_err("wrong").to_string();
        let layer = r#"{"input_scale":1,"layers":[{"weights":[[1]],"bias":[0]}]}"#;
        assert_eq!(error(layer), "layer 0 does not take 64 inputs");
        let empty = r#"{"input_scale":1,"layers":[]}"#;
        assert_eq!(error(empty), "the network has 64 outputs, 10 expected");
    }

    #[test]
    fn nothing_that_is_a_number_is_digit_zero() {
        assert_eq!(index_of_largest(&[f32::NAN, f32::NAN]), 0);
        assert_eq!(index_of_largest(&[1.0, 3.0, 3.0]), 1);
    }
}
