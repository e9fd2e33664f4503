//! A runner against a front end's session, over the memory transport.

mod frontend;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use frontend::Frontend;
use skysail_container::{
    Batch, Ctx, Lost, Model, Options, Outputs, Result, Runner, SessionEnd, Signature, Stop,
};
use skysail_rpc::message::{Message, Reject, RejectReason};
use skysail_rpc::session::{BatchResult, SessionError, Timing};
use skysail_rpc::transport::memory::{MemoryConnector, MemoryLink};

/// Longer than any machine is slow.
const LONG: Duration = Duration::from_secs(600);

/// Gives its texts back, and does what they say.
struct Obedient {
    gate: Gate,
}

/// Told of each batch that holds `wait`, which then waits to be told to go on.
struct Gate {
    begun: Sender<()>,
    go_on: Receiver<()>,
}

/// Gates by the name of the model that is to take them.
static GATES: Mutex<BTreeMap<String, Gate>> = Mutex::new(BTreeMap::new());

impl Model for Obedient {
    fn signature() -> Signature {
        Signature::new()
            .input("say", "string")
            .output("said", "string")
            .max_batch(8)
    }

    fn load(ctx: &Ctx) -> Result<Self> {
        let gate = GATES.lock().expect("no panic").remove(ctx.model());
        Ok(Obedient {
            gate: gate.ok_or("no gate")?,
        })
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, ctx: &Ctx) -> Result<()> {
        for (row, say) in batch.strings("say")?.enumerate() {
            match say {
                "panic" => panic!("as you wish"),
                "fail" => return Err("as you say".into()),
                "fail row" => {
                    out.fail_row(row, "this row");
                    continue;
                }
                "skip" => continue,
                "time?" => assert!(ctx.remaining() > Duration::ZERO && ctx.remaining() <= LONG),
                "wait" => {
                    self.gate.begun.send(())?;
                    self.gate.go_on.recv()?;
                }
                _ => {}
            }
            out.push_str("said", say)?;
        }
        Ok(())
    }
}

/// A runner on its own thread, and the front end that it talks to.
struct Scene<T> {
    frontend: Frontend,
    begun: Receiver<()>,
    go_on: Sender<()>,
    stop: Stop,
    container: std::thread::JoinHandle<T>,
}

impl<T: Send + 'static> Scene<T> {
    /// `name` is unique among the tests.
    fn new(
        name: &str,
        run: impl FnOnce(Runner<Obedient>, MemoryConnector) -> T + Send + 'static,
    ) -> Self {
        let (frontend, connector) = Frontend::new();
        let (begun, told) = channel();
        let (go_on, wait) = channel();
        let gate = Gate { begun, go_on: wait };
        GATES
            .lock()
            .expect("no panic")
            .insert(name.to_owned(), gate);
        let (send_stop, stop) = channel();
        let mut options = Options::named(name, "1");
        options.slots = 2;
        let container = std::thread::spawn(move || {
            let runner = Runner::new(&options).expect("loads").with_timing(patient());
            send_stop.send(runner.stop()).expect("the test is there");
            run(runner, connector)
        });
        let stop = stop.recv().expect("the runner has started");
        Scene {
            frontend,
            begun: told,
            go_on,
            stop,
            container,
        }
    }

    /// The result once the front end is gone.
    fn end(self) -> T {
        drop(self.frontend);
        self.container.join().expect("the container does not panic")
    }

    /// The result while the front end is still there.
    fn result(self) -> T {
        self.container.join().expect("the container does not panic")
    }
}

fn patient() -> Timing {
    Timing {
        heartbeat: LONG,
        silence: LONG,
        handshake: LONG,
        stuck: LONG,
    }
}

/// One session, which has been welcomed.
fn one_session(name: &str) -> Scene<SessionEnd> {
    let mut scene = Scene::new(name, |mut runner, connector| {
        runner.session(&mut connector.connect().expect("a listener"))
    });
    scene.frontend.welcome();
    scene
}

fn failure(result: BatchResult) -> String {
    match result {
        BatchResult::Failed { error } => error,
        other => panic!("a failure, not {other:?}"),
    }
}

/// What was said, and the rows that failed.
fn texts(result: BatchResult) -> (Vec<String>, Vec<(u32, String)>) {
    let BatchResult::Ok {
        columns,
        row_errors,
    } = result
    else {
        panic!("an answer, not {result:?}")
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let errors = row_errors.into_iter().map(|error| (error.row, error.error));
    (columns[0].strings().map(text).collect(), errors.collect())
}

#[test]
fn a_batch_comes_back_with_what_was_sent() {
    let mut scene = one_session("roundtrip");
    let said = texts(scene.frontend.ask(&["naïve", "", "time?"]));
    assert_eq!(
        said,
        (vec!["naïve".into(), String::new(), "time?".into()], vec![])
    );
    let SessionEnd::Lost(Lost::Closed(_)) = scene.end() else {
        panic!("closed")
    };
}

/// PROTOCOL 5.9
#[test]
fn what_the_model_does_wrong_costs_its_batch_only() {
    let mut scene = one_session("wrongs");
    let frontend = &mut scene.frontend;
    assert_eq!(
        failure(frontend.ask(&["a", "panic"])),
        "the model panicked: as you wish"
    );
    assert_eq!(failure(frontend.ask(&["fail"])), "as you say");
    let wrong_count = failure(frontend.ask(&["a", "skip", "b"]));
    assert_eq!(wrong_count, "output 'said' has 2 rows, the batch has 3");
    let (said, failed) = texts(frontend.ask(&["a", "fail row", "b"]));
    assert_eq!(said, ["a", "", "b"]);
    assert_eq!(failed, [(1, "this row".to_owned())]);
    assert_eq!(texts(frontend.ask(&["still here"])).0, ["still here"]);
    scene.end();
}

/// PROTOCOL 5.8
#[test]
fn an_expired_batch_is_answered_without_the_model() {
    let mut scene = one_session("expired");
    let batch = scene.frontend.predict_within(&["panic"], Duration::ZERO);
    let result = scene.frontend.reply_to(batch);
    assert!(matches!(result, BatchResult::Expired), "{result:?}");
    scene.end();
}

/// PROTOCOL 5.7
#[test]
fn a_cancelled_batch_that_waits_is_not_computed() {
    let mut scene = one_session("cancel");
    let first = scene.frontend.predict(&["wait"]);
    scene.begun.recv().expect("the first has begun");
    let second = scene.frontend.predict(&["panic"]);
    scene.frontend.cancel(second);
    scene.frontend.cancel(first);
    scene.go_on.send(()).expect("the model waits");
    assert_eq!(
        texts(scene.frontend.reply_to(first)).0,
        ["wait"],
        "it had begun"
    );
    let result = scene.frontend.reply_to(second);
    assert!(matches!(result, BatchResult::Cancelled), "{result:?}");
    scene.end();
}

/// PROTOCOL 7.2
#[test]
fn a_runner_that_is_asked_to_stop_answers_what_it_has_and_leaves() {
    let mut scene = one_session("leave");
    let first = scene.frontend.predict(&["wait"]);
    scene.begun.recv().expect("the first has begun");
    let second = scene.frontend.predict(&["b"]);
    scene.stop.request();
    scene.go_on.send(()).expect("the model waits");
    assert_eq!(texts(scene.frontend.reply_to(first)).0, ["wait"]);
    assert_eq!(texts(scene.frontend.reply_to(second)).0, ["b"]);
    scene.frontend.until_drained();
    scene.frontend.say(&Message::Drain {
        detail: "drained".into(),
    });
    scene.frontend.until_closed();
    let end = scene.end();
    assert!(matches!(end, SessionEnd::Left), "{end:?}");
}

/// PROTOCOL 7.1
#[test]
fn a_drained_session_answers_what_it_has_and_closes() {
    let mut scene = one_session("drain");
    let first = scene.frontend.predict(&["wait"]);
    scene.begun.recv().expect("the first has begun");
    let second = scene.frontend.predict(&["b"]);
    scene.frontend.drain();
    scene.go_on.send(()).expect("the model waits");
    assert_eq!(texts(scene.frontend.reply_to(first)).0, ["wait"]);
    assert_eq!(texts(scene.frontend.reply_to(second)).0, ["b"]);
    scene.frontend.until_closed();
    let end = scene.end();
    assert!(matches!(end, SessionEnd::Drained { .. }), "{end:?}");
}

#[test]
fn a_runner_that_was_not_welcomed_stops_at_once() {
    let scene = Scene::new("unwelcome", |mut runner: Runner<Obedient>, connector| {
        runner.stop().request();
        runner.session(&mut connector.connect().expect("a listener"))
    });
    let end = scene.result();
    assert!(matches!(end, SessionEnd::Left), "{end:?}");
}

#[test]
fn a_front_end_that_says_nothing_is_given_up() {
    let scene = Scene::new("silent", |runner: Runner<Obedient>, connector| {
        let timing = Timing {
            handshake: Duration::ZERO,
            ..patient()
        };
        runner
            .with_timing(timing)
            .session(&mut connector.connect().expect("a listener"))
    });
    let end = scene.result();
    let SessionEnd::Lost(Lost::Session(SessionError::Silent { .. })) = end else {
        panic!("silent, not {end:?}")
    };
}

/// Serves whatever connector stands in the slot.
fn serve(slot: &Mutex<MemoryConnector>, mut runner: Runner<Obedient>) -> Result<(), Reject> {
    runner.serve_over(|| -> Result<MemoryLink, _> { slot.lock().expect("no panic").connect() })
}

#[test]
fn a_runner_comes_back_to_a_front_end_that_restarts() {
    let slot = Arc::new(Mutex::new(None));
    let theirs = Arc::clone(&slot);
    let mut scene = Scene::new("reconnect", move |runner, connector| {
        let connector = Arc::new(Mutex::new(connector));
        *theirs.lock().expect("no panic") = Some(Arc::clone(&connector));
        serve(&connector, runner)
    });
    scene.frontend.welcome();
    assert_eq!(texts(scene.frontend.ask(&["before"])).0, ["before"]);
    let (restarted, connector) = Frontend::new();
    let slot = slot
        .lock()
        .expect("no panic")
        .clone()
        .expect("the runner has started");
    // The old one goes first: for a while there is nobody to connect to.
    scene.frontend = restarted;
    *slot.lock().expect("no panic") = connector;
    scene.frontend.welcome();
    assert_eq!(texts(scene.frontend.ask(&["after"])).0, ["after"]);
    scene.frontend.drain();
    scene.frontend.until_closed();
    scene.frontend.welcome();
    assert_eq!(
        texts(scene.frontend.ask(&["after a drain"])).0,
        ["after a drain"]
    );
    scene.stop.request();
    drop(scene.frontend);
    assert_eq!(scene.container.join().expect("no panic"), Ok(()));
}

/// PROTOCOL 4.8
#[test]
fn a_refusal_is_final_unless_it_may_pass() {
    let mut scene = Scene::new("refused", |runner, connector| {
        serve(&Mutex::new(connector), runner)
    });
    let overloaded = Reject {
        reason: RejectReason::Overloaded,
        detail: "later".into(),
    };
    scene.frontend.reject(&overloaded);
    scene.frontend.welcome();
    assert_eq!(
        texts(scene.frontend.ask(&["second attempt"])).0,
        ["second attempt"]
    );
    let removed = Reject {
        reason: RejectReason::Removed,
        detail: "by an operator".into(),
    };
    scene.frontend.say(&Message::Reject(removed.clone()));
    scene.frontend.until_closed();
    assert_eq!(scene.result(), Err(removed));
}

/// PROTOCOL 5.2
#[test]
fn a_front_end_that_breaks_the_protocol_is_left() {
    let mut scene = one_session("broken");
    scene
        .frontend
        .say(&Message::Predict(skysail_rpc::message::Predict {
            batch: skysail_rpc::message::BatchId(1),
            rows: 9,
            remaining: LONG,
            tensors: std::iter::empty().collect(),
        }));
    scene.frontend.until_closed();
    let end = scene.end();
    let SessionEnd::Lost(Lost::Session(SessionError::Rows { found: 9, .. })) = end else {
        panic!("9 rows, not {end:?}")
    };
}
