//! Batchers that are compared: the policy that serves, its variants, others, and the oracle.

use skysail_core::batching::sized::Sized;
use skysail_core::batching::{Policy, Window, WindowOptions};
use skysail_core::sizing::Sizing;

use crate::oracle::{Oracle, TARGETS};
use crate::outcome::Outcome;
use crate::rivals::{Clockwork, Eager, Symphony};
use crate::run::{Setting, run};
use crate::traffic::Traffic;
use crate::variant::Variant;

/// A batcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What waits, at once.
    Eager,
    /// The same with a tuned size and queue timeout.
    Triton,
    /// AIMD on the latency of batches.
    Clipper,
    /// Predictable powers of two.
    Clockwork,
    /// Deferred batches.
    Symphony,
    /// Window-EDF.
    Window,
    /// Window-EDF with one of its rules taken away.
    Variant(Variant),
    /// Clairvoyant.
    Oracle,
}

impl Kind {
    /// Those of the grid, as in the tables.
    pub const ALL: [Kind; 7] = [
        Kind::Eager,
        Kind::Triton,
        Kind::Clipper,
        Kind::Clockwork,
        Kind::Symphony,
        Kind::Window,
        Kind::Oracle,
    ];

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Eager => "eager",
            Kind::Triton => "triton (tuned)",
            Kind::Clipper => "clipper (aimd)",
            Kind::Clockwork => "clockwork-like",
            Kind::Symphony => "symphony-like",
            Kind::Window => "skysail",
            Kind::Variant(variant) => variant.name(),
            Kind::Oracle => "oracle",
        }
    }

    fn policy(self, setting: &Setting) -> Box<dyn Policy> {
        let shape = setting.shape;
        match self {
            Kind::Eager => Box::new(Eager::untuned(&shape)),
            Kind::Triton => Box::new(Eager::tuned(&shape, setting.objective)),
            Kind::Clipper => Box::new(Sized::new(Sizing::Aimd { size_max: None })),
            Kind::Clockwork => Box::new(Clockwork::new(&shape)),
            Kind::Symphony => Box::new(Symphony::new(shape)),
            Kind::Window => Box::new(Window::new(WindowOptions::default())),
            Kind::Variant(variant) => variant.policy(),
            Kind::Oracle => oracle(setting, TARGETS[0]),
        }
    }

    /// Runs it, and tells the outcome in `parts`.
    #[must_use]
    pub fn run(self, setting: &Setting, traffic: &Traffic, parts: usize) -> Outcome {
        if self == Kind::Oracle {
            let targets = TARGETS.iter();
            let tried =
                targets.map(|target| run(setting, &|| oracle(setting, *target), traffic, parts));
            let best = tried.max_by_key(|outcome| outcome.all.good);
            return best.expect("there are targets");
        }
        let setting = Setting {
            hedged: setting.hedged && self != Kind::Variant(Variant::NoHedge),
            ..*setting
        };
        run(&setting, &|| self.policy(&setting), traffic, parts)
    }
}

fn oracle(setting: &Setting, target: (f64, f64)) -> Box<dyn Policy> {
    let Setting { shape, noise, .. } = *setting;
    Box::new(Oracle::new(shape, noise, setting.objective, target))
}
