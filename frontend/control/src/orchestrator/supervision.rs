//! Which replicas to start, stop and kill: decisions only, no process and no clock.
//!
//! The supervisor feeds in what happened (a declaration, a start, an end) and carries out the
//! actions that [`Supervision::step`] returns. Time is the `Duration` since the supervisor began.
//!
//! # Invariants
//! - A process belongs to one replica; a replica has at most one process.
//! - Each declared replica has an entry; an entry that is not declared has a process to end.
//! - A process that was asked to end is killed once its grace is over, unless it ended before.
//!
//! # Cost
//! Every call walks all replicas: at most `REPLICAS_MAX`, and whatever of them is still stopping.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::{Deployment, DeploymentKey, ProcessState, ReplicaProcess};

/// Between SIGTERM and SIGKILL.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);

/// What tells replicas apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReplicaKey {
    pub(super) deployment: DeploymentKey,
    pub(super) index: u32,
}

/// What the supervisor must do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a process, then call `spawned` or `spawn_failed`.
    Spawn {
        key: ReplicaKey,
        deployment: Arc<Deployment>,
        start: u32,
    },
    /// Ask the process to end.
    Terminate { pid: u32 },
    /// End the process and all that it started.
    Kill { pid: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Without a process until `at`.
    Waiting {
        at: Duration,
        backed_off: Option<Duration>,
    },
    /// A `Spawn` is being carried out.
    Spawning,
    Running {
        pid: u32,
        since: Duration,
    },
    /// Asked to end; `kill_at` is `None` once it was killed.
    Stopping {
        pid: u32,
        kill_at: Option<Duration>,
    },
}

#[derive(Debug)]
struct Replica {
    /// What its process was, or will be, started with.
    deployment: Arc<Deployment>,
    phase: Phase,
    backoff: Backoff,
    starts: u32,
    last_exit: Option<String>,
}

/// The state of all replicas.
#[derive(Debug)]
pub(super) struct Supervision {
    desired: BTreeMap<DeploymentKey, Arc<Deployment>>,
    replicas: BTreeMap<ReplicaKey, Replica>,
    random: fastrand::Rng,
}

impl Supervision {
    /// Without replicas; `seed` is for the jitter of delays.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            desired: BTreeMap::new(),
            replicas: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Declares the whole desired state.
    pub(super) fn apply(&mut self, desired: Vec<Deployment>, now: Duration) {
        let keyed = |deployment: Deployment| (DeploymentKey::of(&deployment), Arc::new(deployment));
        self.desired = desired.into_iter().map(keyed).collect();
        for (key, deployment) in &self.desired {
            for index in 0..deployment.replicas {
                let key = ReplicaKey {
                    deployment: key.clone(),
                    index,
                };
                let fresh = || Replica::new(deployment.clone(), now);
                self.replicas
                    .entry(key)
                    .or_insert_with(fresh)
                    .redeclare(deployment, now);
            }
        }
    }

    /// What to do at `now`: stops first, the highest index first, then starts.
    pub(super) fn step(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        for (key, replica) in self.replicas.iter_mut().rev() {
            actions.extend(replica.stop(wanted(&self.desired, key), now));
        }
        self.replicas.retain(|key, replica| {
            wanted(&self.desired, key).is_some() || replica.phase.pid().is_some()
        });
        for (key, replica) in &mut self.replicas {
            actions.extend(replica.start(key, now));
        }
        actions
    }

    /// A `Spawn` succeeded.
    pub(super) fn spawned(&mut self, key: &ReplicaKey, pid: u32, now: Duration) {
        let Some(replica) = self.replicas.get_mut(key) else {
            return;
        };
        debug_assert_eq!(replica.phase, Phase::Spawning);
        replica.phase = Phase::Running { pid, since: now };
    }

    /// A `Spawn` failed because of `reason`.
    pub(super) fn spawn_failed(&mut self, key: &ReplicaKey, reason: String, now: Duration) {
        let Some(replica) = self.replicas.get_mut(key) else {
            return;
        };
        debug_assert_eq!(replica.phase, Phase::Spawning);
        replica.back_off(Duration::ZERO, now, &mut self.random);
        replica.last_exit = Some(reason);
    }

    /// The process `pid` ended as `how` says; others' processes are ignored.
    pub(super) fn exited(&mut self, pid: u32, how: String, now: Duration) {
        let mut replicas = self.replicas.values_mut();
        let Some(replica) = replicas.find(|replica| replica.phase.pid() == Some(pid)) else {
            return;
        };
        replica.last_exit = Some(how);
        match replica.phase {
            Phase::Running { since, .. } => {
                replica.back_off(now.saturating_sub(since), now, &mut self.random);
            }
            _ => replica.start_over(now),
        }
    }

    /// When `step` has something to do, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.replicas
            .values()
            .filter_map(|replica| replica.phase.deadline())
            .min()
    }

    /// All replicas, in order.
    pub(super) fn observe(&self) -> Vec<ReplicaProcess> {
        self.replicas
            .iter()
            .map(|(key, replica)| replica.observe(key))
            .collect()
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        let pids = || {
            self.replicas
                .values()
                .filter_map(|replica| replica.phase.pid())
        };
        let distinct: std::collections::BTreeSet<_> = pids().collect();
        assert_eq!(
            distinct.len(),
            pids().count(),
            "a process belongs to one replica"
        );
        for (key, deployment) in &self.desired {
            for index in 0..deployment.replicas {
                let key = ReplicaKey {
                    deployment: key.clone(),
                    index,
                };
                assert!(self.replicas.contains_key(&key), "{key:?} is declared");
            }
        }
    }
}

impl Replica {
    fn new(deployment: Arc<Deployment>, now: Duration) -> Self {
        Self {
            deployment,
            phase: Phase::Waiting {
                at: now,
                backed_off: None,
            },
            backoff: Backoff::default(),
            starts: 0,
            last_exit: None,
        }
    }

    /// Takes a new command at once where no process has to end before.
    fn redeclare(&mut self, deployment: &Arc<Deployment>, now: Duration) {
        if let Phase::Waiting { .. } = self.phase {
            if !same_command(&self.deployment, deployment) {
                self.start_over(now);
            }
            self.deployment = deployment.clone();
        }
    }

    fn stop(&mut self, wanted: Option<&Arc<Deployment>>, now: Duration) -> Option<Action> {
        match self.phase {
            Phase::Running { pid, .. } if !self.runs(wanted) => {
                self.phase = Phase::Stopping {
                    pid,
                    kill_at: Some(now + STOP_GRACE),
                };
                Some(Action::Terminate { pid })
            }
            Phase::Stopping {
                pid,
                kill_at: Some(at),
            } if at <= now => {
                self.phase = Phase::Stopping { pid, kill_at: None };
                Some(Action::Kill { pid })
            }
            Phase::Waiting { .. } => {
                // The command may have changed while the earlier process was ending.
                self.deployment = wanted.unwrap_or(&self.deployment).clone();
                None
            }
            _ => None,
        }
    }

    fn runs(&self, wanted: Option<&Arc<Deployment>>) -> bool {
        wanted.is_some_and(|wanted| same_command(&self.deployment, wanted))
    }

    fn start(&mut self, key: &ReplicaKey, now: Duration) -> Option<Action> {
        match self.phase {
            Phase::Waiting { at, .. } if at <= now => {
                self.phase = Phase::Spawning;
                self.starts = self.starts.saturating_add(1);
                let (deployment, start) = (self.deployment.clone(), self.starts);
                Some(Action::Spawn {
                    key: key.clone(),
                    deployment,
                    start,
                })
            }
            _ => None,
        }
    }

    fn back_off(&mut self, ran: Duration, now: Duration, random: &mut fastrand::Rng) {
        let delay = self.backoff.ended(ran, random);
        self.phase = Phase::Waiting {
            at: now + delay,
            backed_off: Some(delay),
        };
    }

    fn start_over(&mut self, now: Duration) {
        self.backoff = Backoff::default();
        self.phase = Phase::Waiting {
            at: now,
            backed_off: None,
        };
    }

    fn observe(&self, key: &ReplicaKey) -> ReplicaProcess {
        ReplicaProcess {
            model: key.deployment.model.clone(),
            version: key.deployment.version.clone(),
            generation: key.deployment.generation,
            index: key.index,
            state: self.phase.state(),
            restarts: self.starts.saturating_sub(1),
            pid: self.phase.pid(),
            last_exit: self.last_exit.clone(),
        }
    }
}

impl Phase {
    fn pid(self) -> Option<u32> {
        match self {
            Self::Running { pid, .. } | Self::Stopping { pid, .. } => Some(pid),
            Self::Waiting { .. } | Self::Spawning => None,
        }
    }

    fn deadline(self) -> Option<Duration> {
        match self {
            Self::Waiting { at, .. } => Some(at),
            Self::Stopping { kill_at, .. } => kill_at,
            Self::Running { .. } | Self::Spawning => None,
        }
    }

    fn state(self) -> ProcessState {
        match self {
            Self::Waiting {
                backed_off: Some(delay),
                ..
            } => {
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                ProcessState::BackingOff { delay_ms }
            }
            Self::Waiting {
                backed_off: None, ..
            }
            | Self::Spawning => ProcessState::Pending,
            Self::Running { .. } => ProcessState::Running,
            Self::Stopping { .. } => ProcessState::Stopping,
        }
    }
}

/// What `key` should run, if it should.
fn wanted<'d>(
    desired: &'d BTreeMap<DeploymentKey, Arc<Deployment>>,
    key: &ReplicaKey,
) -> Option<&'d Arc<Deployment>> {
    desired
        .get(&key.deployment)
        .filter(|deployment| key.index < deployment.replicas)
}

fn same_command(a: &Deployment, b: &Deployment) -> bool {
    a.program == b.program && a.args == b.args && a.env == b.env && a.log_dir == b.log_dir
}
