//! How a version stands, for people and metrics.

use std::time::Duration;

use crate::requests::Requests;
use skysail_core::Name;
use skysail_core::batching::{
    Capacity, Explained, Histogram, LateBy, Learned, ReplicaReport, Report, ShedBy, Situation,
};
use skysail_core::registry::Batching;
use skysail_core::replica::ReplicaState;
use skysail_monitor::lanes::{HistogramReading, LaneReading, LearnedReading, ReplicaReading};

/// A version at a moment.
#[derive(Debug)]
pub struct Standing {
    /// Its model.
    pub model: Name,
    /// Its name.
    pub version: Name,
    /// Queue, replicas, what was learned and what was done.
    pub report: Report,
    /// The last dispatches with the time since each, oldest first.
    pub explained: Vec<(Duration, Explained)>,
    /// How its batches are sized; none if it is not registered.
    pub batching: Option<Batching>,
    /// The least objective of the applications that are linked to its model.
    pub objective: Option<Duration>,
    /// Requests to it, and what it computed.
    pub requests: Requests,
}

impl Standing {
    /// What advice goes by, under the objective or another one; nothing before the first batch,
    /// or without a replica.
    #[must_use]
    pub fn situation(&self, objective: Duration) -> Option<Situation<'_>> {
        let learned = self.report.learned.as_ref()?;
        let replicas = self.report.replicas.iter();
        let serving = replicas.filter(|one| one.state != ReplicaState::Draining);
        let rows_max = serving.clone().map(|one| one.rows_max).min()?;
        let (size_max, allowed_sizes) = match &self.batching {
            Some(Batching::Adaptive(knobs)) => (knobs.size_max, knobs.allowed_sizes.as_slice()),
            _ => (None, [].as_slice()),
        };
        let known = learned.curve.seconds(1.0) > 0.0;
        known.then(|| Situation {
            learned,
            replicas: serving.map(|one| one.slowness).collect(),
            rows_max,
            size_max: size_max.map(|size| size as usize),
            allowed_sizes: allowed_sizes.iter().map(|size| *size as usize).collect(),
            cost_mean: self.report.cost_mean,
            objective: objective.as_secs_f64(),
        })
    }

    /// What its replicas bear within the objective, once something was learned.
    #[must_use]
    pub fn capacity(&self) -> Option<Capacity> {
        Some(self.situation(self.objective?)?.capacity())
    }

    /// The share of the capacity that the arrivals leave.
    #[must_use]
    pub fn headroom(&self) -> Option<f64> {
        let situation = self.situation(self.objective?)?;
        situation.capacity().headroom(situation.arriving())
    }

    /// The same for metrics.
    pub(crate) fn reading(&self) -> LaneReading {
        let (report, tally) = (&self.report, &self.report.tally);
        let (late, shed) = (
            LateBy::ALL.iter().zip(tally.late),
            ShedBy::ALL.iter().zip(tally.shed),
        );
        LaneReading {
            model: self.model.to_string(),
            version: self.version.to_string(),
            arrived: tally.arrived,
            in_time: tally.in_time,
            late: late.map(|(by, count)| (by.name(), count)).collect(),
            shed: shed.map(|(by, count)| (by.name(), count)).collect(),
            expired: tally.expired,
            hedged: tally.hedged,
            hedges_won: tally.hedges_won,
            rows: tally.rows,
            rows_wasted: tally.rows_wasted,
            batches: tally.batches,
            ahead: tally.ahead,
            cancelled: tally.cancelled,
            queued: report.queued as u64,
            head_age: report.head_age.unwrap_or(0.0),
            learned: report
                .learned
                .as_ref()
                .map(|known| learned(known, report.cost_mean)),
            capacity: self.capacity().map(|bears| bears.rate),
            headroom: self.headroom(),
            wait: histogram(&report.spread.wait),
            slack: histogram(&report.spread.slack),
            ratio: histogram(&report.spread.ratio),
            replicas: report.replicas.iter().map(replica).collect(),
        }
    }
}

fn learned(learned: &Learned, cost_mean: f64) -> LearnedReading {
    LearnedReading {
        rate: learned.rate / cost_mean,
        alpha: learned.alpha,
        beta: learned.beta,
        margin: learned.margin,
        quantile: learned.quantile,
        patience: learned.patience,
    }
}

fn histogram(histogram: &Histogram) -> HistogramReading {
    HistogramReading {
        sum: histogram.sum(),
        buckets: histogram.buckets().collect(),
    }
}

fn replica(replica: &ReplicaReport) -> ReplicaReading {
    ReplicaReading {
        id: replica.id.0,
        slowness: replica.slowness,
        busy_seconds: replica.busy_seconds,
        in_flight_age: replica.in_flight_age.unwrap_or(0.0),
        stragglers: replica.stragglers,
        transport: replica.transport,
    }
}
