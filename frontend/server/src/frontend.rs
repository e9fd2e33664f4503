//! Wires a front end together and runs it.
//!
//! Order matters: the data directory is locked first; the supervisor starts before any
//! socket exists, so that containers inherit none; containers are started when there is
//! something for them to connect to; the endpoints are written when everything answers.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit, setrlimit};
use skysail_api::access::Access;
use skysail_api::http::{self, Door, HttpLimits, Tls};
use skysail_api::management::router;
use skysail_api::query::{QueryService, ReplyBody};
use skysail_api::{About, Frontend, QueryIds, Readiness};
use skysail_control::orchestrator::ProcessOrchestrator;
use skysail_control::store::FileStore;
use skysail_control::{Control, Launch};
use skysail_core::registry::Registry;
use skysail_engine::{Cores, Engine, Options};
use skysail_monitor::Metrics;
use skysail_rpc::channel::socket_beside;
use skysail_rpc::transport::Listener as _;
use skysail_rpc::transport::zmq::ZmqListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::access;
use crate::allow_list::{AllowList, server_keys};
use crate::config::{Config, LogFormat};
use crate::data_dir;

/// Time for requests to finish after the front end was told to stop.
const GRACE: Duration = Duration::from_secs(20);
/// Time for containers to hear that the front end stops.
const GOODBYE: Duration = Duration::from_millis(100);

/// A front end that runs.
pub(crate) struct Running {
    /// What the handlers share.
    pub(crate) shared: Arc<Frontend>,
    cores: Cores,
    /// Of both ports.
    doors: [Arc<Door>; 2],
    stop: watch::Sender<bool>,
    signals: mpsc::Receiver<Signal>,
    data_dir: PathBuf,
    socket_dir: Option<tempfile::TempDir>,
}

impl Running {
    /// Starts a front end. When it returns, it answers.
    ///
    /// # Errors
    /// What cannot be had: the data directory, a port, a socket.
    pub(crate) fn start(config: &Config) -> Result<Running> {
        log(config);
        let certificate = config.certificate()?.map(Tls::open).transpose();
        let certificate = certificate.context("--tls-cert and --tls-key cannot be used")?;
        let (access, tokens) = access::open(config)?;
        let store = FileStore::open(&config.data_dir)?;
        let token = data_dir::join_token(&config.data_dir)?;
        let executable = std::env::current_exe().context("cannot find this executable")?;
        let orchestrator = ProcessOrchestrator::start(&executable)?;
        // After the supervisor's start: containers keep the limit that they were given.
        raise_file_limit();
        let cores = Cores::start(config.cores).context("cannot start the runtimes")?;
        let signals = listen_for_signals(&cores).context("cannot listen for signals")?;
        let (engine, rpc, socket_dir) = start_engine(config, &cores, token)?;
        let control = open_control(store, orchestrator, engine.clone())?;
        let query = Port::bind("query", config.query_address()?, cores.count())?;
        let management = Port::bind("management", config.management_address()?, 1)?;
        let about = About {
            pid: std::process::id(),
            query: query.address,
            management: management.address,
            rpc,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            auth: config.auth()?.name(),
            tls: certificate.is_some(),
        };
        let shared = Arc::new(handled(config, (engine, control), about, access)?);
        if let Some(tokens) = tokens {
            cores.first().spawn(tokens.watch());
        }
        let (stop, stopping) = watch::channel(false);
        let tls = certificate.map(|(tls, reload)| {
            cores.first().spawn(reload.keep_current());
            tls
        });
        let query_door = query.serve(&cores, &query_service(&shared), &stopping, tls.clone());
        let manage = TowerToHyperService::new(router(shared.clone()));
        let management_door = management.serve(&cores, &manage, &stopping, tls);
        shared
            .control
            .launch(launch(&config.data_dir, &shared.about))?;
        data_dir::write_endpoints(&config.data_dir, &shared.about, config.tls_cert.as_deref())?;
        let data_dir = config.data_dir.clone();
        Ok(Running {
            shared,
            cores,
            doors: [query_door, management_door],
            stop,
            signals,
            data_dir,
            socket_dir,
        })
    }

    /// Where it listens.
    pub(crate) fn about(&self) -> &About {
        &self.shared.about
    }

    /// Waits until the process is told to stop; says by which signal. A second signal ends
    /// the process at once.
    pub(crate) fn wait_for_signal(&self) -> Signal {
        self.signals.recv().unwrap_or(Signal::Terminate)
    }

    /// Stops. For the time of `notice` it says that it is not ready, answers, and asks clients to
    /// leave; then it takes no new connections, what was admitted is answered, containers are let
    /// go.
    pub(crate) fn stop(self, notice: Duration) {
        self.shared.readiness.drain();
        for door in &self.doors {
            door.ask_to_leave();
        }
        if !notice.is_zero() {
            tracing::info!(
                ?notice,
                "stopping: new clients are sent away, and still answered"
            );
            std::thread::sleep(notice);
        }
        data_dir::remove_endpoints(&self.data_dir);
        self.stop.send_replace(true);
        let stop = self.stop.clone();
        self.cores.block_on(async move {
            // Every accept loop holds a receiver until its connections are done.
            drop(tokio::time::timeout(GRACE, stop.closed()).await);
        });
        self.shared.engine.drain();
        std::thread::sleep(GOODBYE);
        drop(self.socket_dir);
        let ipc = self
            .shared
            .about
            .rpc
            .iter()
            .find_map(|e| e.strip_prefix("ipc://"));
        if let Some(path) = ipc.map(Path::new) {
            // Gone already if libzmq, the channel or the directory's owner took them.
            drop(std::fs::remove_file(path));
            drop(std::fs::remove_file(socket_beside(path)));
        }
    }
}

/// What told the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM.
    Terminate,
    /// Ctrl-C.
    Interrupt,
}

/// The status of a process that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// From now on signals are heard, the second one by ending the process.
fn listen_for_signals(cores: &Cores) -> std::io::Result<mpsc::Receiver<Signal>> {
    let (told, signals) = mpsc::sync_channel(1);
    let listening = cores.block_on(async {
        Ok::<_, std::io::Error>((
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ))
    });
    let (mut terminate, mut interrupt) = listening?;
    cores.first().spawn(async move {
        let mut heard = 0;
        loop {
            let signal = tokio::select! {
                _ = terminate.recv() => Signal::Terminate,
                _ = interrupt.recv() => Signal::Interrupt,
            };
            heard += 1;
            if heard > 1 || told.try_send(signal).is_err() {
                std::process::exit(INTERRUPTED.into());
            }
        }
    });
    Ok(signals)
}

/// Begins to log, as configured.
fn log(config: &Config) {
    let format = match config.log_format {
        LogFormat::Text => skysail_monitor::logs::Format::Text,
        LogFormat::Json => skysail_monitor::logs::Format::Json,
    };
    skysail_monitor::logs::init(format, &config.log);
}

/// The control plane, which tells the data plane what is registered.
fn open_control(
    store: FileStore,
    orchestrator: ProcessOrchestrator,
    engine: Engine,
) -> Result<Arc<Control>> {
    let publish = move |registry: Arc<Registry>| engine.publish(&registry);
    let control = Control::open(Arc::new(store), Arc::new(orchestrator), publish)?;
    Ok(Arc::new(control))
}

/// The default limits, with fewer connections where the process may open few files: half of
/// them are for containers, the store and logs.
fn http_limits() -> HttpLimits {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections_max = usize::try_from(files / 2).unwrap_or(usize::MAX);
    let defaults = HttpLimits::default();
    HttpLimits {
        connections_max: defaults.connections_max.min(connections_max),
        ..defaults
    }
}

/// Lets this process open as many files as it may.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

/// A bound port, with one listener for each runtime that serves it.
struct Port {
    address: SocketAddr,
    listeners: Vec<TcpListener>,
}

impl Port {
    fn bind(name: &str, address: SocketAddr, listeners: usize) -> Result<Port> {
        let what = || format!("cannot open the {name} port (--{name})");
        let listeners = http::bind(address, listeners).with_context(what)?;
        let address = listeners[0].local_addr().with_context(what)?;
        Ok(Port { address, listeners })
    }

    /// Serves the port until told to stop, one loop a runtime.
    fn serve<S, B>(
        self,
        cores: &Cores,
        service: &S,
        stopping: &watch::Receiver<bool>,
        tls: Option<Tls>,
    ) -> Arc<Door>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: From<Bytes> + Send + Unpin + 'static,
    {
        let door = Door::with_tls(http_limits(), tls);
        for (handle, listener) in cores.iter().zip(self.listeners) {
            let (door, service) = (door.clone(), service.clone());
            let (mut told, held) = (stopping.clone(), stopping.clone());
            handle.spawn(async move {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!(%error, "a listener was lost"),
                };
                // If the sender is gone, the front end is too.
                let stop = async move { drop(told.wait_for(|stop| *stop).await) };
                http::serve(listener, door, service, stop).await;
                drop(held);
            });
        }
        door
    }
}

/// What the handlers share.
fn handled(
    config: &Config,
    (engine, control): (Engine, Arc<Control>),
    about: About,
    access: Access,
) -> Result<Frontend> {
    Ok(Frontend {
        engine,
        query_ids: QueryIds::open(control.clone())?,
        control,
        readiness: Readiness::default(),
        about,
        access,
        log_dir: data_dir::log_dir(&config.data_dir),
        body_bytes_max: config.body_bytes_max,
        binary_bytes_max: config.binary_bytes_max,
        client_shm: config.client_shm.clone(),
    })
}

fn start_engine(
    config: &Config,
    cores: &Cores,
    token: Vec<u8>,
) -> Result<(Engine, Vec<String>, Option<tempfile::TempDir>)> {
    let mut socket_dir = None;
    let mut endpoints = Vec::new();
    for endpoint in &config.rpc {
        let (endpoint, folder) = data_dir::bindable(endpoint)?;
        if let Some(folder) = folder {
            tracing::warn!(%endpoint, "the path of the data directory is too long for a socket");
            socket_dir = Some(folder);
        }
        endpoints.push(endpoint);
    }
    let allowed = config.keys.as_deref().map(AllowList::open);
    let grants = allowed.as_ref().map(AllowList::grants);
    let keys = config.keys.as_deref().zip(allowed);
    let keys = keys.map(|(folder, allowed)| server_keys(folder, allowed));
    let keys = keys.transpose()?;
    let listener = cores.block_on(async move { ZmqListener::bind_with(&endpoints, keys) });
    let listener = listener.context(
        "cannot open the containers' port; choose another with --rpc, 127.0.0.1:0 for any free one",
    )?;
    let bound = listener.endpoints().to_vec();
    let options = Options {
        cache_bytes: config.cache_bytes,
        join_token: Some(token),
        sharing: config.sharing(),
        cores: cores.count(),
        model_slo: Duration::from_millis(config.model_slo_ms),
        grants: grants.unwrap_or_default(),
        ..Options::default()
    };
    let engine = Engine::start(
        cores.first(),
        listener,
        Arc::new(Metrics::default()),
        options,
    );
    Ok((engine, bound, socket_dir))
}

fn query_service(
    shared: &Arc<Frontend>,
) -> impl Service<Request<Incoming>, Response = Response<ReplyBody>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ use<> {
    let service = QueryService::new(shared.clone());
    service_fn(move |request| {
        let service = service.clone();
        async move { Ok(service.handle(request).await) }
    })
}

/// Deployed replicas connect over ipc, which needs no token.
fn launch(data_dir: &Path, about: &About) -> Launch {
    let ipc = about
        .rpc
        .iter()
        .find(|endpoint| endpoint.starts_with("ipc://"));
    let rpc = ipc.or(about.rpc.first()).cloned().unwrap_or_default();
    let token_file = Some(data_dir::token_file(data_dir));
    Launch {
        rpc,
        token_file,
        log_dir: data_dir::log_dir(data_dir),
    }
}
