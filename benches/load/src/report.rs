//! What a run of the driver measured.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::error::Error;

/// Longer latencies are recorded as this.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// What a run measured.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// Time from sending a request to the last byte of its answer, in microseconds to three
    /// digits; of the requests that are `answered`.
    pub latencies: Histogram<u64>,
    /// Complete answers, less those refused.
    pub answered: u64,
    /// Complete answers that the check of [`measure`](crate::ClosedLoop::measure) refused.
    pub refused: u64,
    /// Requests without a complete answer.
    pub failed: u64,
    /// Why the first of those failed, in `measure`; `send_each` hands each error over.
    pub first_error: Option<Error>,
    /// The time in which this was counted.
    pub elapsed: Duration,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            latencies: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("valid bounds"),
            answered: 0,
            refused: 0,
            failed: 0,
            first_error: None,
            elapsed: Duration::ZERO,
        }
    }

    pub(crate) fn count_answer(&mut self, latency: Duration) {
        self.answered += 1;
        self.latencies.saturating_record(latency.as_micros() as u64);
    }

    #[cold]
    pub(crate) fn count_failure(&mut self, error: Error) {
        self.failed += 1;
        self.first_error.get_or_insert(error);
    }

    /// Answers per second; 0 if no time went by.
    #[must_use]
    pub fn answers_per_second(&self) -> f64 {
        if self.elapsed.is_zero() {
            return 0.0;
        }
        self.answered as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that the fraction `quantile` of the answers does not exceed; 0 if there is none.
    #[must_use]
    pub fn latency_us(&self, quantile: f64) -> u64 {
        self.latencies.value_at_quantile(quantile)
    }

    /// Median latency.
    #[must_use]
    pub fn p50_us(&self) -> u64 {
        self.latency_us(0.5)
    }

    /// 99th percentile of the latency.
    #[must_use]
    pub fn p99_us(&self) -> u64 {
        self.latency_us(0.99)
    }

    /// 99.9th percentile of the latency.
    #[must_use]
    pub fn p999_us(&self) -> u64 {
        self.latency_us(0.999)
    }

    /// Longest latency.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.latencies.max()
    }
}

/// One line: `41234 answers/s, p50 1.5 ms, …`, and what went wrong if something did.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / 1e3;
        write!(
            f,
            "{:.0} answers/s, p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.3} ms",
            self.answers_per_second(),
            ms(self.p50_us()),
            ms(self.p99_us()),
            ms(self.p999_us()),
            ms(self.max_us()),
        )?;
        if self.refused + self.failed > 0 {
            write!(f, "; {} refused, {} failed", self.refused, self.failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_answers_and_keeps_the_first_error() {
        let mut report = Report::new();
        for us in 1..=1000 {
            report.count_answer(Duration::from_micros(us));
        }
        report.count_failure(Error::Path {
            path: "first".into(),
        });
        report.count_failure(Error::Path {
            path: "second".into(),
        });
        report.elapsed = Duration::from_millis(500);
        assert_eq!((report.p50_us(), report.p99_us()), (500, 990));
        assert_eq!((report.p999_us(), report.max_us()), (999, 1000));
        assert_eq!(report.failed, 2);
        assert!(
            report
                .first_error
                .as_ref()
                .unwrap()
                .to_string()
                .contains("first")
        );
        let line = "2000 answers/s, p50 0.500 ms, p99 0.990 ms, p99.9 0.999 ms, max 1.000 ms; \
                    0 refused, 2 failed";
        assert_eq!(report.to_string(), line);
    }

    #[test]
    fn an_empty_report_is_all_zero() {
        let report = Report::new();
        assert_eq!((report.p50_us(), report.max_us()), (0, 0));
        assert_eq!(report.answers_per_second(), 0.0);
    }
}
