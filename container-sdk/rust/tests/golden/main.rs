//! The Rust SDK plays every golden exchange, in this process. PROTOCOL 9
//!
//! `SKYSAIL_BLESS=1` writes the files again from the scripts; read the difference before it is
//! committed.

mod scripts;

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use skysail_conformance::{Desk, Exchange, Line, Step, play, record};
use skysail_container::{Options, Runner};
use skysail_examples::suite;
use skysail_rpc::message::Frame;
use skysail_rpc::transport::memory::{self, MemoryListener};

/// How long a container may think. It is never needed.
const PATIENCE: Duration = Duration::from_secs(60);

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema/golden")
}

/// Serves `container` to the desk while `frontend` runs.
fn with_container<T>(
    container: &str,
    frontend: impl AsyncFnOnce(&mut Desk<MemoryListener>) -> T,
) -> T {
    let (listener, connector) = memory::listen();
    let model = suite::model(container).expect("a model of the suite");
    let mut options = Options::named(container, "1");
    options.slots = 2;
    let container = std::thread::spawn(move || {
        let mut link = connector.connect().expect("the listener is there");
        let mut runner = Runner::load_from(&model, &options).expect("loads");
        runner.session(&mut link);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let result = runtime.expect("a runtime").block_on(async {
        let mut desk = Desk::new(listener, PATIENCE);
        frontend(&mut desk).await
    });
    container.join().expect("the container does not panic");
    result
}

/// What the front end sends, frame by frame.
fn sent<'a>(frames: impl Iterator<Item = Option<&'a Frame>>) -> Vec<Vec<u8>> {
    let parts = |frame: &'a Frame| std::iter::once(&frame.header).chain(&frame.payloads);
    frames
        .flatten()
        .flat_map(parts)
        .map(|part| part.as_bytes().to_vec())
        .collect()
}

fn sent_by_file(exchange: &Exchange) -> Vec<Vec<u8>> {
    sent(exchange.steps.iter().map(|step| match step {
        Step::Frontend(frame) => Some(frame),
        _ => None,
    }))
}

fn sent_by_script(script: &[Line]) -> Vec<Vec<u8>> {
    sent(script.iter().map(|line| match line {
        Line::Send(frame) => Some(frame),
        _ => None,
    }))
}

fn bless() {
    for (name, clause, container, script) in scripts::all() {
        let steps = with_container(container, async |desk| {
            record(desk, &script)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"))
        });
        let (clause, container) = (clause.to_owned(), container.to_owned());
        let exchange = Exchange {
            name: name.to_owned(),
            clause,
            container,
            steps,
        };
        let path = directory().join(format!("{name}.json"));
        std::fs::write(path, exchange.to_text()).expect("schema/golden is writable");
    }
}

/// All files, recorded again before if that is asked for.
fn exchanges() -> Vec<Exchange> {
    static BLESS: Once = Once::new();
    BLESS.call_once(|| {
        if std::env::var_os("SKYSAIL_BLESS").is_some() {
            bless();
        }
    });
    let files = std::fs::read_dir(directory()).expect("schema/golden is there");
    let paths = files.map(|file| file.expect("readable").path());
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        let parsed = Exchange::parse(&text);
        parsed.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    paths
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(read)
        .collect()
}

#[test]
fn every_golden_exchange_is_played() {
    let exchanges = exchanges();
    assert!(!exchanges.is_empty(), "there is something to play");
    for exchange in &exchanges {
        let played = with_container(&exchange.container, async |desk| play(desk, exchange).await);
        played.unwrap_or_else(|error| panic!("{}: {error}", exchange.name));
    }
}

#[test]
fn the_files_are_what_the_scripts_say() {
    let exchanges = exchanges();
    let scripts = scripts::all();
    for (name, clause, container, script) in &scripts {
        let file = exchanges.iter().find(|exchange| exchange.name == *name);
        let file =
            file.unwrap_or_else(|| panic!("{name}.json is missing; run with SKYSAIL_BLESS=1"));
        assert_eq!(
            (file.clause.as_str(), file.container.as_str()),
            (*clause, *container)
        );
        assert!(
            sent_by_file(file) == sent_by_script(script),
            "{name}.json is old; run with SKYSAIL_BLESS=1"
        );
        assert_eq!(file.steps.len(), script.len(), "{name}");
    }
    assert_eq!(exchanges.len(), scripts.len(), "a file has no script");
}
