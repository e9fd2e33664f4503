//! What arrives in one run: queries of one or several applications.

use fastrand::Rng;

/// An application that asks the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Application {
    /// Seconds from arrival to deadline.
    pub objective: f64,
    /// Queries a second that are served before those of others, if there is a guarantee.
    pub guarantee: Option<f64>,
}

/// A query: its arrival, in nanoseconds of the run, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// When it arrives.
    pub arrival: u64,
    /// The place of its application in [`Traffic::applications`].
    pub application: usize,
}

/// All queries of a run.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// In the order of arrival.
    pub queries: Vec<Query>,
    /// Who asks; at least one.
    pub applications: Vec<Application>,
    /// Seconds during which queries arrive.
    pub length: f64,
}

impl Traffic {
    /// All arrivals are of one application.
    #[must_use]
    pub fn of_one(arrivals: &[u64], objective: f64, length: f64) -> Self {
        let query = |arrival: &u64| Query {
            arrival: *arrival,
            application: 0,
        };
        Traffic {
            queries: arrivals.iter().map(query).collect(),
            applications: vec![Application {
                objective,
                guarantee: None,
            }],
            length,
        }
    }

    /// Each arrival is of an application drawn at random, all alike.
    #[must_use]
    pub fn shared(
        arrivals: &[u64],
        applications: Vec<Application>,
        length: f64,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let query = |arrival: &u64| Query {
            arrival: *arrival,
            application: rng.usize(..applications.len()),
        };
        Traffic {
            queries: arrivals.iter().map(query).collect(),
            applications,
            length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_share_the_arrivals_evenly() {
        let one = Application {
            objective: 0.02,
            guarantee: None,
        };
        let arrivals: Vec<u64> = (0..10_000).collect();
        let traffic = Traffic::shared(&arrivals, vec![one; 2], 1.0, 3);
        let first = traffic.queries.iter().filter(|one| one.application == 0);
        let first = first.count();
        assert!((4800..5200).contains(&first), "{first}");
    }
}
