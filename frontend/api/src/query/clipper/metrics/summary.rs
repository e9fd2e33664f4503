//! What buckets tell of the values in them.
//!
//! The size and the mean are exact. Least, most, percentiles and deviation are estimates: the
//! values of a bucket count as spread evenly over it, so that a percentile is at most a bucket
//! off. From 100 us on that is a third for latencies and a factor of 2.5 for waits; it is 2 for
//! rows. Values beyond the last edge count as it.

use skysail_monitor::lanes::HistogramReading;

/// What kind of values there are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values {
    /// Any positive ones, shown in another unit.
    Times {
        /// How much of that unit one is.
        scale: f64,
    },
    /// Whole ones from 1.
    Rows,
}

/// A summary of a histogram; all zero if it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Summary {
    pub(super) size: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) mean: f64,
    pub(super) std_dev: f64,
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
}

/// Values between two edges.
struct Bucket {
    least: f64,
    most: f64,
    count: u64,
}

impl Summary {
    pub(super) fn of(reading: &HistogramReading, values: Values) -> Summary {
        let buckets = buckets(reading, values);
        let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else {
            return Summary::default();
        };
        let size: u64 = buckets.iter().map(|bucket| bucket.count).sum();
        let mean = reading.sum * values.scale() / size as f64;
        let squares = buckets.iter().map(|bucket| {
            let middle = f64::midpoint(bucket.least, bucket.most);
            bucket.count as f64 * (middle - mean).powi(2)
        });
        let at = |share: f64| percentile(&buckets, share * size as f64);
        Summary {
            size,
            min: first.least,
            max: last.most,
            mean,
            std_dev: (squares.sum::<f64>() / size as f64).sqrt(),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        }
    }
}

impl Values {
    fn scale(self) -> f64 {
        match self {
            Values::Times { scale } => scale,
            Values::Rows => 1.0,
        }
    }

    /// From the upper edge of a bucket to the least value of the next one.
    fn step(self) -> f64 {
        match self {
            Values::Times { .. } => 0.0,
            Values::Rows => 1.0,
        }
    }
}

/// Those that hold something.
fn buckets(reading: &HistogramReading, values: Values) -> Vec<Bucket> {
    let mut below = 0.0;
    let mut held = Vec::new();
    for &(edge, count) in &reading.buckets {
        let edge = if edge.is_finite() { edge } else { below };
        let least = (below + values.step()).min(edge);
        if count > 0 {
            held.push(Bucket {
                least: least * values.scale(),
                most: edge * values.scale(),
                count,
            });
        }
        below = edge;
    }
    held
}

/// The value below which `rank` of them are.
fn percentile(buckets: &[Bucket], rank: f64) -> f64 {
    let mut before = 0.0;
    for bucket in buckets {
        let count = bucket.count as f64;
        if rank <= before + count {
            let share = (rank - before) / count;
            return bucket.least + share * (bucket.most - bucket.least);
        }
        before += count;
    }
    buckets.last().map_or(0.0, |last| last.most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(sum: f64, buckets: &[(f64, u64)]) -> HistogramReading {
        HistogramReading {
            sum,
            buckets: buckets.to_vec(),
        }
    }

    #[test]
    fn an_empty_histogram_is_all_zero() {
        for buckets in [&[][..], &[(1.0, 0), (f64::INFINITY, 0)]] {
            let summary = Summary::of(&reading(0.0, buckets), Values::Rows);
            assert_eq!(summary, Summary::default());
        }
    }

    #[test]
    fn times_are_interpolated_within_their_buckets() {
        let times = reading(
            2.0,
            &[(0.001, 0), (0.01, 50), (0.1, 50), (f64::INFINITY, 0)],
        );
        let summary = Summary::of(&times, Values::Times { scale: 1e3 });
        assert_eq!((summary.size, summary.mean), (100, 20.0));
        assert_eq!((summary.min, summary.max), (1.0, 100.0));
        assert_eq!(summary.p50, 10.0);
        assert!((summary.p95 - 91.0).abs() < 1e-9, "{summary:?}");
        assert!((summary.p99 - 98.2).abs() < 1e-9, "{summary:?}");
        let middles: f64 = 0.5 * (5.5_f64 - 20.0).powi(2) + 0.5 * (55.0_f64 - 20.0).powi(2);
        assert!(
            (summary.std_dev - middles.sqrt()).abs() < 1e-9,
            "{summary:?}"
        );
    }

    #[test]
    fn batches_of_one_row_are_of_one_row() {
        let rows = reading(7.0, &[(1.0, 7), (2.0, 0), (f64::INFINITY, 0)]);
        let one = Summary::of(&rows, Values::Rows);
        let shown = [one.min, one.max, one.mean, one.p50, one.p99, one.std_dev];
        assert_eq!(shown, [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        let rows = reading(7.0, &[(1.0, 0), (2.0, 0), (4.0, 2), (f64::INFINITY, 0)]);
        let two = Summary::of(&rows, Values::Rows);
        assert_eq!((two.min, two.p50, two.max), (3.0, 3.5, 4.0));
    }

    #[test]
    fn values_beyond_the_last_edge_count_as_it() {
        let rows = reading(9.0, &[(1.0, 0), (2.0, 0), (f64::INFINITY, 1)]);
        let summary = Summary::of(&rows, Values::Rows);
        assert_eq!((summary.min, summary.max, summary.mean), (2.0, 2.0, 9.0));
    }
}
