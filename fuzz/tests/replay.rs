//! Every input of the corpus, and some thousands of made-up ones, through every target.
//!
//! What fuzzing has found stays in `corpus/`, so that it is run again with every change. The
//! made-up inputs are the same in every run: one seed a target, and mutations of its corpus.

use std::path::{Path, PathBuf};

use skysail_fuzz::TARGETS;

/// Made-up inputs of a target, and of one that makes shared memory for each.
const MADE_UP: usize = 3000;
const MADE_UP_HOSTILE: usize = 1000;
/// The longest of them.
const BYTES_MAX: usize = 600;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let files = std::fs::read_dir(&folder).expect("every target has a corpus");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("readable").path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("readable");
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

/// Runs a target on one input, and names the input if that panics.
fn run(target: &str, function: fn(&[u8]), input: &[u8], name: &str) {
    let result = std::panic::catch_unwind(|| function(input));
    assert!(result.is_ok(), "{target} fails on {name}: {input:?}");
}

fn replay(target: &str) {
    let (_, function) = TARGETS
        .into_iter()
        .find(|(name, _)| *name == target)
        .expect("a target");
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has seeds");
    for (path, input) in &corpus {
        run(target, function, input, &path.display().to_string());
    }
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let is_hostile = target.starts_with("hostile");
    for number in 0..if is_hostile { MADE_UP_HOSTILE } else { MADE_UP } {
        let (_, seed) = &corpus[random.usize(..corpus.len())];
        let input = made_up(&mut random, seed);
        run(target, function, &input, &format!("made-up input {number}"));
    }
}

/// Bytes out of nowhere, or a seed with some of its bytes changed, cut, doubled or moved.
fn made_up(random: &mut fastrand::Rng, seed: &[u8]) -> Vec<u8> {
    if random.u8(..4) == 0 || seed.is_empty() {
        let bytes = random.usize(..BYTES_MAX);
        return std::iter::repeat_with(|| random.u8(..))
            .take(bytes)
            .collect();
    }
    let mut input = seed[..seed.len().min(8 * BYTES_MAX)].to_vec();
    for _ in 0..=random.u8(..4) {
        let at = random.usize(..=input.len());
        let end = random.usize(at..=input.len().min(at + 32));
        match random.u8(..5) {
            0 => input[at..end].fill_with(|| random.u8(..)),
            1 => drop(input.drain(at..end)),
            2 => {
                let piece = input[at..end].to_vec();
                let to = random.usize(..=input.len());
                drop(input.splice(to..to, piece));
            }
            3 => input.truncate(at),
            _ => input.insert(at, random.u8(..)),
        }
    }
    input
}

#[test]
fn every_target_has_a_folder_and_every_folder_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folders = std::fs::read_dir(folder).expect("a corpus");
    let mut folders: Vec<String> = folders
        .map(|folder| {
            folder
                .expect("readable")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    let mut targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    folders.sort();
    targets.sort_unstable();
    assert_eq!(folders, targets);
}

#[test]
fn no_frame_breaks_a_decoder_or_a_session() {
    replay("message");
}

#[test]
fn no_parts_break_a_column() {
    replay("columns");
}

#[test]
fn no_words_break_a_ring() {
    replay("descriptor");
}

#[test]
fn nothing_said_to_the_control_socket_breaks_it() {
    replay("visit");
}

#[test]
fn no_body_breaks_the_query_port() {
    replay("json");
}

#[test]
fn no_request_breaks_the_open_inference_protocol() {
    replay("v2");
}

#[test]
fn no_message_breaks_the_open_inference_protocol() {
    replay("grpc");
}

#[test]
fn no_text_breaks_a_schema() {
    replay("schema_text");
}

#[test]
fn no_endpoint_breaks_the_transport() {
    replay("endpoint");
}

#[test]
fn no_file_breaks_the_keys() {
    replay("keys");
}

#[test]
fn no_record_breaks_the_store() {
    replay("store");
}

#[test]
fn no_container_breaks_its_front_end() {
    replay("hostile_container");
}

#[test]
fn no_front_end_breaks_its_container() {
    replay("hostile_frontend");
}
