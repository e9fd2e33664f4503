//! Cases played, one after the other, over several transports at a time.
//!
//! Each case has its own container, folder and endpoint on each transport, so that none can
//! spoil another. Containers start and wait more than they compute: the transports of one case are
//! played at the same time.
//!
//! # Invariants
//! - A case ends within its patience, and the time that its container takes to be ended.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use thiserror::Error;

use crate::process::{Ending, Program};
use crate::scene::Scene;
use crate::wrong::Wrong;
use crate::{Case, Transport, cases};

/// Lines of a container's log that are shown for a failure.
const LOG_LINES_MAX: usize = 10;
/// Past this, whatever waits waits for something that the scene's own time does not see.
const OVERTIME: Duration = Duration::from_secs(5);

/// A container gives up an offer of shared memory after 200 ms, in which a busy machine may not
/// come to answer it (PROTOCOL 8.3): one that takes none of so many does not want to.
const OFFERS: u32 = 3;

/// What to play, and with whom.
#[derive(Debug)]
pub struct Suite {
    program: Program,
    cases: Vec<Case>,
    transports: Vec<Transport>,
    patience: Duration,
}

/// No case has that name.
#[derive(Debug, Error)]
#[error("no case or group is named '{0}'; --list shows them")]
pub struct UnknownCase(String);

/// How a case went over one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the protocol says.
    Passed,
    /// It did not.
    Failed {
        /// What the container did.
        reason: String,
        /// The last lines that it wrote.
        log: Vec<String>,
    },
    /// It was not played.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// How a case went.
#[derive(Clone, Debug)]
pub struct Played {
    /// Its name.
    pub case: String,
    /// Its clause of `PROTOCOL.md`.
    pub clause: String,
    /// Its group.
    pub group: &'static str,
    /// One a transport, in the order of the suite.
    pub verdicts: Vec<(Transport, Verdict)>,
}

/// The cases that `only` names, by their own names or their group's; all if it is empty.
///
/// # Errors
/// A name that is no case's.
pub fn select(only: &[String]) -> Result<Vec<Case>, UnknownCase> {
    let mut all = cases();
    let unknown = |name: &&String| !all.iter().any(|case| case.is_named(name));
    if let Some(name) = only.iter().find(unknown) {
        return Err(UnknownCase(name.clone()));
    }
    all.retain(|case| only.is_empty() || only.iter().any(|name| case.is_named(name)));
    Ok(all)
}

impl Suite {
    /// Plays `cases` with containers of `program` over each of `transports`; each case has
    /// `patience` for its container.
    #[must_use]
    pub fn new(
        program: Program,
        cases: Vec<Case>,
        mut transports: Vec<Transport>,
        patience: Duration,
    ) -> Suite {
        transports.sort_unstable();
        transports.dedup();
        Suite {
            program,
            cases,
            transports,
            patience,
        }
    }

    /// The cases.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// The transports, in the order of the verdicts.
    #[must_use]
    pub fn transports(&self) -> &[Transport] {
        &self.transports
    }

    /// Plays all cases; `told` hears of each when it has ended. Call it in the process's main
    /// thread, inside a runtime of that thread, if the program has a guard.
    ///
    /// # Cancel safety
    /// If it is dropped, its containers are killed.
    pub async fn run(&self, mut told: impl FnMut(&Played)) -> Vec<Played> {
        let mut all = Vec::with_capacity(self.cases.len());
        for case in &self.cases {
            let over = |transport: &Transport| self.verdict(case, *transport);
            let verdicts = join_all(self.transports.iter().map(over)).await;
            let played = Played {
                case: case.name.clone(),
                clause: case.clause.clone(),
                group: case.group,
                verdicts: self.transports.iter().copied().zip(verdicts).collect(),
            };
            told(&played);
            all.push(played);
        }
        all
    }

    async fn verdict(&self, case: &Case, transport: Transport) -> Verdict {
        if let Some(why) = case.skipped_over(transport) {
            let reason = why.to_owned();
            return Verdict::Skipped { reason };
        }
        for _ in 1..OFFERS {
            match self.play(case, transport).await {
                (Err(Wrong::NotTaken(_)), ..) => {}
                (played, ending, log) => return verdict(played, ending, &log),
            }
        }
        let (played, ending, log) = self.play(case, transport).await;
        verdict(played, ending, &log)
    }

    /// One attempt, how the container had ended, and its log.
    async fn play(
        &self,
        case: &Case,
        transport: Transport,
    ) -> (Result<(), Wrong>, Option<Ending>, String) {
        let mut scene = match Scene::open(transport, &self.program, self.patience) {
            Ok(scene) => scene,
            Err(wrong) => return (Err(wrong), None, String::new()),
        };
        let began = Instant::now();
        let played = tokio::time::timeout(self.patience + OVERTIME, case.play(&mut scene)).await;
        let played = played.unwrap_or_else(|_| Err(Wrong::Silence(began.elapsed())));
        let (ending, log) = scene.close().await;
        (played, ending, log)
    }
}

fn verdict(played: Result<(), Wrong>, ending: Option<Ending>, log: &str) -> Verdict {
    match played {
        Ok(()) => Verdict::Passed,
        Err(Wrong::Skip(reason)) => Verdict::Skipped { reason },
        Err(wrong) => failed(&wrong, ending, log),
    }
}

fn failed(wrong: &Wrong, ending: Option<Ending>, log: &str) -> Verdict {
    let mut reason = wrong.to_string();
    if let Some(ending) = ending.map(|ending| ending.to_string())
        && !reason.contains(&ending)
    {
        reason = format!("{reason} (it {ending})");
    }
    let lines: Vec<&str> = log.lines().collect();
    let last = lines.len().saturating_sub(LOG_LINES_MAX);
    let log = lines[last..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect();
    Verdict::Failed { reason, log }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> Result<Vec<String>, String> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        let selected = select(&only).map_err(|error| error.to_string())?;
        Ok(selected.into_iter().map(|case| case.name).collect())
    }

    #[test]
    fn cases_are_selected_by_name_and_by_group_in_their_own_order() {
        let all = names(&[]).expect("all");
        assert!(all.len() > 50, "{} cases", all.len());
        let some = names(&["killed", "drain", "exception"]).expect("three");
        assert_eq!(some, ["drain", "exception", "killed"]);
        let groups = names(&["life", "golden", "batches"]).expect("all");
        assert_eq!(groups, all);
        let twice = names(&["golden", "drain"]).expect("a group");
        assert_eq!(twice.len(), crate::golden().len());
        let told = "no case or group is named 'kill'; --list shows them";
        assert_eq!(names(&["drain", "kill"]), Err(told.to_owned()));
    }

    #[test]
    fn a_failure_shows_the_last_lines_and_how_the_container_ended() {
        let log: String = (0..30).map(|line| format!("line {line}\n")).collect();
        let wrong = Wrong::Closed("a reply");
        let Verdict::Failed { reason, log } = failed(&wrong, Some(Ending::Signal(11)), &log) else {
            panic!("failed")
        };
        let told =
            "the container closed the connection, a reply expected (it was ended by signal 11)";
        assert_eq!(reason, told);
        assert_eq!(log.len(), LOG_LINES_MAX);
        assert_eq!(log.last().map(String::as_str), Some("line 29"));
    }
}
