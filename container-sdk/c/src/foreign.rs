//! What C hands over, read in one place.
//!
//! The types here stand for C's own in the signatures of `calls`, so that the functions there need no
//! unsafe code of their own. Only C makes them, and the header says what it owes: a pointer is null or
//! valid for the time of the call, text ends with a zero byte, sizes are true.

#![allow(
    unsafe_code,
    reason = "C hands over addresses; tests/c has programs under valgrind go through each block"
)]

use std::ffi::{CStr, OsString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;

use crate::failure::{Failure, Result};
use crate::model::Model;

/// `const char *`
#[repr(transparent)]
pub struct Text(*const c_char);

/// `const void *`
#[repr(transparent)]
pub struct Data(*const c_void);

/// `const skysail_model *`
#[repr(transparent)]
pub struct ModelPointer(*const Model);

/// `char **`
#[repr(transparent)]
pub struct Arguments(*const *const c_char);

impl Text {
    /// The text, if there is one.
    pub(crate) fn get(&self, what: &str) -> Result<&str> {
        text(&self.0, what)
    }

    /// The text, or what there is of it: for messages.
    pub(crate) fn lossy(&self) -> Option<String> {
        c_str(&self.0).map(|text| text.to_string_lossy().into_owned())
    }

    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl Data {
    /// `bytes` bytes of it.
    pub(crate) fn get(&self, bytes: usize) -> Result<&[u8]> {
        array(self, self.0.cast(), bytes, "data")
    }
}

impl ModelPointer {
    /// The model, whichever version of the header it was made by; what that did not have is null.
    pub(crate) fn get(&self) -> Result<Model> {
        let (theirs, ours) = (self.0, size_of::<Model>());
        if theirs.is_null() {
            return Err("model is NULL".into());
        }
        if !theirs.is_aligned() {
            return Err("model is not a skysail_model: it is not aligned".into());
        }
        // SAFETY: not null; every version of the struct begins with its size.
        let size = unsafe { theirs.cast::<usize>().read() };
        if !(Model::SIZE_MIN..=Model::SIZE_MAX).contains(&size) {
            return Err(Failure(format!(
                "the model's size is {size}: set it to sizeof(skysail_model), {ours} here"
            )));
        }
        let mut model = MaybeUninit::<Model>::zeroed();
        let common = size.min(ours);
        // SAFETY: both have at least `common` bytes, and one is on this stack.
        unsafe {
            std::ptr::copy_nonoverlapping(theirs.cast::<u8>(), model.as_mut_ptr().cast(), common);
        }
        let rest = theirs.cast::<u8>().wrapping_add(common);
        let mut later = array(self, rest, size - common, "model")?.iter();
        if later.any(|byte| *byte != 0) {
            return Err("the model was made for a later libskysail: install that one".into());
        }
        // SAFETY: numbers, addresses and functions that may be null: zeros are valid, and so is
        // what C has put there.
        Ok(unsafe { model.assume_init() })
    }
}

impl Arguments {
    /// The program's name and its arguments.
    pub(crate) fn get(&self, count: c_int) -> Result<Vec<OsString>> {
        let count = usize::try_from(count).map_err(|_| "argc is negative")?;
        if count == 0 {
            return Err("argc is 0: it counts the program's name too".into());
        }
        let argument = |pointer| {
            let bytes = c_str(pointer).ok_or("argv has a NULL before its end")?;
            Ok(OsString::from_vec(bytes.to_bytes().to_vec()))
        };
        array(self, self.0, count, "argv")?
            .iter()
            .map(argument)
            .collect()
    }
}

/// The text of a struct's field.
pub(crate) fn text<'a>(pointer: &'a *const c_char, what: &str) -> Result<&'a str> {
    let text = c_str(pointer).ok_or_else(|| Failure(format!("{what} is NULL")))?;
    text.to_str()
        .map_err(|_| Failure(format!("{what} is not UTF-8")))
}

/// `count` elements at `pointer`, which is or stands in what C has handed over.
pub(crate) fn array<'a, T: Copy>(
    _came_in: &'a impl Sized,
    pointer: *const T,
    count: usize,
    what: &str,
) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Failure(format!("{what} is NULL")));
    }
    if !pointer.is_aligned() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Failure(format!("{what} is not aligned, or too long")));
    }
    // SAFETY: not null, aligned, and so many by what the caller said, for the time of the call; the
    // slice lives no longer than the argument or struct that the pointer came in.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

fn c_str(pointer: &*const c_char) -> Option<&CStr> {
    // SAFETY: text ends with a zero byte and is there for the time of the call, as above.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(*pointer) })
}
