//! What came of a run: counts and latencies, by application and part of the run.

/// Queries by what became of them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// All that arrived.
    pub arrived: u64,
    /// Answered in time.
    pub good: u64,
    /// Answered too late.
    pub late: u64,
    /// Not answered.
    pub shed: u64,
    /// Seconds that answers took, in sum.
    pub seconds: f64,
    latencies: Histogram,
}

impl Counts {
    /// Share of the arrivals that were answered in time.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        share(self.good, self.arrived)
    }

    /// Share of the arrivals that were answered too late.
    #[must_use]
    pub fn late_share(&self) -> f64 {
        share(self.late, self.arrived)
    }

    /// Share of the arrivals that were not answered.
    #[must_use]
    pub fn shed_share(&self) -> f64 {
        share(self.shed, self.arrived)
    }

    /// Mean seconds of an answer.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.seconds / (self.good + self.late).max(1) as f64
    }

    /// Seconds below which 99 % of the answers took.
    #[must_use]
    pub fn p99(&self) -> f64 {
        self.latencies.quantile(0.99)
    }

    /// A query was answered after so many seconds, with this objective.
    pub fn answered(&mut self, seconds: f64, objective: f64) {
        if seconds <= objective {
            self.good += 1;
        } else {
            self.late += 1;
        }
        self.seconds += seconds;
        self.latencies.add(seconds);
    }
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Over the whole run.
    pub all: Counts,
    /// By application, and for each by equal parts of the run, by arrival.
    pub applications: Vec<Vec<Counts>>,
    /// Batches.
    pub batches: u64,
    /// Rows in them, copies included.
    pub rows: u64,
    /// Seconds of the run.
    pub length: f64,
}

impl Outcome {
    /// Nothing yet, of so many applications in so many parts.
    #[must_use]
    pub fn new(applications: usize, parts: usize, length: f64) -> Self {
        Outcome {
            applications: vec![vec![Counts::default(); parts]; applications],
            length,
            ..Outcome::default()
        }
    }

    /// Answered in time of what arrived in a part.
    #[must_use]
    pub fn good_in(&self, part: usize) -> u64 {
        let applications = self.applications.iter();
        applications.map(|parts| parts[part].good).sum()
    }

    /// Share of the arrivals of a part that were answered in time.
    #[must_use]
    pub fn goodput_in(&self, part: usize) -> f64 {
        let applications = self.applications.iter();
        let arrived = applications.map(|parts| parts[part].arrived).sum();
        share(self.good_in(part), arrived)
    }

    /// Share of an application's arrivals that were answered in time.
    #[must_use]
    pub fn goodput_of(&self, application: usize) -> f64 {
        let parts = &self.applications[application];
        let good = parts.iter().map(|part| part.good).sum();
        let arrived = parts.iter().map(|part| part.arrived).sum();
        share(good, arrived)
    }

    /// Mean rows of a batch.
    #[must_use]
    pub fn batch_mean(&self) -> f64 {
        self.rows as f64 / self.batches.max(1) as f64
    }
}

/// Latencies in buckets of 1 %, from a microsecond on.
#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        let bucket = ((seconds * 1e6).max(1.0).ln() * 100.0) as usize;
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut left = (self.total as f64 * share) as u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            if left < u64::from(*count) {
                return ((bucket as f64 + 0.5) / 100.0).exp() / 1e6;
            }
            left -= u64::from(*count);
        }
        0.0
    }
}
