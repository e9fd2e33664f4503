//! Applications, resolved to lanes whenever the registry changes.
//!
//! A query reads one immutable [`Routes`]; it looks up one name and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_core::registry::{Application, Model, ModelVersion, Registry};
use skysail_core::{Cause, Name};
use skysail_monitor::lanes::HistogramReading;
use skysail_monitor::{AppMetrics, Metrics};
use skysail_rpc::{DataType, PayloadBuf, Schema};

use crate::answer::AskError;
use crate::lane::{Agreed, Lane};

/// Where an application's queries go.
#[derive(Debug)]
pub struct Route {
    /// The application.
    pub app: Arc<Application>,
    metrics: AppMetrics,
    pub(crate) target: Option<Target>,
}

/// An application's answers since it was registered.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Predictions within the objective.
    pub in_time: u64,
    /// Predictions after it.
    pub late: u64,
    /// Defaults by cause.
    pub defaults: Vec<(Cause, u64)>,
    /// Seconds from the last byte of a query to its answer.
    pub seconds: HistogramReading,
}

impl Counts {
    /// Queries answered with the default.
    #[must_use]
    pub fn defaulted(&self) -> u64 {
        self.defaults.iter().map(|(_, count)| count).sum()
    }

    /// Queries answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.in_time + self.late + self.defaulted()
    }
}

/// A linked model's versions.
#[derive(Debug)]
pub(crate) struct Target {
    model: Name,
    current: Option<Destination>,
    previous: Option<Destination>,
    versions: BTreeMap<Name, Destination>,
}

/// A registered version and its lane.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) version: Arc<ModelVersion>,
    pub(crate) lane: Arc<Lane>,
    /// The application's place in the lane.
    pub(crate) application: usize,
}

/// Where one query goes, decided once: its input is shaped by, and checked against, the same
/// version.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub(crate) destination: Option<Destination>,
    pub(crate) agreed: Option<Agreed>,
}

impl Resolved {
    /// What the version takes and gives, once one of its replicas has connected.
    #[must_use]
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.agreed.as_ref().map(|agreed| &agreed.schema)
    }

    /// Where the input of a query shall be written: the next row of the version's log, if it
    /// has one input tensor of `datatype` and there is room; else the heap.
    #[must_use]
    pub fn row(&self, datatype: DataType) -> PayloadBuf {
        let claim = || {
            let agreed = self.agreed.as_ref()?;
            let [spec] = agreed.schema.inputs.as_slice() else {
                return None;
            };
            let log = agreed.log().filter(|_| spec.datatype == datatype)?;
            log.claim()?.into_bufs().pop()
        };
        claim().unwrap_or_default()
    }
}

/// All routes.
#[derive(Debug, Default)]
pub(crate) struct Routes(HashMap<Name, Arc<Route>>);

impl Routes {
    pub(crate) fn new(
        registry: &Registry,
        metrics: &Metrics,
        lane: impl Fn(&ModelVersion) -> Arc<Lane>,
    ) -> Routes {
        let now = Instant::now();
        let route = |app: &Arc<Application>| {
            let destination = |version: &Arc<ModelVersion>| {
                let lane = lane(version);
                Destination {
                    version: version.clone(),
                    application: lane.application(now, app),
                    lane,
                }
            };
            let linked = app
                .linked_models
                .first()
                .and_then(|name| registry.models.get(name));
            let causes = Cause::ALL.iter().map(|cause| cause.name());
            Arc::new(Route {
                app: app.clone(),
                metrics: metrics.app(app.name.as_str(), causes),
                target: linked.map(|model| Target::new(model, destination)),
            })
        };
        let apps = &registry.applications;
        Routes(
            apps.iter()
                .map(|(name, app)| (name.clone(), route(app)))
                .collect(),
        )
    }

    /// The applications.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// The least objective of the applications that are linked to a model.
    pub(crate) fn objective(&self, model: &Name) -> Option<Duration> {
        let apps = self.0.values().map(|route| &route.app);
        let linked = apps.filter(|app| app.linked_models.contains(model));
        linked.map(|app| app.slo()).min()
    }

    pub(crate) fn get(&self, app: &str) -> Option<&Arc<Route>> {
        self.0.get(app)
    }
}

impl Route {
    /// Decides which version answers a query: the one that it names, or the one that serves.
    ///
    /// # Errors
    /// If it names a version that does not exist.
    pub fn resolve(&self, version: Option<&str>) -> Result<Resolved, AskError> {
        let destination = self.destination(version)?.cloned();
        let agreed = destination.as_ref().and_then(|to| to.lane.agreed());
        Ok(Resolved {
            destination,
            agreed,
        })
    }

    /// The version that a query would be sent to now, if a model is linked and has one.
    #[must_use]
    pub fn serving_version(&self) -> Option<&Arc<ModelVersion>> {
        Some(&self.target.as_ref()?.serving()?.version)
    }

    /// Counts an answer, once it is final.
    pub fn record(&self, answered: Result<(), Cause>, arrival: Instant) {
        let elapsed = arrival.elapsed();
        self.metrics.seconds.observe(elapsed);
        match answered {
            Ok(()) if elapsed <= self.app.slo() => self.metrics.in_time.inc(),
            Ok(()) => self.metrics.late.inc(),
            Err(cause) => self.metrics.defaults[cause as usize].inc(),
        };
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let metrics = &self.metrics;
        let defaults = metrics.defaults.iter().map(|counter| counter.get());
        Counts {
            in_time: metrics.in_time.get(),
            late: metrics.late.get(),
            defaults: Cause::ALL.into_iter().zip(defaults).collect(),
            seconds: metrics.seconds.reading(),
        }
    }

    /// The version that answers: the current one, or, until that has had a replica, the one
    /// before it.
    fn destination(&self, version: Option<&str>) -> Result<Option<&Destination>, AskError> {
        match (version, &self.target) {
            (None, target) => Ok(target.as_ref().and_then(Target::serving)),
            (Some(version), Some(target)) => {
                let found = target.versions.get(version);
                found.map(Some).ok_or_else(|| AskError::UnknownVersion {
                    model: target.model.to_string(),
                    version: version.to_owned(),
                })
            }
            (Some(version), None) => Err(AskError::NotLinked {
                app: self.app.name.to_string(),
                version: version.to_owned(),
            }),
        }
    }
}

impl Target {
    fn new(model: &Model, destination: impl Fn(&Arc<ModelVersion>) -> Destination) -> Target {
        Target {
            model: model.name.clone(),
            current: model.current_version().map(&destination),
            previous: model.previous_version().map(&destination),
            versions: model
                .versions
                .iter()
                .map(|(n, v)| (n.clone(), destination(v)))
                .collect(),
        }
    }

    fn serving(&self) -> Option<&Destination> {
        let current = self.current.as_ref()?;
        if current.lane.has_served() {
            return Some(current);
        }
        self.previous
            .as_ref()
            .filter(|previous| previous.lane.is_serving())
            .or(Some(current))
    }
}
