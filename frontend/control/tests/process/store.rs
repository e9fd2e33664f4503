//! The file store against other processes.

use std::io::{BufRead, BufReader, Read};

use skysail_control::store::{FileStore, Revision, Store};

use crate::Test;
use crate::support::{Playground, role};

pub(crate) const TESTS: &[Test] = &[
    (
        "store::keeps_what_was_acknowledged_when_its_process_is_killed",
        killed_writer,
    ),
    (
        "store::tells_another_process_who_has_the_directory",
        second_process,
    ),
];

fn killed_writer() {
    let playground = Playground::new();
    let mut acknowledged = 0;
    for _ in 0..5 {
        let mut writer = role("store-writer", playground.path());
        let mut lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        for _ in 0..10 {
            let line = lines.next().expect("the writer goes on").expect("text");
            acknowledged = line.parse().expect("a revision");
        }
        writer.kill().expect("the writer runs");
        // What it told before the kill came counts too.
        for line in lines.map_while(Result::ok) {
            acknowledged = line.parse().unwrap_or(acknowledged);
        }
        writer.wait().expect("the writer ended");
        let store = FileStore::open(playground.path()).expect("the store opens again");
        let contents = store.load().expect("the store loads");
        assert!(
            contents.revision >= Revision(acknowledged),
            "{acknowledged} acknowledged"
        );
        let value = contents.revision.to_string().into_bytes();
        assert_eq!(contents.entries.get("a"), Some(&value));
        assert_eq!(contents.entries.get("b"), Some(&value));
    }
}

fn second_process() {
    let playground = Playground::new();
    let store = FileStore::open(playground.path()).expect("the store opens");
    let locked = opener_says(&playground);
    assert!(locked.starts_with("Locked: "), "{locked}");
    assert!(
        locked.contains(&format!("process {}", std::process::id())),
        "{locked}"
    );
    assert!(
        locked.contains(&playground.path().display().to_string()),
        "{locked}"
    );
    drop(store);
    assert_eq!(opener_says(&playground), "opened\n");
}

fn opener_says(playground: &Playground) -> String {
    let mut opener = role("store-opener", playground.path());
    let mut text = String::new();
    opener
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut text)
        .expect("text");
    opener.wait().expect("it ended");
    text
}
