//! An engine on an ipc socket and a real container on a thread, both in this process.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use skysail_container::{Batch, Ctx, Model, Options as ContainerOptions, Outputs, Runner};
use skysail_container::{Result, Signature, Stop};
use skysail_core::registry::{Application, Batching, Model as Registered, ModelVersion, Registry};
use skysail_core::{Input, InputType, Name};
use skysail_engine::{Answer, Engine, Options, Resolved};
use skysail_monitor::Metrics;
use skysail_rpc::transport::zmq::{self, ZmqListener};
use skysail_rpc::{Cell, DataType};

/// Long enough for any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Numbers of a row.
pub(crate) const WIDTH: usize = 784;
/// Bytes of a row.
pub(crate) const ROW_BYTES: u64 = 4 * WIDTH as u64;

/// Adds up each row.
pub(crate) struct Sum;

impl Model for Sum {
    fn signature() -> Signature {
        Signature::new()
            .input("x", "f32[784]")
            .output("y", "f32")
            .max_batch(64)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Sum)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let rows = batch.f32("x")?.chunks(WIDTH);
        for (x, y) in rows.zip(out.f32_mut("y")?) {
            *y = x.iter().sum();
        }
        Ok(())
    }
}

/// An engine, and where its containers connect.
pub(crate) struct Rig {
    pub(crate) engine: Engine,
    directory: tempfile::TempDir,
    containers: Vec<(Stop, JoinHandle<()>)>,
}

impl Rig {
    /// An engine on this runtime, with application `app` and model `m`.
    pub(crate) fn start(cache_bytes: usize) -> Rig {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = ZmqListener::bind(&[endpoint(directory.path())]).expect("bound");
        let options = Options {
            cache_bytes,
            ..Options::default()
        };
        let handle = tokio::runtime::Handle::current();
        let engine = Engine::start(&handle, listener, Arc::new(Metrics::default()), options);
        engine.publish(&registry());
        Rig {
            engine,
            directory,
            containers: Vec::new(),
        }
    }

    /// Connects a container; waits until batches travel by `transport`.
    pub(crate) async fn container(&mut self, shared_memory: bool) {
        let endpoint = endpoint(self.directory.path());
        let mut options = ContainerOptions::named("m", "1");
        options.rpc = Some(endpoint.clone());
        options.shared_memory = shared_memory;
        options.path = PathBuf::from(".");
        let mut runner = Runner::<Sum>::new(&options).expect("a model");
        let stop = runner.stop();
        let serve = move || {
            runner
                .serve_over(|| zmq::connect(&endpoint))
                .expect("welcome");
        };
        self.containers.push((stop, std::thread::spawn(serve)));
        let transport = if shared_memory { "shm" } else { "ipc" };
        let expected = self.containers.len();
        self.until(|engine| {
            let replicas = engine.replicas();
            let right = replicas.iter().filter(|r| r.transport == transport);
            right.count() == expected
        })
        .await;
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: impl Fn(&Engine) -> bool) {
        let wait = async {
            while !what(&self.engine) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("it comes about");
    }

    /// Where queries go.
    pub(crate) fn resolve(&self) -> Resolved {
        let route = self.engine.route("app").expect("registered");
        route.resolve(None).expect("no version is named")
    }

    /// Asks for the sum of `value` and zeros.
    pub(crate) async fn ask(&self, value: f32) -> f32 {
        let to = self.resolve();
        let now = Instant::now();
        let answer = self.engine.ask(&to, input(&to, value), now + PATIENCE);
        sum(&answer.await.expect("a right query"))
    }

    /// Ends the containers.
    pub(crate) fn stop(self) {
        self.containers.iter().for_each(|(stop, _)| stop.request());
        drop(self.engine);
    }
}

/// A row as a front end reads it: straight into the log.
pub(crate) fn input(to: &Resolved, value: f32) -> Input {
    let mut row = to.row(DataType::Fp32);
    let numbers = &mut row.spare_mut::<f32>(WIDTH)[..WIDTH];
    numbers.fill(0.0);
    numbers[0] = value;
    row.advance::<f32>(WIDTH);
    Input::single(Cell::fixed(row.freeze()))
}

pub(crate) fn sum(answer: &Answer) -> f32 {
    match answer {
        Answer::Prediction(p) => p.output.cells[0].data().as_slice::<f32>().expect("f32")[0],
        Answer::Default(failure) => panic!("a prediction, not {failure:?}"),
    }
}

fn endpoint(directory: &Path) -> String {
    format!("ipc://{}/rpc.sock", directory.display())
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn registry() -> Registry {
    let version = ModelVersion {
        idempotent: true,
        model: name("m"),
        version: name("1"),
        generation: 1,
        input_type: InputType::Floats,
        labels: vec![],
        container_name: String::new(),
        model_data_path: String::new(),
        batching: Batching::default(),
    };
    let model = Registered {
        name: name("m"),
        current: Some(name("1")),
        history: vec![name("1")],
        versions: BTreeMap::from([(name("1"), Arc::new(version))]),
    };
    let app = Application {
        guarantee: None,
        name: name("app"),
        input_type: InputType::Floats,
        features: None,
        latency_slo_micros: 20_000,
        default_output: "-1".into(),
        linked_models: vec![name("m")],
    };
    Registry {
        applications: BTreeMap::from([(name("app"), Arc::new(app))]),
        models: BTreeMap::from([(name("m"), Arc::new(model))]),
    }
}
