//! How long batches take, learned from batches.
//!
//! The latency of a batch of size `b` on replica `r` is predicted as `s_r m(b)`, where the shape
//! `m` is `alpha + beta b` with bends where batches ask for them ([`Curve`]).
//! Speed follows fast (a host slows down, a neighbour wakes up); shape follows slowly and only
//! at sizes that were observed, at knots two per octave, so that sizes out of use do not drift.
//! The margin is a quantile of the last residuals; the quantile is steered until the share of
//! late queries meets the late budget. A batch far beyond its prediction is a straggler: it
//! counts against the budget, not as knowledge, unless it becomes the rule.
//!
//! # Invariants
//! - `alpha, beta >= 0`, and predictions are finite.
//! - Before the first batch every prediction is 0 and the cap is one query: slow start.
//!
//! # Cost
//! Predictions: O(1). Learning: about 300 floating-point operations a batch. No allocation but
//! for new replicas.

use super::curve::{Curve, Point};
use super::policy::{Done, Learned};
use super::residuals::Residuals;

/// Two knots for each doubling of the size, up to 2^32.
const KNOTS: usize = 64;
/// Weight of a knot's newest batch, once there are many.
const KNOT_GAIN: f64 = 0.02;
/// Most batches of a knot that count in the fit.
const KNOT_WEIGHT_MAX: f64 = 32.0;
/// A batch this many times slower than predicted is a straggler.
pub(super) const STRAGGLER: f64 = 4.0;
/// That many stragglers in a row are the rule.
const STRAGGLERS_MAX: u32 = 4;
/// Logarithm of a residual that says that the speed has changed.
const SURPRISE: f64 = 0.35;
/// Weight of the newest batch in a replica's speed: usually, and after three surprises.
const SPEED_GAIN: (f64, f64) = (0.04, 0.5);
const SPEED: (f64, f64) = (1e-4, 1e6);
/// A latency counts at least as that.
const SECONDS_MIN: f64 = 1e-9;
/// The margin's quantile at first, and its range. Where times vary widely, the last few per cent
/// of them cost more than they bring.
const QUANTILE_START: f64 = 0.92;
const QUANTILE: (f64, f64) = (0.5, 0.98);
const QUANTILE_GAIN: f64 = 0.05;
/// Share of the late budget that stragglers leave, however many they are: a margin against what
/// no margin covers gives up far more queries than it saves.
const BUDGET_MIN: f64 = 0.5;
/// Quantile of the residuals after which a batch is unusual.
const TAIL: f64 = 0.995;
/// Weight of the newest batch in the share of stragglers.
const STRAGGLER_GAIN: f64 = 0.002;
/// Batches between two looks at the histogram, once there are many.
const MARGIN_EVERY: u64 = 4;

/// Latency as a policy needs it. Sizes and seconds; a replica is meant by its place.
pub trait LatencyModel: Send + std::fmt::Debug {
    /// The median for a size.
    fn typical(&self, replica: usize, size: f64) -> f64;
    /// With the margin.
    fn cautious(&self, replica: usize, size: f64) -> f64;
    /// The largest size that with the margin takes at most so long; may be 0 or infinite.
    fn size_within(&self, replica: usize, seconds: f64) -> f64;
    /// The size as a whole number.
    fn whole(&self, size: f64) -> f64 {
        size.floor()
    }
    /// The largest size to try.
    fn size_cap(&self) -> f64;
    /// Seconds of a batch, and of each unit of size, on an average replica.
    fn affine(&self) -> (f64, f64);
    /// Seconds after which a batch is unusually late.
    fn unusual(&self, replica: usize, size: f64) -> f64;
    /// Relative slowness of a replica.
    fn slowness(&self, _replica: usize) -> f64 {
        1.0
    }
    /// Learns from a batch.
    fn learn(&mut self, _done: &Done) {}
    /// What it has learned, for people; what only the policy knows is left 0.
    fn learned(&self) -> Option<Learned> {
        None
    }
    /// A replica came.
    fn replica_joined(&mut self, _replica: usize) {}
    /// A replica is gone.
    fn replica_left(&mut self, _replica: usize) {}
}

impl Point {
    /// Means of logarithms, as speeds are: means of another kind would drift apart from them.
    fn learn(&mut self, size: f64, seconds: f64) {
        if self.count == 0.0 {
            self.seconds = seconds;
        }
        self.count += 1.0;
        let gain = (1.0 / self.count).max(KNOT_GAIN);
        self.size += gain * (size - self.size);
        self.seconds *= (seconds.max(SECONDS_MIN) / self.seconds.max(SECONDS_MIN)).powf(gain);
    }
}

#[derive(Clone, Copy, Debug)]
struct Speed {
    /// Factor on the shape: 2 is half as fast.
    factor: f64,
    /// Surprises in a row, positive if slower.
    surprises: i32,
    stragglers: u32,
}

impl Speed {
    fn learn(&mut self, log_ratio: f64) {
        let sign = log_ratio.signum() as i32;
        self.surprises = if log_ratio.abs() <= SURPRISE {
            0
        } else if self.surprises.signum() == -sign {
            sign
        } else {
            (self.surprises + sign).clamp(-3, 3)
        };
        let changed = self.surprises.abs() >= 3;
        let gain = if changed { SPEED_GAIN.1 } else { SPEED_GAIN.0 };
        let bounded = log_ratio.clamp(-4.0, 4.0);
        self.factor = (self.factor * (gain * bounded).exp()).clamp(SPEED.0, SPEED.1);
    }
}

/// The latency of one model version.
#[derive(Clone, Debug)]
pub struct Profile {
    knots: [Point; KNOTS],
    curve: Curve,
    /// By place; none where no replica is.
    speeds: Vec<Option<Speed>>,
    residuals: Residuals,
    margin: f64,
    tail: f64,
    quantile: f64,
    late_budget: f64,
    straggler_share: f64,
    seen: f64,
    batches: u64,
}

impl Profile {
    /// Knows nothing; aims at this share of late queries.
    #[must_use]
    pub fn new(late_budget: f64) -> Self {
        let residuals = Residuals::default();
        Profile {
            knots: [Point::default(); KNOTS],
            curve: Curve::default(),
            speeds: Vec::new(),
            margin: residuals.quantile(QUANTILE_START),
            tail: residuals.quantile(TAIL),
            residuals,
            quantile: QUANTILE_START,
            late_budget,
            straggler_share: 0.0,
            seen: 0.0,
            batches: 0,
        }
    }

    /// Starts from a known `alpha + beta b`, in seconds; observations replace it.
    #[must_use]
    pub fn seeded(late_budget: f64, alpha: f64, beta: f64) -> Self {
        let mut profile = Profile::new(late_budget);
        for size in [1.0, 8.0, 64.0] {
            profile.knots[knot_index(size)].learn(size, alpha + beta * size);
        }
        profile.refit();
        profile.batches = 1;
        profile
    }

    /// Factor between a typical latency and one with the margin.
    #[must_use]
    pub fn margin(&self) -> f64 {
        self.margin
    }

    /// The share of residuals that the margin covers.
    #[must_use]
    pub fn quantile(&self) -> f64 {
        self.quantile
    }

    /// The residuals themselves.
    #[must_use]
    pub fn residuals(&self) -> &Residuals {
        &self.residuals
    }

    fn factor(&self, replica: usize) -> f64 {
        self.speed(replica).map_or(1.0, |speed| speed.factor)
    }

    fn learn_first(&mut self, size: f64, seconds: f64) {
        self.knots[knot_index(size)].learn(size, seconds);
        self.refit();
    }

    fn learn_latency(&mut self, replica: usize, size: f64, seconds: f64) {
        let ratio = seconds / self.typical(replica, size).max(1e-12);
        self.residuals.add(ratio);
        if let Some(speed) = self.speed_mut(replica) {
            speed.learn(ratio.max(1e-12).ln());
        }
        let factor = self.factor(replica);
        self.knots[knot_index(size)].learn(size, seconds / factor);
        self.normalise();
    }

    fn refit(&mut self) {
        let fit = self.least_squares();
        let known = self.knots.iter().filter(|knot| knot.count > 0.0);
        self.curve.fit(fit, known.copied());
    }

    /// Moves what all speeds have in common into the shape; no prediction changes.
    fn normalise(&mut self) {
        let common = self.speed_mean();
        let speeds = self.speeds.iter_mut().flatten();
        speeds.for_each(|one| one.factor /= common);
        self.knots
            .iter_mut()
            .for_each(|knot| knot.seconds *= common);
        self.refit();
    }

    /// Geometric mean of the speeds; 1 without replicas.
    fn speed_mean(&self) -> f64 {
        self.mean(|speed| speed.factor.ln()).map_or(1.0, f64::exp)
    }

    fn mean(&self, of: impl Fn(&Speed) -> f64) -> Option<f64> {
        let speeds = self.speeds.iter().flatten();
        let (sum, count) =
            speeds.fold((0.0, 0), |(sum, count), speed| (sum + of(speed), count + 1));
        (count > 0).then(|| sum / f64::from(count))
    }

    fn speed(&self, replica: usize) -> Option<&Speed> {
        self.speeds.get(replica)?.as_ref()
    }

    fn speed_mut(&mut self, replica: usize) -> Option<&mut Speed> {
        self.speeds.get_mut(replica)?.as_mut()
    }

    /// Least squares of relative errors over the knots: alpha and beta.
    fn least_squares(&self) -> (f64, f64) {
        let (mut w0, mut w1, mut w2, mut y0, mut y1) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for knot in self.knots.iter().filter(|knot| knot.count > 0.0) {
            let seconds = knot.seconds.max(SECONDS_MIN);
            let weight = knot.count.min(KNOT_WEIGHT_MAX) / (seconds * seconds);
            w0 += weight;
            w1 += weight * knot.size;
            w2 += weight * knot.size * knot.size;
            y0 += weight * seconds;
            y1 += weight * seconds * knot.size;
        }
        let determinant = w0 * w2 - w1 * w1;
        if determinant > 1e-6 * w0 * w2 {
            let alpha = (y0 * w2 - y1 * w1) / determinant;
            let beta = (y1 * w0 - y0 * w1) / determinant;
            match (alpha < 0.0, beta < 0.0) {
                (true, _) => (0.0, y1 / w2),
                (_, true) => (y0 / w0, 0.0),
                _ => (alpha, beta),
            }
        } else {
            // One size only: half of it may be the batch's, half the rows'.
            let (seconds, size) = (y0 / w0, w1 / w0);
            (seconds / 2.0, seconds / 2.0 / size)
        }
    }

    /// A straggler is no knowledge, unless it is the rule.
    fn is_straggler(&mut self, done: &Done) -> bool {
        let slow = done.latency > STRAGGLER * self.typical(done.replica, done.size);
        let Some(speed) = self.speed_mut(done.replica) else {
            return false;
        };
        speed.stragglers = if slow { speed.stragglers + 1 } else { 0 };
        slow && speed.stragglers < STRAGGLERS_MAX
    }

    fn steer(&mut self, late_share: f64) {
        let left = self.late_budget - self.straggler_share;
        let goal = left.max(BUDGET_MIN * self.late_budget);
        let step = QUANTILE_GAIN * (late_share - goal);
        self.quantile = (self.quantile + step).clamp(QUANTILE.0, QUANTILE.1);
    }

    fn update_margin(&mut self) {
        if self.batches < 64 || self.batches.is_multiple_of(MARGIN_EVERY) {
            self.margin = self.residuals.quantile(self.quantile);
            self.tail = self.residuals.quantile(TAIL);
        }
    }
}

impl LatencyModel for Profile {
    fn typical(&self, replica: usize, size: f64) -> f64 {
        self.factor(replica) * self.curve.seconds(size)
    }

    fn cautious(&self, replica: usize, size: f64) -> f64 {
        self.margin * self.typical(replica, size)
    }

    fn size_within(&self, replica: usize, seconds: f64) -> f64 {
        let typical = seconds / (self.margin * self.factor(replica));
        self.curve.size_within(typical)
    }

    /// Rounded, not cut off: the margin is steered by what comes of it.
    fn whole(&self, size: f64) -> f64 {
        size.round()
    }

    fn size_cap(&self) -> f64 {
        (2.0 * self.seen).max(1.0)
    }

    fn affine(&self) -> (f64, f64) {
        let mean = self.mean(|speed| speed.factor).unwrap_or(1.0);
        (mean * self.curve.alpha, mean * self.curve.beta)
    }

    fn unusual(&self, replica: usize, size: f64) -> f64 {
        (1.2 * self.tail).max(1.5) * self.typical(replica, size)
    }

    fn slowness(&self, replica: usize) -> f64 {
        self.factor(replica)
    }

    fn learn(&mut self, done: &Done) {
        self.seen = self.seen.max(done.size);
        self.batches += 1;
        if self.batches == 1 {
            return self.learn_first(done.size, done.latency);
        }
        let straggler = self.is_straggler(done);
        let late_share = done.late_rows as f64 / done.rows.max(1) as f64;
        let by_straggler = if straggler { late_share } else { 0.0 };
        self.straggler_share += STRAGGLER_GAIN * (by_straggler - self.straggler_share);
        if straggler {
            return;
        }
        self.learn_latency(done.replica, done.size, done.latency);
        if done.bound {
            self.steer(late_share);
        }
        self.update_margin();
    }

    fn learned(&self) -> Option<Learned> {
        let (alpha, beta) = self.affine();
        Some(Learned {
            alpha,
            beta,
            curve: self.curve.clone(),
            margin: self.margin,
            mean_ratio: self.residuals.mean(),
            quantile: self.quantile,
            patience: 0.0,
            seen: self.seen,
            rate: 0.0,
            slowness: (0..self.speeds.len())
                .map(|place| self.factor(place))
                .collect(),
            residuals: self.residuals.shares().collect(),
        })
    }

    fn replica_joined(&mut self, replica: usize) {
        let speed = Speed {
            factor: self.speed_mean(),
            surprises: 0,
            stragglers: 0,
        };
        if replica >= self.speeds.len() {
            self.speeds.resize(replica + 1, None);
        }
        self.speeds[replica] = Some(speed);
    }

    fn replica_left(&mut self, replica: usize) {
        // What all had in common stays known, also if this was the last one.
        self.normalise();
        if let Some(place) = self.speeds.get_mut(replica) {
            *place = None;
        }
    }
}

fn knot_index(size: f64) -> usize {
    // The cast saturates at 0.
    ((2.0 * size.max(1.0).log2()) as usize).min(KNOTS - 1)
}

#[cfg(test)]
mod tests;
