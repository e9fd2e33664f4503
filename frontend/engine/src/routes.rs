//! Applications and models, resolved to lanes whenever the registry changes.
//!
//! A query reads one immutable [`Routes`]; it looks up one name and nothing else. A model that is
//! asked by its own name is an application without a default, for which `app` is
//! `model:NAME` in metrics; no application has such a name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_core::registry::{Application, Model, ModelVersion, Registry};
use skysail_core::{Cause, InputType, Name};
use skysail_monitor::lanes::HistogramReading;
use skysail_monitor::{AppMetrics, Metrics};
use skysail_rpc::{DataType, PayloadBuf, Schema};
use smallvec::SmallVec;

use crate::answer::AskError;
use crate::lane::{Agreed, Lane, NOBODYS};

/// Where an application's queries go, or those that name a model.
#[derive(Debug)]
pub struct Route {
    /// The application; of a model that is asked directly, its name and its time.
    pub app: Arc<Application>,
    /// Whether queries name a model and no application: then there is no default to answer with.
    pub is_direct: bool,
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

    /// The version, unless no model is linked or it has none.
    #[must_use]
    pub fn version(&self) -> Option<&Arc<ModelVersion>> {
        Some(&self.destination.as_ref()?.version)
    }

    /// Counts a request that went to it.
    pub fn record_request(&self, ok: bool, elapsed: Duration) {
        if let Some(to) = &self.destination {
            to.lane.requests.request(ok, elapsed);
        }
    }

    /// Whether a replica may take batches of it.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let to = self.destination.as_ref();
        to.is_some_and(|to| to.lane.is_serving())
    }

    /// Whether so many elements are one row of its only input tensor.
    #[must_use]
    pub fn is_only_row(&self, elements: usize) -> bool {
        let inputs = self.schema().map(|schema| schema.inputs.as_slice());
        matches!(inputs, Some([only]) if only.row_elements() == Some(elements))
    }

    /// As [`Self::row`], one buffer for each input tensor of the schema.
    #[must_use]
    pub fn rows(&self) -> SmallVec<[PayloadBuf; 1]> {
        let claim = || Some(self.agreed.as_ref()?.log()?.claim()?.into_bufs());
        claim().map_or_else(
            || {
                let tensors = self.schema().map_or(0, |schema| schema.inputs.len());
                (0..tensors).map(|_| PayloadBuf::default()).collect()
            },
            |bufs| bufs.into_iter().collect(),
        )
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
pub(crate) struct Routes {
    applications: HashMap<Name, Arc<Route>>,
    models: HashMap<Name, Arc<Route>>,
}

impl Routes {
    pub(crate) fn new(
        registry: &Registry,
        metrics: &Metrics,
        model_slo: Duration,
        lane: impl Fn(&ModelVersion) -> Arc<Lane>,
    ) -> Routes {
        let maker = Maker {
            now: Instant::now(),
            metrics,
            lane,
        };
        let application = |app: &Arc<Application>| {
            let model = app.linked_models.first();
            maker.application(app, model.and_then(|name| registry.models.get(name)))
        };
        let (apps, models) = (&registry.applications, &registry.models);
        Routes {
            applications: apps
                .iter()
                .map(|(name, app)| (name.clone(), application(app)))
                .collect(),
            models: models
                .iter()
                .map(|(name, model)| (name.clone(), maker.direct(model, model_slo)))
                .collect(),
        }
    }

    /// Drops the series of what is not a route any more.
    pub(crate) fn forget_metrics_unless_in(&self, now: &Routes, metrics: &Metrics) {
        let forget = |name: &str| {
            let causes = Cause::ALL.iter().map(|cause| cause.name());
            metrics.forget_app(name, causes);
        };
        let gone = |name: &&Name| !now.applications.contains_key(*name);
        self.applications
            .keys()
            .filter(gone)
            .for_each(|name| forget(name.as_str()));
        let gone = |name: &&Name| !now.models.contains_key(*name);
        self.models
            .keys()
            .filter(gone)
            .for_each(|name| forget(&label(name)));
    }

    /// The least objective of the applications that are linked to a model.
    pub(crate) fn objective(&self, model: &Name) -> Option<Duration> {
        let apps = self.applications.values().map(|route| &route.app);
        let linked = apps.filter(|app| app.linked_models.contains(model));
        linked.map(|app| app.slo()).min()
    }

    pub(crate) fn application(&self, name: &str) -> Option<&Arc<Route>> {
        self.applications.get(name)
    }

    pub(crate) fn model(&self, name: &str) -> Option<&Arc<Route>> {
        self.models.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.applications.values().chain(self.models.values())
    }
}

/// The name of a directly asked model in metrics.
fn label(model: &Name) -> String {
    format!("model:{model}")
}

/// What routes are made with.
struct Maker<'a, L> {
    now: Instant,
    metrics: &'a Metrics,
    lane: L,
}

impl<L: Fn(&ModelVersion) -> Arc<Lane>> Maker<'_, L> {
    fn application(&self, app: &Arc<Application>, model: Option<&Arc<Model>>) -> Arc<Route> {
        let place = |lane: &Lane| lane.application(self.now, app);
        Arc::new(Route {
            app: app.clone(),
            is_direct: false,
            metrics: self.app_metrics(app.name.as_str()),
            target: model.map(|model| self.target(model, place)),
        })
    }

    fn direct(&self, model: &Arc<Model>, slo: Duration) -> Arc<Route> {
        let input_type = model.current_version().map(|version| version.input_type);
        let app = Application {
            name: model.name.clone(),
            input_type: input_type.unwrap_or(InputType::Tensors),
            features: None,
            latency_slo_micros: u64::try_from(slo.as_micros()).unwrap_or(u64::MAX),
            default_output: String::new(),
            guarantee: None,
            linked_models: vec![model.name.clone()],
        };
        Arc::new(Route {
            app: Arc::new(app),
            is_direct: true,
            metrics: self.app_metrics(&label(&model.name)),
            target: Some(self.target(model, |_| NOBODYS)),
        })
    }

    fn target(&self, model: &Model, place: impl Fn(&Lane) -> usize) -> Target {
        Target::new(model, |version| {
            let lane = (self.lane)(version);
            Destination {
                version: version.clone(),
                application: place(&lane),
                lane,
            }
        })
    }

    fn app_metrics(&self, label: &str) -> AppMetrics {
        let causes = Cause::ALL.iter().map(|cause| cause.name());
        self.metrics.app(label, causes)
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

    /// The model that answers, if one is linked.
    #[must_use]
    pub fn model(&self) -> Option<&Name> {
        Some(&self.target.as_ref()?.model)
    }

    /// The versions of that model, in the order of their names.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<ModelVersion>> {
        let versions = self
            .target
            .iter()
            .flat_map(|target| target.versions.values());
        versions.map(|destination| &destination.version)
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
