//! What of the shared path the fuzz targets decode and count; only they turn it on.

use skysail_memory::ring::{ENTRY_WORDS, Entry};

use super::descriptor::{Answer, Request};
use super::setup::{read_setup, read_visit};

/// Reads a ring's entry as a request and as a reply. What is one says the same when it is
/// written and read again.
///
/// # Panics
/// If it does not.
pub fn descriptor(entry: &Entry) {
    let request = Request::read(entry);
    if let Some(request) = &request {
        let mut written = [0; ENTRY_WORDS];
        request.write(&mut written);
        assert_eq!(Request::read(&written).as_ref(), Some(request));
    }
    if let Some(answer) = Answer::read(entry) {
        let mut written = [0; ENTRY_WORDS];
        answer.write(&mut written);
        assert_eq!(Answer::read(&written), Some(answer));
    }
}

/// Reads what a visitor of the control socket says; whether it shows a nonce.
#[must_use]
pub fn visit(bytes: &[u8]) -> bool {
    read_visit(bytes).is_some()
}

/// Reads what a front end says of the memory that it passes; whether a container believes it.
///
/// # Panics
/// If the sizes that are believed are not those of a region.
#[must_use]
pub fn setup(bytes: &[u8]) -> bool {
    let Some((sizes, _)) = read_setup(bytes) else {
        return false;
    };
    let bytes = sizes.results().bytes().max(sizes.requests().bytes());
    // A ring lies before them.
    assert!(bytes <= 2 * super::SESSION_BYTES_MAX, "{sizes:?}");
    true
}
