//! The handle of what surrounds a call of the model.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::failure::{Result, c_text};

/// The model's names and files, and the time that is left for the batch at hand.
#[derive(Debug)]
pub struct Ctx {
    directory: PathBuf,
    model: CString,
    version: CString,
    deadline: Option<Instant>,
    /// Texts that the model was given in this call.
    given: RefCell<Vec<CString>>,
}

impl Ctx {
    pub(crate) fn new(ctx: &skysail_container::Ctx) -> Self {
        Ctx {
            directory: ctx.directory().to_owned(),
            model: c_text(ctx.model()),
            version: c_text(ctx.version()),
            deadline: None,
            given: RefCell::default(),
        }
    }

    pub(crate) fn open(&mut self, ctx: &skysail_container::Ctx) {
        self.deadline = ctx.deadline();
    }

    pub(crate) fn close(&mut self) {
        self.deadline = None;
        self.given.get_mut().clear();
    }

    pub(crate) fn path(&self, name: Option<&str>) -> Result<*const c_char> {
        let path = name.map_or_else(|| self.directory.clone(), |name| self.directory.join(name));
        let path = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| "the model's directory has a zero byte in its name")?;
        let mut given = self.given.borrow_mut();
        given.push(path);
        Ok(given.last().expect("just pushed").as_ptr())
    }

    pub(crate) fn model(&self) -> *const c_char {
        self.model.as_ptr()
    }

    pub(crate) fn version(&self) -> *const c_char {
        self.version.as_ptr()
    }

    pub(crate) fn remaining(&self) -> Option<Duration> {
        let now = Instant::now();
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(now))
    }
}
