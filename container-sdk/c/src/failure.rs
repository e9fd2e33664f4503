//! How a call fails: a message that the thread keeps, and a value that says that there is one.

use std::cell::RefCell;
use std::error::Error;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use skysail_container::TensorError;

/// Why a call fails.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Failure(text.to_owned())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure(text)
    }
}

impl From<TensorError> for Failure {
    fn from(error: TensorError) -> Self {
        Failure(causes(&error))
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Keeps `text` as the thread's last error.
pub(crate) fn set_last(text: &str) {
    LAST.with(|last| *last.borrow_mut() = c_text(text));
}

/// The thread's last error, empty if there is none.
pub(crate) fn last() -> String {
    LAST.with(|last| last.borrow().to_string_lossy().into_owned())
}

/// The same for C, until the next error of this thread.
pub(crate) fn last_for_c() -> *const c_char {
    LAST.with(|last| last.borrow().as_ptr())
}

/// The value of `call`; if there is none, `otherwise`, and the thread's last error says why.
pub(crate) fn guarded<T>(otherwise: T, call: impl FnOnce() -> Result<T>) -> T {
    // Handles are closed after each call whatever became of it, so none is met half-changed.
    let said = catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err("libskysail panicked: please report what it printed".into()));
    said.unwrap_or_else(|Failure(text)| {
        set_last(&text);
        otherwise
    })
}

/// A text for C; what follows a zero byte is of no use there.
pub(crate) fn c_text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).expect("no zero byte before its first")
}

/// An error with its causes, on one line.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
