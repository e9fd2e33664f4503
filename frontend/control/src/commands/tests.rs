use skysail_core::Name;
use skysail_core::registry::Deployment;

use super::limits::*;
use super::*;
use crate::error::Kind;

/// A state that commands change one after the other, checked after each.
#[derive(Default)]
struct World(State);

impl World {
    fn run<T>(&mut self, decide: impl Fn(&State) -> Decided<T>) -> Result<T, ControlError> {
        let decision = decide(&self.0)?;
        for edit in decision.edits {
            self.0.apply(edit);
        }
        self.0.check().expect("a decision keeps the invariants");
        Ok(decision.answer)
    }

    fn with(applications: &[(&str, InputType)], versions: &[(&str, &str, InputType)]) -> World {
        let mut world = World::default();
        for (name, input_type) in applications {
            world
                .add_application(name, *input_type)
                .expect("a new application");
        }
        for (model, version, input_type) in versions {
            world
                .add(model, version, *input_type)
                .expect("a new version");
        }
        world
    }

    fn add_application(&mut self, name: &str, input_type: InputType) -> Result<(), ControlError> {
        let new = NewApplication {
            input_type,
            ..application(name)
        };
        self.run(|state| add_application(state, &new))
    }

    fn add(&mut self, model: &str, version: &str, of: InputType) -> Result<(), ControlError> {
        let new = NewVersion {
            input_type: of,
            ..self::version(model, version)
        };
        self.run(|state| add_model_version(state, &new))
    }

    fn link(&mut self, application: &str, models: &[&str]) -> Result<(), ControlError> {
        self.run(|state| link_models(state, application, &owned(models)))
    }

    fn unlink(&mut self, application: &str, models: &[&str]) -> Result<(), ControlError> {
        self.run(|state| unlink_models(state, application, &owned(models)))
    }

    fn set(&mut self, model: &str, version: &str) -> Result<(), ControlError> {
        self.run(|state| set_version(state, model, version))
    }

    fn remove(&mut self, model: &str, version: &str) -> Result<(), ControlError> {
        self.run(|state| remove_model_version(state, model, version))
    }

    fn rollback(&mut self, model: &str) -> Result<String, ControlError> {
        Ok(self.run(|state| rollback(state, model))?.to_string())
    }

    fn deploy(&mut self, deployment: &Deployment) -> Result<(), ControlError> {
        self.run(|state| deploy(state, deployment))
    }

    /// The current version, then the history from its latest on.
    fn line(&self, model: &str) -> Vec<&str> {
        let model = self.0.model(model).expect("the model exists");
        let versions = model.current.iter().chain(model.history.iter().rev());
        versions.map(Name::as_str).collect()
    }

    fn generation(&self, model: &str, version: &str) -> u64 {
        let found = self.0.version(model, version);
        found.expect("the version exists").generation
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn application(name: &str) -> NewApplication {
    NewApplication {
        guarantee: None,
        name: name.to_owned(),
        input_type: D,
        features: None,
        latency_slo_micros: 20_000,
        default_output: "-1.0".to_owned(),
    }
}

fn version(model: &str, version: &str) -> NewVersion {
    NewVersion {
        idempotent: true,
        model: model.to_owned(),
        version: version.to_owned(),
        input_type: D,
        labels: Vec::new(),
        container_name: "NO_CONTAINER".to_owned(),
        model_data_path: "DEPRECATED".to_owned(),
        batching: Batching::default(),
    }
}

fn deployment(model: &str, version: &str, replicas: u32) -> Deployment {
    Deployment {
        model: name(model),
        version: name(version),
        replicas,
        replicas_before: None,
        command: owned(&["program", "--flag"]),
    }
}

const D: InputType = InputType::Doubles;
const I: InputType = InputType::Integers;

#[track_caller]
fn refused<T: std::fmt::Debug>(
    result: Result<T, ControlError>,
    kind: Kind,
    field: &str,
    says: &str,
) {
    let error = result.expect_err(says);
    assert_eq!(error.to_string(), says);
    assert_eq!((error.kind(), error.field()), (kind, Some(field)), "{says}");
}

/// Applies one edit to a good request and expects the refusal.
#[track_caller]
fn bad_application(spoil: impl Fn(&mut NewApplication), field: &str, says: &str) {
    let mut new = application("a");
    spoil(&mut new);
    let decided = add_application(&State::default(), &new);
    refused(decided, Kind::Invalid, field, says);
}

#[track_caller]
fn bad_version(spoil: impl Fn(&mut NewVersion), field: &str, says: &str) {
    let mut new = version("m", "1");
    spoil(&mut new);
    let decided = add_model_version(&State::default(), &new);
    refused(decided, Kind::Invalid, field, says);
}

#[track_caller]
fn bad_command(command: Vec<String>, says: &str) {
    let mut world = World::with(&[], &[("m", "1", D)]);
    let deployed = world.deploy(&Deployment {
        command,
        ..deployment("m", "1", 1)
    });
    refused(deployed, Kind::Invalid, "command", says);
}

#[test]
fn answers_with_the_texts_of_clipper() {
    use Kind::{AlreadyExists, Conflict, Invalid, NotFound};
    let mut w = World::with(
        &[("A", D), ("B", D), ("I", I)],
        &[("M", "1", D), ("N", "1", D), ("K", "1", I)],
    );
    w.link("A", &["M"]).expect("a new link");
    for (result, kind, field, says) in [
        (
            w.add_application("A", D),
            AlreadyExists,
            "name",
            "application 'A' already exists",
        ),
        (
            w.run(|state| remove_application(state, "X")),
            NotFound,
            "name",
            "Application 'X' does not exist",
        ),
        (
            w.add("M", "1", D),
            AlreadyExists,
            "version",
            "model with name 'M' and version '1' already exists",
        ),
        (
            w.add("no:op", "1", D),
            Invalid,
            "model",
            "Invalid model name supplied: no:op. Contains one of: ',', ':'",
        ),
        (
            w.add("noop", "1,2", D),
            Invalid,
            "version",
            "Invalid model version supplied: 1,2. Contains one of: ',', ':'",
        ),
        (
            w.add("M", "2", I),
            Conflict,
            "input_type",
            "Model with name 'M' is already linked to app 'A' using input type 'doubles'. The \
             input type you provided for a new version of the model, 'integers', is not compatible.",
        ),
        (
            w.remove("M", "7"),
            NotFound,
            "version",
            "model with name 'M' and version '7' does not exist",
        ),
        (
            w.set("X", "1"),
            NotFound,
            "model",
            "Cannot set version for nonexistent model 'X'",
        ),
        (
            w.set("M", "7"),
            NotFound,
            "version",
            "Cannot set non-existent version '7' for model with name 'M'",
        ),
        (
            w.link("X", &["M"]),
            NotFound,
            "application",
            "No app with name 'X' exists.",
        ),
        (
            w.link("B", &["X"]),
            NotFound,
            "models",
            "No model with name 'X' exists.",
        ),
        (
            w.link("I", &["M"]),
            Conflict,
            "models",
            "Model with name 'M' has incompatible input_type 'doubles'. Requested app to link to \
             has input_type 'integers'.",
        ),
        (
            w.link("B", &[]),
            Invalid,
            "models",
            "Please provide the name of the model that you want to link to the application 'B'",
        ),
        (
            w.link("B", &["M", "N"]),
            Invalid,
            "models",
            "Applications must be linked with at most one model. Attempted to add links to 2 models.",
        ),
        (
            w.link("A", &["M"]),
            AlreadyExists,
            "models",
            "The model with name 'M' is already linked to 'A'",
        ),
        (
            w.link("A", &["N"]),
            Conflict,
            "application",
            "A model with name M is already linked to 'A'.",
        ),
        (
            w.unlink("X", &["M"]),
            NotFound,
            "application",
            "No app with name X exists.",
        ),
        (
            w.unlink("A", &["N"]),
            NotFound,
            "models",
            "Cannot remove nonexistent link between app A and model N",
        ),
        (
            linked_models(&w.0.registry.applications, "X").map(drop),
            NotFound,
            "application",
            "No application with name 'X' exists.",
        ),
    ] {
        refused(result, kind, field, says);
    }
}

#[test]
fn says_what_is_wrong_with_an_application() {
    let not_a_name = "'a/b' is not a name: expected 1 to 63 letters, digits, '.', '_' or '-', the \
                      first a letter or digit";
    bad_application(|new| new.name = "a/b".to_owned(), "name", not_a_name);
    for reserved in NAMES_RESERVED {
        let says = format!(
            "application name '{reserved}' is reserved: paths of the query port begin with it, \
             choose another one"
        );
        bad_application(|new| new.name = reserved.to_owned(), "name", &says);
    }
    for reserved in NAMES_RESERVED_BY_V2 {
        let says = format!(
            "application name '{reserved}' is reserved: it means something else in the Open \
             Inference Protocol, choose another one"
        );
        bad_application(|new| new.name = reserved.to_owned(), "name", &says);
    }
    let slo = "latency objective in microseconds is 999, expected 1000 to 600000000";
    bad_application(
        |new| new.latency_slo_micros = 999,
        "latency_slo_micros",
        slo,
    );
    let slo = "latency objective in microseconds is 600000001, expected 1000 to 600000000";
    bad_application(
        |new| new.latency_slo_micros = 600_000_001,
        "latency_slo_micros",
        slo,
    );
    let features = "number of features is 0, expected 1 to 4000000";
    bad_application(|new| new.features = Some(0), "features", features);
    let features = "number of features is 4000001, expected 1 to 4000000";
    bad_application(|new| new.features = Some(4_000_001), "features", features);
    let output = "default output has 65537 bytes, at most 65536 allowed";
    bad_application(
        |new| new.default_output = "x".repeat(65_537),
        "default_output",
        output,
    );
}

#[test]
fn says_what_is_wrong_with_a_version() {
    for reserved in NAMES_RESERVED_BY_V2 {
        let says = format!(
            "model name '{reserved}' is reserved: it means something else in the Open Inference \
             Protocol, choose another one"
        );
        bad_version(|new| new.model = reserved.to_owned(), "model", &says);
    }
    let labels = "labels has 65 entries, at most 64 allowed";
    bad_version(|new| new.labels = vec![String::new(); 65], "labels", labels);
    let label = "label has 257 bytes, at most 256 allowed";
    bad_version(|new| new.labels = vec!["x".repeat(257)], "labels", label);
    let label = "Invalid label supplied: a:b. Contains one of: ',', ':'";
    bad_version(|new| new.labels = owned(&["ok", "a:b"]), "labels", label);
    let container = "container name has 1025 bytes, at most 1024 allowed";
    bad_version(
        |new| new.container_name = "x".repeat(1025),
        "container_name",
        container,
    );
    let path = "model data path has 1025 bytes, at most 1024 allowed";
    bad_version(
        |new| new.model_data_path = "x".repeat(1025),
        "model_data_path",
        path,
    );
    let adaptive = |size| Batching::adaptive(Some(size));
    let size = "batch size is 0, expected 1 to 65536";
    bad_version(|new| new.batching = adaptive(0), "batching", size);
    let size = "batch size is 65537, expected 1 to 65536";
    bad_version(|new| new.batching = adaptive(65_537), "batching", size);
    let wait = Batching::Fixed {
        size: 1,
        wait_micros: 600_000_001,
    };
    let says = "wait for a batch in microseconds is 600000001, expected 0 to 600000000";
    bad_version(|new| new.batching = wait.clone(), "batching", says);
}

#[test]
fn says_what_is_wrong_with_a_command() {
    bad_command(
        Vec::new(),
        "command is empty, expected a program and its arguments",
    );
    bad_command(
        owned(&["", "x"]),
        "command is empty, expected a program and its arguments",
    );
    bad_command(
        vec!["x".to_owned(); 257],
        "command has 257 arguments, at most 256 allowed",
    );
    bad_command(
        owned(&["p", "a\0b"]),
        "command holds a zero byte in argument 1",
    );
    let says = "command has 131073 bytes, at most 131072 allowed";
    bad_command(vec!["x".repeat(131_072)], says);
}

#[test]
fn takes_requests_at_their_limits() {
    let mut world = World::default();
    let largest = NewApplication {
        features: Some(FEATURES_MAX),
        latency_slo_micros: 600_000_000,
        default_output: "x".repeat(DEFAULT_OUTPUT_BYTES_MAX),
        ..application(&"a".repeat(63))
    };
    world
        .run(|state| add_application(state, &largest))
        .expect("within the limits");
    let largest = NewVersion {
        labels: vec!["x".repeat(LABEL_BYTES_MAX); LABELS_MAX],
        container_name: "x".repeat(PLACE_BYTES_MAX),
        model_data_path: "x".repeat(PLACE_BYTES_MAX),
        batching: Batching::Fixed {
            size: BATCH_ROWS_MAX,
            wait_micros: 0,
        },
        ..version("m", "1")
    };
    world
        .run(|state| add_model_version(state, &largest))
        .expect("within the limits");
    let largest = Deployment {
        command: vec!["x".repeat(COMMAND_BYTES_MAX / COMMAND_ARGS_MAX - 1); COMMAND_ARGS_MAX],
        ..deployment("m", "1", REPLICAS_MAX)
    };
    world.deploy(&largest).expect("within the limits");
}

#[test]
fn reads_batch_sizes_as_clipper_does() {
    let some = |size| Batching::adaptive(Some(size));
    assert_eq!(
        batching_of_clipper(-1).expect("adaptive"),
        Batching::default()
    );
    assert_eq!(batching_of_clipper(1).expect("a maximum"), some(1));
    assert_eq!(
        batching_of_clipper(65_536).expect("a maximum"),
        some(65_536)
    );
    for bad in [0, -2, i64::MIN] {
        let error = batching_of_clipper(bad).expect_err("no batch size");
        assert!(matches!(error, ControlError::BatchSize), "{error}");
    }
    for bad in [65_537, 1 << 32, i64::MAX] {
        let error = batching_of_clipper(bad).expect_err("too many rows");
        assert!(matches!(error, ControlError::OutOfRange { .. }), "{error}");
    }
}

#[test]
fn makes_a_new_version_current_at_once() {
    let mut world = World::with(&[], &[("m", "1", D), ("m", "2", D)]);
    assert_eq!(world.line("m"), ["2", "1"]);
    world.add("m", "0", D).expect("a new version");
    assert_eq!(world.line("m"), ["0", "2", "1"]);
}

#[test]
fn keeps_each_earlier_version_once() {
    let mut world = World::with(&[], &[("m", "1", D), ("m", "2", D), ("m", "3", D)]);
    for version in ["1", "1", "2", "1"] {
        world.set("m", version).expect("it exists");
    }
    assert_eq!(world.line("m"), ["1", "2", "3"]);
}

#[test]
fn rolls_back_and_returns() {
    let mut world = World::with(&[], &[("m", "1", D), ("m", "2", D), ("m", "3", D)]);
    assert_eq!(world.rollback("m").expect("an earlier version"), "2");
    assert_eq!(world.line("m"), ["2", "3", "1"]);
    assert_eq!(world.rollback("m").expect("an earlier version"), "3");
    world.remove("m", "2").expect("it exists");
    assert_eq!(world.rollback("m").expect("an earlier version"), "1");
    world.remove("m", "3").expect("it exists");
    let says = "model 'm' has no earlier version to roll back to";
    refused(world.rollback("m"), Kind::Conflict, "model", says);
    refused(
        world.rollback("x"),
        Kind::NotFound,
        "model",
        "model 'x' does not exist",
    );
}

#[test]
fn removing_the_current_version_makes_the_one_before_current() {
    let mut world = World::with(&[], &[("m", "1", D), ("m", "2", D), ("m", "3", D)]);
    world.remove("m", "2").expect("it exists");
    assert_eq!(world.line("m"), ["3", "1"]);
    world.remove("m", "3").expect("it exists");
    assert_eq!(world.line("m"), ["1"]);
    world.remove("m", "1").expect("it exists");
    assert!(world.0.registry.models.is_empty());
}

#[test]
fn a_version_registered_again_has_a_new_generation() {
    let mut world = World::with(&[], &[("m", "1", D)]);
    let first = world.generation("m", "1");
    world.deploy(&deployment("m", "1", 1)).expect("it exists");
    world.remove("m", "1").expect("it exists");
    assert!(world.0.deployments.is_empty());
    world.add("m", "1", I).expect("it is new again");
    assert!(world.generation("m", "1") > first);
}

#[test]
fn links_outlive_the_models_versions() {
    let mut world = World::with(&[("a", D)], &[("m", "1", D)]);
    world.link("a", &["m"]).expect("a new link");
    world
        .run(|state| remove_model(state, "m"))
        .expect("it exists");
    assert_eq!(
        linked_models(&world.0.registry.applications, "a").expect("it exists"),
        [name("m")]
    );
    let refusal = world.add("m", "1", I).expect_err("the link wants doubles");
    assert!(matches!(refusal, ControlError::VersionIncompatible { .. }));
    world.add("m", "1", D).expect("it is new again");
    world.unlink("a", &["m"]).expect("the link exists");
    world.unlink("a", &[]).expect("nothing to do");
}

#[test]
fn versions_that_do_not_fit_a_link_never_become_current() {
    let mut world = World::with(&[("a", D)], &[("m", "1", I), ("m", "2", D)]);
    world.link("a", &["m"]).expect("a new link");
    assert_eq!(world.line("m"), ["2"], "version 1 left the history");
    let says = "version '1' of model 'm' takes integers, but application 'a', which is linked to \
                it, takes doubles";
    refused(world.set("m", "1"), Kind::Conflict, "version", says);
    world.remove("m", "2").expect("it exists");
    assert!(world.line("m").is_empty(), "no version fits");
    let scaled = world.run(|state| scale(state, "m", None, 1));
    let says = "model 'm' has no current version; name one";
    refused(scaled, Kind::Conflict, "version", says);
    world.add_application("b", I).expect("a new application");
    let says = "model 'm' has no current version; set one first";
    refused(world.link("b", &["m"]), Kind::Conflict, "models", says);
    world.unlink("a", &["m"]).expect("the link exists");
    world.set("m", "1").expect("nothing is linked any more");
}

#[test]
fn deploys_early_what_is_registered_later() {
    let mut world = World::default();
    let early = deployment("m", "1", 2);
    world
        .run(|state| deploy_early(state, &early))
        .expect("it waits");
    world
        .run(|state| scale(state, "m", Some("1"), 3))
        .expect("it is deployed");
    assert_eq!(world.0.early_deployments().count(), 1);
    let too_many = world.run(|state| deploy_early(state, &deployment("m", "1", 129)));
    let says = "number of replicas is 129, expected 0 to 128";
    refused(too_many, Kind::Invalid, "replicas", says);
    world
        .run(|state| undeploy(state, "m", "1"))
        .expect("it is deployed");
    assert!(world.0.deployments.is_empty());
}

#[test]
fn deploys_scales_and_undeploys() {
    let mut world = World::with(&[], &[("m", "1", D), ("m", "2", D)]);
    let says = "model 'm' has no version '3' to deploy; add it first with 'skysail model add'";
    refused(
        world.deploy(&deployment("m", "3", 1)),
        Kind::NotFound,
        "version",
        says,
    );
    let says = "number of replicas is 129, expected 0 to 128";
    refused(
        world.deploy(&deployment("m", "2", 129)),
        Kind::Invalid,
        "replicas",
        says,
    );
    world.deploy(&deployment("m", "2", 1)).expect("it exists");
    world
        .deploy(&deployment("m", "2", 3))
        .expect("a replacement");
    world
        .run(|state| scale(state, "m", None, 0))
        .expect("the current one is deployed");
    assert_eq!(world.0.deployments.len(), 1, "a deployment of none is kept");
    let says = "version '1' of model 'm' is not deployed; use 'skysail deploy' first";
    let scaled = world.run(|state| scale(state, "m", Some("1"), 1));
    refused(scaled, Kind::NotFound, "version", says);
    world
        .run(|state| undeploy(state, "m", "2"))
        .expect("it is deployed");
    assert!(world.0.deployments.is_empty());
}

#[test]
fn refuses_more_replicas_than_the_orchestrator_takes() {
    let mut world = World::default();
    for number in 0..8 {
        let version = number.to_string();
        world.add("m", &version, D).expect("a new version");
        world
            .deploy(&deployment("m", &version, 128))
            .expect("1024 in all");
    }
    world.add("m", "8", D).expect("a new version");
    let says = "there would be 1025 replicas in all, at most 1024 allowed; remove some first";
    refused(
        world.deploy(&deployment("m", "8", 1)),
        Kind::Full,
        "replicas",
        says,
    );
    world.deploy(&deployment("m", "0", 127)).expect("one less");
    world.deploy(&deployment("m", "8", 1)).expect("1024 again");
}

#[test]
fn refuses_more_than_the_limits_of_what_is_registered() {
    let mut world = World::default();
    for number in 0..VERSIONS_MAX {
        world
            .add("m", &number.to_string(), D)
            .expect("there is room");
    }
    let says = "there would be 101 versions of this model, at most 100 allowed; remove some first";
    refused(world.add("m", "x", D), Kind::Full, "version", says);
    // Copies of one record each: a thousand commands would only take longer.
    let model = world.0.model("m").expect("the model").clone();
    world.add_application("a", D).expect("there is room");
    let one = world.0.application("a").expect("the application").clone();
    let registry = std::sync::Arc::make_mut(&mut world.0.registry);
    for number in 1..1_000 {
        let name = name(&format!("n{number}"));
        registry.models.insert(name.clone(), model.clone());
        registry.applications.insert(name, one.clone());
    }
    let says = "there would be 1001 models, at most 1000 allowed; remove some first";
    refused(world.add("x", "1", D), Kind::Full, "model", says);
    let says = "there would be 1001 applications, at most 1000 allowed; remove some first";
    refused(world.add_application("x", D), Kind::Full, "name", says);
}

#[test]
fn query_ids_end_below_2_to_the_53() {
    let mut world = World::default();
    world.0.query_id = QUERY_IDS_END - 10;
    let reserved = world.run(|state| reserve_query_ids(state, 10));
    assert_eq!(
        reserved.expect("ten are left"),
        QUERY_IDS_END - 10..QUERY_IDS_END
    );
    let error = world
        .run(|state| reserve_query_ids(state, 1))
        .expect_err("none is left");
    assert_eq!(
        error.to_string(),
        "query ids are used up: 1 asked for, 0 left"
    );
    let says = "number of query ids is 0, expected 1 to 4294967296";
    let reserved = world.run(|state| reserve_query_ids(state, 0));
    refused(reserved, Kind::Invalid, "count", says);
}
