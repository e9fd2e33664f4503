//! What this executable does when a test starts it again, to be killed or asked.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use skysail_control::orchestrator::Orchestrator;
use skysail_control::store::{Change, FileStore, Store};

use crate::support::{deployment, start};

/// What the front end's replica runs: with a child, an orphan and a daemon beside it.
const FAMILY: &str = "sleep 1000 & (sleep 1000 &) ; setsid sleep 1000 & sh -c 'setsid sleep 1000 &'; \
                      exec sleep 1000";
/// How many processes [`FAMILY`] has for each replica.
pub(crate) const FAMILY_COUNT: usize = 5;
pub(crate) const FRONT_END_REPLICAS: usize = 2;

/// Starts replicas and waits to be killed.
pub(crate) fn front_end(directory: &Path) -> ExitCode {
    let orchestrator = start();
    let replicas = u32::try_from(FRONT_END_REPLICAS).expect("a few");
    orchestrator
        .apply(&[deployment(directory, replicas, FAMILY)])
        .expect("a sound declaration");
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// Commits one number after the other, telling each once it is durable, until it is killed.
pub(crate) fn store_writer(directory: &Path) -> ExitCode {
    let store = FileStore::open(directory).expect("the store opens");
    let mut revision = store.load().expect("the store loads").revision;
    loop {
        let value = (revision.0 + 1).to_string().into_bytes();
        let put = |key: &str| Change::Put {
            key: key.to_owned(),
            value: value.clone(),
        };
        revision = store
            .commit(revision, &[put("a"), put("b")])
            .expect("the store commits");
        println!("{revision}");
        std::io::stdout().flush().expect("the test listens");
    }
}

/// Says what opening the store answers.
pub(crate) fn store_opener(directory: &Path) -> ExitCode {
    match FileStore::open(directory) {
        Ok(_) => println!("opened"),
        Err(error) => println!("{:?}: {error}", error.kind()),
    }
    ExitCode::SUCCESS
}
