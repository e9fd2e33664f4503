//! Random variables from a seeded generator.

use fastrand::Rng;

/// Uniform in (0, 1].
pub fn uniform(rng: &mut Rng) -> f64 {
    1.0 - rng.f64()
}

/// Exponential with this mean.
pub fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * uniform(rng).ln()
}

/// Standard normal (Box and Muller).
pub fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * uniform(rng).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Log-normal with mean 1.
pub fn log_normal(rng: &mut Rng, sigma: f64) -> f64 {
    (sigma * normal(rng) - sigma * sigma / 2.0).exp()
}

/// Gamma with this shape and scale 1 (Marsaglia and Tsang, 2000).
pub fn gamma(rng: &mut Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        return gamma(rng, shape + 1.0) * uniform(rng).powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && uniform(rng).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(mut draw: impl FnMut(&mut Rng) -> f64) -> f64 {
        let mut rng = Rng::with_seed(5);
        (0..200_000).map(|_| draw(&mut rng)).sum::<f64>() / 200_000.0
    }

    #[test]
    fn means_are_what_they_should_be() {
        assert!((mean(|rng| exponential(rng, 3.0)) - 3.0).abs() < 0.05);
        assert!(mean(normal).abs() < 0.02);
        assert!((mean(|rng| log_normal(rng, 0.3)) - 1.0).abs() < 0.01);
        assert!((mean(|rng| gamma(rng, 0.0625)) - 0.0625).abs() < 0.005);
        assert!((mean(|rng| gamma(rng, 4.0)) - 4.0).abs() < 0.05);
    }
}
