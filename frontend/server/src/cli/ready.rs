//! `skysail ready`

use super::client::Client;
use super::{Common, Outcome, Printed};

/// `ready`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skysail ready --data-dir /var/lib/skysail
  skysail ready --management https://skysail.example:1338 && echo up

It asks GET /ready of the management port, for health checks and scripts: whether the front end
answers and is not about to stop, whatever its models do. The exit status is 0 if so, else 1. It
needs no token.")]
pub(crate) struct Ready {
    #[command(flatten)]
    pub(super) common: Common,
}

impl Ready {
    pub(super) fn run(&self, client: &Client) -> Outcome {
        let answer = client.readiness()?;
        Ok(Printed {
            text: "ready".to_owned(),
            json: answer.text,
        })
    }
}
