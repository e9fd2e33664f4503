//! Window-EDF with one of its rules taken away, to see what the rule is worth.
//!
//! Options of the policy where it has one; else a [`LatencyModel`] around the profile, or a
//! [`Policy`] around window-EDF. The code that serves knows nothing of it.

use skysail_core::batching::policy::ShedBy;
use skysail_core::batching::profile::{LatencyModel, Profile};
use skysail_core::batching::{
    At, Decision, Done, Learned, Limit, Plan, Policy, View, Window, WindowOptions,
};

/// A rule that is missing, or another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Never waits for company.
    Eager,
    /// Asks nothing twice.
    NoHedge,
    /// The margin is the median.
    Margin50,
    /// The margin is the quantile 0.9.
    Margin90,
    /// The margin is the quantile 0.99.
    Margin99,
    /// Batches are sized by their head alone, pressed or not.
    HeadAlone,
}

impl Variant {
    /// All of them, as in the tables.
    pub const ALL: [Variant; 6] = [
        Variant::Eager,
        Variant::NoHedge,
        Variant::Margin50,
        Variant::Margin90,
        Variant::Margin99,
        Variant::HeadAlone,
    ];

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Variant::Eager => "- eager",
            Variant::NoHedge => "- no hedge",
            Variant::Margin50 => "- margin 0.5",
            Variant::Margin90 => "- margin 0.9",
            Variant::Margin99 => "- margin 0.99",
            Variant::HeadAlone => "- head alone",
        }
    }

    /// The policy; hedging is the books', not the policy's.
    #[must_use]
    pub fn policy(self) -> Box<dyn Policy> {
        let options = WindowOptions::default();
        let with_margin = |quantile: f64| {
            let model = FixedMargin::new(options.late_budget, quantile);
            Box::new(Window::with_model(options.clone(), model))
        };
        match self {
            Variant::NoHedge => Box::new(Window::new(options)),
            Variant::Eager => Box::new(Window::new(WindowOptions {
                wait_share_max: 0.0,
                ..options
            })),
            Variant::Margin50 => with_margin(0.5),
            Variant::Margin90 => with_margin(0.9),
            Variant::Margin99 => with_margin(0.99),
            Variant::HeadAlone => Box::new(HeadAlone(Window::new(options))),
        }
    }
}

/// Batches between two looks at the residuals, as the profile itself has it.
const MARGIN_EVERY: u64 = 4;

/// A learned profile whose margin is a fixed quantile of its residuals, rather than one that
/// is steered by what was late.
#[derive(Debug)]
struct FixedMargin {
    profile: Profile,
    quantile: f64,
    margin: f64,
    batches: u64,
}

impl FixedMargin {
    fn new(late_budget: f64, quantile: f64) -> Self {
        let profile = Profile::new(late_budget);
        FixedMargin {
            margin: profile.residuals().quantile(quantile),
            profile,
            quantile,
            batches: 0,
        }
    }
}

impl LatencyModel for FixedMargin {
    fn typical(&self, replica: usize, size: f64) -> f64 {
        self.profile.typical(replica, size)
    }

    fn cautious(&self, replica: usize, size: f64) -> f64 {
        self.margin * self.typical(replica, size)
    }

    fn size_within(&self, replica: usize, seconds: f64) -> f64 {
        // The profile divides by its own margin.
        let seconds = seconds * self.profile.margin() / self.margin;
        self.profile.size_within(replica, seconds)
    }

    fn whole(&self, size: f64) -> f64 {
        self.profile.whole(size)
    }

    fn size_cap(&self) -> f64 {
        self.profile.size_cap()
    }

    fn affine(&self) -> (f64, f64) {
        self.profile.affine()
    }

    fn unusual(&self, replica: usize, size: f64) -> f64 {
        self.profile.unusual(replica, size)
    }

    fn slowness(&self, replica: usize) -> f64 {
        self.profile.slowness(replica)
    }

    fn learn(&mut self, done: &Done) {
        self.profile.learn(done);
        self.batches += 1;
        if self.batches < 64 || self.batches.is_multiple_of(MARGIN_EVERY) {
            self.margin = self.profile.residuals().quantile(self.quantile);
        }
    }

    fn learned(&self) -> Option<Learned> {
        self.profile.learned()
    }

    fn replica_joined(&mut self, replica: usize) {
        self.profile.replica_joined(replica);
    }
}

/// Window-EDF that never gives up a head for a larger batch.
#[derive(Debug)]
struct HeadAlone(Window);

impl HeadAlone {
    /// The largest batch that the head allows.
    fn plan(&self, view: &View<'_>) -> Plan {
        let (model, replica) = (self.0.model(), view.replica);
        let head = view.queue.head().expect("a query waits");
        let within = model.size_within(replica, head.deadline.since(view.start));
        let size = within.floor().max(1.0);
        Plan {
            size_max: size,
            rows_max: view.rows_max(),
            padded_rows: None,
            contract_first: false,
            predicted: model.typical(replica, size),
            cautious: model.cautious(replica, size),
            hedge_after: (view.fleet.serving() > 1).then(|| model.unusual(replica, size)),
            limit: Limit::Slack,
        }
    }
}

impl Policy for HeadAlone {
    fn decide(&mut self, view: &View<'_>) -> Decision {
        match self.0.decide(view) {
            Decision::Shed {
                by: ShedBy::Window, ..
            } => Decision::Send(self.plan(view)),
            decision => decision,
        }
    }

    fn completed(&mut self, done: &Done) {
        self.0.completed(done);
    }

    fn expired(&mut self, now: At, objective: f64) {
        self.0.expired(now, objective);
    }

    fn replica_joined(&mut self, place: usize, rows_max: usize) {
        self.0.replica_joined(place, rows_max);
    }

    fn hedge_slack(&self) -> f64 {
        self.0.hedge_slack()
    }

    fn learned(&self, now: At) -> Option<Learned> {
        self.0.learned(now)
    }

    fn rank(&self, place: usize) -> f64 {
        self.0.rank(place)
    }
}
