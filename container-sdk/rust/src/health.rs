//! A sign of life for whoever watches the container from outside: a file that the serving loop writes.
//!
//! It holds one line, when the loop last went round and what it is at: `12345 serving`, or
//! `12345 away` while there is no front end. The time is the seconds since the machine's start, of
//! `/proc/uptime`: a check reads the same clock, in any language, and no step of the wall clock
//! makes it lie. The file is there once the model is loaded and warm, and gone when the container has
//! ended. A loop that hangs in the model leaves it as it is, and it grows old.
//!
//! # Cost
//! One comparison a turn of the loop; a small read and a small write a second.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::StartError;

/// The file is written again after this long.
const PERIOD: Duration = Duration::from_secs(1);
/// The clock that both sides read.
const CLOCK: &str = "/proc/uptime";

/// What a container is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// A front end has welcomed it.
    Serving,
    /// It looks for one.
    Away,
}

/// The file, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Health {
    file: File,
    path: PathBuf,
    last: Option<(Pulse, Instant)>,
}

impl Health {
    /// Makes the file, which says nothing yet.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let wrong = |source| StartError::Health {
            path: path.to_owned(),
            source,
        };
        // What a container that was killed has left is not this one's.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        let file = options.open(path).map_err(wrong)?;
        uptime_seconds().map_err(wrong)?;
        Ok(Health {
            file,
            path: path.to_owned(),
            last: None,
        })
    }

    /// The loop goes round.
    pub(crate) fn beat(&mut self, now: Instant, pulse: Pulse) {
        let is_new = |(last, at)| last != pulse || now.duration_since(at) >= PERIOD;
        if self.last.is_none_or(is_new) {
            self.last = Some((pulse, now));
            self.write(pulse);
        }
    }

    #[cold]
    fn write(&self, pulse: Pulse) {
        let word = match pulse {
            Pulse::Serving => "serving",
            Pulse::Away => "away",
        };
        // One write of one length: who reads meanwhile sees the old line or the new one.
        let write = |seconds| {
            self.file
                .write_all_at(format!("{seconds} {word:<7}\n").as_bytes(), 0)
        };
        // A full disk must not end a container; the file grows old, and the check tells.
        if let Err(error) = uptime_seconds().and_then(write) {
            tracing::debug!(%error, "cannot write the health file");
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        // It may be gone with its directory.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Whole seconds since the machine started.
fn uptime_seconds() -> std::io::Result<u64> {
    let text = std::fs::read_to_string(CLOCK)?;
    let seconds = text.split(['.', ' ']).next().unwrap_or_default();
    seconds
        .parse()
        .map_err(|_| std::io::Error::other(format!("{CLOCK} says '{}'", text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_tells_the_last_turn_of_the_loop_until_the_container_ends() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("health");
        std::fs::write(&path, "an older container's").expect("written");
        let mut health = Health::open(&path).expect("made");
        let read = || std::fs::read_to_string(&path).expect("there");
        assert_eq!(read(), "", "nothing is told of an older one");
        let before = uptime_seconds().expect("a clock");
        let start = Instant::now();
        health.beat(start, Pulse::Away);
        let told = read();
        let (seconds, word) = told.trim().split_once(' ').expect("two words");
        assert!(seconds.parse::<u64>().expect("a number") >= before);
        assert_eq!(word, "away");
        health.beat(start, Pulse::Serving);
        assert!(read().ends_with(" serving\n"), "a change is told at once");

        std::fs::write(&path, "").expect("written");
        health.beat(start + PERIOD / 2, Pulse::Serving);
        assert_eq!(
            read(),
            "",
            "nothing is written more often than once a period"
        );
        health.beat(start + PERIOD, Pulse::Serving);
        assert!(read().ends_with(" serving\n"));
        drop(health);
        assert!(!path.exists());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_at_the_start() {
        let error = Health::open(Path::new("/no/such/place")).expect_err("no place");
        assert_eq!(
            error.to_string(),
            "--health-file: cannot write /no/such/place: No such file or directory (os error 2)"
        );
        assert_eq!(error.status(), 2);
    }
}
