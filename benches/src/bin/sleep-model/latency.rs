//! How long batches take: a profile, noise, and now and then a straggler.

use std::time::Duration;

use fastrand::Rng;
use skysail_sim::draw::log_normal;

/// The distribution that batches' times are drawn from.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Latency {
    /// Milliseconds of a batch, whatever its rows
    #[arg(long, value_name = "MS", default_value_t = 5.0, value_parser = not_negative)]
    alpha_ms: f64,
    /// Milliseconds that each row adds
    #[arg(long, value_name = "MS", default_value_t = 1.0, value_parser = not_negative)]
    beta_ms: f64,
    /// Noise: each time is multiplied by a log-normal variable of mean 1 with this sigma
    #[arg(long, default_value_t = 0.1, value_parser = not_negative)]
    sigma: f64,
    /// One batch in so many, at random, is a straggler; 0: none
    #[arg(long, value_name = "BATCHES", default_value_t = 333.0, value_parser = not_negative)]
    straggler_every: f64,
    /// A straggler takes that many times as long
    #[arg(long, value_name = "FACTOR", default_value_t = 10.0, value_parser = not_negative)]
    straggler_factor: f64,
}

impl Latency {
    /// The time of a batch of `rows`.
    pub(crate) fn draw(&self, rows: usize, rng: &mut Rng) -> Duration {
        let usual = (self.alpha_ms + self.beta_ms * rows as f64) / 1e3;
        let noise = log_normal(rng, self.sigma);
        let is_straggler = self.straggler_every * rng.f64() < 1.0 && self.straggler_every > 0.0;
        let straggling = if is_straggler {
            self.straggler_factor
        } else {
            1.0
        };
        Duration::from_secs_f64(usual * noise * straggling)
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=1e6).contains(&number) => Ok(number),
        _ => Err("not a number from 0 to 1000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Latency = Latency {
        alpha_ms: 5.0,
        beta_ms: 1.0,
        sigma: 0.0,
        straggler_every: 0.0,
        straggler_factor: 10.0,
    };

    /// The times of many batches of 5 rows, in milliseconds.
    fn times(latency: &Latency) -> Vec<f64> {
        let mut rng = Rng::with_seed(7);
        let mut time = |_| latency.draw(5, &mut rng).as_secs_f64() * 1e3;
        (0..50_000).map(&mut time).collect()
    }

    #[test]
    fn without_noise_each_batch_takes_what_the_profile_says() {
        assert!(times(&EXACT).iter().all(|ms| (ms - 10.0).abs() < 1e-4));
    }

    #[test]
    fn noise_has_the_profile_as_its_mean_and_the_spread_asked_for() {
        let sigma = 0.1;
        let times = times(&Latency { sigma, ..EXACT });
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        assert!((mean - 10.0).abs() < 0.02, "{mean}");
        let logs = times.iter().map(|ms| (ms / 10.0).ln());
        let square = logs
            .map(|log| (log + sigma * sigma / 2.0).powi(2))
            .sum::<f64>();
        let found = (square / times.len() as f64).sqrt();
        assert!((found - sigma).abs() < 0.002, "{found}");
    }

    #[test]
    fn about_one_batch_in_so_many_is_a_straggler() {
        let times = times(&Latency {
            straggler_every: 100.0,
            ..EXACT
        });
        let stragglers = times.iter().filter(|ms| (**ms - 100.0).abs() < 1e-3);
        let count = stragglers.count();
        assert!((400..600).contains(&count), "{count} of 50000");
    }
}
