//! Latency by size: affine, and bent where batches say that it is not.
//!
//! Models that pad, or that compute in tiles, are not affine: up to some size a batch takes the
//! same time, or it jumps. So where the mean of what was observed lies off the affine fit by more
//! than noise explains, the curve goes through it: a factor on the fit, interpolated over the
//! logarithm of the size. An affine model keeps its fit untouched, which is the better estimate.
//!
//! # Cost
//! Affine: a multiplication. Bent: a logarithm and an exponential, O(points).

/// Distance from the fit, as a logarithm, that noise explains: after many batches, and what is
/// added after one.
const NOISE: (f64, f64) = (0.03, 0.3);
/// Batches beyond which a mean gets no better, since it forgets.
const COUNT_MAX: f64 = 50.0;
/// Halvings when a size is searched between two points.
const HALVINGS: usize = 16;

/// The mean of batches of about one size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Their size.
    pub size: f64,
    /// The seconds they took.
    pub seconds: f64,
    /// How many they were.
    pub count: f64,
}

/// Seconds by size, for a replica of slowness 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Of the affine fit: seconds of a batch.
    pub alpha: f64,
    /// Of the affine fit: seconds of each unit of size.
    pub beta: f64,
    /// Sizes in ascending order with the logarithm of the factor there; empty if all are 0.
    bends: Vec<(f64, f64)>,
}

impl Curve {
    /// A straight one.
    #[must_use]
    pub fn affine(alpha: f64, beta: f64) -> Curve {
        Curve {
            alpha,
            beta,
            bends: Vec::new(),
        }
    }

    /// Takes the affine fit, and bends where the points, of ascending size, say so.
    pub fn fit(&mut self, (alpha, beta): (f64, f64), points: impl Iterator<Item = Point>) {
        (self.alpha, self.beta) = (alpha, beta);
        self.bends.clear();
        let mut is_bent = false;
        for point in points {
            let bend = bend(&point, alpha + beta * point.size);
            is_bent |= bend != 0.0;
            self.bends.push((point.size, bend));
        }
        if !is_bent {
            self.bends.clear();
        }
    }

    /// Sizes in ascending order with the factor on the affine fit there; none if it is 1
    /// everywhere.
    pub fn factors(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.bends.iter().map(|(size, bend)| (*size, bend.exp()))
    }

    /// A curve of known factors: see [`Self::factors`].
    #[must_use]
    pub fn bent(alpha: f64, beta: f64, factors: impl Iterator<Item = (f64, f64)>) -> Curve {
        Curve {
            alpha,
            beta,
            bends: factors.map(|(size, factor)| (size, factor.ln())).collect(),
        }
    }

    /// Whether some size takes another time than the affine fit says.
    #[must_use]
    pub fn is_bent(&self) -> bool {
        !self.bends.is_empty()
    }

    /// Seconds of a batch.
    #[must_use]
    pub fn seconds(&self, size: f64) -> f64 {
        let straight = self.alpha + self.beta * size;
        if self.bends.is_empty() {
            straight
        } else {
            straight * self.bend_at(size).exp()
        }
    }

    /// The largest size that takes at most so long; may be 0 or infinite.
    #[must_use]
    pub fn size_within(&self, seconds: f64) -> f64 {
        let (Some(first), Some(last)) = (self.bends.first(), self.bends.last()) else {
            return self.straight_within(seconds);
        };
        let beyond = self.straight_within(seconds / last.1.exp());
        if beyond >= last.0 {
            return beyond;
        }
        let segments = self.bends.iter().zip(&self.bends[1..]).rev();
        let mut fitting = segments.filter(|(from, _)| self.seconds(from.0) <= seconds);
        match fitting.next() {
            Some((from, to)) => self.search(seconds, from.0, to.0),
            None => self.straight_within(seconds / first.1.exp()).min(first.0),
        }
    }

    /// The largest size from `low`, which fits, to `high`, which does not.
    fn search(&self, seconds: f64, mut low: f64, mut high: f64) -> f64 {
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if self.seconds(middle) <= seconds {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    fn straight_within(&self, seconds: f64) -> f64 {
        let left = seconds - self.alpha;
        if left <= 0.0 {
            0.0
        } else {
            // Infinite where rows cost nothing.
            left / self.beta
        }
    }

    fn bend_at(&self, size: f64) -> f64 {
        let above = self.bends.partition_point(|(at, _)| *at <= size);
        let Some(&(low, from)) = above.checked_sub(1).map(|below| &self.bends[below]) else {
            return self.bends[0].1;
        };
        let Some(&(high, to)) = self.bends.get(above) else {
            return from;
        };
        let share = (size / low).ln() / (high / low).ln();
        from + share * (to - from)
    }
}

/// The logarithm of what a point says over the fit; less where noise may be the reason.
fn bend(point: &Point, fitted: f64) -> f64 {
    let off = (point.seconds.max(1e-9) / fitted.max(1e-9)).ln();
    let noise = NOISE.0 + NOISE.1 / point.count.min(COUNT_MAX).sqrt();
    off * (off.abs() / noise - 1.0).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Many batches of each power of two, with the times that `seconds` gives.
    fn fitted(fit: (f64, f64), seconds: impl Fn(f64) -> f64) -> Curve {
        let sizes = (0..8).map(|power| f64::from(1 << power));
        let mut curve = Curve::default();
        curve.fit(
            fit,
            sizes.map(|size| Point {
                size,
                seconds: seconds(size),
                count: 100.0,
            }),
        );
        curve
    }

    #[test]
    fn what_noise_explains_leaves_the_fit_alone() {
        let curve = fitted((5.0, 1.0), |size| 1.05 * (5.0 + size));
        assert!(!curve.is_bent());
        assert_eq!(curve.seconds(3.0), 8.0);
        assert_eq!(curve.size_within(8.0), 3.0);
        let mut curve = Curve::default();
        let once = Point {
            size: 4.0,
            seconds: 11.0,
            count: 1.0,
        };
        curve.fit((5.0, 1.0), [once].into_iter());
        assert!(!curve.is_bent(), "one batch says little");
    }

    /// A model that pads to 32 rows.
    #[test]
    fn a_knee_is_followed_between_the_sizes_that_were_seen() {
        let padded = |size: f64| 5.0 + size.max(32.0);
        let curve = fitted((15.0, 0.7), padded);
        for size in [1.0, 2.0, 3.0, 8.0, 16.0, 32.0, 64.0, 128.0] {
            let ratio = curve.seconds(size) / padded(size);
            assert!((0.85..1.15).contains(&ratio), "{size}: {ratio}");
        }
        // Beyond what was seen the last factor holds.
        let (seen, beyond) = (curve.seconds(128.0), curve.seconds(256.0));
        let factor = |size: f64, seconds: f64| seconds / (15.0 + 0.7 * size);
        assert!((factor(128.0, seen) - factor(256.0, beyond)).abs() < 1e-9);
    }

    #[test]
    fn without_time_nothing_fits_and_free_rows_have_no_bound() {
        let curve = fitted((5.0, 1.0), |size| 10.0 + 2.0 * size);
        assert_eq!(curve.size_within(0.5), 0.0);
        assert_eq!(Curve::affine(1.0, 0.0).size_within(2.0), f64::INFINITY);
        assert_eq!(Curve::affine(1.0, 0.0).size_within(1.0), 0.0);
    }

    proptest! {
        /// Also where the curve is not monotone: what is said to fit does fit.
        #[test]
        fn the_size_within_a_time_takes_that_time(
            factors in prop::collection::vec(0.3..3.0_f64, 8),
            seconds in 1.0..300.0_f64,
        ) {
            let curve = fitted((5.0, 1.0), |size| factors[size.log2() as usize] * (5.0 + size));
            let size = curve.size_within(seconds);
            prop_assert!(size >= 0.0);
            if size > 0.0 {
                prop_assert!(curve.seconds(size) <= seconds * (1.0 + 1e-9));
            }
        }
    }
}
