//! Quantiles of the times of one interval.

use super::answer::Times;

/// How many times of an interval fell into each bucket.
#[derive(Debug)]
pub(super) struct Spread<'a> {
    edges: &'a [f64],
    counts: Vec<u64>,
}

/// A quantile, as well as buckets tell it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantile {
    /// It is not below this: the lower edge of its bucket.
    pub(super) least: f64,
    /// By interpolation between the edges.
    pub(super) seconds: f64,
}

impl<'a> Spread<'a> {
    /// What came to `after` since `before`; all of it where there is nothing before.
    pub(super) fn between(before: Option<&Times>, after: &'a Times) -> Spread<'a> {
        let before = before.map_or(&[][..], |times| &times.counts);
        let came = |(place, count): (usize, &u64)| {
            count.saturating_sub(before.get(place).copied().unwrap_or(0))
        };
        Spread {
            edges: &after.edges,
            counts: after.counts.iter().enumerate().map(came).collect(),
        }
    }

    /// The time that `share` of all do not exceed; nothing where there is none. Times beyond the
    /// last edge are taken for it.
    pub(super) fn quantile(&self, share: f64) -> Option<Quantile> {
        let total: u64 = self.counts.iter().sum();
        let wanted = share * total as f64;
        let (mut below, mut least) = (0.0, 0.0);
        for (place, count) in self.counts.iter().enumerate() {
            let count = *count as f64;
            let edge = self.edges.get(place).copied().unwrap_or(least);
            if count > 0.0 && below + count >= wanted {
                let part = ((wanted - below) / count).clamp(0.0, 1.0);
                let seconds = least + (edge - least) * part;
                return Some(Quantile { least, seconds });
            }
            (below, least) = (below + count, edge);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(counts: [u64; 4]) -> Times {
        Times {
            edges: vec![0.001, 0.01, 0.1],
            counts: counts.to_vec(),
        }
    }

    #[test]
    fn a_quantile_is_of_what_came_between() {
        let (before, after) = (times([1000, 0, 5, 0]), times([1000, 50, 55, 0]));
        let spread = Spread::between(Some(&before), &after);
        let half = spread.quantile(0.5).expect("times");
        assert!(
            half.least == 0.001 && (half.seconds - 0.01).abs() < 1e-9,
            "{half:?}"
        );
        let most = spread.quantile(0.99).expect("times");
        assert!((most.seconds - 0.0982).abs() < 1e-9, "{most:?}");
        assert_eq!(most.least, 0.01);
        let all = Spread::between(None, &before).quantile(0.5);
        assert!(all.expect("times").seconds < 0.001);
    }

    #[test]
    fn there_is_none_of_nothing_and_the_last_edge_stands_for_what_is_beyond() {
        let times_then = times([3, 0, 0, 0]);
        assert_eq!(
            Spread::between(Some(&times_then), &times_then).quantile(0.5),
            None
        );
        let beyond = times([3, 0, 0, 2]);
        let most = Spread::between(Some(&times_then), &beyond).quantile(0.99);
        assert_eq!(most.expect("times").seconds, 0.1);
        assert_eq!(
            Spread::between(None, &Times::default()).quantile(0.5),
            None,
            "no buckets at all"
        );
    }
}
