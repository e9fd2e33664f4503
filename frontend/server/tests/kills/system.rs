//! A front end and its containers as processes, and what they hold.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use skysail_load::Method;

use crate::harness::{Frontend, Process, request, skysail, until};
use crate::oracle::MODELS;
use crate::schedule::{CONTAINERS, Options, REPLICAS};

/// Long enough for everybody to come back and everything to be given back.
const SETTLING: Duration = Duration::from_secs(60);
/// Below the ports that the system gives to clients: one that tries to connect while no front
/// end listens could otherwise be given the very port that it connects to, and keep it.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Everything that runs.
pub(crate) struct System {
    folder: tempfile::TempDir,
    ports: [SocketAddr; 3],
    pub(crate) frontend: Frontend,
    pub(crate) containers: Vec<Process>,
    options: Options,
}

/// What processes hold when all is quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    frontend: Held,
    /// Each once: those of a model are alike.
    containers: BTreeMap<&'static str, Vec<Held>>,
    /// By metric, summed up.
    gauges: BTreeMap<&'static str, u64>,
}

/// What a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    regions: usize,
    region_bytes: u64,
}

impl System {
    /// Starts everything; waits until the containers have joined.
    pub(crate) fn start(options: Options) -> System {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports();
        let frontend = start_frontend(folder.path(), ports, options);
        for model in MODELS {
            frontend.cli(&["model", "add", model, "1", "--input", "doubles"]);
            frontend.cli(&[
                "app",
                "add",
                model,
                "--input",
                "doubles",
                "--slo",
                "1s",
                "--default",
                "-1",
                "--link",
                model,
            ]);
        }
        let mut system = System {
            folder,
            ports,
            frontend,
            containers: Vec::new(),
            options,
        };
        for index in 0..CONTAINERS {
            let container = system.start_container(index);
            system.containers.push(container);
        }
        system.wait_for_all();
        system
    }

    pub(crate) fn options(&self) -> Options {
        self.options
    }

    pub(crate) fn kill(&mut self, container: usize) {
        self.containers[container].kill_9();
    }

    pub(crate) fn signal(&self, container: usize, signal: Signal) {
        self.containers[container].signal(signal);
    }

    /// Puts a new process in the place of one that was killed.
    pub(crate) fn replace(&mut self, container: usize) {
        self.containers[container] = self.start_container(container);
    }

    /// Puts a new front end in the place of one that was killed.
    pub(crate) fn replace_frontend(&mut self, options: Options) {
        self.options = options;
        self.frontend = start_frontend(self.folder.path(), self.ports, options);
    }

    fn start_container(&self, index: usize) -> Process {
        let model = MODELS[index / REPLICAS];
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["container", model, "--model", model, "--version", "1"]);
        let socket = self.folder.path().join("rpc.sock");
        command
            .arg("--rpc")
            .arg(format!("ipc://{}", socket.display()));
        command.args(["--slots", "3", "--spin-us", spin_us(self.options)]);
        let log = log_file(self.folder.path(), &format!("container-{index}"));
        Process(command.stderr(log).spawn().unwrap())
    }

    /// Waits until every container that runs is ready to take batches through shared memory,
    /// and no other is.
    pub(crate) fn wait_for_all(&mut self) {
        let mut expected: Vec<_> = self
            .containers
            .iter()
            .map(|c| u64::from(c.0.id()))
            .collect();
        expected.sort_unstable();
        let mut last = Value::Null;
        let end = Instant::now() + SETTLING;
        loop {
            self.assert_alive();
            let replicas = self.frontend.replicas();
            let is_ready = |one: &&Value| one["state"] == "ready" && one["transport"] == "shm";
            let ready = replicas.iter().filter(is_ready);
            let mut pids: Vec<_> = ready.filter_map(|one| one["pid"].as_u64()).collect();
            pids.sort_unstable();
            if pids == expected && replicas.len() == expected.len() {
                return;
            }
            let now = Value::from(replicas);
            assert!(
                Instant::now() < end,
                "the containers {expected:?} do not all come back: {now}, before: {last}"
            );
            last = now;
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Nobody has ended who was not killed.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.frontend.process.0.try_wait().unwrap();
        assert!(ended.is_none(), "the front end ended by itself: {ended:?}");
        for (index, container) in self.containers.iter_mut().enumerate() {
            let ended = container.0.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "container {index} ended by itself: {ended:?}"
            );
        }
    }

    /// `skysail status` says that everybody is reached through shared memory.
    pub(crate) fn assert_status_says_shm(&self) {
        let status = self.frontend.json_cli(&["status"]);
        let models = status["models"].as_array().unwrap();
        let replicas = models
            .iter()
            .flat_map(|one| one["replicas"].as_array().unwrap());
        let transports: Vec<_> = replicas.map(|one| &one["transport"]).collect();
        assert_eq!(transports, ["shm"; CONTAINERS], "{status}");
    }

    /// What everybody holds; no rows and no queries, without load.
    pub(crate) fn holdings(&self) -> Holdings {
        // Before our own connection adds to them.
        let frontend = Held::by(self.frontend.process.0.id());
        let mut containers = BTreeMap::<_, Vec<_>>::new();
        for (index, container) in self.containers.iter().enumerate() {
            let held = Held::by(container.0.id());
            let alike = containers.entry(MODELS[index / REPLICAS]).or_default();
            if !alike.contains(&held) {
                alike.push(held);
            }
        }
        let metrics = self.metrics();
        let names = ["skysail_row_log_rows_held", "skysail_queue_queries"];
        Holdings {
            frontend,
            containers,
            gauges: names.map(|name| (name, sum(&metrics, name))).into(),
        }
    }

    fn metrics(&self) -> String {
        let metrics = request(self.frontend.management, Method::GET, "/metrics", "");
        String::from_utf8(metrics.body.to_vec()).unwrap()
    }

    /// Waits until everybody holds what is `expected`.
    pub(crate) fn wait_for_holdings(&self, expected: &Holdings) {
        let end = Instant::now() + SETTLING;
        loop {
            let found = self.holdings();
            if found == *expected {
                break;
            }
            if Instant::now() > end {
                let descriptors = links(self.frontend.process.0.id());
                panic!("{found:#?}\nis not {expected:#?}\nfront end: {descriptors:#?}");
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        let pid = self.frontend.process.0.id();
        let resident = resident_shared_bytes(pid);
        assert!(
            resident <= Held::by(pid).region_bytes,
            "{resident} bytes of shared memory are resident, more than is mapped"
        );
    }

    /// Queries that the front end says it has answered.
    pub(crate) fn answered(&self) -> u64 {
        sum(&self.metrics(), "skysail_queries_total")
    }

    /// Ends everybody in order; nothing may be left.
    pub(crate) fn stop(mut self) {
        self.frontend.process.signal(Signal::TERM);
        assert_eq!(self.frontend.process.exit_status(), Some(0));
        for container in &mut self.containers {
            container.signal(Signal::TERM);
            assert_eq!(container.exit_status(), Some(0));
        }
        let left = std::fs::read_dir(self.folder.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap()).collect();
        for entry in left {
            use std::os::unix::fs::FileTypeExt;
            let is_socket = entry.file_type().unwrap().is_socket();
            assert!(!is_socket, "{} is left", entry.path().display());
        }
    }

    /// The ends of all logs.
    pub(crate) fn logs(&self) -> String {
        let mut names: Vec<PathBuf> = std::fs::read_dir(self.folder.path())
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        names.sort();
        let end = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(25)..].join("\n");
            format!("--- {}\n{last}\n", path.display())
        };
        names.iter().map(end).collect()
    }
}

impl Holdings {
    /// Whether nothing is held for queries.
    pub(crate) fn is_quiet(&self) -> bool {
        self.gauges.values().all(|value| *value == 0)
    }
}

impl Held {
    fn by(pid: u32) -> Held {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let regions = || maps.lines().filter(|line| line.contains("/memfd:skysail-"));
        let bytes = |line: &str| {
            let (range, _) = line.split_once(' ')?;
            let (from, to) = range.split_once('-')?;
            let address = |text| u64::from_str_radix(text, 16).ok();
            Some(address(to)? - address(from)?)
        };
        Held {
            descriptors: links(pid).len(),
            regions: regions().count(),
            region_bytes: regions().filter_map(bytes).sum(),
        }
    }
}

/// What the descriptors of a process are.
fn links(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let link = |entry: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(entry.ok()?.path()).ok()?;
        Some(target.display().to_string())
    };
    entries.filter_map(link).collect()
}

fn resident_shared_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssShmem:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("a process tells its shared memory") << 10
}

/// The series of a metric, added up.
fn sum(metrics: &str, name: &str) -> u64 {
    let series = metrics.lines().filter(|line| line.starts_with(name));
    let value = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
    series.filter_map(value).sum()
}

fn start_frontend(folder: &Path, ports: [SocketAddr; 3], options: Options) -> Frontend {
    let [query, management, rpc] = ports.map(|port| port.to_string());
    let mut command = skysail();
    command.args(["serve", "--json", "--query", &query]);
    command.args(["--management", &management, "--rpc", &rpc]);
    command.args(["--drain-notice", "0"]);
    command.args(["--cores", &options.cores.to_string()]);
    command.args(["--spin-us-max", spin_us(options)]);
    command.arg("--data-dir").arg(folder);
    command
        .stdin(Stdio::null())
        .stderr(log_file(folder, "frontend"));
    Frontend::spawn(command)
}

fn spin_us(options: Options) -> &'static str {
    if options.spin { "50" } else { "0" }
}

fn log_file(folder: &Path, name: &str) -> File {
    let path = folder.join(format!("{name}.log"));
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

/// Three ports that nobody has.
fn free_ports() -> [SocketAddr; 3] {
    let mut found = Vec::new();
    let any = || fastrand::u16(PORTS);
    until("free ports", || {
        let address = SocketAddr::from(([127, 0, 0, 1], any()));
        found.extend(TcpListener::bind(address).ok());
        (found.len() == 3).then_some(())
    });
    [0, 1, 2].map(|index: usize| found[index].local_addr().unwrap())
}
