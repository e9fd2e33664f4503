//! Why a query got its application's default: one table for answers, metrics and logs.

/// The cause of a default or an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No replica of the model is connected.
    NoReplica,
    /// The queue of the model is full.
    QueueFull,
    /// Given up so that others make their deadlines.
    Shed,
    /// The deadline passed while it waited for a replica.
    ExpiredQueue,
    /// The deadline passed while the model had it.
    ExpiredModel,
    /// The model failed on it.
    ModelError,
    /// The replica that had it is gone.
    ReplicaLost,
    /// The front end, or the version, is going away.
    Draining,
}

impl Cause {
    /// All causes.
    pub const ALL: [Cause; 8] = [
        Cause::NoReplica,
        Cause::QueueFull,
        Cause::Shed,
        Cause::ExpiredQueue,
        Cause::ExpiredModel,
        Cause::ModelError,
        Cause::ReplicaLost,
        Cause::Draining,
    ];

    /// The name in answers and metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::NoReplica => "no_replica",
            Cause::QueueFull => "queue_full",
            Cause::Shed => "shed",
            Cause::ExpiredQueue => "expired_queue",
            Cause::ExpiredModel => "expired_model",
            Cause::ModelError => "model_error",
            Cause::ReplicaLost => "replica_lost",
            Cause::Draining => "draining",
        }
    }

    /// One sentence for people; Clipper's words where it had some.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Cause::NoReplica => "No connected models found for query",
            Cause::QueueFull => "The queue of the model is full",
            Cause::Shed => "The query was given up so that others make their deadlines",
            Cause::ExpiredQueue | Cause::ExpiredModel => {
                "Failed to retrieve a prediction response within the specified latency SLO"
            }
            Cause::ModelError => "The model failed on this query",
            Cause::ReplicaLost => "The replica that had the query is gone",
            Cause::Draining => "The model or the front end is going away",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = Cause::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Cause::ALL.len());
    }
}
