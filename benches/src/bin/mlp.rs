//! A network of 784, 512, 512 and 10 numbers as a container, for `sdks`; its twins are
//! `container-sdk/python/examples/mlp.py` and `container-sdk/jvm/examples/Mlp.java`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use skysail_container::{Batch, Ctx, Model, Options, Outputs, Result, Signature, run};

const WIDTHS: [usize; 4] = [784, 512, 512, 10];

/// Serves a network of 784, 512, 512 and 10 numbers.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
struct Args {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    run::<Mlp>(Args::parse().options)
}

struct Mlp {
    layers: [Array2<f32>; 3],
}

/// The same numbers in every language, of about the size that keeps a layer's outputs near 1.
fn weights(layer: usize) -> Array2<f32> {
    let shape = (WIDTHS[layer], WIDTHS[layer + 1]);
    let scale = 3.5 / (shape.0 as f64).sqrt();
    let weight = |index: usize| {
        let mixed = (index * 1_103_515_245 + 12_345 * (layer + 1)) & 0x7fff_ffff;
        ((mixed as f64 / 2_147_483_648.0 - 0.5) * scale) as f32
    };
    Array2::from_shape_fn(shape, |(row, column)| weight(row * shape.1 + column))
}

impl Model for Mlp {
    fn signature() -> Signature {
        Signature::new()
            .input("x", "f32[784]")
            .output("y", "f32[10]")
            .max_batch(256)
    }

    fn load(_: &Ctx) -> Result<Self> {
        let layers = std::array::from_fn(weights);
        Ok(Mlp { layers })
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let x = ArrayView2::from_shape((batch.rows(), WIDTHS[0]), batch.f32("x")?);
        let [first, second, last] = &self.layers;
        let hidden = relu(relu(x?.dot(first)).dot(second));
        let y = out.f32_mut("y")?;
        let y = ArrayViewMut2::from_shape((batch.rows(), WIDTHS[3]), y);
        hidden.dot(last).assign_to(y?);
        Ok(())
    }
}

fn relu(mut values: Array2<f32>) -> Array2<f32> {
    values.mapv_inplace(|value| value.max(0.0));
    values
}
