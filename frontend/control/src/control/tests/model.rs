//! Random commands against a plain oracle; a failure names its seed.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const SEEDS: u64 = 60;
const STEPS: usize = 150;

/// What should be registered, written as plainly as possible.
#[derive(Debug, Default)]
struct Oracle {
    /// Input type and link by name.
    applications: BTreeMap<String, (InputType, Option<String>)>,
    models: BTreeMap<String, OracleModel>,
    /// Replicas by model and version.
    deployments: BTreeMap<(String, String), u32>,
    /// The same before there were none.
    before: BTreeMap<(String, String), u32>,
    query_id: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct OracleModel {
    versions: BTreeMap<String, InputType>,
    /// Every version that was current and fits the links, the current one last.
    line: Vec<String>,
    has_current: bool,
}

#[derive(Clone, Debug)]
enum Command {
    AddApplication(String, InputType),
    RemoveApplication(String),
    Link(String, Vec<String>),
    Unlink(String, Vec<String>),
    Add(String, String, InputType),
    Remove(String, String),
    RemoveModel(String),
    Set(String, String),
    Rollback(String),
    Deploy(String, String, u32),
    Scale(String, Option<String>, u32),
    Resume(String, String),
    Undeploy(String, String),
    Reserve(u64),
}

impl Command {
    fn random(rng: &mut fastrand::Rng) -> Command {
        let app = ["a", "b", "c"][rng.usize(..3)].to_owned();
        let model = ["m", "n"][rng.usize(..2)].to_owned();
        let version = ["1", "2", "3", "4"][rng.usize(..4)].to_owned();
        let of = [InputType::Doubles, InputType::Doubles, InputType::Strings][rng.usize(..3)];
        let replicas = rng.u32(..131);
        match rng.u32(..25) {
            0..2 => Command::AddApplication(app, of),
            2 => Command::RemoveApplication(app),
            3..6 => Command::Link(app, random_models(rng)),
            6 => Command::Unlink(app, random_models(rng)),
            7..11 => Command::Add(model, version, of),
            11..14 => Command::Remove(model, version),
            14 => Command::RemoveModel(model),
            15..17 => Command::Set(model, version),
            17..19 => Command::Rollback(model),
            19..21 => Command::Deploy(model, version, replicas),
            21 => Command::Scale(model, rng.bool().then_some(version), replicas),
            22 => Command::Undeploy(model, version),
            23 => Command::Resume(model, version),
            _ => Command::Reserve(rng.u64(..4)),
        }
    }

    fn run(&self, control: &Control) -> Result<(), ControlError> {
        match self {
            Command::AddApplication(name, of) => control.add_application(&NewApplication {
                input_type: *of,
                ..application(name)
            }),
            Command::RemoveApplication(name) => control.remove_application(name),
            Command::Link(application, models) => control.link_models(application, models),
            Command::Unlink(application, models) => control.unlink_models(application, models),
            Command::Add(model, name, of) => control.add_model_version(&NewVersion {
                input_type: *of,
                ..version(model, name)
            }),
            Command::Remove(model, version) => control.remove_model_version(model, version),
            Command::RemoveModel(model) => control.remove_model(model),
            Command::Set(model, version) => control.set_version(model, version),
            Command::Rollback(model) => control.rollback(model).map(drop),
            Command::Deploy(model, version, replicas) => {
                control.deploy(&deployment(model, version, *replicas))
            }
            Command::Scale(model, version, replicas) => {
                control.scale(model, version.as_deref(), *replicas)
            }
            Command::Resume(model, version) => control.resume(model, version),
            Command::Undeploy(model, version) => control.undeploy(model, version),
            Command::Reserve(count) => control.reserve_query_ids(*count).map(drop),
        }
    }
}

fn random_models(rng: &mut fastrand::Rng) -> Vec<String> {
    let counts = [0, 1, 1, 1, 1, 2];
    let count = counts[rng.usize(..counts.len())];
    let mut models = ["m", "n"];
    rng.shuffle(&mut models);
    models[..count]
        .iter()
        .map(|model| (*model).to_owned())
        .collect()
}

impl Oracle {
    fn run(&mut self, command: &Command) -> Result<(), Kind> {
        match command {
            Command::AddApplication(name, of) => self.add_application(name, *of),
            Command::RemoveApplication(name) => self
                .applications
                .remove(name)
                .map(drop)
                .ok_or(Kind::NotFound),
            Command::Link(application, models) => self.link(application, models),
            Command::Unlink(application, models) => self.unlink(application, models),
            Command::Add(model, version, of) => self.add(model, version, *of),
            Command::Remove(model, version) => self.remove(model, version),
            Command::RemoveModel(model) => {
                self.models.remove(model).ok_or(Kind::NotFound)?;
                self.deployments.retain(|(of, _), _| of != model);
                Ok(())
            }
            Command::Set(model, version) => self.set(model, version),
            Command::Rollback(model) => {
                let found = self.models.get(model).ok_or(Kind::NotFound)?;
                let to = found.earlier().last().ok_or(Kind::Conflict)?.clone();
                self.set(model, &to)
            }
            Command::Deploy(model, version, replicas) => {
                let exists = self
                    .models
                    .get(model)
                    .is_some_and(|m| m.versions.contains_key(version));
                self.deploy(model, version, *replicas, exists)
            }
            Command::Scale(model, version, replicas) => {
                self.scale(model, version.as_ref(), *replicas)
            }
            Command::Resume(model, version) => self.resume(model, version),
            Command::Undeploy(model, version) => {
                let key = (model.clone(), version.clone());
                self.deployments
                    .remove(&key)
                    .map(drop)
                    .ok_or(Kind::NotFound)
            }
            Command::Reserve(0) => Err(Kind::Invalid),
            Command::Reserve(count) => {
                self.query_id += count;
                Ok(())
            }
        }
    }

    fn add_application(&mut self, name: &str, of: InputType) -> Result<(), Kind> {
        if self.applications.contains_key(name) {
            return Err(Kind::AlreadyExists);
        }
        self.applications.insert(name.to_owned(), (of, None));
        Ok(())
    }

    fn link(&mut self, application: &str, models: &[String]) -> Result<(), Kind> {
        let (of, link) = self
            .applications
            .get_mut(application)
            .ok_or(Kind::NotFound)?;
        for model in models {
            let model = self.models.get(model).ok_or(Kind::NotFound)?;
            if model
                .current()
                .is_none_or(|current| model.versions[current] != *of)
            {
                return Err(Kind::Conflict);
            }
        }
        let [model] = models else {
            return Err(Kind::Invalid);
        };
        match link {
            Some(link) if link == model => return Err(Kind::AlreadyExists),
            Some(_) => return Err(Kind::Conflict),
            None => *link = Some(model.clone()),
        }
        let found = self.models.get_mut(model).ok_or(Kind::NotFound)?;
        found.line.retain(|version| found.versions[version] == *of);
        Ok(())
    }

    fn unlink(&mut self, application: &str, models: &[String]) -> Result<(), Kind> {
        let (_, link) = self
            .applications
            .get_mut(application)
            .ok_or(Kind::NotFound)?;
        if models.iter().any(|model| link.as_ref() != Some(model)) {
            return Err(Kind::NotFound);
        }
        if !models.is_empty() {
            *link = None;
        }
        Ok(())
    }

    fn fits(&self, model: &str, of: InputType) -> Result<(), Kind> {
        let is_misfit = |(wants, link): &(InputType, Option<String>)| {
            *wants != of && link.as_deref() == Some(model)
        };
        match self.applications.values().any(is_misfit) {
            true => Err(Kind::Conflict),
            false => Ok(()),
        }
    }

    fn add(&mut self, model: &str, version: &str, of: InputType) -> Result<(), Kind> {
        let exists = |found: &OracleModel| found.versions.contains_key(version);
        if self.models.get(model).is_some_and(exists) {
            return Err(Kind::AlreadyExists);
        }
        self.fits(model, of)?;
        let found = self.models.entry(model.to_owned()).or_default();
        found.versions.insert(version.to_owned(), of);
        found.make_current(version);
        Ok(())
    }

    fn remove(&mut self, model: &str, version: &str) -> Result<(), Kind> {
        let found = self.models.get_mut(model).ok_or(Kind::NotFound)?;
        found.versions.remove(version).ok_or(Kind::NotFound)?;
        let was_current = found.current() == Some(version);
        found.line.retain(|earlier| earlier != version);
        if was_current {
            found.has_current = !found.line.is_empty();
        }
        if found.versions.is_empty() {
            self.models.remove(model);
        }
        let key = (model.to_owned(), version.to_owned());
        self.deployments.remove(&key);
        Ok(())
    }

    fn set(&mut self, model: &str, version: &str) -> Result<(), Kind> {
        let found = self.models.get(model).ok_or(Kind::NotFound)?;
        let of = *found.versions.get(version).ok_or(Kind::NotFound)?;
        if found.current() == Some(version) {
            return Ok(());
        }
        self.fits(model, of)?;
        let found = self.models.get_mut(model).ok_or(Kind::NotFound)?;
        found.make_current(version);
        Ok(())
    }

    fn deploy(
        &mut self,
        model: &str,
        version: &str,
        replicas: u32,
        exists: bool,
    ) -> Result<(), Kind> {
        if replicas > 128 {
            return Err(Kind::Invalid);
        }
        if !exists {
            return Err(Kind::NotFound);
        }
        let key = (model.to_owned(), version.to_owned());
        self.before.remove(&key);
        self.deployments.insert(key, replicas);
        Ok(())
    }

    fn scale(&mut self, model: &str, version: Option<&String>, replicas: u32) -> Result<(), Kind> {
        if replicas > 128 {
            return Err(Kind::Invalid);
        }
        let version = match version {
            Some(version) => version.clone(),
            None => {
                let found = self.models.get(model).ok_or(Kind::NotFound)?;
                found.current().ok_or(Kind::Conflict)?.to_owned()
            }
        };
        let key = (model.to_owned(), version.clone());
        let now = self.deployments.get(&key).copied().ok_or(Kind::NotFound)?;
        let before = self.before.get(&key).copied();
        self.deploy(model, &version, replicas, true)?;
        if replicas == 0 {
            let kept = if now > 0 { Some(now) } else { before };
            self.before.extend(kept.map(|count| (key, count)));
        }
        Ok(())
    }

    fn resume(&mut self, model: &str, version: &str) -> Result<(), Kind> {
        let key = (model.to_owned(), version.to_owned());
        match self.deployments.get(&key).ok_or(Kind::NotFound)? {
            0 => {
                let replicas = self.before.get(&key).copied().unwrap_or(1);
                self.deploy(model, version, replicas, true)
            }
            _ => Ok(()),
        }
    }
}

impl OracleModel {
    fn current(&self) -> Option<&str> {
        let last = self.line.last().filter(|_| self.has_current);
        last.map(String::as_str)
    }

    fn earlier(&self) -> &[String] {
        &self.line[..self.line.len() - usize::from(self.has_current)]
    }

    fn make_current(&mut self, version: &str) {
        self.line.retain(|earlier| earlier != version);
        self.line.push(version.to_owned());
        self.has_current = true;
    }

    /// What the oracle should hold, by a snapshot.
    fn of(model: &skysail_core::registry::Model) -> OracleModel {
        let line = model.history.iter().chain(&model.current);
        let versions = model.versions.iter();
        OracleModel {
            versions: versions
                .map(|(name, one)| (name.to_string(), one.input_type))
                .collect(),
            line: line.map(Name::to_string).collect(),
            has_current: model.current.is_some(),
        }
    }
}

/// Everything that is published, stored and applied is what the oracle says.
fn compare(bench: &Bench, oracle: &Oracle) {
    let stored = State::load(&bench.store.load().expect("memory can be read"));
    let stored = stored.expect("every invariant holds in the store");
    let published = bench.snapshot();
    assert_eq!(format!("{:?}", stored.registry), format!("{published:?}"));
    assert!(Arc::ptr_eq(&published, &bench.control.registry()));
    let applications = published.applications.values();
    let applications: BTreeMap<_, _> = applications
        .map(|one| {
            assert!(one.linked_models.len() <= 1);
            let link = one.linked_models.first().map(Name::to_string);
            (one.name.to_string(), (one.input_type, link))
        })
        .collect();
    assert_eq!(applications, oracle.applications);
    let models = published.models.values();
    let models: BTreeMap<_, _> = models
        .map(|one| (one.name.to_string(), OracleModel::of(one)))
        .collect();
    assert_eq!(models, oracle.models);
    let applied = bench.orchestrator.applied().pop().expect("launched");
    let applied: BTreeMap<_, _> = applied
        .into_iter()
        .map(|one| ((one.model, one.version), one.replicas))
        .collect();
    assert_eq!(applied, oracle.deployments);
    let deployments = bench.control.deployments();
    assert_eq!(deployments.len(), stored.deployments.len());
    assert_eq!(stored.query_id, oracle.query_id);
}

/// Generations by model and version, as (model, version, generation).
fn generations(registry: &Registry) -> BTreeSet<(String, String, u64)> {
    let models = registry.models.values();
    let versions = models.flat_map(|model| model.versions.values());
    versions
        .map(|one| {
            (
                one.model.to_string(),
                one.version.to_string(),
                one.generation,
            )
        })
        .collect()
}

fn reopen(bench: &Bench) -> Bench {
    let bench = Bench::over(bench.store.clone());
    bench
        .control
        .launch(launch())
        .expect("the orchestrator works");
    bench
}

fn run(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut oracle = Oracle::default();
    let mut bench = reopen(&Bench::new());
    let mut used: BTreeSet<u64> = BTreeSet::new();
    let mut log = Vec::new();
    for _ in 0..STEPS {
        let command = Command::random(&mut rng);
        log.push(command.clone());
        let before = generations(&bench.control.registry());
        let is_refused = rng.u32(..16) == 0;
        if is_refused {
            bench.store.fail_next(&[Fault::Refuse]);
        }
        let result = command.run(&bench.control);
        // A command that is refused before its commit leaves the fault behind.
        let has_failed = is_refused && bench.store.take_fault().is_none();
        let expected = match has_failed {
            true => Err(Kind::Unavailable),
            false => oracle.run(&command),
        };
        assert_eq!(
            result.map_err(|error| error.kind()),
            expected,
            "seed {seed}: {log:?}"
        );
        let now = generations(&bench.control.registry());
        for (model, version, generation) in now.difference(&before) {
            let is_new = used.insert(*generation);
            assert!(
                is_new,
                "{model}:{version} has an old generation, seed {seed}: {log:?}"
            );
        }
        if rng.u32(..32) == 0 {
            bench = reopen(&bench);
        }
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            compare(&bench, &oracle);
        }));
        assert!(checked.is_ok(), "seed {seed}: {log:?}");
    }
}

#[test]
fn does_what_a_plain_oracle_does() {
    for seed in 0..SEEDS {
        run(seed);
    }
}
