//! One case in progress: a folder, an endpoint, a container, and the front end that it meets.
//!
//! What the container says is held to the protocol by the front end's own session.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_rpc::message::{BatchId, Hello, Message, Reject, RejectReason, Tensors};
use skysail_rpc::session::{BatchResult, FrontendEvent, FrontendSession, Timing};
use skysail_rpc::tensor::Columns;
use skysail_rpc::transport::zmq::ZmqListener;
use skysail_rpc::{Cell, ColumnBuilder};
use tempfile::TempDir;

use crate::models::{self, ROWS_MAX, SLOTS, VERSION};
use crate::process::{Container, Ending, Program};
use crate::wrong::{Wrong, suite};
use crate::{Desk, Transport};

/// Nothing in a case turns on time that is not told to.
pub(crate) const LONG: Duration = Duration::from_secs(3600);
/// What the token file holds, between white space.
pub(crate) const TOKEN: &str = "the-token-of-the-suite";
/// The replica's number in a welcome.
const REPLICA: u64 = 7;

/// How a case, or a step of it, went.
pub(crate) type Result<T = ()> = std::result::Result<T, Wrong>;

/// The tensors of one row.
pub(crate) type Row = Vec<Cell>;

/// See the module.
pub(crate) struct Scene {
    pub(crate) transport: Transport,
    program: Program,
    patience: Duration,
    until: Instant,
    folder: TempDir,
    endpoint: String,
    desk: Option<Desk<ZmqListener>>,
    container: Option<Container>,
    session: FrontendSession,
    replies: BTreeMap<BatchId, BatchResult>,
    /// Heartbeats of this session: the batches that they count.
    pub(crate) heartbeats: Vec<u64>,
    /// The container wants to leave.
    is_leaving: bool,
    path: Option<Message>,
}

impl Scene {
    /// A front end that listens. Call it inside the runtime.
    pub(crate) fn open(
        transport: Transport,
        program: &Program,
        patience: Duration,
    ) -> Result<Scene> {
        let folder = tempfile::Builder::new().prefix("skysail-").tempdir();
        let folder = folder.map_err(suite("make a folder"))?;
        let endpoint = match transport {
            Transport::Shm | Transport::Ipc => format!("ipc://{}/rpc", folder.path().display()),
            Transport::Tcp => "tcp://127.0.0.1:0".to_owned(),
        };
        let mut scene = Scene {
            transport,
            program: program.clone(),
            patience,
            until: Instant::now() + patience,
            folder,
            endpoint,
            desk: None,
            container: None,
            session: new_session(quiet()),
            replies: BTreeMap::new(),
            heartbeats: Vec::new(),
            is_leaving: false,
            path: None,
        };
        scene.listen()?;
        Ok(scene)
    }

    /// Binds the endpoint, again where it was closed: as a front end that starts.
    pub(crate) fn listen(&mut self) -> Result {
        let listener = ZmqListener::bind(std::slice::from_ref(&self.endpoint))?;
        let mut desk = match self.transport {
            Transport::Shm => Desk::shared(listener, self.patience),
            Transport::Ipc | Transport::Tcp => Desk::new(listener, self.patience),
        };
        desk.give_up_at(self.until);
        self.endpoint.clone_from(&desk.endpoints()[0]);
        if let Some(container) = &self.container {
            desk.watch(container.watch());
        }
        self.desk = Some(desk);
        Ok(())
    }

    /// Closes the endpoint and every connection: as a front end that ends.
    pub(crate) fn hang_up(&mut self) {
        self.desk = None;
    }

    /// A folder of this case's own.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).map_err(suite("make a folder"))?;
        Ok(path)
    }

    /// Starts a container of `model`, with `more` arguments.
    pub(crate) fn start(&mut self, model: &str, more: &[OsString]) -> Result {
        let slots = SLOTS.to_string();
        let flags = [
            ["--rpc", self.endpoint.as_str()],
            ["--model", model],
            ["--version", VERSION],
            ["--slots", slots.as_str()],
        ];
        let mut args: Vec<OsString> = flags.as_flattened().iter().map(Into::into).collect();
        if self.transport == Transport::Tcp {
            let file = self.folder.path().join("join.token");
            std::fs::write(&file, format!("{TOKEN} \n")).map_err(suite("write a token"))?;
            args.extend(["--token-file".into(), file.into()]);
        }
        args.extend_from_slice(more);
        let log = self.folder.path().join("log");
        let container = Container::start(&self.program, &args, &log);
        let container = container.map_err(suite("start the command"))?;
        self.desk()?.watch(container.watch());
        self.container = Some(container);
        Ok(())
    }

    /// Starts a container of `model` and welcomes it.
    pub(crate) async fn begin(&mut self, model: &str) -> Result {
        self.start(model, &[])?;
        self.serve(model, quiet()).await
    }

    /// Awaits the hello of a container of `model` and welcomes it.
    pub(crate) async fn serve(&mut self, model: &str, timing: Timing) -> Result {
        let hello = self.hello().await?;
        models::check(model, &hello)?;
        self.welcome(&hello, timing).await
    }

    /// The hello of the next session.
    pub(crate) async fn hello(&mut self) -> Result<Hello> {
        self.desk()?.next_session();
        self.session = new_session(quiet());
        self.replies.clear();
        self.heartbeats.clear();
        (self.is_leaving, self.path) = (false, None);
        match self.event().await?.ok_or(Wrong::Closed("a hello"))? {
            FrontendEvent::Hello(hello) => Ok(*hello),
            // The session lets nothing else pass.
            other => Err(format!("a hello was expected, not {other:?}").into()),
        }
    }

    async fn welcome(&mut self, hello: &Hello, timing: Timing) -> Result {
        let offer = self.desk()?.offer()?;
        let is_offered = offer.is_some();
        // The hello once more, to a session of this timing.
        self.session = new_session(timing);
        self.session
            .on_message(Instant::now(), hello.clone().into())?;
        let schema = Arc::new(hello.schema.clone());
        let now = Instant::now();
        let welcome = self.session.accept(now, hello, schema, REPLICA, offer);
        self.say(welcome)?;
        while is_offered && self.path.is_none() {
            self.take("its path").await?;
        }
        match self.path.take() {
            Some(Message::Path {
                shared: false,
                detail,
            }) => Err(Wrong::NotTaken(detail)),
            _ => Ok(()),
        }
    }

    /// Welcomes with an offer of shared memory that leads nowhere; what is said of it.
    pub(crate) async fn welcome_to_nowhere(&mut self, hello: &Hello) -> Result<Message> {
        let offer = self.desk()?.offer()?.map(|mut offer| {
            offer.socket = "no-such-socket".to_owned();
            offer
        });
        let schema = Arc::new(hello.schema.clone());
        let now = Instant::now();
        let welcome = self.session.accept(now, hello, schema, REPLICA, offer);
        self.say(welcome)?;
        loop {
            if let Some(path) = self.path.take() {
                return Ok(path);
            }
            self.take("its path").await?;
        }
    }

    /// Refuses the next container, or ends its session.
    pub(crate) fn reject(&mut self, reason: RejectReason, detail: &str) -> Result {
        let detail = detail.to_owned();
        self.say(Message::Reject(Reject { reason, detail }))
    }

    pub(crate) fn say(&mut self, message: Message) -> Result {
        self.desk()?.send(message)
    }

    /// Asks for no further batches, or says that everything is answered.
    pub(crate) fn drain(&mut self) -> Result {
        let drain = self.session.drain(Instant::now(), "by the suite");
        self.say(drain)
    }

    /// Sends a batch of `rows`, each with a cell an input.
    pub(crate) fn send(&mut self, rows: &[Row]) -> Result<BatchId> {
        if !self.session.has_free_slot() || rows.len() > ROWS_MAX {
            return Err("the suite sends more than it may".to_owned().into());
        }
        let inputs = self.desk()?.hello()?.schema.inputs.clone();
        let mut columns = Columns::new();
        for (index, spec) in inputs.iter().enumerate() {
            let mut builder = ColumnBuilder::new(spec, rows.len());
            for row in rows {
                let cell = row
                    .get(index)
                    .ok_or_else(|| format!("no cell for {spec}"))?;
                cell.check(spec).map_err(|error| error.to_string())?;
                builder.push(cell);
            }
            columns.push(builder.finish());
        }
        let (now, count) = (Instant::now(), rows.len() as u32);
        let tensors = Tensors::Columns(columns);
        let (batch, message) = self.session.predict(now, count, LONG, tensors);
        match message {
            Message::Predict(predict) => self.desk()?.predict(predict)?,
            other => self.say(other)?,
        }
        Ok(batch)
    }

    /// What becomes of a batch.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn reply(&mut self, batch: BatchId) -> Result<BatchResult> {
        loop {
            if let Some(result) = self.replies.remove(&batch) {
                return Ok(result);
            }
            self.take("a reply").await?;
        }
    }

    /// Sends a batch; its output tensors.
    pub(crate) async fn ask(&mut self, rows: &[Row]) -> Result<Columns> {
        let batch = self.send(rows)?;
        self.answer(batch).await
    }

    /// The output tensors of a batch, no row of which has failed.
    pub(crate) async fn answer(&mut self, batch: BatchId) -> Result<Columns> {
        match self.reply(batch).await? {
            BatchResult::Ok {
                columns,
                row_errors,
            } if row_errors.is_empty() => Ok(columns),
            other => Err(format!("a batch is {}, ok expected", told(&other)).into()),
        }
    }

    /// Sends a batch; why it fails.
    pub(crate) async fn failure(&mut self, rows: &[Row]) -> Result<String> {
        let batch = self.send(rows)?;
        match self.reply(batch).await? {
            BatchResult::Failed { error } if error.trim().is_empty() => {
                Err("the failed batch has no text that says why"
                    .to_owned()
                    .into())
            }
            BatchResult::Failed { error } => Ok(error),
            other => Err(format!("a batch is {}, failed expected", told(&other)).into()),
        }
    }

    /// Until the container sends another heartbeat.
    pub(crate) async fn heartbeat(&mut self) -> Result<u64> {
        self.heartbeats.clear();
        loop {
            if let Some(batches) = self.heartbeats.pop() {
                return Ok(batches);
            }
            self.take("a heartbeat").await?;
        }
    }

    /// Until the container asks to leave.
    pub(crate) async fn until_leaving(&mut self) -> Result {
        while !self.is_leaving {
            self.take("its drain").await?;
        }
        Ok(())
    }

    /// Until the container closes the connection; heartbeats may come before.
    pub(crate) async fn until_closed(&mut self) -> Result {
        loop {
            match self.event().await? {
                None => return Ok(()),
                Some(FrontendEvent::Alive) => {}
                Some(FrontendEvent::Reply { .. }) => return Err(Wrong::Open("reply")),
                Some(FrontendEvent::Drain { .. }) => return Err(Wrong::Open("drain")),
                Some(_) => return Err(Wrong::Open("message")),
            }
        }
    }

    /// How the container ends, whatever it says meanwhile.
    pub(crate) async fn ending(&mut self) -> Result<Ending> {
        let (until, patience) = (self.until, self.patience);
        let container = self
            .container
            .as_mut()
            .ok_or("nothing was started".to_owned())?;
        let ended = tokio::time::timeout_at(until.into(), container.ended());
        ended.await.map_err(|_| Wrong::Runs(patience))
    }

    pub(crate) fn container(&self) -> Result<&Container> {
        Ok(self
            .container
            .as_ref()
            .ok_or("nothing was started".to_owned())?)
    }

    pub(crate) fn desk(&mut self) -> Result<&mut Desk<ZmqListener>> {
        Ok(self.desk.as_mut().ok_or("nobody listens".to_owned())?)
    }

    /// Closes everything and ends the container; how it had ended by itself, and its log.
    pub(crate) async fn close(mut self) -> (Option<Ending>, String) {
        let ending = self.container.as_ref().and_then(Container::ending);
        self.hang_up();
        let Some(mut container) = self.container.take() else {
            return (ending, String::new());
        };
        container.end().await;
        (ending, container.log())
    }

    /// Takes one thing that the container does; `expected` is what it should be in the end.
    async fn take(&mut self, expected: &'static str) -> Result {
        let event = self.event().await?;
        match event.ok_or(Wrong::Closed(expected))? {
            FrontendEvent::Reply { batch, result, .. } => {
                self.replies.insert(batch, result);
            }
            FrontendEvent::Drain { .. } => self.is_leaving = true,
            _ => {}
        }
        Ok(())
    }

    /// The next thing that the container does, or that it has closed the connection.
    async fn event(&mut self) -> Result<Option<FrontendEvent>> {
        let Some(message) = self.desk()?.next().await? else {
            return Ok(None);
        };
        match &message {
            Message::Heartbeat { batches_done } => self.heartbeats.push(*batches_done),
            Message::Path { .. } => self.path = Some(message.clone()),
            _ => {}
        }
        Ok(Some(self.session.on_message(Instant::now(), message)?))
    }
}

fn new_session(timing: Timing) -> FrontendSession {
    FrontendSession::new(Instant::now(), timing)
}

/// Nobody needs to speak, and nobody gives up.
pub(crate) fn quiet() -> Timing {
    timing(LONG, 3 * LONG)
}

/// What a welcome says of heartbeats and silence.
pub(crate) fn timing(heartbeat: Duration, silence: Duration) -> Timing {
    Timing {
        heartbeat,
        silence,
        ..Timing::default()
    }
}

fn told(result: &BatchResult) -> String {
    match result {
        BatchResult::Ok { row_errors, .. } if row_errors.is_empty() => "ok".to_owned(),
        BatchResult::Ok { row_errors, .. } => {
            format!(
                "ok but for row {}: {}",
                row_errors[0].row, row_errors[0].error
            )
        }
        BatchResult::Failed { error } => format!("failed ({error})"),
        BatchResult::Cancelled => "cancelled".to_owned(),
        BatchResult::Expired => "expired".to_owned(),
    }
}
