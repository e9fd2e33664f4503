//! Asks the front end again and again.

use std::time::{Duration, Instant};

use super::answer::Load;
use super::ui::Sample;
use crate::cli::client::{CliError, Client};
use crate::cli::place::Where;

/// A front end that does not answer by then is said to be away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks one front end, which may go and come back.
#[derive(Debug)]
pub(super) struct Poller {
    place: Where,
    client: Option<Client>,
}

impl Poller {
    pub(super) fn new(place: Where) -> Poller {
        Poller {
            place,
            client: None,
        }
    }

    /// Its counts now.
    ///
    /// # Errors
    /// If there is no answer. The front end is looked for anew the next time: in its data
    /// directory another one may have written where it is.
    pub(super) fn sample(&mut self) -> Result<Sample, CliError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.place)?.with_patience(PATIENCE),
        };
        let load = load(&client)?;
        self.client = Some(client);
        Ok(Sample {
            load,
            at: Instant::now(),
        })
    }

    /// Where the front end was found.
    pub(super) fn address(&self) -> String {
        let address = self.client.as_ref().map(Client::address);
        address
            .map(|address| address.to_string())
            .unwrap_or_default()
    }
}

fn load(client: &Client) -> Result<Load, CliError> {
    let answer = client.get("load")?;
    serde_json::from_value(answer.value).map_err(|error| {
        let address = client.address();
        CliError::Refused(format!(
            "{address} answered GET /api/v1/load in a way that is not understood ({error}); is it a \
             Skysail front end of this version?"
        ))
    })
}

/// When to poll: every interval from a beginning, so that the polls do not drift. Those whose
/// time has passed are left out.
#[derive(Debug)]
pub(super) struct Ticks {
    next: Instant,
    interval: Duration,
}

impl Ticks {
    /// The first tick is an interval after `start`.
    pub(super) fn from(start: Instant, interval: Duration) -> Ticks {
        Ticks {
            next: start + interval,
            interval,
        }
    }

    /// How long to wait at `now` for the next one.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        if self.next <= now {
            self.next = now;
        }
        let wait = self.next - now;
        self.next += self.interval;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_do_not_drift_and_none_is_made_up_for() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut ticks = Ticks::from(start, second);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(ticks.wait(at(100)), Duration::from_millis(900));
        assert_eq!(ticks.wait(at(1_300)), Duration::from_millis(700));
        assert_eq!(ticks.wait(at(5_000)), Duration::ZERO);
        assert_eq!(ticks.wait(at(5_200)), Duration::from_millis(800));
    }
}
