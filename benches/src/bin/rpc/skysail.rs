//! Skysail's own sessions with a container.
//!
//! Every row is a [`FrontendSession`] over a [`FrontendChannel`]: rows in the row log, a batch a
//! range of them, sent through shared memory or, where that is not wanted, by ZeroMQ. One row is
//! driven by a plain thread that spins, the others by a tokio task.

use std::collections::VecDeque;
use std::future::{Future, ready};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use skysail_container::{Batch, Ctx, DataType, Model, Options, Outputs, Signature, run};
use skysail_rpc::Schema;
use skysail_rpc::channel::{FrontendChannel, Heard, SharedLog, Sharing, park};
use skysail_rpc::message::{BatchId, Hello, Tensors};
use skysail_rpc::session::{BatchResult, FrontendEvent, FrontendSession, Timing};
use skysail_rpc::tensor::Rows;
use skysail_rpc::transport::zmq::ZmqListener;
use skysail_rpc::transport::{Listener, PeerId};
use tokio::runtime::Runtime;

use crate::harness::{
    Answer, Exchange, Job, OnThread, OnTokio, Path, Timed, WINDOW, interrupted, spin,
};
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

impl Row {
    /// Whether batches travel through shared memory.
    fn is_shared(self) -> bool {
        !matches!(self, Row::Ipc | Row::Tcp)
    }

    /// How long either side looks before it sleeps.
    fn spin(self) -> Duration {
        match self {
            // Longer than any pause within a burst; a container sleeps between bursts.
            Row::ShmSpinning | Row::ShmParkHook => Duration::from_millis(1),
            Row::ShmSleeping | Row::Ipc | Row::Tcp => Duration::ZERO,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Row::ShmSpinning => "spinning",
            Row::ShmParkHook => "hook",
            Row::ShmSleeping => "sleeping",
            Row::Ipc => "ipc",
            Row::Tcp => "tcp",
        }
    }
}

/// Opens a row.
///
/// # Errors
/// If the session cannot be had.
pub(crate) fn open(row: Row, place: &Place<'_>) -> Result<Box<dyn Path>> {
    let widths: &[usize] = if place.command.is_some() {
        &[0]
    } else {
        &WIDTHS
    };
    let sessions = (0..)
        .zip(widths)
        .map(|(number, width)| place.session(row, number, *width));
    let sessions: Result<Vec<_>> = sessions.collect();
    Ok(match row {
        Row::ShmSpinning => {
            let on_thread = sessions?.into_iter().map(|(runtime, session)| {
                OnThread(Spinning {
                    session,
                    _runtime: runtime,
                })
            });
            Box::new(Widths(on_thread.collect()))
        }
        _ => {
            let on_tokio = sessions?.into_iter();
            let on_tokio = on_tokio.map(|(runtime, session)| OnTokio::new(runtime, session));
            Box::new(Widths(on_tokio.collect()))
        }
    })
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
    /// A session with container `number`, and the runtime that it was made in.
    fn session(&self, row: Row, number: usize, width: usize) -> Result<(Runtime, Session)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(park::before_park)
            .build()?;
        let endpoint = match row {
            Row::Tcp => "tcp://127.0.0.1:0".to_owned(),
            _ => format!(
                "ipc://{}/{}-{number}.sock",
                self.folder.display(),
                row.name()
            ),
        };
        let session = runtime.block_on(async {
            let listener = ZmqListener::bind(&[endpoint])?;
            let endpoint = listener.endpoints()[0].clone();
            let more = [
                ("SKYSAIL_SHARED_MEMORY", row.is_shared().to_string()),
                ("SKYSAIL_SPIN_US", row.spin().as_micros().to_string()),
            ];
            let mut peer = start(self, &endpoint, width, &more)?;
            let opened = Session::open(row, listener, self.command.is_none());
            let opened = tokio::select! {
                opened = opened => opened,
                error = not_coming(&mut peer) => Err(error),
            };
            opened.map(|session| session.with(peer))
        })?;
        Ok((runtime, session))
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
fn start(place: &Place<'_>, endpoint: &str, width: usize, more: &[(&str, String)]) -> Result<Peer> {
    let slots = WINDOW.to_string();
    let log = std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned());
    let mut env = vec![
        ("SKYSAIL_RPC", endpoint),
        ("SKYSAIL_MODEL", "sum"),
        ("SKYSAIL_VERSION", "1"),
        ("SKYSAIL_SLOTS", &slots),
        ("RUST_LOG", &log),
    ];
    env.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
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
struct Session {
    _peer: Option<Peer>,
    channel: FrontendChannel<ZmqListener>,
    container: PeerId,
    session: FrontendSession,
    schema: Arc<Schema>,
    log: SharedLog,
    /// Elements of a row.
    width: usize,
    rows_max: usize,
    /// Whether the container is known to add up.
    adds_up: bool,
    /// Batches without a reply; a container answers in order.
    pending: VecDeque<(BatchId, u64)>,
}

impl Session {
    /// Waits for the container at `listener`, and until batches travel as the row wants.
    async fn open(row: Row, listener: ZmqListener, adds_up: bool) -> Result<Session> {
        let timing = Timing {
            heartbeat: LONG,
            silence: LONG,
            handshake: LONG,
            stuck: LONG,
        };
        let sharing = Sharing {
            // Room for the window's batches, each within a segment.
            log_rows: 16 * 2 * ROWS_MAX,
            log_bytes_max: 128 << 20,
            spin_max: row.spin(),
            ..Sharing::default()
        };
        let mut channel = FrontendChannel::new(listener, sharing.clone());
        let mut session = FrontendSession::new(Instant::now(), timing);
        let (container, event) = next_event(&mut channel, &mut session).await?;
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
        let log = sharing.log(&schema, 1).context("no memory for a row log")?;
        log.log.populate();
        let offer = channel
            .offer(container, &hello, &schema, Some(&log.log))
            .ok();
        let offered = offer.is_some();
        let welcome = session.accept(Instant::now(), &hello, schema.clone(), 1, offer);
        channel.send(container, welcome)?;
        if offered {
            let (_, event) = next_event(&mut channel, &mut session).await?;
            let shared = matches!(event, FrontendEvent::Path { shared: true, .. });
            ensure!(shared, "no shared memory: {event:?}");
        }
        ensure!(offered == row.is_shared(), "batches travel another way");
        Ok(Session {
            _peer: None,
            channel,
            container,
            session,
            schema,
            log,
            width,
            rows_max: hello.max_batch as usize,
            adds_up,
            pending: VecDeque::new(),
        })
    }

    /// Keeps the container for as long as the session.
    fn with(self, peer: Peer) -> Session {
        Session {
            _peer: Some(peer),
            ..self
        }
    }

    fn rows(&self, source: &Source) -> usize {
        source.len() / size_of::<f32>() / self.width
    }

    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        let rows = self.rows(source);
        let mut run = self
            .log
            .log
            .claim_run(rows)
            .context("the row log is full")?;
        // Before the rows are written: counting waits for every write that is still on its way.
        let schema = self.schema.clone();
        let (now, rows) = (Instant::now(), u32::try_from(rows)?);
        source.write(run.rows_mut(0), ticket);
        let ranges = run.freeze();
        let tensors = Tensors::Rows(Rows { schema, ranges });
        let (batch, predict) = self.session.predict(now, rows, LONG, tensors);
        self.channel.send(self.container, predict)?;
        self.pending.push_back((batch, ticket));
        Ok(())
    }

    fn answer(&mut self, event: FrontendEvent) -> Result<Answer> {
        let FrontendEvent::Reply { batch, result, .. } = event else {
            bail!("the container says something else than a reply");
        };
        let BatchResult::Ok { columns, .. } = result else {
            bail!("the container's model failed: {result:?}");
        };
        let (expected, ticket) = self.pending.pop_front().context("a reply too many")?;
        ensure!(batch == expected, "the container answers out of order");
        let sum = if self.adds_up {
            let sums = columns[0].as_slice::<f32>();
            Some(sum_f32(sums.context("sums are floats")?))
        } else {
            None
        };
        Ok(Answer { ticket, sum })
    }

    fn carries(&self, source: &Source) -> bool {
        let rows = self.rows(source);
        rows * self.width * size_of::<f32>() == source.len() && (1..=self.rows_max).contains(&rows)
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

/// The next event that is there, but for signs of life.
fn look(
    channel: &mut FrontendChannel<ZmqListener>,
    session: &mut FrontendSession,
) -> Result<Option<(PeerId, FrontendEvent)>> {
    while let Some(heard) = channel.try_recv() {
        let Heard::Message { peer, message, .. } = heard else {
            bail!("the container has gone");
        };
        match session.on_message(Instant::now(), message?)? {
            FrontendEvent::Alive => {}
            event => return Ok(Some((peer, event))),
        }
    }
    Ok(None)
}

async fn next_event(
    channel: &mut FrontendChannel<ZmqListener>,
    session: &mut FrontendSession,
) -> Result<(PeerId, FrontendEvent)> {
    loop {
        if let Some(event) = look(channel, session)? {
            return Ok(event);
        }
        channel.readable().await?;
    }
}

impl Exchange for Session {
    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        Session::send(self, source, ticket)
    }

    async fn recv(&mut self) -> Result<Answer> {
        let (_, event) = next_event(&mut self.channel, &mut self.session).await?;
        self.answer(event)
    }

    fn takes(&self, source: &Source) -> bool {
        self.carries(source)
    }
}

/// A session whose front side spins on the calling thread.
struct Spinning {
    session: Session,
    _runtime: Runtime,
}

impl Exchange for Spinning {
    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        self.session.send(source, ticket)
    }

    fn recv(&mut self) -> impl Future<Output = Result<Answer>> + Send {
        let Session {
            channel, session, ..
        } = &mut self.session;
        let event = spin(|| look(channel, session).transpose());
        ready(
            event
                .flatten()
                .and_then(|(_, event)| self.session.answer(event)),
        )
    }

    fn takes(&self, source: &Source) -> bool {
        self.session.carries(source)
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
    options.shared_memory = variable("SKYSAIL_SHARED_MEMORY")?.parse()?;
    options.spin_us = Some(variable("SKYSAIL_SPIN_US")?.parse()?);
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
