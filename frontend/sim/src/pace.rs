//! How fast replicas are, and when: a slow host, a cold start, a slow-down for a while.
//!
//! A factor on the time of a batch, beside its noise: 2 is half as fast as the profile says.

/// A stretch of time in which every batch takes longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// Its first second of the run.
    pub from: f64,
    /// The first second after it.
    pub until: f64,
    /// The factor for batches that begin within it.
    pub factor: f64,
}

/// The first work of a replica, which takes longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cold {
    /// Seconds of work, as they pass while it is slow.
    pub seconds: f64,
    /// The factor for batches that begin within them.
    pub factor: f64,
}

/// The pace of all replicas of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The factor of the first replica's host.
    pub first: f64,
    /// How replicas start.
    pub cold: Option<Cold>,
    /// A slow-down of all.
    pub slow: Option<Slow>,
}

impl Pace {
    /// As the profile says, always.
    pub const EVEN: Pace = Pace {
        first: 1.0,
        cold: None,
        slow: None,
    };

    /// The factor of a replica's host.
    #[must_use]
    pub fn host(&self, replica: usize) -> f64 {
        if replica == 0 { self.first } else { 1.0 }
    }

    /// The factor for a batch that a replica begins at second `now`, having `worked` so long.
    #[must_use]
    pub fn factor(&self, replica: usize, worked: f64, now: f64) -> f64 {
        let cold = self.cold.filter(|cold| worked < cold.seconds);
        let within = |slow: &Slow| (slow.from..slow.until).contains(&now);
        let slow = self.slow.filter(within);
        let factors = [cold.map(|cold| cold.factor), slow.map(|slow| slow.factor)];
        factors.into_iter().flatten().product::<f64>() * self.host(replica)
    }

    /// Mean speed of the hosts, in shares of a usual one's.
    #[must_use]
    pub fn speed_mean(&self, replicas: usize) -> f64 {
        let speeds = (0..replicas).map(|replica| 1.0 / self.host(replica));
        speeds.sum::<f64>() / replicas as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_multiply_while_they_last() {
        let pace = Pace {
            first: 2.0,
            cold: Some(Cold {
                seconds: 0.3,
                factor: 5.0,
            }),
            slow: Some(Slow {
                from: 1.0,
                until: 2.0,
                factor: 1.5,
            }),
        };
        assert_eq!(pace.factor(0, 0.0, 1.0), 15.0);
        assert_eq!(pace.factor(1, 0.2, 0.0), 5.0);
        assert_eq!(pace.factor(1, 0.3, 1.9), 1.5);
        assert_eq!(pace.factor(1, 0.3, 2.0), 1.0);
        assert_eq!(Pace::EVEN.factor(0, 0.0, 0.0), 1.0);
    }

    #[test]
    fn one_host_of_half_the_speed_takes_its_share_of_the_mean() {
        let pace = Pace {
            first: 2.0,
            ..Pace::EVEN
        };
        assert_eq!(pace.speed_mean(4), 0.875);
        assert_eq!(Pace::EVEN.speed_mean(8), 1.0);
    }
}
