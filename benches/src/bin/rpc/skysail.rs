//! Skysail's own sessions with a container.
//!
//! # How a transport gets its row
//! A row is a [`Path`]. ipc and tcp are [`Session`]s over a [`Listener`], driven by a tokio
//! task. Shared memory has three rows, [`Row::ShmSpinning`], [`Row::ShmParkHook`] and
//! [`Row::ShmSleeping`], whose places are kept in [`open`]: implement [`Exchange`] for the
//! front side of such a session, [`start`] its containers with the endpoint in `SKYSAIL_RPC`,
//! and wrap it in [`OnThread`] if it spins on this thread, or in [`OnTokio`] with the runtime
//! that it needs. What the container needs besides (whether it spins, say) goes into the
//! environment that [`start`] gives it.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use skysail_container::{Batch, Ctx, DataType, Model, Options, Outputs, Signature, run};
use skysail_rpc::PayloadBuf;
use skysail_rpc::message::{BatchId, Encoder, Hello, Message, Part, PartKind};
use skysail_rpc::session::{BatchResult, FrontendEvent, FrontendSession, Timing};
use skysail_rpc::transport::zmq::ZmqListener;
use skysail_rpc::transport::{Incoming, Listener, PeerId};

use crate::harness::{Answer, Exchange, Job, OnTokio, Path, Timed, WINDOW, interrupted, runtime};
use crate::payload::{Source, sum_f32};
use crate::peer::{Peer, end_with_input};
use crate::probe::Cores;

/// Elements of a row: the model of larger payloads first, then that of the smallest.
const WIDTHS: [usize; 2] = [784, 16];
/// Rows of the largest payload.
const ROWS_MAX: usize = 768;
/// Longer than any run: nobody speaks between bursts.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// A container has loaded its model by then.
const START: Duration = Duration::from_secs(60);
/// How often one is looked at until then.
const START_CHECK: Duration = Duration::from_millis(50);

/// The rows of this module.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Row {
    /// Shared memory, both sides spinning on plain threads.
    ShmSpinning,
    /// Shared memory, the front side woken from tokio's park hook.
    ShmParkHook,
    /// Shared memory, both sides asleep.
    ShmSleeping,
    /// ZeroMQ over a Unix socket.
    Ipc,
    /// ZeroMQ over TCP.
    Tcp,
}

/// Opens a row; `None` if there is no such session yet.
///
/// # Errors
/// If the session cannot be had.
pub(crate) fn open(row: Row, place: &Place<'_>) -> Result<Option<Box<dyn Path>>> {
    match row {
        Row::ShmSpinning | Row::ShmParkHook | Row::ShmSleeping => Ok(None),
        Row::Ipc => {
            let folder = place.folder.display();
            let endpoint = |peer| format!("ipc://{folder}/skysail-{peer}.sock");
            Ok(Some(place.sessions(endpoint)?))
        }
        Row::Tcp => Ok(Some(place.sessions(|_| "tcp://127.0.0.1:0".to_owned())?)),
    }
}

/// Where sessions are opened, and with whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) cores: Cores,
    pub(crate) folder: &'a std::path::Path,
    /// A container instead of the bench's own.
    pub(crate) command: Option<&'a str>,
}

impl Place<'_> {
    /// A session with each container; the endpoint is made from the container's number.
    fn sessions(&self, endpoint: impl Fn(usize) -> String) -> Result<Box<dyn Path>> {
        let widths: &[usize] = if self.command.is_some() {
            &[0]
        } else {
            &WIDTHS
        };
        let open = |(number, width): (usize, &usize)| {
            let runtime = runtime()?;
            let session = runtime.block_on(async {
                let listener = ZmqListener::bind(&[endpoint(number)])?;
                let endpoint = listener.endpoints()[0].clone();
                let mut peer = start(self, &endpoint, *width, &[])?;
                let opened = Session::open(listener, self.command.is_none());
                let opened = tokio::select! {
                    opened = opened => opened,
                    error = not_coming(&mut peer) => Err(error),
                };
                opened.map(|session| session.with(peer))
            })?;
            Ok(OnTokio::new(runtime, session))
        };
        let sessions: Result<Vec<_>> = widths.iter().enumerate().map(open).collect();
        Ok(Box::new(Widths(sessions?)))
    }
}

/// Why a container will not join, as soon as that is known.
async fn not_coming(peer: &mut Peer) -> anyhow::Error {
    let begin = Instant::now();
    loop {
        tokio::time::sleep(START_CHECK).await;
        if interrupted() {
            return anyhow::anyhow!("interrupted");
        }
        if peer.has_ended() {
            return anyhow::anyhow!("the container ended before it joined");
        }
        if begin.elapsed() >= START {
            return anyhow::anyhow!("the container did not join for {} s", START.as_secs());
        }
    }
}

/// A container that joins `endpoint`, with a model of `width` elements a row.
fn start(place: &Place<'_>, endpoint: &str, width: usize, more: &[(&str, &str)]) -> Result<Peer> {
    let slots = WINDOW.to_string();
    let log = std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned());
    let mut env = vec![
        ("SKYSAIL_RPC", endpoint),
        ("SKYSAIL_MODEL", "sum"),
        ("SKYSAIL_VERSION", "1"),
        ("SKYSAIL_SLOTS", &slots),
        ("RUST_LOG", &log),
    ];
    env.extend_from_slice(more);
    match place.command {
        Some(command) => Peer::start(place.cores, &["command", command], &env),
        None => Peer::start(place.cores, &["sum", &width.to_string()], &env),
    }
}

/// One session for each width; the first that takes a payload carries it.
struct Widths<P>(Vec<P>);

impl<P: Path> Path for Widths<P> {
    fn burst(&mut self, job: &Job) -> Result<Timed> {
        let session = self.0.iter_mut().find(|one| one.takes(&job.source));
        session.context("no model of that width")?.burst(job)
    }

    fn takes(&self, source: &Source) -> bool {
        self.0.iter().any(|one| one.takes(source))
    }
}

/// The front side of a session with one container.
struct Session<L> {
    _peer: Option<Peer>,
    listener: L,
    container: PeerId,
    session: FrontendSession,
    encoder: Encoder,
    /// Elements of a row, and its dimensions.
    width: usize,
    dims: Vec<i64>,
    rows_max: usize,
    /// Whether the container is known to add up.
    adds_up: bool,
    /// Batches without a reply; a container answers in order.
    pending: VecDeque<(BatchId, u64)>,
}

impl<L: Listener> Session<L> {
    /// Waits for the container at `listener`.
    async fn open(mut listener: L, adds_up: bool) -> Result<Session<L>> {
        let timing = Timing {
            heartbeat: LONG,
            silence: LONG,
            handshake: LONG,
            stuck: LONG,
        };
        let mut session = FrontendSession::new(Instant::now(), timing);
        let mut encoder = Encoder::default();
        let (container, event) = next_event(&mut listener, &mut session).await?;
        let FrontendEvent::Hello(hello) = event else {
            bail!("the container does not begin with a hello");
        };
        let width = width(&hello)?;
        if let Err(reject) = FrontendSession::check_hello(&hello) {
            bail!("the container's hello is refused: {}", reject.detail);
        }
        let slots = usize::from(hello.slots);
        ensure!(
            slots >= WINDOW,
            "the container has {slots} slots, {WINDOW} needed"
        );
        let schema = Arc::new(hello.schema.clone());
        let welcome = session.accept(Instant::now(), &hello, schema, 1);
        listener.send(container, &encoder.encode(&welcome))?;
        Ok(Session {
            _peer: None,
            listener,
            container,
            session,
            encoder,
            width,
            dims: hello.schema.inputs[0].dims.to_vec(),
            rows_max: hello.max_batch as usize,
            adds_up,
            pending: VecDeque::new(),
        })
    }

    /// Keeps the container for as long as the session.
    fn with(self, peer: Peer) -> Session<L> {
        Session {
            _peer: Some(peer),
            ..self
        }
    }

    fn rows(&self, source: &Source) -> usize {
        source.len() / size_of::<f32>() / self.width
    }
}

/// Elements of a row of the only input.
fn width(hello: &Hello) -> Result<usize> {
    let bytes = match &hello.schema.inputs[..] {
        [input] if input.datatype == DataType::Fp32 => input.row_bytes(),
        _ => None,
    };
    let bytes = bytes.context("the container has not one f32 input of fixed shape")?;
    Ok(bytes / size_of::<f32>())
}

async fn next_event(
    listener: &mut impl Listener,
    session: &mut FrontendSession,
) -> Result<(PeerId, FrontendEvent)> {
    loop {
        match listener.try_recv() {
            None => listener.readable().await?,
            Some(Incoming::Closed { .. }) => bail!("the container has gone"),
            Some(Incoming::Frame { peer, frame, .. }) => {
                let message = Message::decode(&frame)?;
                match session.on_message(Instant::now(), message)? {
                    FrontendEvent::Alive => {}
                    event => return Ok((peer, event)),
                }
            }
        }
    }
}

impl<L: Listener> Exchange for Session<L> {
    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        let mut buf = PayloadBuf::zeroed(source.len());
        source.write(buf.as_bytes_mut(), ticket);
        let rows = self.rows(source);
        let part = Part {
            tensor: 0,
            kind: PartKind::Data,
            datatype: DataType::Fp32,
            shape: [rows as i64].iter().chain(&self.dims).copied().collect(),
            payload: buf.freeze(),
        };
        let rows = u32::try_from(rows)?;
        let (batch, predict) = self.session.predict(Instant::now(), rows, LONG, [part]);
        let frame = self.encoder.encode(&predict);
        self.listener.send(self.container, &frame)?;
        self.pending.push_back((batch, ticket));
        Ok(())
    }

    async fn recv(&mut self) -> Result<Answer> {
        let (_, event) = next_event(&mut self.listener, &mut self.session).await?;
        let FrontendEvent::Reply { batch, result, .. } = event else {
            bail!("the container says something else than a reply");
        };
        let BatchResult::Ok { columns, .. } = result else {
            bail!("the container's model failed: {result:?}");
        };
        let (expected, ticket) = self.pending.pop_front().context("a reply too many")?;
        ensure!(batch == expected, "the container answers out of order");
        let sum = if self.adds_up {
            Some(sum_f32(
                columns[0].as_slice::<f32>().context("sums are floats")?,
            ))
        } else {
            None
        };
        Ok(Answer { ticket, sum })
    }

    fn takes(&self, source: &Source) -> bool {
        let rows = self.rows(source);
        rows * self.width * size_of::<f32>() == source.len() && (1..=self.rows_max).contains(&rows)
    }
}

/// The bench's own container: adds up each row.
///
/// # Errors
/// If there is no model of that width, or serving fails.
pub(crate) fn serve(width: usize) -> Result<ExitCode> {
    end_with_input();
    let variable = |name| std::env::var(name).with_context(|| format!("{name} is not set"));
    let mut options = Options::named(&variable("SKYSAIL_MODEL")?, &variable("SKYSAIL_VERSION")?);
    options.rpc = Some(variable("SKYSAIL_RPC")?);
    options.slots = variable("SKYSAIL_SLOTS")?.parse()?;
    match width {
        16 => Ok(run::<Sum<16>>(options)),
        784 => Ok(run::<Sum<784>>(options)),
        _ => bail!("no model of {width} elements a row"),
    }
}

struct Sum<const WIDTH: usize>;

impl<const WIDTH: usize> Model for Sum<WIDTH> {
    fn signature() -> Signature {
        Signature::new()
            .input("x", &format!("f32[{WIDTH}]"))
            .output("sum", "f32")
            .max_batch(ROWS_MAX)
    }

    fn load(_: &Ctx) -> skysail_container::Result<Self> {
        Ok(Sum)
    }

    fn predict(
        &mut self,
        batch: &Batch,
        out: &mut Outputs,
        _: &Ctx,
    ) -> skysail_container::Result<()> {
        let rows = batch.f32("x")?.chunks_exact(WIDTH);
        for (row, sum) in rows.zip(out.f32_mut("sum")?) {
            *sum = sum_f32(row);
        }
        Ok(())
    }
}
