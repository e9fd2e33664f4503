//! Orchestrator for tests: records what was applied and pretends that it runs.
//!
//! # Invariants
//! - `observe` shows what the test set last, else every declared replica as running.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{
    Deployment, Orchestrator, OrchestratorError, ProcessState, REPLICAS_MAX, ReplicaProcess, check,
};

// Pretended pids lie beyond what Linux gives out (2^22), so that none is ever a real process.
const PID_FIRST: u32 = 1 << 23;
const _: () = assert!(REPLICAS_MAX < PID_FIRST);

/// Records declarations; starts nothing.
#[derive(Debug, Default)]
pub struct MemoryOrchestrator {
    state: Mutex<State>,
    observation: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    applied: Vec<Vec<Deployment>>,
    observed: Vec<ReplicaProcess>,
}

impl MemoryOrchestrator {
    /// One to which nothing was applied.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every declaration that was accepted, the latest last.
    pub fn applied(&self) -> Vec<Vec<Deployment>> {
        self.lock().applied.clone()
    }

    /// Shows `replicas` in `observe` until the next declaration.
    pub fn set_observed(&self, replicas: Vec<ReplicaProcess>) {
        self.lock().observed = replicas;
        self.observation.send_modify(|number| *number += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Both fields are replaced or pushed to whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Orchestrator for MemoryOrchestrator {
    fn apply(&self, desired: &[Deployment]) -> Result<(), OrchestratorError> {
        check(desired)?;
        self.lock().applied.push(desired.to_vec());
        self.set_observed(pretend(desired));
        Ok(())
    }

    fn observe(&self) -> Vec<ReplicaProcess> {
        self.lock().observed.clone()
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.observation.subscribe()
    }
}

fn pretend(desired: &[Deployment]) -> Vec<ReplicaProcess> {
    let indexes = |deployment: &Deployment| 0..deployment.replicas;
    let all = desired
        .iter()
        .flat_map(|one| indexes(one).map(move |index| (one, index)));
    let mut observed: Vec<_> = all.zip(PID_FIRST..).map(running).collect();
    observed.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    observed
}

fn running(((deployment, index), pid): ((&Deployment, u32), u32)) -> ReplicaProcess {
    ReplicaProcess {
        model: deployment.model.clone(),
        version: deployment.version.clone(),
        generation: deployment.generation,
        index,
        state: ProcessState::Running,
        restarts: 0,
        pid: Some(pid),
        last_exit: None,
    }
}

fn sort_key(replica: &ReplicaProcess) -> (&str, &str, u64, u32) {
    (
        &replica.model,
        &replica.version,
        replica.generation,
        replica.index,
    )
}

#[cfg(test)]
mod tests {
    use super::MemoryOrchestrator;
    use crate::orchestrator::{Deployment, Orchestrator};

    #[test]
    fn records_declarations_and_shows_their_replicas() {
        let orchestrator = MemoryOrchestrator::new();
        let mut watch = orchestrator.watch();
        let deployment = Deployment {
            model: "m".to_owned(),
            version: "1".to_owned(),
            generation: 3,
            replicas: 2,
            program: "p".into(),
            args: Vec::new(),
            env: Vec::new(),
            log_dir: "l".into(),
        };
        orchestrator
            .apply(std::slice::from_ref(&deployment))
            .expect("a sound declaration");
        assert!(watch.has_changed().expect("the orchestrator lives"));
        watch.mark_unchanged();
        assert_eq!(
            orchestrator
                .observe()
                .iter()
                .map(|r| r.index)
                .collect::<Vec<_>>(),
            [0, 1]
        );
        orchestrator
            .apply(&[deployment.clone(), deployment.clone()])
            .expect_err("listed twice");
        assert!(!watch.has_changed().expect("the orchestrator lives"));
        orchestrator.apply(&[]).expect("an empty declaration");
        assert_eq!(orchestrator.observe(), []);
        assert_eq!(orchestrator.applied(), [vec![deployment], Vec::new()]);
    }
}
