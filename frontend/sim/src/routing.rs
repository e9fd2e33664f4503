//! How queries come to replicas: late binding, or a router before replicas with queues.
//!
//! The front end binds late: one queue, from which idle replicas take. To see what that is
//! worth, each replica may have a batcher of its own instead, with a router that binds a query
//! to one of them when it arrives.

use fastrand::Rng;

/// Who decides on the replica of a query, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// One queue; an idle replica takes from it.
    Late,
    /// On arrival, one replica after the other.
    RoundRobin,
    /// On arrival, of two replicas drawn at random that with fewer queries.
    TwoChoices,
    /// On arrival, an idle replica, at random if none is.
    JoinIdle,
    /// On arrival, the replica that would be free first, by the true profile.
    LeastWork,
}

impl Routing {
    /// All of them, as in the tables.
    pub const ALL: [Routing; 5] = [
        Routing::RoundRobin,
        Routing::TwoChoices,
        Routing::JoinIdle,
        Routing::LeastWork,
        Routing::Late,
    ];

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Routing::Late => "skysail (late binding)",
            Routing::RoundRobin => "round robin",
            Routing::TwoChoices => "two choices",
            Routing::JoinIdle => "join idle queue",
            Routing::LeastWork => "least work",
        }
    }

    /// Batchers that it takes.
    #[must_use]
    pub fn batchers(self, replicas: usize) -> usize {
        if self == Routing::Late { 1 } else { replicas }
    }
}

/// What a router sees of a replica with a queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Queries that it has, waiting and in its batch.
    pub queries: usize,
    /// Seconds until it would have done all of them.
    pub work: f64,
}

/// The router of one run.
#[derive(Debug)]
pub struct Router {
    routing: Routing,
    rng: Rng,
    next: usize,
}

impl Router {
    /// Draws from this seed.
    #[must_use]
    pub fn new(routing: Routing, seed: u64) -> Self {
        Router {
            routing,
            rng: Rng::with_seed(seed),
            next: 0,
        }
    }

    /// The batcher that a query goes to, of so many, which are as `load` says.
    pub fn choose(&mut self, batchers: usize, load: impl Fn(usize) -> Load) -> usize {
        match self.routing {
            _ if batchers == 1 => 0,
            Routing::Late => 0,
            Routing::RoundRobin => {
                self.next = (self.next + 1) % batchers;
                self.next
            }
            Routing::TwoChoices => {
                let [one, other] = [0, 1].map(|_| self.rng.usize(..batchers));
                if load(other).queries < load(one).queries {
                    other
                } else {
                    one
                }
            }
            Routing::JoinIdle => {
                let idle = (0..batchers).find(|one| load(*one).queries == 0);
                idle.unwrap_or_else(|| self.rng.usize(..batchers))
            }
            Routing::LeastWork => {
                let by_work =
                    |one: &usize, other: &usize| load(*one).work.total_cmp(&load(*other).work);
                (0..batchers).min_by(by_work).unwrap_or(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(one: usize) -> Load {
        let (queries, work) = [(3, 0.1), (0, 0.4), (5, 0.3)][one];
        Load { queries, work }
    }

    #[test]
    fn each_rule_looks_at_its_own_figure() {
        let choose = |routing| Router::new(routing, 1).choose(3, loads);
        assert_eq!(choose(Routing::JoinIdle), 1);
        assert_eq!(choose(Routing::LeastWork), 0);
        assert_eq!(choose(Routing::Late), 0);
        let mut router = Router::new(Routing::RoundRobin, 1);
        let turns: Vec<_> = (0..4).map(|_| router.choose(3, loads)).collect();
        assert_eq!(turns, [1, 2, 0, 1]);
    }

    #[test]
    fn two_choices_seldom_take_the_fullest() {
        let mut router = Router::new(Routing::TwoChoices, 1);
        let fullest = (0..9000).filter(|_| router.choose(3, loads) == 2).count();
        // Only where both draws are of it: a ninth.
        assert!((900..1100).contains(&fullest), "{fullest}");
    }
}
