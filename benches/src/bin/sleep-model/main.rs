//! A model that sleeps: a container whose batches take as long as a real model's would.
//!
//! It costs no CPU, so that a machine of few cores bears many replicas, and it can be told to be
//! slower while it runs ([`skysail_benches::orders`]). One float in, the same float out.

#![forbid(unsafe_code)]

mod latency;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::Parser;
use fastrand::Rng;
use rustix::process::{Signal, set_parent_process_death_signal};
use skysail_benches::clock;
use skysail_benches::orders::Follower;
use skysail_container::{Batch, Ctx, Model, Options, Outputs, Result, Signature, run};

use crate::latency::Latency;

/// Serves a model that sleeps.
///
/// A batch of b rows takes alpha + beta b, with noise and stragglers.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
struct Args {
    #[command(flatten)]
    latency: Latency,
    /// Most rows of a batch
    #[arg(long, value_name = "ROWS", default_value_t = 64)]
    rows_max: usize,
    /// Seed of noise and stragglers [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// Follow the orders in this file: lines `pace X`, all batches take X times as long, and
    /// `next X`, the next one does
    #[arg(long, value_name = "FILE")]
    control: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// The command line: [`Model::signature`] and [`Model::load`] have no argument for it.
static ARGS: OnceLock<Args> = OnceLock::new();

fn args() -> &'static Args {
    ARGS.get_or_init(Args::parse)
}

fn main() -> ExitCode {
    // A bench that is killed leaves no replicas behind; where the system cannot do that, it may.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    run::<Sleep>(args().options.clone())
}

struct Sleep {
    latency: Latency,
    rng: Rng,
    orders: Option<Follower>,
}

impl Model for Sleep {
    fn signature() -> Signature {
        Signature::new()
            .input("x", "f32[1]")
            .output("y", "f32")
            .max_batch(args().rows_max)
    }

    fn load(_: &Ctx) -> Result<Self> {
        clock::exact()?;
        let args = args();
        Ok(Sleep {
            latency: args.latency.clone(),
            rng: args.seed.map_or_else(Rng::new, Rng::with_seed),
            orders: args.control.clone().map(Follower::new),
        })
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let begin = clock::now();
        let factor = self
            .orders
            .as_mut()
            .map_or(Ok(1.0), Follower::next_factor)?;
        let time = self
            .latency
            .draw(batch.rows(), &mut self.rng)
            .mul_f64(factor);
        out.set("y", batch.f32("x")?)?;
        if !time.is_zero() {
            clock::sleep_until(begin + time)?;
        }
        Ok(())
    }
}
