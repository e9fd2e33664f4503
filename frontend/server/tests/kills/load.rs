//! Queries on several connections, without a pause, each answer held to its own input.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use skysail_load::{ClosedLoop, Error, Request, Response};

use crate::harness::PATIENCE;
use crate::oracle::{FIXED_ELEMENTS, MODELS, answer};

/// Threads that ask.
const ASKERS: u64 = 2;
/// Connections of each.
const CONNECTIONS: usize = 3;
/// Requests between two looks at whether to pause.
const REQUESTS: usize = 9;
/// Queries of a request; more than a batch of the models has.
const SIZES: [usize; 6] = [1, 1, 2, 7, 30, 90];
/// Inputs that are asked again and again, so that some are answered by the cache or joined.
const KNOWN: u64 = 40;
/// Why a query may go without a prediction.
const CAUSES: [&str; 6] = [
    "no_replica",
    "queue_full",
    "shed",
    "expired_queue",
    "expired_model",
    "replica_lost",
];

/// The load, and what came of it.
pub(crate) struct Load {
    shared: Arc<Shared>,
    askers: Vec<JoinHandle<()>>,
}

struct Shared {
    address: SocketAddr,
    /// Grows when a front end is killed, and again when another has taken its place: odd between.
    frontends: AtomicU64,
    /// Held for reading by whoever asks.
    turn: RwLock<()>,
    stop: AtomicBool,
    tally: Mutex<Tally>,
}

/// What was answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Predictions of each model.
    pub(crate) predictions: BTreeMap<&'static str, u64>,
    /// Defaults by cause.
    pub(crate) defaults: BTreeMap<String, u64>,
    /// Requests that found no front end.
    pub(crate) unheard: u64,
    /// The first thing that was wrong.
    pub(crate) wrong: Option<String>,
}

impl Tally {
    /// Queries that were answered, one way or the other.
    pub(crate) fn answered(&self) -> u64 {
        self.predictions.values().sum::<u64>() + self.defaults.values().sum::<u64>()
    }
}

/// Queries of one request.
struct Question {
    model: &'static str,
    inputs: Vec<Vec<f64>>,
}

impl Load {
    /// Begins to ask.
    pub(crate) fn start(address: SocketAddr, seed: u64) -> Load {
        let shared = Arc::new(Shared {
            address,
            frontends: AtomicU64::new(0),
            turn: RwLock::default(),
            stop: AtomicBool::new(false),
            tally: Mutex::default(),
        });
        let asker = |number: u64| {
            let (shared, rng) = (shared.clone(), Rng::with_seed(seed.wrapping_add(number)));
            std::thread::spawn(move || shared.ask(rng))
        };
        let askers = (0..ASKERS).map(asker).collect();
        Load { shared, askers }
    }

    /// What was answered so far.
    ///
    /// # Panics
    /// If something was wrong.
    pub(crate) fn tally(&self) -> Tally {
        let tally = self.shared.tally.lock().unwrap().clone();
        if let Some(wrong) = &tally.wrong {
            panic!("{wrong}");
        }
        tally
    }

    /// The front end is about to be killed, or another one has taken its place.
    pub(crate) fn frontend_changes(&self) {
        self.shared.frontends.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until everything asked is answered; nothing is asked until the guard is dropped.
    pub(crate) fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.turn.write().unwrap()
    }

    /// Asks no more.
    pub(crate) fn stop(self) -> Tally {
        self.shared.stop.store(true, Ordering::SeqCst);
        let tally = self.tally();
        for asker in self.askers {
            asker.join().unwrap();
        }
        tally
    }
}

impl Shared {
    fn ask(&self, mut rng: Rng) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        while !self.stop.load(Ordering::SeqCst) {
            let _turn = self.turn.read().unwrap();
            runtime.block_on(self.ask_some(&mut rng));
        }
    }

    async fn ask_some(&self, rng: &mut Rng) {
        let before = self.frontends.load(Ordering::SeqCst);
        let questions: Vec<_> = (0..REQUESTS).map(|_| Question::draw(rng)).collect();
        let requests: Vec<_> = questions.iter().map(Question::request).collect();
        let connections = ClosedLoop {
            address: self.address,
            connections: CONNECTIONS,
            timeout: PATIENCE,
        };
        let mut errors = Vec::new();
        let sent = connections.send_each(requests, |answer| match answer.result {
            Ok(response) => self.check(&questions[answer.index], &response),
            Err(error) => errors.push(error),
        });
        let unsent = sent.await.err();
        errors.extend(unsent);
        let unheard = errors.len();
        let lived = before.is_multiple_of(2) && before == self.frontends.load(Ordering::SeqCst);
        let wrong = |error: &Error| lived || matches!(error, Error::Timeout { .. });
        if let Some(error) = errors.into_iter().find(wrong) {
            let error = anyhow::Error::from(error);
            self.wrong(format!("a living front end did not answer: {error:#}"));
        }
        if unheard > 0 {
            self.tally.lock().unwrap().unheard += unheard as u64;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn check(&self, question: &Question, response: &Response) {
        let answers = match question.answers(response) {
            Ok(answers) => answers,
            Err(wrong) => return self.wrong(wrong),
        };
        for (input, found) in question.inputs.iter().zip(answers) {
            match question.check(input, &found) {
                Ok(None) => {
                    let mut tally = self.tally.lock().unwrap();
                    *tally.predictions.entry(question.model).or_default() += 1;
                }
                Ok(Some(cause)) => {
                    let mut tally = self.tally.lock().unwrap();
                    *tally.defaults.entry(cause).or_default() += 1;
                }
                Err(wrong) => self.wrong(wrong),
            }
        }
    }

    fn wrong(&self, what: String) {
        self.tally.lock().unwrap().wrong.get_or_insert(what);
    }
}

impl Question {
    fn draw(rng: &mut Rng) -> Question {
        let model = MODELS[rng.usize(0..MODELS.len())];
        let queries = SIZES[rng.usize(0..SIZES.len())];
        let inputs = (0..queries).map(|_| {
            let mut rng = match rng.u32(0..8) {
                0 => Rng::with_seed(rng.u64(0..KNOWN)),
                _ => rng.fork(),
            };
            let elements = match model {
                "fixed" => FIXED_ELEMENTS,
                _ => rng.usize(0..20),
            };
            // Quarters of whole numbers: as text and back they are the same.
            (0..elements)
                .map(|_| rng.u64(0..1 << 50) as f64 / 4.0)
                .collect()
        });
        Question {
            model,
            inputs: inputs.collect(),
        }
    }

    fn request(&self) -> Request {
        let body = match self.inputs.as_slice() {
            [input] => json!({ "input": input }),
            inputs => json!({ "input_batch": inputs }),
        };
        Request::post_json(&format!("/{}/predict", self.model), body.to_string()).unwrap()
    }

    /// The answers in a response, one a query.
    fn answers(&self, response: &Response) -> Result<Vec<Value>, String> {
        let text = String::from_utf8_lossy(&response.body);
        let wrong = |what: &str| format!("{what} for {} queries: {text}", self.inputs.len());
        if response.status != 200 {
            return Err(wrong(response.status.as_str()));
        }
        let body: Value = serde_json::from_str(&text).map_err(|_| wrong("not JSON"))?;
        let answers = match (&body["batch_predictions"], self.inputs.len()) {
            (Value::Array(answers), _) => answers.clone(),
            (_, 1) => vec![body],
            _ => return Err(wrong("no predictions")),
        };
        if answers.len() == self.inputs.len() {
            Ok(answers)
        } else {
            Err(wrong("too few or too many answers"))
        }
    }

    /// Whether `found` is the prediction, or the default with its cause.
    fn check(&self, input: &[f64], found: &Value) -> Result<Option<String>, String> {
        let expected = json!(answer(self.model, input));
        let is_own = found["models"][0]["name"] == self.model;
        if found["default"] == false && found["output"] == expected && is_own {
            return Ok(None);
        }
        let cause = found["default_cause"].as_str().unwrap_or_default();
        let explanation = found["default_explanation"].as_str().unwrap_or_default();
        // A container may see first that a batch came too late.
        let late = cause == "model_error" && explanation.contains("the deadline passed");
        let known = CAUSES.contains(&cause) || late;
        if found["default"] == true && found["output"] == -1 && known {
            return Ok(Some(cause.to_owned()));
        }
        Err(format!(
            "{} answered {input:?} with {found}, not with {expected}",
            self.model
        ))
    }
}
