//! Query bodies: rows of uniformly drawn floats in their shortest form.

use std::fmt::Write;

/// `{"input":[…]}` with `features` floats drawn uniformly from 0 to 1, by `seed`.
#[must_use]
pub fn float_body(features: usize, seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut body = String::from("{\"input\":[");
    for index in 0..features {
        let comma = if index == 0 { "" } else { "," };
        write!(body, "{comma}{}", random.f32()).expect("a string takes everything");
    }
    body.push_str("]}");
    body
}
