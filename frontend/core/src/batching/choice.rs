//! From what is registered to a batcher that does it.

use std::time::Duration;

use super::batcher::Options;
use super::policy::Policy;
use super::sized::Sized;
use super::window::{Window, WindowOptions};
use crate::registry::{Adaptive, Batching, ModelVersion};
use crate::sizing::Sizing;

/// Seconds in a microsecond.
const MICRO: f64 = 1e-6;

/// The policy that a version asks for; the caller's timers may be late by `timer_lateness`.
#[must_use]
pub fn policy(batching: &Batching, timer_lateness: Duration) -> Box<dyn Policy> {
    match *batching {
        Batching::Adaptive(ref adaptive) => {
            Box::new(Window::new(window_options(adaptive, timer_lateness)))
        }
        Batching::Aimd { size_max } => {
            let size_max = size_max.map(|size| size as usize);
            Box::new(Sized::new(Sizing::Aimd { size_max }))
        }
        Batching::Fixed { size, wait_micros } => {
            let (size, wait) = (size as usize, Duration::from_micros(wait_micros));
            Box::new(Sized::new(Sizing::Fixed { size, wait }))
        }
    }
}

/// How the books of a version behave.
#[must_use]
pub fn options(version: &ModelVersion) -> Options {
    let defaults = Options::default();
    let hedge_share = match &version.batching {
        Batching::Adaptive(adaptive) => adaptive.hedge_share,
        _ => None,
    };
    Options {
        hedge_share: hedge_share.unwrap_or(defaults.hedge_share),
        idempotent: version.idempotent,
        ..defaults
    }
}

fn window_options(adaptive: &Adaptive, timer_lateness: Duration) -> WindowOptions {
    let defaults = WindowOptions::default();
    let profile = adaptive.profile;
    let sizes = adaptive.allowed_sizes.iter();
    WindowOptions {
        rows_max: adaptive.size_max.map(|size| size as usize),
        late_budget: adaptive.late_budget.unwrap_or(defaults.late_budget),
        wait_share_max: adaptive.wait_share.unwrap_or(defaults.wait_share_max),
        allowed_sizes: sizes.map(|size| *size as usize).collect(),
        profile: profile.map(|seed| (seed.alpha_micros * MICRO, seed.beta_micros * MICRO)),
        timer_lateness: timer_lateness.as_secs_f64(),
    }
}
