//! The log file of one replica: what its processes print, and when they started and ended.
//!
//! # Invariants
//! - A file over [`LOG_BYTES_MAX`] is put aside as `.log.1` before the next start; a running
//!   process is never cut off from its file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Size from which the next start begins a new file.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// Logs may show what models were asked.
const LOG_MODE: u32 = 0o600;

/// Opens `replica-INDEX.log` in `directory` for appending.
pub(super) fn open(directory: &Path, index: u32) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    let path = path(directory, index);
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(LOG_MODE)
        .open(path)
}

/// Appends a line of the supervisor's own.
pub(super) fn note(mut log: &File, text: &str) {
    // One write, so that it does not mix with what the process prints. A full disk loses it.
    let _ = log.write_all(format!("--- {text}\n").as_bytes());
}

fn path(directory: &Path, index: u32) -> PathBuf {
    directory.join(format!("replica-{index}.log"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{LOG_BYTES_MAX, note, open};

    #[test]
    fn appends_and_puts_a_large_file_aside() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let logs = directory.path().join("a/b");
        note(&open(&logs, 3).expect("a log"), "one");
        let log = open(&logs, 3).expect("a log");
        note(&log, "two");
        let path = logs.join("replica-3.log");
        assert_eq!(
            fs::read_to_string(&path).expect("text"),
            "--- one\n--- two\n"
        );
        log.set_len(LOG_BYTES_MAX).expect("a longer file");
        open(&logs, 3).expect("a log at the limit is kept");
        assert!(!logs.join("replica-3.log.1").exists());
        log.set_len(LOG_BYTES_MAX + 1).expect("a longer file");
        note(&open(&logs, 3).expect("a log"), "three");
        assert_eq!(fs::read_to_string(&path).expect("text"), "--- three\n");
        let aside = fs::metadata(logs.join("replica-3.log.1")).expect("the old log");
        assert_eq!(aside.len(), LOG_BYTES_MAX + 1);
    }
}
