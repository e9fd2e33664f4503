mod model;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use skysail_core::InputType;
use skysail_core::registry::Batching;

use super::*;
use crate::error::Kind;
use crate::orchestrator::MemoryOrchestrator;
use crate::store::{Change, Contents, FileStore, MemoryStore, Revision, StoreError};

/// A store that can be told to fail.
#[derive(Default)]
struct Fallible {
    inner: MemoryStore,
    next: Mutex<Vec<Fault>>,
    commits: AtomicU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing is written.
    Refuse,
    /// The commit is written, and fails nevertheless.
    WriteAndFail,
    /// Another writer reserves a query id first.
    Overtake,
}

impl Fallible {
    fn fail_next(&self, faults: &[Fault]) {
        self.next
            .lock()
            .expect("no test panics here")
            .extend(faults);
    }

    fn take_fault(&self) -> Option<Fault> {
        let mut next = self.next.lock().expect("no test panics here");
        (!next.is_empty()).then(|| next.remove(0))
    }

    fn failure() -> StoreError {
        StoreError::ReadOnly {
            reason: "a test says so".to_owned(),
        }
    }

    fn overtake(&self) {
        let contents = self.inner.load().expect("memory can be read");
        let next = State::load(&contents).expect("sound records").query_id + 1;
        let change = Change::Put {
            key: "counter/query_id".to_owned(),
            value: next.to_string().into_bytes(),
        };
        self.inner
            .commit(contents.revision, &[change])
            .expect("nobody overtakes");
    }
}

impl Store for Fallible {
    fn load(&self) -> Result<Contents, StoreError> {
        self.inner.load()
    }

    fn commit(&self, expected: Revision, changes: &[Change]) -> Result<Revision, StoreError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        match self.take_fault() {
            Some(Fault::Refuse) => return Err(Fallible::failure()),
            Some(Fault::WriteAndFail) => {
                self.inner.commit(expected, changes)?;
                return Err(Fallible::failure());
            }
            Some(Fault::Overtake) => self.overtake(),
            None => {}
        }
        self.inner.commit(expected, changes)
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.inner.watch()
    }
}

/// A control over stores and orchestrators that tests can look into.
struct Bench {
    store: Arc<Fallible>,
    orchestrator: Arc<MemoryOrchestrator>,
    published: Arc<Mutex<Vec<Arc<Registry>>>>,
    control: Control,
}

impl Bench {
    fn new() -> Bench {
        Bench::over(Arc::default())
    }

    fn over(store: Arc<Fallible>) -> Bench {
        let orchestrator = Arc::new(MemoryOrchestrator::new());
        let published: Arc<Mutex<Vec<_>>> = Arc::default();
        let sink = published.clone();
        let publish = move |registry| sink.lock().expect("no test panics here").push(registry);
        let control = Control::open(store.clone(), orchestrator.clone(), publish);
        Bench {
            store,
            orchestrator,
            published,
            control: control.expect("the store is sound"),
        }
    }

    fn published(&self) -> usize {
        self.published.lock().expect("no test panics here").len()
    }

    /// The latest snapshot that the data plane has.
    fn snapshot(&self) -> Arc<Registry> {
        let published = self.published.lock().expect("no test panics here");
        published
            .last()
            .expect("the first is published at once")
            .clone()
    }
}

fn application(name: &str) -> NewApplication {
    NewApplication {
        guarantee: None,
        name: name.to_owned(),
        input_type: InputType::Doubles,
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
        input_type: InputType::Doubles,
        labels: vec!["label".to_owned()],
        container_name: String::new(),
        model_data_path: String::new(),
        batching: Batching::default(),
    }
}

fn deployment(model: &str, version: &str, replicas: u32) -> Deployment {
    Deployment {
        model: Name::new(model).expect("a name"),
        version: Name::new(version).expect("a name"),
        replicas,
        replicas_before: None,
        command: vec!["program".to_owned(), "--flag".to_owned()],
    }
}

fn launch() -> Launch {
    Launch {
        rpc: "ipc:///run/rpc.sock".to_owned(),
        token_file: Some("/data/join.token".into()),
        log_dir: "/data/logs".into(),
    }
}

#[test]
fn publishes_each_change_before_it_answers() {
    let bench = Bench::new();
    let control = &bench.control;
    assert_eq!(bench.published(), 1, "the first snapshot");
    control.add_application(&application("a")).expect("new");
    assert!(bench.snapshot().applications.contains_key("a"));
    assert!(Arc::ptr_eq(&bench.snapshot(), &control.registry()));
    control.add_model_version(&version("m", "1")).expect("new");
    let before = bench.snapshot();
    control.link_models("a", &["m".to_owned()]).expect("new");
    assert_eq!(control.linked_models("a").expect("it exists").len(), 1);
    assert!(
        before.applications["a"].linked_models.is_empty(),
        "snapshots never change"
    );
    control.remove_application("a").expect("it exists");
    assert!(bench.snapshot().applications.is_empty());
    assert_eq!(bench.published(), 5);
}

#[test]
fn publishes_nothing_that_the_data_plane_does_not_see() {
    let bench = Bench::new();
    bench
        .control
        .add_model_version(&version("m", "1"))
        .expect("new");
    let (published, commits) = (
        bench.published(),
        bench.store.commits.load(Ordering::Relaxed),
    );
    bench.control.set_version("m", "1").expect("it is current");
    bench.control.reserve_query_ids(5).expect("ids are left");
    bench
        .control
        .deploy(&deployment("m", "1", 1))
        .expect("it exists");
    bench
        .control
        .set_version("m", "2")
        .expect_err("it does not exist");
    assert_eq!(bench.published(), published);
    assert_eq!(bench.store.commits.load(Ordering::Relaxed), commits + 3);
}

#[test]
fn changes_nothing_where_the_store_fails() {
    let bench = Bench::new();
    bench
        .control
        .add_application(&application("a"))
        .expect("new");
    bench.store.fail_next(&[Fault::Refuse]);
    let error = bench
        .control
        .remove_application("a")
        .expect_err("the store fails");
    assert_eq!((error.kind(), error.field()), (Kind::Unavailable, None));
    assert!(bench.control.registry().applications.contains_key("a"));
    assert_eq!(bench.published(), 2);
    bench
        .control
        .remove_application("a")
        .expect("the store works again");
}

#[test]
fn learns_of_a_commit_that_was_written_though_it_failed() {
    let bench = Bench::new();
    bench.store.fail_next(&[Fault::WriteAndFail]);
    bench
        .control
        .add_application(&application("a"))
        .expect_err("the outcome is unknown");
    let error = bench
        .control
        .add_application(&application("a"))
        .expect_err("it was written");
    assert_eq!(error.kind(), Kind::AlreadyExists);
    assert!(bench.snapshot().applications.contains_key("a"));
    bench.store.fail_next(&[Fault::WriteAndFail]);
    bench
        .control
        .add_application(&application("b"))
        .expect_err("the outcome is unknown");
    bench
        .control
        .remove_application("b")
        .expect("it was written");
    bench.store.fail_next(&[Fault::WriteAndFail]);
    bench
        .control
        .reserve_query_ids(10)
        .expect_err("the outcome is unknown");
    assert_eq!(
        bench.control.reserve_query_ids(10).expect("ids are left"),
        10..20
    );
}

#[test]
fn decides_anew_where_another_writer_was_first() {
    let bench = Bench::new();
    let other = Bench::over(bench.store.clone());
    other
        .control
        .add_application(&application("a"))
        .expect("new");
    let error = bench
        .control
        .add_application(&application("a"))
        .expect_err("the other was first");
    assert_eq!(error.kind(), Kind::AlreadyExists);
    assert!(
        bench.snapshot().applications.contains_key("a"),
        "reloaded and published"
    );
    other
        .control
        .add_application(&application("b"))
        .expect("new");
    bench
        .control
        .remove_application("b")
        .expect("seen after a reload");
    assert_eq!(
        other.control.reserve_query_ids(3).expect("ids are left"),
        0..3
    );
    assert_eq!(
        bench.control.reserve_query_ids(3).expect("ids are left"),
        3..6
    );
}

#[test]
fn gives_up_after_a_bounded_number_of_conflicts() {
    let bench = Bench::new();
    bench
        .store
        .fail_next(&[Fault::Overtake; COMMIT_TRIES_MAX as usize]);
    let error = bench
        .control
        .add_application(&application("a"))
        .expect_err("others are always first");
    assert!(matches!(
        error,
        ControlError::Contended {
            tries: COMMIT_TRIES_MAX
        }
    ));
    assert_eq!(error.kind(), Kind::Unavailable);
    bench
        .store
        .fail_next(&[Fault::Overtake; COMMIT_TRIES_MAX as usize - 1]);
    bench
        .control
        .add_application(&application("a"))
        .expect("the last try");
}

#[test]
fn applies_nothing_before_the_launch() {
    let bench = Bench::new();
    bench
        .control
        .add_model_version(&version("m", "1"))
        .expect("new");
    bench
        .control
        .deploy(&deployment("m", "1", 2))
        .expect("it exists");
    assert!(bench.orchestrator.applied().is_empty());
    assert!(bench.control.processes().is_empty());
    bench
        .control
        .launch(launch())
        .expect("the orchestrator works");
    assert_eq!(bench.control.processes().len(), 2);
    bench.control.scale("m", None, 3).expect("it is deployed");
    assert_eq!(bench.control.processes().len(), 3);
}

#[test]
fn an_early_deployment_waits_for_its_version() {
    let bench = Bench::new();
    bench
        .control
        .launch(launch())
        .expect("the orchestrator works");
    bench
        .control
        .deploy_early(&deployment("m", "1", 2))
        .expect("it waits");
    assert!(bench.control.processes().is_empty());
    assert_eq!(bench.control.early_deployments().len(), 1);
    bench
        .control
        .add_model_version(&version("m", "1"))
        .expect("new");
    assert_eq!(bench.control.processes().len(), 2);
    assert!(bench.control.early_deployments().is_empty());
}

#[test]
fn tells_replicas_where_to_connect_and_what_they_are() {
    let bench = Bench::new();
    bench
        .control
        .add_model_version(&version("m", "1"))
        .expect("new");
    bench
        .control
        .deploy(&deployment("m", "1", 2))
        .expect("it exists");
    bench
        .control
        .launch(launch())
        .expect("the orchestrator works");
    let applied = bench.orchestrator.applied();
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let declared = crate::orchestrator::Deployment {
        model: "m".to_owned(),
        version: "1".to_owned(),
        generation: bench.snapshot().models["m"].versions["1"].generation,
        replicas: 2,
        program: "program".into(),
        args: vec!["--flag".to_owned()],
        env: [
            ("SKYSAIL_RPC", "ipc:///run/rpc.sock"),
            ("SKYSAIL_MODEL", "m"),
            ("SKYSAIL_VERSION", "1"),
            ("SKYSAIL_TOKEN_FILE", "/data/join.token"),
        ]
        .map(pair)
        .to_vec(),
        log_dir: "/data/logs/m/1".into(),
    };
    assert_eq!(applied, [vec![declared]]);
}

#[test]
fn as_many_replicas_come_back_as_there_were_also_after_a_restart() {
    let bench = Bench::new();
    let control = &bench.control;
    control.add_model_version(&version("m", "1")).expect("new");
    control
        .deploy(&deployment("m", "1", 3))
        .expect("it is registered");
    for _ in 0..2 {
        control.scale("m", None, 0).expect("it is deployed");
    }
    let control = Bench::over(bench.store.clone()).control;
    for _ in 0..2 {
        control.resume("m", "1").expect("it is deployed");
        assert_eq!(control.deployments(), [deployment("m", "1", 3)]);
    }
    control
        .deploy(&deployment("m", "1", 0))
        .expect("it is registered");
    control.resume("m", "1").expect("it is deployed");
    assert_eq!(control.deployments(), [deployment("m", "1", 1)]);
    let missing = control.resume("m", "2").expect_err("not deployed");
    assert_eq!(missing.kind(), Kind::NotFound);
}

#[test]
fn refuses_a_launch_that_no_replica_can_be_told() {
    use std::os::unix::ffi::OsStrExt;
    let no_text = std::ffi::OsStr::from_bytes(b"/data/\xff");
    for (bad, says) in [
        (
            Launch {
                rpc: String::new(),
                ..launch()
            },
            "endpoint  cannot be passed to replicas: it is empty",
        ),
        (
            Launch {
                rpc: "a\0".to_owned(),
                ..launch()
            },
            "it holds a zero byte",
        ),
        (
            Launch {
                token_file: Some(no_text.into()),
                ..launch()
            },
            "it is not UTF-8",
        ),
    ] {
        let bench = Bench::new();
        let error = bench.control.launch(bad).expect_err(says);
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(bench.orchestrator.applied().is_empty());
    }
}

#[test]
fn stops_the_replicas_of_a_removed_version() {
    let bench = Bench::new();
    bench
        .control
        .launch(launch())
        .expect("the orchestrator works");
    for number in ["1", "2"] {
        bench
            .control
            .add_model_version(&version("m", number))
            .expect("new");
        bench
            .control
            .deploy(&deployment("m", number, 1))
            .expect("it exists");
    }
    bench
        .control
        .remove_model_version("m", "2")
        .expect("it exists");
    let versions: Vec<_> = bench
        .control
        .processes()
        .into_iter()
        .map(|one| one.version)
        .collect();
    assert_eq!(versions, ["1"]);
    bench.control.undeploy("m", "1").expect("it is deployed");
    assert!(bench.control.processes().is_empty());
    assert!(bench.control.deployments().is_empty());
}

fn open(directory: &Path) -> (Control, Arc<MemoryOrchestrator>) {
    let store = FileStore::open(directory).expect("the directory is free");
    let orchestrator = Arc::new(MemoryOrchestrator::new());
    let control = Control::open(Arc::new(store), orchestrator.clone(), drop);
    (control.expect("the records are sound"), orchestrator)
}

fn look(control: &Control) -> String {
    format!("{:?} {:?}", control.registry(), control.deployments())
}

#[test]
fn has_everything_acknowledged_after_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (control, _) = open(directory.path());
    control.add_application(&application("a")).expect("new");
    for number in ["1", "2", "3"] {
        control
            .add_model_version(&version("m", number))
            .expect("new");
        control
            .deploy(&deployment("m", number, 2))
            .expect("it exists");
    }
    control.link_models("a", &["m".to_owned()]).expect("new");
    control.remove_model_version("m", "3").expect("it exists");
    control.scale("m", Some("1"), 0).expect("it is deployed");
    control.rollback("m").expect("an earlier version");
    let generation = control.registry().models["m"].versions["2"].generation;
    let ids = control.reserve_query_ids(1000).expect("ids are left");
    let before = look(&control);
    drop(control);

    let (control, orchestrator) = open(directory.path());
    assert_eq!(look(&control), before);
    assert!(orchestrator.applied().is_empty(), "not before the launch");
    control.launch(launch()).expect("the orchestrator works");
    let replicas: Vec<_> = orchestrator.applied()[0]
        .iter()
        .map(|one| (one.version.clone(), one.replicas))
        .collect();
    assert_eq!(replicas, [("1".to_owned(), 0), ("2".to_owned(), 2)]);
    assert_eq!(
        control.reserve_query_ids(1).expect("ids are left"),
        ids.end..ids.end + 1
    );
    control
        .add_model_version(&version("m", "3"))
        .expect("it is new again");
    let again = control.registry().models["m"].versions["3"].generation;
    assert!(
        again > generation + 1,
        "the removed version's generation is not used again"
    );
}

#[test]
fn refuses_to_start_from_a_record_that_it_cannot_read() {
    for (key, value) in [
        ("application/a", "{"),
        ("later/a", "{}"),
        ("counter/query_id", "\"1\""),
        (
            "deployment/m/1",
            r#"{"model":"m","version":"1","replicas":1,"command":["p"],"gpu":1}"#,
        ),
    ] {
        let store = MemoryStore::new();
        let change = Change::Put {
            key: key.to_owned(),
            value: value.as_bytes().to_vec(),
        };
        store
            .commit(Revision(0), &[change])
            .expect("the store does not look inside");
        let orchestrator = Arc::new(MemoryOrchestrator::new());
        let error = Control::open(Arc::new(store), orchestrator, |_| {
            panic!("nothing to publish")
        })
        .expect_err("a bad record");
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains(&format!("'{key}'")), "{error}");
    }
}

#[test]
fn serialises_commands_of_many_threads() {
    let bench = Bench::new();
    let control = &bench.control;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in 0..25 {
                    let new = version("m", &format!("{thread}-{number}"));
                    control.add_model_version(&new).expect("new");
                }
            });
        }
    });
    let model = bench.snapshot().models["m"].clone();
    assert_eq!((model.versions.len(), model.history.len()), (100, 99));
    let last = model.current_version().expect("one is current").generation;
    assert_eq!(last, 100, "the last to be added is current");
}
