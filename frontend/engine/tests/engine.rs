//! The engine against scripted containers over the memory transport.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use skysail_core::grants::Grant;
use skysail_core::registry::{Adaptive, Application, Batching, Model, ModelVersion, Registry};
use skysail_core::{Cause, Cost, Input, InputType, Name};
use skysail_engine::{Answer, AskError, AskOptions, Engine, Options};
use skysail_monitor::Metrics;
use skysail_rpc::message::{Encoder, Hello, Message, Outcome, Reject, RejectReason, Reply};
use skysail_rpc::session::{ContainerEvent, ContainerSession, Job, Timing};
use skysail_rpc::transport::Link;
use skysail_rpc::transport::memory::{self, MemoryConnector, MemoryLink};
use skysail_rpc::{Cell, ColumnBuilder, Payload, Schema, TensorSpec};

/// Long enough for any machine; a query that takes this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn registry(versions: &[(&str, u64)], current: &str) -> Registry {
    let version = |(version, generation): &(&str, u64)| {
        let registered = ModelVersion {
            idempotent: true,
            model: name("m"),
            version: name(version),
            generation: *generation,
            input_type: InputType::Floats,
            labels: vec![],
            container_name: String::new(),
            model_data_path: String::new(),
            batching: Batching::default(),
        };
        (name(version), Arc::new(registered))
    };
    let model = Model {
        name: name("m"),
        current: Some(name(current)),
        history: versions.iter().map(|(version, _)| name(version)).collect(),
        versions: versions.iter().map(version).collect(),
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

struct Frontend {
    engine: Engine,
    connector: MemoryConnector,
}

impl Frontend {
    fn start(cache_bytes: usize) -> Frontend {
        Frontend::with(Options {
            cache_bytes,
            ..Options::default()
        })
    }

    fn with(options: Options) -> Frontend {
        let (listener, connector) = memory::listen();
        let handle = tokio::runtime::Handle::current();
        let engine = Engine::start(&handle, listener, Arc::new(Metrics::default()), options);
        engine.publish(&registry(&[("1", 1)], "1"));
        Frontend { engine, connector }
    }

    async fn ask_for(&self, value: f32, patience: Duration) -> Answer {
        let route = self.engine.route("app").expect("registered");
        let cell = Cell::fixed(Payload::copy_from_slice(&value.to_le_bytes()));
        let now = Instant::now();
        let to = route.resolve(None).expect("no version is named");
        let answer = self.engine.ask(&to, Input::single(cell), now + patience);
        answer.await.expect("a right query")
    }

    async fn ask(&self, value: f32) -> Answer {
        self.ask_for(value, PATIENCE).await
    }

    async fn until(&self, what: impl Fn(&Engine) -> bool) {
        let wait = async {
            while !what(&self.engine) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("it comes about");
    }

    async fn container(&self, version: &str) -> Container {
        let before = self.engine.replicas().len();
        let container = Container::start(&self.connector, version);
        self.until(|engine| engine.replicas().len() > before).await;
        container
    }
}

fn prediction(answer: &Answer) -> f32 {
    match answer {
        Answer::Prediction(p) => p.output.cells[0].data().as_slice::<f32>().expect("f32")[0],
        Answer::Default(failure) => panic!("a prediction, not {failure:?}"),
    }
}

fn cause(answer: &Answer) -> Cause {
    match answer {
        Answer::Default(failure) => failure.cause,
        Answer::Prediction(prediction) => panic!("a default, not {prediction:?}"),
    }
}

/// What a scripted container does with the next batch.
enum Do {
    /// Doubles every input.
    Double,
    /// Fails the batch.
    Fail,
    /// Never answers, but lives on.
    Nothing,
    /// Hangs up.
    HangUp,
    /// Sends this instead of a reply.
    Say(fn(&Job) -> Message),
}

/// A container on a thread, which doubles inputs unless a script says otherwise.
struct Container {
    script: mpsc::Sender<Do>,
    batches: mpsc::Receiver<Vec<f32>>,
    rejected: mpsc::Receiver<Reject>,
}

fn schema() -> Schema {
    let spec = |name, text| TensorSpec::parse(name, text).expect("valid");
    Schema {
        inputs: vec![spec("x", "f32")],
        outputs: vec![spec("y", "f32")],
    }
}

impl Container {
    fn start(connector: &MemoryConnector, version: &str) -> Container {
        Container::over(connector.connect().expect("listening"), version)
    }

    fn over(link: MemoryLink, version: &str) -> Container {
        let (script, scripted) = mpsc::channel();
        let (seen, batches) = mpsc::channel();
        let (told, rejected) = mpsc::channel();
        let hello = Hello {
            protocol_min: 1,
            protocol_max: 1,
            sdk: "test/1".into(),
            model: "m".into(),
            version: version.into(),
            schema: schema(),
            max_batch: 16,
            slots: 1,
            token: vec![],
            pid: 0,
            host: String::new(),
            spin: Duration::ZERO,
        };
        std::thread::spawn(move || serve(link, hello, &scripted, &seen, &told));
        Container {
            script,
            batches,
            rejected,
        }
    }

    async fn rejection(self) -> Reject {
        let wait = tokio::task::spawn_blocking(move || self.rejected.recv_timeout(PATIENCE));
        wait.await.expect("no panic").expect("told why")
    }

    fn then(&self, what: Do) -> &Container {
        self.script.send(what).expect("running");
        self
    }
}

fn serve(
    mut link: MemoryLink,
    hello: Hello,
    script: &mpsc::Receiver<Do>,
    seen: &mpsc::Sender<Vec<f32>>,
    told: &mpsc::Sender<Reject>,
) {
    let mut encoder = Encoder::default();
    let (mut session, message) = ContainerSession::open(Instant::now(), Timing::default(), hello);
    let mut send = |link: &mut MemoryLink, message: &Message| link.send(&encoder.encode(message));
    if send(&mut link, &message).is_err() {
        return;
    }
    loop {
        let Ok(frame) = link.recv(session.next_timer()) else {
            return;
        };
        let now = Instant::now();
        let Some(frame) = frame else {
            match session.on_timer(now) {
                Ok(Some(message)) => drop(send(&mut link, &message).ok()),
                Ok(None) => {}
                Err(_) => return,
            }
            continue;
        };
        let message = Message::decode(&frame).expect("the engine's message");
        match session
            .on_message(now, message)
            .expect("the engine keeps the protocol")
        {
            ContainerEvent::Rejected(reject) => {
                drop(told.send(reject));
                return;
            }
            ContainerEvent::Job(job) => {
                let inputs = job.columns[0].as_slice::<f32>().expect("f32").to_vec();
                drop(seen.send(inputs));
                let reply = match script.try_recv().unwrap_or(Do::Double) {
                    Do::Double => double(&mut session, &job),
                    Do::Fail => {
                        let outcome = Outcome::Failed {
                            error: "out of luck".into(),
                        };
                        session.reply_without(now, job.batch, outcome, Duration::ZERO)
                    }
                    Do::Nothing => continue,
                    Do::HangUp => return,
                    Do::Say(what) => what(&job),
                };
                if send(&mut link, &reply).is_err() {
                    return;
                }
            }
            _ => {}
        }
    }
}

fn double(session: &mut ContainerSession, job: &Job) -> Message {
    let mut builder = ColumnBuilder::new(&schema().outputs[0], job.rows);
    for value in job.columns[0].as_slice::<f32>().expect("f32") {
        builder.push(&Cell::fixed(Payload::copy_from_slice(
            &(2.0 * value).to_le_bytes(),
        )));
    }
    session.reply(
        Instant::now(),
        job,
        [builder.finish()].into(),
        vec![],
        Duration::ZERO,
    )
}

#[tokio::test]
async fn answers_with_the_models_prediction() {
    let frontend = Frontend::start(0);
    let _container = frontend.container("1").await;
    assert_eq!(prediction(&frontend.ask(21.0).await), 42.0);
    let status = &frontend.engine.replicas()[0];
    assert_eq!(
        (status.model.as_str(), status.state, status.in_flight),
        ("m", "ready", 0)
    );
}

#[tokio::test]
async fn answers_each_row_of_a_batch_with_its_own() {
    let frontend = Frontend::start(0);
    let _container = frontend.container("1").await;
    let ask = |value: u16| frontend.ask(f32::from(value));
    let values: Vec<u16> = (0..500).collect();
    let mut answers = Vec::new();
    for chunk in values.chunks(50) {
        let mut asked: Vec<_> = chunk.iter().map(|value| Box::pin(ask(*value))).collect();
        for (value, asked) in chunk.iter().zip(&mut asked) {
            answers.push((*value, prediction(&asked.await)));
        }
    }
    assert!(
        answers
            .iter()
            .all(|(value, answer)| *answer == 2.0 * f32::from(*value))
    );
}

#[tokio::test]
async fn without_a_replica_it_says_so_at_once() {
    let frontend = Frontend::start(0);
    assert_eq!(cause(&frontend.ask(1.0).await), Cause::NoReplica);
}

#[tokio::test]
async fn a_failed_batch_tells_what_the_model_said() {
    let frontend = Frontend::start(0);
    let container = frontend.container("1").await;
    container.then(Do::Fail);
    let Answer::Default(failure) = frontend.ask(1.0).await else {
        panic!("a default")
    };
    assert_eq!(failure.cause, Cause::ModelError);
    assert_eq!(failure.detail.as_deref(), Some("out of luck"));
    assert_eq!(
        prediction(&frontend.ask(1.0).await),
        2.0,
        "failures are not cached"
    );
}

#[tokio::test]
async fn the_deadline_tells_waiting_from_computing() {
    let frontend = Frontend::start(0);
    let container = frontend.container("1").await;
    container.then(Do::Nothing);
    let computing = frontend.ask_for(1.0, Duration::from_millis(30)).await;
    assert_eq!(cause(&computing), Cause::ExpiredModel);
    let waiting = frontend.ask_for(2.0, Duration::from_millis(30)).await;
    assert_eq!(
        cause(&waiting),
        Cause::ExpiredQueue,
        "the only slot is taken"
    );
}

#[tokio::test]
async fn a_lost_replicas_queries_go_to_another() {
    let frontend = Frontend::start(0);
    let first = frontend.container("1").await;
    let _second = frontend.container("1").await;
    first.then(Do::HangUp);
    for value in [1.0, 2.0, 3.0] {
        let answer = frontend.ask(value).await;
        assert_eq!(prediction(&answer), 2.0 * value);
    }
}

#[tokio::test]
async fn the_last_replicas_queries_are_answered_when_it_goes() {
    let frontend = Frontend::start(0);
    let container = frontend.container("1").await;
    container.then(Do::HangUp);
    assert_eq!(cause(&frontend.ask(1.0).await), Cause::ReplicaLost);
    frontend.until(|engine| engine.replicas().is_empty()).await;
}

/// Each of these ends the session, and its query gets an answer.
#[tokio::test]
async fn a_container_that_breaks_the_protocol_is_dropped() {
    fn reply(job: &Job) -> Reply {
        let (batch, outcome, rows) = (job.batch, Outcome::Ok, job.rows as u32);
        let (tensors, row_errors, compute) = (Default::default(), vec![], Duration::ZERO);
        Reply {
            batch,
            outcome,
            rows,
            tensors,
            row_errors,
            compute,
        }
    }
    let lies: [fn(&Job) -> Message; 4] = [
        |job| {
            Message::Reply(Reply {
                batch: skysail_rpc::message::BatchId(99),
                ..reply(job)
            })
        },
        |job| {
            Message::Reply(Reply {
                rows: job.rows as u32 + 1,
                ..reply(job)
            })
        },
        |job| Message::Reply(reply(job)),
        |job| Message::Cancel(job.batch),
    ];
    let frontend = Frontend::start(0);
    for lie in lies {
        let container = frontend.container("1").await;
        container.then(Do::Say(lie));
        assert_eq!(cause(&frontend.ask(1.0).await), Cause::ReplicaLost);
        let reject = container.rejection().await;
        assert!(
            reject.detail.contains("batch") || reject.detail.contains("cancel"),
            "{reject:?}"
        );
        frontend.until(|engine| engine.replicas().is_empty()).await;
    }
}

#[tokio::test]
async fn garbage_is_refused_and_disturbs_nobody() {
    let frontend = Frontend::start(0);
    let _good = frontend.container("1").await;
    let mut stranger = frontend.connector.connect().expect("listening");
    let header = Payload::copy_from_slice(&[0xff; 40]);
    let frame = skysail_rpc::message::Frame {
        header,
        ..Default::default()
    };
    stranger.send(&frame).expect("listening");
    assert_eq!(prediction(&frontend.ask(1.0).await), 2.0);
    let answer = stranger
        .recv(Instant::now() + PATIENCE)
        .expect("open")
        .expect("told");
    assert!(matches!(Message::decode(&answer), Ok(Message::Reject(_))));
}

#[tokio::test]
async fn a_container_of_another_type_is_refused() {
    let frontend = Frontend::start(0);
    let mut link = frontend.connector.connect().expect("listening");
    let mut wrong = schema();
    wrong.inputs[0].datatype = skysail_rpc::DataType::Int64;
    let hello = Hello {
        protocol_min: 1,
        protocol_max: 1,
        sdk: String::new(),
        model: "m".into(),
        version: "1".into(),
        schema: wrong,
        max_batch: 1,
        slots: 1,
        token: vec![],
        pid: 0,
        host: String::new(),
        spin: Duration::ZERO,
    };
    link.send(&Encoder::default().encode(&hello.into()))
        .expect("listening");
    let wait = tokio::task::spawn_blocking(move || link.recv(Instant::now() + PATIENCE));
    let answer = wait.await.expect("no panic").expect("open").expect("told");
    let Ok(Message::Reject(reject)) = Message::decode(&answer) else {
        panic!("a reject")
    };
    assert_eq!(
        reject.detail,
        "the model is registered with input type floats (f32), the container is (x: i64) -> (y: f32)"
    );
}

/// PROTOCOL 4.4
#[tokio::test]
async fn a_key_registers_the_models_that_it_may_and_needs_no_token() {
    let grant = |key, models: &str| (name(key), Grant::of([models]).expect("a grant"));
    let options = Options {
        join_token: Some(b"secret".to_vec()),
        cache_bytes: 0,
        ..Options::default()
    };
    let grants = options.grants.clone();
    grants.store(Arc::new(
        [grant("all", "*"), grant("other", "n")]
            .into_iter()
            .collect(),
    ));
    let frontend = Frontend::with(options);
    let with_key = |key| {
        let link = frontend.connector.connect_with_key(key);
        Container::over(link.expect("listening"), "1")
    };
    for key in ["other", "unknown"] {
        let reject = with_key(key).rejection().await;
        assert_eq!(reject.reason, RejectReason::BadToken);
        assert_eq!(
            reject.detail,
            format!("key '{key}' may not register model 'm'")
        );
        assert_eq!(
            cause(&frontend.ask(1.0).await),
            Cause::NoReplica,
            "it saw no input"
        );
    }
    let allowed = with_key("all");
    frontend.until(|engine| engine.replicas().len() == 1).await;
    assert_eq!(prediction(&frontend.ask(1.0).await), 2.0);
    // What is granted counts when a session begins.
    grants.store(Arc::default());
    assert_eq!(
        with_key("all").rejection().await.reason,
        RejectReason::BadToken
    );
    assert_eq!(prediction(&frontend.ask(2.0).await), 4.0);
    drop(allowed);
}

#[tokio::test]
async fn equal_queries_are_asked_once_and_then_cached() {
    let frontend = Frontend::start(1 << 20);
    let container = frontend.container("1").await;
    let answers = tokio::join!(frontend.ask(7.0), frontend.ask(7.0), frontend.ask(7.0));
    assert_eq!(
        [
            prediction(&answers.0),
            prediction(&answers.1),
            prediction(&answers.2)
        ],
        [14.0; 3]
    );
    let Answer::Prediction(again) = frontend.ask(7.0).await else {
        panic!("a prediction")
    };
    assert!(again.cached);
    assert_eq!(
        container.batches.try_iter().flatten().collect::<Vec<_>>(),
        [7.0]
    );
}

/// A replica that took an input and hangs must not make that input unanswerable.
#[tokio::test]
async fn a_hung_replicas_input_is_answered_by_another() {
    let frontend = Frontend::start(1 << 20);
    let hung = frontend.container("1").await;
    hung.then(Do::Nothing);
    let first = frontend.ask_for(5.0, Duration::from_millis(30)).await;
    assert_eq!(cause(&first), Cause::ExpiredModel);
    let _healthy = frontend.container("1").await;
    assert_eq!(prediction(&frontend.ask(5.0).await), 10.0);
}

/// Registered, but nothing links it yet: its containers are held to the registration.
#[tokio::test]
async fn a_version_without_an_application_is_known_all_the_same() {
    let frontend = Frontend::start(0);
    let mut unlinked = registry(&[("1", 1)], "1");
    unlinked.applications.clear();
    frontend.engine.publish(&unlinked);
    let container = frontend.container("1").await;
    frontend.engine.publish(&Registry::default());
    assert_eq!(
        container.rejection().await.detail,
        "it is no longer registered"
    );
}

/// The wait for a full batch ends by itself.
#[tokio::test]
async fn a_fixed_batch_goes_when_its_wait_is_over() {
    let frontend = Frontend::start(0);
    let mut fixed = registry(&[("1", 2)], "1");
    let model = Arc::make_mut(fixed.models.get_mut("m").expect("registered"));
    let version = Arc::make_mut(model.versions.get_mut("1").expect("registered"));
    version.batching = Batching::Fixed {
        size: 3,
        wait_micros: 20_000,
    };
    frontend.engine.publish(&Registry::default());
    frontend.engine.publish(&fixed);
    let container = frontend.container("1").await;
    let (one, two) = tokio::join!(frontend.ask(1.0), frontend.ask(2.0));
    assert_eq!((prediction(&one), prediction(&two)), (2.0, 4.0));
    let batches: Vec<_> = container.batches.try_iter().collect();
    assert_eq!(batches, [[1.0, 2.0]], "they waited for each other");
}

/// The one that it joined is with the model when its time is over; this one has time left.
#[tokio::test]
async fn whoever_joined_a_query_that_expired_in_the_model_asks_again() {
    let frontend = Frontend::start(1 << 20);
    let first = frontend.container("1").await;
    first.then(Do::Nothing);
    let short = frontend.ask_for(1.0, Duration::from_millis(50));
    let long = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        frontend.ask(1.0).await
    };
    let other = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        frontend.container("1").await
    };
    let (short, long, _other) = tokio::join!(short, long, other);
    assert_eq!(cause(&short), Cause::ExpiredModel);
    assert_eq!(prediction(&long), 2.0);
}

/// A query that joined one that ran out of time is not lost with it.
#[tokio::test]
async fn queries_are_measured_as_their_version_says() {
    let frontend = Frontend::start(0);
    let mut measured = registry(&[("1", 2)], "1");
    let model = Arc::make_mut(measured.models.get_mut("m").expect("registered"));
    let version = Arc::make_mut(model.versions.get_mut("1").expect("registered"));
    version.batching = Batching::Adaptive(Adaptive {
        cost: Cost::Bytes,
        ..Adaptive::default()
    });
    frontend.engine.publish(&measured);
    let _container = frontend.container("1").await;
    assert_eq!(prediction(&frontend.ask(3.0).await), 6.0);
    let standing = &frontend.engine.standings()[0];
    assert_eq!(standing.report.cost_mean, 4.0, "an f32 is four bytes");
    let situation = standing.situation(PATIENCE).expect("a batch was seen");
    assert!(situation.capacity().rate > 0.0);
}

#[tokio::test]
async fn whoever_joined_a_query_that_expired_asks_again() {
    let frontend = Frontend::start(1 << 20);
    let container = frontend.container("1").await;
    container.then(Do::Nothing);
    let hog = frontend.ask_for(1.0, Duration::from_millis(60));
    let hurried = frontend.ask_for(2.0, Duration::from_millis(20));
    let patient = frontend.ask(2.0);
    let rescue = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        frontend.container("1").await
    };
    let (hog, hurried, patient, _rescuer) = tokio::join!(hog, hurried, patient, rescue);
    assert_eq!(
        (cause(&hog), cause(&hurried)),
        (Cause::ExpiredModel, Cause::ExpiredQueue)
    );
    assert_eq!(prediction(&patient), 4.0);
}

#[tokio::test]
async fn the_version_before_answers_until_the_new_one_is_ready() {
    let frontend = Frontend::start(1 << 20);
    let _one = frontend.container("1").await;
    frontend
        .engine
        .publish(&registry(&[("1", 1), ("2", 2)], "2"));
    let Answer::Prediction(answer) = frontend.ask(1.0).await else {
        panic!("a prediction")
    };
    assert_eq!(answer.version.version.as_str(), "1");
    let _two = frontend.container("2").await;
    let Answer::Prediction(answer) = frontend.ask(1.0).await else {
        panic!("a prediction")
    };
    assert_eq!(
        (answer.version.version.as_str(), answer.cached),
        ("2", false)
    );
}

#[tokio::test]
async fn a_removed_version_answers_nothing_more() {
    let frontend = Frontend::start(1 << 20);
    let container = frontend.container("1").await;
    assert_eq!(prediction(&frontend.ask(3.0).await), 6.0);
    frontend.engine.publish(&Registry::default());
    assert!(frontend.engine.route("app").is_none());
    let reject = container.rejection().await;
    let says = (RejectReason::Removed, "it is no longer registered");
    assert_eq!((reject.reason, reject.detail.as_str()), says);
    frontend.engine.publish(&registry(&[("1", 9)], "1"));
    assert_eq!(
        cause(&frontend.ask(3.0).await),
        Cause::NoReplica,
        "not the old cached answer"
    );
}

#[tokio::test]
async fn a_query_of_the_wrong_shape_or_version_is_refused() {
    let frontend = Frontend::start(0);
    let _container = frontend.container("1").await;
    let route = frontend.engine.route("app").expect("registered");
    let now = Instant::now();
    let cell = Cell::fixed(Payload::copy_from_slice(&[0; 8]));
    let to = route.resolve(None).expect("no version is named");
    let ask = frontend
        .engine
        .ask(&to, Input::single(cell), now + PATIENCE);
    let wrong = ask.await.expect_err("8 bytes");
    assert_eq!(wrong.to_string(), "tensor 'x' has 8 bytes, 4 expected");
    let wrong = route.resolve(Some("7")).expect_err("no version 7");
    assert!(matches!(wrong, AskError::UnknownVersion { .. }));
}

#[tokio::test]
async fn draining_answers_everything_and_lets_the_containers_go() {
    let frontend = Frontend::start(0);
    let container = frontend.container("1").await;
    container.then(Do::Nothing);
    let asked = async {
        tokio::join!(
            frontend.ask_for(1.0, Duration::from_millis(50)),
            frontend.ask(2.0),
            async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                frontend.engine.drain();
            }
        )
    };
    let (_, waiting, ()) = tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| {
            panic!("what waits is answered when draining begins");
        });
    assert_eq!(cause(&waiting), Cause::Draining);
    assert_eq!(cause(&frontend.ask(3.0).await), Cause::Draining);
}

/// The input of a query.
fn input(value: f32) -> Input {
    Input::single(Cell::fixed(Payload::copy_from_slice(&value.to_le_bytes())))
}

#[tokio::test]
async fn the_queries_of_one_request_go_together() {
    let frontend = Frontend::start(1 << 20);
    // The learned sizes begin with one row.
    let mut eager = registry(&[("1", 2)], "1");
    let model = Arc::make_mut(eager.models.get_mut("m").expect("registered"));
    let version = Arc::make_mut(model.versions.get_mut("1").expect("registered"));
    version.batching = Batching::Fixed {
        size: 8,
        wait_micros: 0,
    };
    frontend.engine.publish(&eager);
    let container = frontend.container("1").await;
    assert_eq!(prediction(&frontend.ask(3.0).await), 6.0);
    assert_eq!(container.batches.recv(), Ok(vec![3.0]));
    let to = frontend.engine.route("app").expect("registered");
    let to = to.resolve(None).expect("no version is named");
    let inputs = [1.0, 2.0, 3.0, 4.0].map(input).to_vec();
    let answers = frontend
        .engine
        .ask_all(&to, inputs, Instant::now() + PATIENCE);
    let answers = answers.await.expect("right queries");
    let predictions: Vec<_> = answers.iter().map(prediction).collect();
    assert_eq!(
        predictions,
        [2.0, 4.0, 6.0, 8.0],
        "in the order of the request"
    );
    // The third was there already.
    assert_eq!(container.batches.recv(), Ok(vec![1.0, 2.0, 4.0]));
    let wrong = Input::single(Cell::default());
    let refused = frontend
        .engine
        .ask_all(&to, vec![input(5.0), wrong], Instant::now() + PATIENCE);
    assert!(refused.await.is_err());
    assert!(
        container.batches.try_recv().is_err(),
        "none of them is asked"
    );
    let nothing = frontend
        .engine
        .ask_all(&to, vec![], Instant::now() + PATIENCE);
    assert!(nothing.await.expect("right").is_empty());
}

#[tokio::test]
async fn a_model_is_asked_by_its_own_name_and_has_no_default() {
    let frontend = Frontend::with(Options {
        model_slo: Duration::from_secs(7),
        ..Options::default()
    });
    assert!(
        frontend.engine.model_route("app").is_none(),
        "an application is no model"
    );
    let route = frontend.engine.model_route("m").expect("registered");
    assert!(route.is_direct && route.app.slo() == Duration::from_secs(7));
    assert_eq!(route.model().map(Name::as_str), Some("m"));
    let to = route.resolve(Some("1")).expect("there");
    assert!(!to.is_serving() && route.resolve(Some("2")).is_err());
    let _container = frontend.container("1").await;
    let to = route.resolve(None).expect("there");
    assert!(to.is_serving() && to.is_only_row(1) && !to.is_only_row(2));
    let answer = frontend
        .engine
        .ask(&to, input(4.0), Instant::now() + PATIENCE);
    assert_eq!(prediction(&answer.await.expect("right")), 8.0);
    route.record(Ok(()), Instant::now());
    assert!(frontend.engine.metrics_text().contains("app=\"model:m\""));
    frontend.engine.publish(&Registry::default());
    assert!(frontend.engine.model_route("m").is_none());
    assert!(!frontend.engine.metrics_text().contains("app=\"model:m\""));
}

#[tokio::test]
async fn a_query_may_pass_the_cache_by() {
    let frontend = Frontend::start(1 << 20);
    let container = frontend.container("1").await;
    assert_eq!(prediction(&frontend.ask(3.0).await), 6.0);
    let to = frontend.engine.route("app").expect("registered");
    let to = to.resolve(None).expect("no version is named");
    let anew = AskOptions {
        cache: false,
        ..AskOptions::from(Instant::now() + PATIENCE)
    };
    let answer = frontend.engine.ask(&to, input(3.0), anew).await;
    let Ok(Answer::Prediction(answer)) = answer else {
        panic!("a prediction")
    };
    assert!(!answer.cached);
    assert_eq!(
        container.batches.iter().take(2).collect::<Vec<_>>(),
        [[3.0], [3.0]]
    );
}

#[tokio::test]
async fn a_container_that_came_for_the_new_registration_stays() {
    let frontend = Frontend::start(0);
    let mut last = None;
    for generation in 2..10 {
        // Nobody waits for the task that ends the sessions of the old one.
        frontend
            .engine
            .publish(&registry(&[("1", generation)], "1"));
        let _container = Container::start(&frontend.connector, "1");
        let newest = |engine: &Engine| engine.replicas().iter().map(|one| one.id).max();
        frontend.until(|engine| newest(engine) > last).await;
        last = newest(&frontend.engine);
        assert_eq!(prediction(&frontend.ask(3.0).await), 6.0);
    }
}

#[tokio::test]
async fn a_container_that_came_before_its_registration_goes_with_it() {
    let frontend = Frontend::start(0);
    frontend.engine.publish(&Registry::default());
    let early = frontend.container("1").await;
    frontend.engine.publish(&registry(&[("1", 5)], "1"));
    assert_eq!(prediction(&frontend.ask(3.0).await), 6.0);
    frontend.engine.publish(&Registry::default());
    assert_eq!(early.rejection().await.reason, RejectReason::Removed);
    frontend.engine.publish(&registry(&[("1", 6)], "1"));
    frontend.until(|engine| engine.replicas().is_empty()).await;
    let _next = frontend.container("1").await;
    assert_eq!(prediction(&frontend.ask(3.0).await), 6.0);
}
