//! What a container is held to, case by case.
//!
//! | group | holds |
//! |---|---|
//! | `golden` | the recorded exchanges of `schema/golden`, bad frames among them |
//! | `batches` | what models may take and give, and what they may do wrong |
//! | `life` | how a container starts, comes back, leaves and ends |

mod batches;
mod life;
mod rows;

use std::pin::Pin;

use crate::scene::{Result, Scene};
use crate::wrong::Wrong;
use crate::{Exchange, Transport, golden, play};

/// A case's steps: with a scene to a verdict.
type Steps = for<'a> fn(&'a mut Scene) -> Pin<Box<dyn Future<Output = Result> + 'a>>;

/// One thing that a container is held to.
#[derive(Debug)]
pub struct Case {
    /// Unique.
    pub name: String,
    /// Of `PROTOCOL.md`.
    pub clause: String,
    /// `golden`, `batches` or `life`.
    pub group: &'static str,
    /// What the container has to do, in a few words.
    pub shows: String,
    how: How,
}

#[derive(Debug)]
enum How {
    Recorded(Exchange),
    Written {
        steps: Steps,
        over: &'static [Transport],
    },
}

/// All transports.
const ALL: &[Transport] = &Transport::ALL;
/// Those of cases that end before memory is shared.
const CONNECTIONS: &[Transport] = &[Transport::Ipc, Transport::Tcp];

/// One line of a table of cases.
type Line = (
    &'static str,
    &'static str,
    &'static str,
    &'static [Transport],
    Steps,
);

/// The steps that a function takes.
macro_rules! steps {
    ($function:path) => {
        |scene| Box::pin($function(scene))
    };
}
pub(crate) use steps;

/// All cases, in the order in which they are played.
#[must_use]
pub fn cases() -> Vec<Case> {
    let recorded = |exchange: Exchange| Case {
        name: exchange.name.clone(),
        clause: exchange.clause.clone(),
        group: "golden",
        shows: format!("the recorded exchange {}.json", exchange.name),
        how: How::Recorded(exchange),
    };
    let written = |group: &'static str| {
        move |(name, clause, shows, over, steps): Line| Case {
            name: name.to_owned(),
            clause: clause.to_owned(),
            group,
            shows: shows.to_owned(),
            how: How::Written { steps, over },
        }
    };
    let golden = golden().into_iter().map(recorded);
    let batches = batches::table().into_iter().map(written("batches"));
    let life = life::table().into_iter().map(written("life"));
    golden.chain(batches).chain(life).collect()
}

impl Case {
    /// Whether `name` is this case's, or its group's.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.group == name
    }

    /// Why it is not played over `transport`, if it is not.
    pub(crate) fn skipped_over(&self, transport: Transport) -> Option<&'static str> {
        let How::Written { over, .. } = &self.how else {
            return None;
        };
        if over.contains(&transport) {
            None
        } else if *over == CONNECTIONS {
            Some("it ends before memory is shared")
        } else if **over == [Transport::Tcp] {
            Some("tokens are for tcp")
        } else {
            Some("it is about shared memory")
        }
    }

    pub(crate) async fn play(&self, scene: &mut Scene) -> Result {
        match &self.how {
            How::Written { steps, .. } => steps(scene).await,
            How::Recorded(exchange) => {
                scene.start(&exchange.container, &[])?;
                let played = play(scene.desk()?, exchange).await;
                played.map_err(|mismatch| match mismatch.what {
                    plain @ (Wrong::Skip(_) | Wrong::Ended(_) | Wrong::NotTaken(_)) => plain,
                    _ => mismatch.to_string().into(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_no_group_is_a_case() {
        let cases = cases();
        let names: BTreeSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
        assert!(cases.iter().all(|case| !names.contains(case.group)));
    }

    #[test]
    fn every_case_is_played_over_some_transport_and_says_why_not_over_others() {
        for case in cases() {
            let skips = |transport: &&Transport| case.skipped_over(**transport).is_some();
            assert!(
                ALL.iter().filter(skips).count() < ALL.len(),
                "{}",
                case.name
            );
            assert!(case.clause.starts_with(|c: char| c.is_ascii_digit()));
        }
    }
}
