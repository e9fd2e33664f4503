//! Faults of replicas and of a model, under a load that is borne without them.
//!
//! ```text
//!   before │ fault │ after │ before │ fault │ after │ …      one run, whole seconds each
//! ```
//!
//! There are no other stragglers in these runs, so that what is lost is lost to the fault.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use skysail_benches::orders::Orders;
use skysail_load::{ByName, Measured};

use crate::cell::{Cell, GPU, MID, WIDE};
use crate::goodput::{Goodput, recovery};
use crate::overload::{REST, Sent, p99_ms};
use crate::plan::Plan;
use crate::stage::{Keeper, Load, Setup, Stage, Tools};

/// Load before the first fault: goodput is what it usually is by then.
const WARM_UP: Duration = Duration::from_secs(1);
/// What follows a momentary fault is its time for so many objectives.
const MOMENTARY_SLOS: u32 = 20;

/// A fault, and the load under which it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) cell: Cell,
    /// In shares of the capacity.
    pub(crate) load: f64,
    /// Most objectives until goodput is full again, where that is demanded.
    pub(crate) recovery_slos_max: Option<f64>,
    injury: Injury,
    before_s: u32,
    /// 0: it is over at once.
    lasts_s: u32,
    after_s: u32,
    /// Most repetitions.
    times: u32,
}

#[derive(Clone, Copy, Debug)]
enum Injury {
    /// The next batch of a replica takes that many times as long.
    SlowBatch(f64),
    /// All batches of a replica do.
    SlowReplica(f64),
    /// All batches of all replicas do.
    SlowModel(f64),
    /// A replica is stopped by a signal, and goes on by another.
    Stop,
    /// A replica is killed; it is started again.
    Kill,
}

/// A model whose smallest batch, ten times as long, lasts two objectives.
const ONE: Cell = Cell {
    shape: WIDE,
    slo: Duration::from_millis(20),
    replicas: 1,
};
/// The same with three, and few enough queries a second for a small machine.
const FOUR: Cell = Cell {
    shape: GPU,
    replicas: 4,
    ..ONE
};
/// A model that still bears half its load when it is 1.6 times as slow.
const SLACK: Cell = Cell { shape: MID, ..FOUR };

const SLOW_BATCH: Fault = Fault {
    name: "slow-batch",
    about: "one batch takes 10 times as long, once",
    cell: ONE,
    load: REST,
    recovery_slos_max: Some(20.0),
    injury: Injury::SlowBatch(10.0),
    before_s: 1,
    lasts_s: 0,
    after_s: 2,
    times: 5,
};

/// All faults.
pub(crate) const ALL: [Fault; 6] = [
    SLOW_BATCH,
    Fault {
        name: "slow-batch-of-4",
        about: "the same, of one of four replicas",
        cell: FOUR,
        ..SLOW_BATCH
    },
    Fault {
        name: "slow-replica",
        about: "one of four replicas is twice as slow",
        cell: FOUR,
        recovery_slos_max: None,
        injury: Injury::SlowReplica(2.0),
        before_s: 2,
        lasts_s: 4,
        times: 2,
        ..SLOW_BATCH
    },
    Fault {
        name: "stop",
        about: "one of four replicas is stopped (SIGSTOP) for 1 s",
        cell: FOUR,
        recovery_slos_max: None,
        injury: Injury::Stop,
        lasts_s: 1,
        ..SLOW_BATCH
    },
    Fault {
        name: "kill",
        about: "one of four replicas is killed, and started again",
        cell: FOUR,
        recovery_slos_max: None,
        injury: Injury::Kill,
        // Each of the replicas there are at the start once.
        times: 4,
        ..SLOW_BATCH
    },
    Fault {
        name: "slow-model",
        about: "all batches take 1.6 times as long",
        cell: SLACK,
        load: 0.5,
        recovery_slos_max: None,
        injury: Injury::SlowModel(1.6),
        before_s: 2,
        lasts_s: 4,
        times: 2,
        ..SLOW_BATCH
    },
];

impl Fault {
    fn setup(&self) -> Setup {
        let is_killed = matches!(self.injury, Injury::Kill);
        Setup {
            cell: self.cell,
            keeper: if is_killed {
                Keeper::Frontend
            } else {
                Keeper::Bench
            },
            stragglers: false,
        }
    }

    /// From one repetition to the next.
    fn period(&self) -> Duration {
        seconds(self.before_s + self.lasts_s + self.after_s)
    }

    /// How long its effect is looked at as such.
    fn during(&self) -> Duration {
        match self.lasts_s {
            0 => MOMENTARY_SLOS * self.cell.slo,
            lasts => seconds(lasts),
        }
    }

    /// Begins its `number`th repetition.
    fn begin(&self, stage: &Stage, number: usize) -> Result<()> {
        let replica = &stage.replicas[number % stage.replicas.len()];
        let pace = |pace| Orders { pace, next: 1.0 };
        match self.injury {
            Injury::SlowBatch(next) => replica.tell(Orders { pace: 1.0, next }),
            Injury::SlowReplica(factor) => replica.tell(pace(factor)),
            Injury::SlowModel(factor) => stage
                .replicas
                .iter()
                .try_for_each(|one| one.tell(pace(factor))),
            Injury::Stop => replica.signal(Signal::STOP),
            Injury::Kill => replica.signal(Signal::KILL),
        }
    }

    /// Ends it, if it is not over by itself.
    fn end(&self, stage: &Stage, number: usize) -> Result<()> {
        let replica = &stage.replicas[number % stage.replicas.len()];
        match self.injury {
            Injury::SlowBatch(_) | Injury::Kill => Ok(()),
            Injury::SlowReplica(_) => replica.tell(Orders::default()),
            Injury::SlowModel(_) => {
                let mut all = stage.replicas.iter();
                all.try_for_each(|one| one.tell(Orders::default()))
            }
            Injury::Stop => replica.signal(Signal::CONT),
        }
    }
}

/// What was found of a fault.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) fault: Fault,
    pub(crate) before: Goodput,
    pub(crate) during: Goodput,
    pub(crate) after: Goodput,
    /// Objectives from each fault until goodput was full again; NaN: not before the next one.
    pub(crate) recovery_slos: Vec<f64>,
    /// Replicas that the front end started again.
    pub(crate) restarted: usize,
    pub(crate) p99_ms: f64,
    pub(crate) defaults: ByName,
    pub(crate) sent: Sent,
}

/// Measures a fault.
pub(crate) async fn measure(tools: &Tools, plan: &Plan, fault: &Fault) -> Result<Found> {
    eprintln!("{}: {} ({})", fault.name, fault.about, fault.cell);
    let stage = Stage::start(tools, &fault.setup()).await?;
    let learning = Load::constant(fault.load, plan.learning, Duration::ZERO, 0);
    stage.drive(&learning, |_| {}).await?;
    let times = plan.faults.min(fault.times);
    let load = Load::constant(fault.load, times * fault.period(), WARM_UP, 1);
    let mut script = Script::new(fault, times);
    let mut played = Ok(());
    let play = |elapsed| {
        if played.is_ok() {
            played = script.play(&stage, elapsed);
        }
    };
    let measured = stage.drive(&load, play).await?;
    played?;
    let mut sent = Sent::default();
    sent.add(&load, &measured);
    let found = Found {
        restarted: stage.restarted().await?,
        ..found(fault, &script.begun, measured, sent)
    };
    eprintln!(
        "  in time: before {:.1} %, during {:.1} %, after {:.1} %",
        found.before.percent(),
        found.during.percent(),
        found.after.percent()
    );
    Ok(found)
}

/// The repetitions of a fault, in the time of a run.
struct Script<'a> {
    fault: &'a Fault,
    times: u32,
    /// When each began, from the end of the warm-up.
    begun: Vec<Duration>,
    ended: usize,
}

impl Script<'_> {
    fn new(fault: &Fault, times: u32) -> Script<'_> {
        Script {
            fault,
            times,
            begun: Vec::new(),
            ended: 0,
        }
    }

    /// Does what is due; told each whole second.
    fn play(&mut self, stage: &Stage, elapsed: Duration) -> Result<()> {
        let Some(now) = elapsed.checked_sub(WARM_UP) else {
            return Ok(());
        };
        let (fault, begun) = (self.fault, self.begun.len());
        if self.ended < begun && now >= self.due(self.ended) + seconds(fault.lasts_s) {
            fault.end(stage, self.ended)?;
            self.ended += 1;
        }
        if begun < self.times as usize && now >= self.due(begun) {
            fault.begin(stage, begun)?;
            self.begun.push(now);
        }
        Ok(())
    }

    /// When a repetition is to begin.
    fn due(&self, number: usize) -> Duration {
        number as u32 * self.fault.period() + seconds(self.fault.before_s)
    }
}

fn found(fault: &Fault, begun: &[Duration], measured: Measured, sent: Sent) -> Found {
    let sum = |part: &dyn Fn(Duration) -> (Duration, Duration)| {
        let each = begun.iter().map(|at| part(*at));
        let each = each.map(|(from, to)| Goodput::of(&measured.moments, from..to));
        each.fold(Goodput::default(), |sum, one| sum + one)
    };
    let (before_s, during) = (seconds(fault.before_s), fault.during());
    let end = |at: Duration| at + fault.period() - before_s;
    let before = sum(&|at| (at.saturating_sub(before_s), at));
    let recovery_slos = begun.iter().map(|at| {
        let time = recovery(&measured.moments, before, (*at, end(*at)), fault.cell.slo);
        time.map_or(f64::NAN, |time| time.div_duration_f64(fault.cell.slo))
    });
    Found {
        fault: *fault,
        before,
        during: sum(&|at| (at, at + during)),
        after: sum(&|at| (at + during, end(at))),
        recovery_slos: recovery_slos.collect(),
        restarted: 0,
        p99_ms: p99_ms(&measured),
        defaults: measured.defaults,
        sent,
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

#[cfg(test)]
mod tests {
    use skysail_load::{Outcome, Tally, Window};

    use super::*;

    #[test]
    fn names_are_unique_and_no_two_repetitions_overlap() {
        for (index, fault) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != fault.name));
            let script = Script::new(fault, 2);
            let end = script.due(0) + fault.during();
            assert!(end < script.due(1), "{}", fault.name);
            assert!(script.due(0) >= seconds(1), "there is a before");
        }
    }

    /// A query each millisecond, of which those within 100 ms after `at` are late.
    fn measured(length: Duration, at: Duration) -> Measured {
        let mut tally = Tally::new(Window {
            warm_up: WARM_UP,
            duration: length,
            slo: Some(ONE.slo),
        });
        for ms in 0..length.as_millis() as u64 {
            let since = Duration::from_millis(ms);
            let is_late = since >= at && since < at + Duration::from_millis(100);
            let latency = if is_late { 2 * ONE.slo } else { ONE.slo / 2 };
            let intended = WARM_UP + since;
            tally.offered(intended, false);
            tally.done(intended, intended + latency, Outcome::Prediction);
        }
        tally.finish(WARM_UP + length, Duration::ZERO)
    }

    #[test]
    fn what_a_fault_costs_is_told_from_what_comes_before_and_after() {
        let at = seconds(1);
        let measured = measured(SLOW_BATCH.period(), at);
        let found = found(&SLOW_BATCH, &[at], measured, Sent::default());
        let percent = [found.before, found.during, found.after].map(Goodput::percent);
        assert_eq!(percent, [100.0, 75.0, 100.0]);
        let all = found.before + found.during + found.after;
        assert_eq!((all.offered, all.in_time), (3000, 2900));
        assert_eq!(found.recovery_slos, [5.0]);
    }

    #[test]
    fn every_replica_is_killed_once_at_most() {
        let kills = ALL
            .iter()
            .filter(|fault| matches!(fault.injury, Injury::Kill));
        for fault in kills {
            assert!(
                fault.times as usize <= fault.cell.replicas,
                "{}",
                fault.name
            );
        }
    }
}
