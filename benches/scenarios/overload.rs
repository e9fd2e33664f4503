//! A cell under constant loads, and under steps beyond what it bears.

use std::time::Duration;

use anyhow::Result;
use skysail_load::{ByName, Measured};

use crate::cell::{Cell, LOAD_MAX};
use crate::goodput::Goodput;
use crate::plan::Plan;
use crate::sleeper::Sleeper;
use crate::stage::{Keeper, Load, Setup, Stage, Tools};

/// Constant loads, in shares of the capacity.
const CONSTANT: [f64; 5] = [0.8, 0.9, 1.0, 1.1, 1.2];
/// The one of them at which nearly everything should be in time.
const HIGH: f64 = 0.9;
/// The load before and after a step.
pub(crate) const REST: f64 = 0.7;
/// The loads of the steps.
const STEPS: [f64; 2] = [1.5, LOAD_MAX];

/// What was found in a cell.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) constant: Vec<Constant>,
    pub(crate) steps: Vec<Stepped>,
    /// Worst 99th percentile of a client's wait, at [`HIGH`] and in the runs with a step.
    pub(crate) p99_ms: f64,
    /// The same of the lateness of a sleeper, over the whole cell.
    pub(crate) sleeper_p99_ms: f64,
    pub(crate) sent: Sent,
}

/// A constant load.
#[derive(Debug)]
pub(crate) struct Constant {
    /// In shares of the capacity.
    pub(crate) load: f64,
    pub(crate) percent: f64,
    /// In time a second.
    pub(crate) goodput: f64,
    pub(crate) defaults: ByName,
}

/// A run with a step.
#[derive(Debug)]
pub(crate) struct Stepped {
    /// In shares of the capacity.
    pub(crate) load: f64,
    pub(crate) before_percent: f64,
    pub(crate) inside_percent: f64,
    /// In time a second inside the step.
    pub(crate) inside: f64,
    pub(crate) after_percent: f64,
    pub(crate) defaults: ByName,
}

/// What the load generator did in some runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) queries: u64,
    /// Queries without a 2xx answer, of whatever kind.
    pub(crate) unanswered: u64,
    /// Queries that found all connections busy: the generator's fault, if there are many.
    pub(crate) waited: u64,
    /// Worst 99th percentile of the time from when a query should have been sent to when it was.
    pub(crate) late_p99_ms: f64,
    requests: u64,
    cpu: Duration,
    time: Duration,
}

impl Sent {
    /// Adds a run of `load`.
    pub(crate) fn add(&mut self, load: &Load, measured: &Measured) {
        self.queries += measured.offered;
        self.unanswered += measured.offered - measured.answered;
        self.waited += measured.waited;
        let late_ms = measured.lateness.value_at_quantile(0.99) as f64 / 1e3;
        self.late_p99_ms = self.late_p99_ms.max(late_ms);
        self.requests += measured.sent_in_all;
        self.cpu += measured.cpu;
        self.time += load.time();
    }

    /// What this process took of a core, in percent.
    pub(crate) fn cpu_percent(&self) -> f64 {
        100.0 * self.cpu.div_duration_f64(self.time)
    }

    /// What a query cost this process.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }
}

impl Found {
    /// The constant load with the most in time.
    pub(crate) fn best(&self) -> &Constant {
        let best = |one: &&Constant, other: &&Constant| one.goodput.total_cmp(&other.goodput);
        self.constant
            .iter()
            .max_by(best)
            .expect("there are constant loads")
    }

    /// In time at [`HIGH`], in percent.
    pub(crate) fn high_percent(&self) -> f64 {
        let high = self.constant.iter().find(|one| one.load == HIGH);
        high.expect("it is among them").percent
    }

    /// Goodput inside a step over that of the best constant load.
    pub(crate) fn ratio(&self, step: &Stepped) -> f64 {
        step.inside / self.best().goodput
    }
}

/// Measures a cell.
pub(crate) async fn measure(tools: &Tools, plan: &Plan, cell: Cell) -> Result<Found> {
    eprintln!("{cell}: C is {:.0} queries/s", cell.capacity());
    let setup = Setup {
        cell,
        keeper: Keeper::Bench,
        stragglers: true,
    };
    let stage = Stage::start(tools, &setup).await?;
    let learning = Load::constant(REST, plan.learning, Duration::ZERO, 0);
    stage.drive(&learning, |_| {}).await?;
    let sleeper = Sleeper::start();
    let mut found = Found {
        constant: Vec::new(),
        steps: Vec::new(),
        p99_ms: 0.0,
        sleeper_p99_ms: 0.0,
        sent: Sent::default(),
    };
    for (seed, load) in (1..).zip(CONSTANT) {
        let sent = Load::constant(load, plan.constant, plan.warm_up, seed);
        let measured = stage.drive(&sent, |_| {}).await?;
        found.count(&sent, &measured, load == HIGH);
        found.constant.push(constant(load, measured));
    }
    for (seed, load) in (10..).zip(STEPS) {
        let sent = step(plan, load, seed);
        let measured = stage.drive(&sent, |_| {}).await?;
        found.count(&sent, &measured, true);
        found.steps.push(stepped(plan, load, measured));
    }
    found.sleeper_p99_ms = sleeper.p99_ms()?;
    Ok(found)
}

impl Found {
    /// Adds a run; its tail counts where the objective is to hold.
    fn count(&mut self, load: &Load, measured: &Measured, is_held: bool) {
        self.sent.add(load, measured);
        if is_held {
            self.p99_ms = self.p99_ms.max(p99_ms(measured));
        }
    }
}

/// 99th percentile of a client's wait.
pub(crate) fn p99_ms(measured: &Measured) -> f64 {
    measured.latencies.value_at_quantile(0.99) as f64 / 1e3
}

fn constant(load: f64, measured: Measured) -> Constant {
    let percent = 100.0 * measured.in_time as f64 / measured.offered as f64;
    let goodput = measured.in_time as f64 / measured.elapsed.as_secs_f64();
    eprintln!("  {load} C: {percent:.1} % in time, {goodput:.0}/s");
    Constant {
        load,
        percent,
        goodput,
        defaults: measured.defaults,
    }
}

fn step(plan: &Plan, load: f64, seed: u64) -> Load {
    let steps = vec![(REST, plan.before), (load, plan.inside), (REST, plan.after)];
    Load {
        steps,
        warm_up: plan.warm_up,
        seed,
    }
}

fn stepped(plan: &Plan, load: f64, measured: Measured) -> Stepped {
    let (begin, end) = (plan.before, plan.before + plan.inside);
    let of = |from, to| Goodput::of(&measured.moments, from..to);
    let inside = of(begin, end);
    let stepped = Stepped {
        load,
        before_percent: of(Duration::ZERO, begin).percent(),
        inside_percent: inside.percent(),
        inside: inside.in_time as f64 / plan.inside.as_secs_f64(),
        after_percent: of(end, end + plan.after).percent(),
        defaults: measured.defaults,
    };
    eprintln!(
        "  {REST} C, {load} C, {REST} C: {:.1} %, {:.1} % ({:.0}/s), {:.1} % in time",
        stepped.before_percent, stepped.inside_percent, stepped.inside, stepped.after_percent
    );
    stepped
}
