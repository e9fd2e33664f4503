//! Containers whose answers are keyed digests of their inputs, and what they must answer.
//!
//! | model | inputs → outputs | how its batches travel through shared memory |
//! |---|---|---|
//! | `fixed` | x: f64\[8\] → y: f64\[4\] | rows in the row log, results in place |
//! | `varied` | x: f64\[-1\] → y: f64\[-1\] | rows in blocks, results as frames |
//!
//! They are slow, by what they are asked, so that batches are in hand when a signal comes.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use skysail_container::{Batch, Ctx, Model, Options, Outputs, Result, Signature, run};

/// The models.
pub(crate) const MODELS: [&str; 2] = ["fixed", "varied"];
/// Elements of a row of `fixed`.
pub(crate) const FIXED_ELEMENTS: usize = 8;
/// Elements of an answer of `fixed`.
const FIXED_ANSWER: usize = 4;

const MAX_BATCH: usize = 32;
/// Most batches take less than this.
const PACE: Duration = Duration::from_millis(2);
/// One of so many batches takes [`LONG`].
const LONG_EVERY: u64 = 24;
const LONG: Duration = Duration::from_millis(25);

/// The right answer.
pub(crate) fn answer(model: &str, x: &[f64]) -> Vec<f64> {
    let elements = if model == "fixed" {
        FIXED_ANSWER
    } else {
        x.len()
    };
    (0..elements as u64)
        .map(|part| (digest(model, x, part) >> 16) as f64) // exact
        .collect()
}

/// Every bit of it depends on the model, the part and all of the input.
fn digest(model: &str, x: &[f64], part: u64) -> u64 {
    let key = model
        .bytes()
        .fold(part, |key, byte| mix(key ^ u64::from(byte)));
    x.iter().fold(key, |state, x| mix(state ^ x.to_bits()))
}

/// Steele, Lea and Flood: Fast splittable pseudorandom number generators, 2014, section 5.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn dawdle(first: &[f64]) {
    let chance = digest("pace", first, 0);
    let long = chance.is_multiple_of(LONG_EVERY);
    let share = (chance >> 32) as f64 / f64::from(u32::MAX);
    std::thread::sleep(if long { LONG } else { PACE.mul_f64(share) });
}

struct Fixed;

impl Model for Fixed {
    fn signature() -> Signature {
        Signature::new()
            .input("x", "f64[8]")
            .output("y", "f64[4]")
            .max_batch(MAX_BATCH)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Fixed)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let x = batch.f64("x")?;
        let y = out.tensor_mut::<f64>("y")?;
        let rows = x.chunks(FIXED_ELEMENTS).zip(y.chunks_mut(FIXED_ANSWER));
        for (row, (x, y)) in rows.enumerate() {
            y.copy_from_slice(&answer("fixed", x));
            // In the middle of the batch: what comes in now must not change the rest.
            if row == 0 {
                dawdle(x);
            }
        }
        Ok(())
    }
}

struct Varied;

impl Model for Varied {
    fn signature() -> Signature {
        Signature::new()
            .input("x", "f64[-1]")
            .output("y", "f64[-1]")
            .max_batch(MAX_BATCH)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Varied)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        for (row, x) in batch.row_slices::<f64>("x")?.enumerate() {
            out.push("y", &answer("varied", x))?;
            if row == 0 {
                dawdle(x);
            }
        }
        Ok(())
    }
}

#[derive(Parser)]
#[command(disable_version_flag = true)]
struct Role {
    which: String,
    #[command(flatten)]
    options: Options,
}

/// What this executable does as a container.
pub(crate) fn container(args: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let role = Role::parse_from(args);
    match role.which.as_str() {
        "fixed" => run::<Fixed>(role.options),
        _ => run::<Varied>(role.options),
    }
}
