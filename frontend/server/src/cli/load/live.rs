//! One line on a terminal, written anew each second; nothing where there is none.

use std::io::{IsTerminal, Write};

use skysail_load::{Progress, Window};

use super::text::{ms, percent};

/// Goes to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// The line; dropping it clears it.
pub(super) struct Live {
    window: Window,
    is_terminal: bool,
}

impl Live {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        if self.is_terminal {
            write(&line(self.window, progress));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.is_terminal {
            write("");
        }
    }
}

fn write(text: &str) {
    // A terminal that went away needs no progress.
    drop(write!(std::io::stderr(), "{CLEAR}{text}"));
}

/// What the last full second came to.
fn line(window: Window, progress: &Progress<'_>) -> String {
    let elapsed = progress.elapsed.saturating_sub(window.warm_up);
    let flight = format!("{} in flight, {} waiting", progress.busy, progress.waiting);
    let last = elapsed.as_secs().checked_sub(1);
    let last = last.and_then(|index| progress.measured.seconds.get(index as usize));
    let Some(second) = last else {
        return format!("warm-up  {flight}");
    };
    let all = window.duration.as_secs_f64();
    let ended = second.answered + second.errors + second.not_sent;
    let in_time = match window.slo {
        Some(_) => format!("{} in time  ", percent(second.in_time, ended)),
        None => String::new(),
    };
    format!(
        "{}s of {all}s  {} offered/s  {} answered/s  {in_time}p99 {}  {flight}",
        elapsed.as_secs(),
        second.offered,
        second.answered,
        ms(second.latencies.value_at_quantile(0.99)),
    )
}
