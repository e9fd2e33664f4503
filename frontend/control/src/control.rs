//! The control plane: validated, durable commands that publish immutable snapshots.
//!
//! ```text
//! command ─ decide ─→ edits ─ commit ─→ durable ─→ snapshot published ─→ deployments applied ─→ answer
//!             ↑                  │ conflict
//!             └──── reload ──────┘
//! ```
//! All calls block, on a disk at most; call them from a thread that may wait. Commands wait for
//! each other; [`Control::registry`] and [`Control::processes`] wait for none.
//!
//! # Invariants
//! - What is in memory is durable; what was answered is published.
//! - After a commit whose outcome is unknown nothing is decided before the store was read again.
//! - Snapshots are published in the order of their commits.
//! - Nothing is applied to the orchestrator before [`Control::launch`].

mod launch;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use skysail_core::Name;
use skysail_core::registry::{Deployment, Registry};
use tokio::sync::watch;

pub use launch::Launch;

use crate::commands::{self, Decided, NewApplication, NewVersion};
use crate::error::ControlError;
use crate::orchestrator::{Orchestrator, ReplicaProcess};
use crate::records::Edit;
use crate::state::State;
use crate::store::{Revision, Store, StoreError, StoreErrorKind};

/// How often a command is decided anew because another writer was first.
pub const COMMIT_TRIES_MAX: u32 = 8;

/// Carries commands out.
///
/// Each call that changes something returns once the change is durable and published. Where a
/// name does not exist, the error's text is Clipper's for that command.
pub struct Control {
    store: Arc<dyn Store>,
    revision: watch::Receiver<Revision>,
    orchestrator: Arc<dyn Orchestrator>,
    publish: Box<dyn Fn(Arc<Registry>) + Send + Sync>,
    registry: ArcSwap<Registry>,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    /// A commit failed, so that the store may be ahead.
    is_doubtful: bool,
    launch: Option<Launch>,
}

impl Control {
    /// Loads the state and publishes it; deployments wait for [`Control::launch`].
    ///
    /// `publish` is called from commands, one at a time: it must be short and call nothing here.
    ///
    /// # Errors
    /// `Store` where the store cannot be read, `Record` for a record that makes no sense.
    pub fn open(
        store: Arc<dyn Store>,
        orchestrator: Arc<dyn Orchestrator>,
        publish: impl Fn(Arc<Registry>) + Send + Sync + 'static,
    ) -> Result<Control, ControlError> {
        let state = State::load(&store.load()?)?;
        publish(state.registry.clone());
        Ok(Control {
            revision: store.watch(),
            store,
            orchestrator,
            publish: Box::new(publish),
            registry: ArcSwap::new(state.registry.clone()),
            inner: Mutex::new(Inner {
                state,
                is_doubtful: false,
                launch: None,
            }),
        })
    }

    /// Applies the deployments, now and from now on, with what replicas are to be told.
    ///
    /// Call it once the endpoints for containers are bound. Called again with other values, it
    /// restarts the replicas.
    ///
    /// # Errors
    /// `Launch` for what no replica can be told (nothing changes then), `Orchestrator`.
    pub fn launch(&self, launch: Launch) -> Result<(), ControlError> {
        launch.check()?;
        let mut inner = self.lock();
        inner.launch = Some(launch);
        self.apply_deployments(&inner)
    }

    /// The latest snapshot.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// Registers an application, without links.
    ///
    /// # Errors
    /// `AlreadyExists`, `Invalid` or `Full`, by [`ControlError::kind`].
    pub fn add_application(&self, new: &NewApplication) -> Result<(), ControlError> {
        self.run(|state| commands::add_application(state, new))
    }

    /// Removes an application and its links; queries to it are refused from the return on.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_application(&self, name: &str) -> Result<(), ControlError> {
        self.run(|state| commands::remove_application(state, name))
    }

    /// Links an application to the one model in `models`.
    ///
    /// Earlier versions of the model that take something else can no longer be rolled back to.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `Invalid` for any other number of models, `Conflict` where
    /// the types differ or another model is linked.
    pub fn link_models(&self, application: &str, models: &[String]) -> Result<(), ControlError> {
        self.run(|state| commands::link_models(state, application, models))
    }

    /// Removes links, all or none.
    ///
    /// # Errors
    /// `NotFound` for the application or for a link.
    pub fn unlink_models(&self, application: &str, models: &[String]) -> Result<(), ControlError> {
        self.run(|state| commands::unlink_models(state, application, models))
    }

    /// The models that an application links to; they need not exist.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn linked_models(&self, application: &str) -> Result<Vec<Name>, ControlError> {
        commands::linked_models(&self.registry().applications, application)
    }

    /// Registers a version and makes it current; a model without versions is made.
    ///
    /// # Errors
    /// `AlreadyExists`, `Invalid`, `Full`, or `Conflict` where a linked application brings
    /// something else.
    pub fn add_model_version(&self, new: &NewVersion) -> Result<(), ControlError> {
        self.run(|state| commands::add_model_version(state, new))
    }

    /// Removes a version and stops its replicas; if it was current, the one before it is again.
    ///
    /// With its last version the model is gone. Links to its name stay: their queries find no
    /// replica until the name is registered again.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_model_version(&self, model: &str, version: &str) -> Result<(), ControlError> {
        self.run(|state| commands::remove_model_version(state, model, version))
    }

    /// Removes all versions of a model, as [`Control::remove_model_version`] does.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_model(&self, model: &str) -> Result<(), ControlError> {
        self.run(|state| commands::remove_model(state, model))
    }

    /// Makes a version current.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` where a linked application brings something else.
    pub fn set_version(&self, model: &str, version: &str) -> Result<(), ControlError> {
        self.run(|state| commands::set_version(state, model, version))
    }

    /// Makes the version before the current one current, and tells which that is.
    ///
    /// The version left is the one before it then: a second roll-back returns.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` where there is none.
    pub fn rollback(&self, model: &str) -> Result<Name, ControlError> {
        self.run(|state| commands::rollback(state, model))
    }

    /// Has replicas of a version run; replaces what was deployed of it.
    ///
    /// # Errors
    /// `NotFound` where the version is not registered, `Invalid`, `Full`.
    pub fn deploy(&self, deployment: &Deployment) -> Result<(), ControlError> {
        self.run(|state| commands::deploy(state, deployment))
    }

    /// The same for a version that may be registered later: its replicas start once it is.
    ///
    /// # Errors
    /// `Invalid`, `Full`.
    pub fn deploy_early(&self, deployment: &Deployment) -> Result<(), ControlError> {
        self.run(|state| commands::deploy_early(state, deployment))
    }

    /// Changes the number of replicas of a deployment; without a version, of the current one.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` without a current version, `Invalid`, `Full`.
    pub fn scale(
        &self,
        model: &str,
        version: Option<&str>,
        replicas: u32,
    ) -> Result<(), ControlError> {
        self.run(|state| commands::scale(state, model, version, replicas))
    }

    /// Brings back as many replicas of a deployment as there were before it was scaled to none;
    /// one where that is not known. Changes nothing while it has any.
    ///
    /// # Errors
    /// `NotFound`, `Full`.
    pub fn resume(&self, model: &str, version: &str) -> Result<(), ControlError> {
        self.run(|state| commands::resume(state, model, version))
    }

    /// Forgets a deployment and stops its replicas.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn undeploy(&self, model: &str, version: &str) -> Result<(), ControlError> {
        self.run(|state| commands::undeploy(state, model, version))
    }

    /// All deployments, by model and version.
    pub fn deployments(&self) -> Vec<Deployment> {
        let deployments = self.lock().state.deployments.clone();
        deployments
            .values()
            .map(|one| one.as_ref().clone())
            .collect()
    }

    /// Of them, those whose version is not registered yet.
    pub fn early_deployments(&self) -> Vec<Deployment> {
        let inner = self.lock();
        let early = inner.state.early_deployments();
        early.map(|one| one.as_ref().clone()).collect()
    }

    /// The replicas of deployments, as last observed.
    pub fn processes(&self) -> Vec<ReplicaProcess> {
        self.orchestrator.observe()
    }

    /// Takes `count` query ids that nobody else ever gets, also after a restart.
    ///
    /// # Errors
    /// `Invalid` for a count of 0 or above [`commands::limits::QUERY_ID_BLOCK_MAX`], `Full` when
    /// ids would reach [`commands::limits::QUERY_IDS_END`].
    pub fn reserve_query_ids(&self, count: u64) -> Result<Range<u64>, ControlError> {
        self.run(|state| commands::reserve_query_ids(state, count))
    }

    /// Decides, commits, publishes and applies; decides anew where another writer was first.
    fn run<T>(&self, decide: impl Fn(&State) -> Decided<T>) -> Result<T, ControlError> {
        let mut inner = self.lock();
        if inner.is_doubtful || *self.revision.borrow() > inner.state.revision {
            self.reload(&mut inner)?;
        }
        for _ in 0..COMMIT_TRIES_MAX {
            let decision = decide(&inner.state)?;
            match self.commit(&inner.state, decision.edits) {
                Ok(next) => {
                    self.enter(&mut inner, next)?;
                    return Ok(decision.answer);
                }
                Err(error) if error.kind() == StoreErrorKind::Conflict => {
                    self.reload(&mut inner)?;
                }
                Err(error) => {
                    inner.is_doubtful = true;
                    return Err(error.into());
                }
            }
        }
        Err(ControlError::Contended {
            tries: COMMIT_TRIES_MAX,
        })
    }

    /// The state after `edits`, once they are durable.
    fn commit(&self, state: &State, edits: Vec<Edit>) -> Result<State, StoreError> {
        let changes: Vec<_> = edits.iter().map(Edit::to_change).collect();
        let mut next = state.clone();
        next.revision = self.store.commit(state.revision, &changes)?;
        for edit in edits {
            next.apply(edit);
        }
        debug_assert_eq!(next.check(), Ok(()), "a decision keeps the invariants");
        Ok(next)
    }

    /// Takes in what others committed.
    fn reload(&self, inner: &mut Inner) -> Result<(), ControlError> {
        let latest = self.store.load()?;
        inner.is_doubtful = false;
        if latest.revision == inner.state.revision {
            return Ok(());
        }
        self.enter(inner, State::load(&latest)?)
    }

    /// Makes `next`, which is durable, the state.
    fn enter(&self, inner: &mut Inner, next: State) -> Result<(), ControlError> {
        let before = std::mem::replace(&mut inner.state, next);
        if !Arc::ptr_eq(&before.registry, &inner.state.registry) {
            self.registry.store(inner.state.registry.clone());
            (self.publish)(inner.state.registry.clone());
        }
        let is_same = Arc::ptr_eq(&before.deployments, &inner.state.deployments);
        // Only a version that a deployment waited for changes what is declared otherwise.
        if is_same && before.early_deployments().next().is_none() {
            return Ok(());
        }
        self.apply_deployments(inner)
    }

    fn apply_deployments(&self, inner: &Inner) -> Result<(), ControlError> {
        match &inner.launch {
            Some(launch) => Ok(self.orchestrator.apply(&launch.declare(&inner.state))?),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The state is replaced whole, so that a panic in `publish` leaves it sound.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
