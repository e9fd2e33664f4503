//! How long everything takes.

use std::time::Duration;

/// Moments of which every phase has a whole number.
const GRAIN: Duration = Duration::from_millis(100);

/// The lengths of all phases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Measuring the no-op ceiling.
    pub(crate) ceiling: Duration,
    /// Load on a front end that has just started: it learns the model.
    pub(crate) learning: Duration,
    /// Load before each measurement that is not counted.
    pub(crate) warm_up: Duration,
    /// A constant load.
    pub(crate) constant: Duration,
    /// Before a step.
    pub(crate) before: Duration,
    /// The step.
    pub(crate) inside: Duration,
    /// After the step.
    pub(crate) after: Duration,
    /// Repetitions of a fault.
    pub(crate) faults: u32,
    /// Pairs of runs with and without the neighbour.
    pub(crate) pairs: u32,
}

impl Plan {
    /// The usual lengths, multiplied by `pace`.
    pub(crate) fn new(pace: f64) -> Plan {
        let seconds = |usual: f64| {
            let grains = (usual * pace / GRAIN.as_secs_f64()).round().max(1.0);
            GRAIN * grains as u32
        };
        let times = |usual: f64| (usual * pace).round().max(1.0) as u32;
        Plan {
            ceiling: seconds(3.0),
            learning: seconds(3.0),
            warm_up: seconds(1.0),
            constant: seconds(6.0),
            before: seconds(3.0),
            inside: seconds(5.0),
            after: seconds(5.0),
            faults: times(5.0),
            pairs: times(4.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quicker_plan_is_shorter_and_nothing_vanishes() {
        let (usual, quick, least) = (Plan::new(1.0), Plan::new(0.3), Plan::new(0.0));
        assert_eq!(usual.after, Duration::from_secs(5));
        assert_eq!(quick.inside, Duration::from_millis(1500));
        assert_eq!((least.constant, least.faults), (GRAIN, 1));
    }
}
