//! A front end with the replicas of one model, and load on it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use skysail_benches::frontend::{Application, Frontend, is_prediction};
use skysail_benches::orders::Orders;
use skysail_benches::process::Process;
use skysail_load::arrivals::{Arrivals, Gaps, Rate, Step};
use skysail_load::{
    ClosedLoop, InputKind, Mark, Measured, OpenLoop, Progress, RandomInputs, Request, Timing,
    Window,
};
use skysail_sim::truth::{Form, SIGMA, STRAGGLER, STRAGGLER_EVERY, Shape};

use crate::cell::Cell;

/// The application under load.
pub(crate) const APP: &str = "app";
const MODEL: &str = "model";
/// A query with one float: what the load sends is as long.
const QUERY: &str = "{\"input\":[0.50000000]}";
/// Bytes of a query's body.
pub(crate) const QUERY_BYTES: u64 = QUERY.len() as u64;
/// Connections that measure the no-op ceiling.
const CEILING_CONNECTIONS: usize = 64;
/// Time for an answer: long after any deadline.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The binaries, and the seed of everything random.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) skysail: PathBuf,
    pub(crate) sleep_model: PathBuf,
    pub(crate) seed: u64,
}

/// Who keeps the replicas running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// This bench; each can be told to be slower.
    Bench,
    /// The front end, which starts them again.
    Frontend,
}

/// What is put on a stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) cell: Cell,
    pub(crate) keeper: Keeper,
    /// Whether one batch in 333 takes ten times as long.
    pub(crate) stragglers: bool,
}

/// A running front end with its replicas.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) cell: Cell,
    pub(crate) replicas: Vec<Replica>,
    frontend: Frontend,
    seed: u64,
    /// Dropped last: everybody has files in it.
    folder: tempfile::TempDir,
}

/// A replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pid: Pid,
    /// Where it finds its orders.
    orders: PathBuf,
    /// Unless the front end keeps it.
    _process: Option<Process>,
}

impl Replica {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).context("the replica has ended")
    }

    /// Gives it orders.
    pub(crate) fn tell(&self, orders: Orders) -> Result<()> {
        orders.give(&self.orders).context("cannot give orders")
    }
}

/// What is sent, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Queries a second, in shares of the capacity, each for a time; the first also for the
    /// warm-up.
    pub(crate) steps: Vec<(f64, Duration)>,
    pub(crate) warm_up: Duration,
    /// Tells the arrivals of one load from another's.
    pub(crate) seed: u64,
}

impl Stage {
    /// Starts everything; when it returns, all replicas are connected and answer.
    pub(crate) async fn start(tools: &Tools, setup: &Setup) -> Result<Stage> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let frontend = Frontend::start(&tools.skysail, &data, &["--cache-bytes", "0"])?;
        frontend.add_model(MODEL, "floats").await?;
        let mut stage = Stage {
            cell: setup.cell,
            replicas: Vec::new(),
            frontend,
            seed: tools.seed,
            folder,
        };
        stage.add_application(APP, setup.cell.slo).await?;
        stage.replicas = stage.start_replicas(tools, setup).await?;
        stage.frontend.wait_for_prediction(APP, QUERY).await?;
        Ok(stage)
    }

    /// Registers an application of the model.
    pub(crate) async fn add_application(&self, name: &str, slo: Duration) -> Result<()> {
        let app = Application {
            name,
            model: MODEL,
            input_type: "floats",
            features: Some(1),
            slo,
        };
        self.frontend.add_application(&app).await
    }

    async fn start_replicas(&self, tools: &Tools, setup: &Setup) -> Result<Vec<Replica>> {
        let count = setup.cell.replicas;
        let orders = |index| self.folder.path().join(format!("orders-{index}"));
        if setup.keeper == Keeper::Frontend {
            let mut command = vec![tools.sleep_model.display().to_string()];
            command.extend(model_flags(setup));
            self.frontend.deploy(MODEL, count, &command).await?;
            let pids = self.frontend.wait_for_replicas(count).await?;
            let replica = |(index, pid)| {
                Ok(Replica {
                    pid: Pid::from_raw(pid).context("a process id")?,
                    orders: orders(index),
                    _process: None,
                })
            };
            return (0..).zip(pids).map(replica).collect();
        }
        let replica = |index| {
            let process = self.container(tools, setup, &orders(index), index)?;
            let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
            Ok(Replica {
                pid: pid.context("a process id")?,
                orders: orders(index),
                _process: Some(process),
            })
        };
        let replicas: Result<_> = (0..count as u64).map(replica).collect();
        self.frontend.wait_for_replicas(count).await?;
        replicas
    }

    fn container(
        &self,
        tools: &Tools,
        setup: &Setup,
        orders: &Path,
        index: u64,
    ) -> Result<Process> {
        let mut command = Command::new(&tools.sleep_model);
        command.args(model_flags(setup));
        command.args(["--seed", &(1000 * tools.seed + index).to_string()]);
        command.arg("--control").arg(orders);
        command.args(["--rpc", &self.frontend.rpc, "--model", MODEL]);
        command.args(["--version", "1"]).env("RUST_LOG", "error");
        Process::start(&mut command)
    }

    /// Puts the application under a load; `on_second` hears once a second how long it has run,
    /// the warm-up included.
    pub(crate) async fn drive(
        &self,
        load: &Load,
        mut on_second: impl FnMut(Duration),
    ) -> Result<Measured> {
        let hear = |progress: Progress<'_>| on_second(progress.elapsed);
        self.drive_application(APP, self.cell.slo, load, hear).await
    }

    /// Puts an application of some objective under a load.
    pub(crate) async fn drive_application(
        &self,
        app: &str,
        slo: Duration,
        load: &Load,
        on_second: impl FnMut(Progress<'_>),
    ) -> Result<Measured> {
        let capacity = self.cell.capacity();
        let steps = load.warmed().map(|(share, time)| Step {
            rate: share * capacity,
            time,
        });
        let steps: Vec<_> = steps.collect();
        let rate_max = steps.iter().map(|step| step.rate).fold(0.0, f64::max);
        let seed = 1000 * self.seed + load.seed;
        let arrivals = Arrivals::new(Gaps::Exponential, &Rate::Steps(steps), seed)?;
        let mut inputs = RandomInputs::new(InputKind::Floats { features: 1 }, seed);
        let open_loop = OpenLoop {
            address: self.frontend.query,
            connections: connections(rate_max, slo),
            timeout: TIMEOUT,
            window: Window {
                warm_up: load.warm_up,
                duration: load.counted(),
                slo: Some(slo),
            },
        };
        let template = Request::post_json(&format!("/{app}/predict"), "")?;
        let bodies = move || inputs.next_body();
        let never = std::future::pending();
        let measured = open_loop.run(&template, arrivals, bodies, never, on_second);
        Ok(measured.await?)
    }

    /// Replicas that were started after the stage was; all are connected when it returns.
    pub(crate) async fn restarted(&self) -> Result<usize> {
        let now = self.frontend.wait_for_replicas(self.replicas.len()).await?;
        let is_new = |pid: &&i32| {
            let mut known = self
                .replicas
                .iter()
                .map(|one| one.pid.as_raw_nonzero().get());
            known.all(|known| known != **pid)
        };
        Ok(now.iter().filter(is_new).count())
    }

    /// The most queries a second that a front end answers here, from a model that does nothing.
    pub(crate) async fn ceiling(tools: &Tools, time: Duration) -> Result<f64> {
        let shape = Shape {
            name: "no-op",
            alpha: 0.0,
            beta: 0.0,
            form: Form::Affine,
            rows_max: 1024,
        };
        let cell = Cell {
            shape,
            slo: Duration::from_secs(1),
            replicas: 1,
        };
        let setup = Setup {
            cell,
            keeper: Keeper::Bench,
            stragglers: false,
        };
        let stage = Stage::start(tools, &setup).await?;
        let load = ClosedLoop {
            address: stage.frontend.query,
            connections: CEILING_CONNECTIONS,
            timeout: TIMEOUT,
        };
        let timing = Timing {
            warm_up: time / 3,
            measured: time,
        };
        let query = Request::post_json(&format!("/{APP}/predict"), QUERY)?;
        let right = |_, answer: &skysail_load::Response| is_prediction(answer);
        let report = load
            .measure(vec![query], timing, right, |_: Mark| {})
            .await?;
        ensure!(report.failed == 0, "the no-op model does not answer");
        Ok(report.answers_per_second())
    }
}

impl Load {
    /// One load.
    pub(crate) fn constant(share: f64, time: Duration, warm_up: Duration, seed: u64) -> Load {
        Load {
            steps: vec![(share, time)],
            warm_up,
            seed,
        }
    }

    /// For how long something is sent.
    pub(crate) fn time(&self) -> Duration {
        self.warm_up + self.counted()
    }

    /// The same without the warm-up.
    fn counted(&self) -> Duration {
        self.steps.iter().map(|(_, time)| *time).sum()
    }

    /// Its steps, the warm-up before them.
    fn warmed(&self) -> impl Iterator<Item = (f64, Duration)> {
        let first = self.steps.first().map(|(share, _)| (*share, self.warm_up));
        let first = first.filter(|(_, time)| !time.is_zero());
        first.into_iter().chain(self.steps.iter().copied())
    }
}

/// Flags of a container: the profile and its noise.
fn model_flags(setup: &Setup) -> Vec<String> {
    let Shape {
        alpha,
        beta,
        rows_max,
        ..
    } = setup.cell.shape;
    let sigma = if alpha > 0.0 { SIGMA } else { 0.0 };
    let every = if setup.stragglers {
        STRAGGLER_EVERY
    } else {
        0.0
    };
    let flags = [
        ("--alpha-ms", (alpha * 1e3).to_string()),
        ("--beta-ms", (beta * 1e3).to_string()),
        ("--rows-max", rows_max.to_string()),
        ("--sigma", sigma.to_string()),
        ("--straggler-every", every.to_string()),
        ("--straggler-factor", STRAGGLER.to_string()),
    ];
    let flags = flags
        .into_iter()
        .map(|(name, value)| [name.to_owned(), value]);
    flags.flatten().collect()
}

/// Connections for a rate: twice what is in flight when every query is answered at its deadline.
fn connections(rate: f64, slo: Duration) -> usize {
    const FEWEST: usize = 32;
    FEWEST + (2.0 * rate * slo.as_secs_f64()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_warm_up_has_the_first_rate() {
        let steps = vec![(0.7, 30 * MS), (3.0, 20 * MS)];
        let mut load = Load {
            steps: steps.clone(),
            warm_up: 10 * MS,
            seed: 0,
        };
        let warmed: Vec<_> = load.warmed().collect();
        assert_eq!(warmed, [&[(0.7, 10 * MS)], &steps[..]].concat());
        assert_eq!(load.time(), 60 * MS);
        load.warm_up = Duration::ZERO;
        assert_eq!(load.warmed().collect::<Vec<_>>(), steps);
    }

    #[test]
    fn connections_suffice_for_the_rate() {
        assert_eq!(connections(1000.0, 20 * MS), 32 + 40);
    }
}
