//! The functions that C calls.
//!
//! Each takes what may be null as an option and reads what C hands over by the types of `foreign`, so
//! that all that is left of C here are the functions' names.

#![allow(
    unsafe_code,
    reason = "names that the linker finds; no other unsafe code stands here"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the types of `foreign` are C's pointers"
)]

use std::ffi::{c_char, c_int, c_void};
use std::io::Write;
use std::ptr;

use skysail_container::serve_from;

use crate::batch::Batch;
use crate::ctx::Ctx;
use crate::failure::{self, Failure, Result, guarded};
use crate::foreign::{Arguments, Data, ModelPointer, Text};
use crate::model::{Definition, SKYSAIL_FAILED, SKYSAIL_UNFIT};
use crate::outputs::Outputs;
use crate::stage::Stage;
use crate::tensor::{Dtype, Tensor, datatype};

/// The version of this ABI. It counts changes that a built program does not bear; the library's name
/// has it too (libskysail.so.1).
pub const SKYSAIL_ABI: u32 = 1;

/// Status of a container that was started wrong.
const USAGE: c_int = 2;

/// For skysail_log: the model, or what it works with, is broken.
pub const SKYSAIL_ERROR: c_int = 1;
/// For skysail_log: somebody should look at it.
pub const SKYSAIL_WARNING: c_int = 2;
/// For skysail_log: good to know.
pub const SKYSAIL_INFO: c_int = 3;

/// SKYSAIL_ABI of the library that is loaded.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_abi() -> u32 {
    SKYSAIL_ABI
}

/// The library's version, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn skysail_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The whole of a container's main: reads the flags of main and the environment (--help shows them),
/// loads the model, warms it up and serves it until it is asked to stop by SIGTERM or SIGINT.
///
/// Returns the exit status: 0 done, 1 the model failed or the front end refuses it, 2 wrong usage,
/// environment, model or signature. What is wrong is told on standard error in a line.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn skysail_run(model: ModelPointer, argc: c_int, argv: Arguments) -> c_int {
    let status = guarded(None, || {
        let definition = Definition::new(model.get()?)?;
        let arguments = argv.get(argc)?;
        Ok(Some(c_int::from(serve_from(&definition, arguments))))
    });
    status.unwrap_or_else(|| {
        // Nobody is left to tell if standard error is gone.
        drop(writeln!(std::io::stderr(), "error: {}", failure::last()));
        USAGE
    })
}

/// Why the last function of this library that failed on this thread did; empty if none did. Stays
/// until the next one fails.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_last_error() -> *const c_char {
    failure::last_for_c()
}

/// Sets the message with which a function of the model fails. Returns SKYSAIL_FAILED, for it to
/// return: `return skysail_fail("no weights");`.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_fail(message: Text) -> c_int {
    failure::set_last(&message.lossy().unwrap_or_default());
    SKYSAIL_FAILED
}

/// As skysail_fail, where not the model is wrong but what it was started with or in: a library is
/// missing, a file is of another version. Say what to do; the container then exits with status 2.
/// Returns SKYSAIL_UNFIT, for load to return.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_unfit(message: Text) -> c_int {
    failure::set_last(&message.lossy().unwrap_or_default());
    SKYSAIL_UNFIT
}

/// Writes to the container's log, which is on standard error; RUST_LOG sets what is written.
/// Another level is for whoever looks for a fault.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_log(level: c_int, message: Text) {
    let text = message.lossy().unwrap_or_default();
    guarded((), || {
        match level {
            SKYSAIL_ERROR => tracing::error!("{text}"),
            SKYSAIL_WARNING => tracing::warn!("{text}"),
            SKYSAIL_INFO => tracing::info!("{text}"),
            _ => tracing::debug!("{text}"),
        }
        Ok(())
    });
}

/// The file name in the model's directory (--path, by default the current one), or the directory if
/// name is NULL. The text is there until the model's function returns. NULL if it fails.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_path(ctx: Option<&Ctx>, name: Text) -> *const c_char {
    guarded(ptr::null(), || {
        let name = if name.is_null() {
            None
        } else {
            Some(name.get("name")?)
        };
        given(ctx, "ctx")?.path(name)
    })
}

/// The name under which the model is served; "local" where it is not served.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_model_name(ctx: Option<&Ctx>) -> *const c_char {
    guarded(ptr::null(), || Ok(given(ctx, "ctx")?.model()))
}

/// The version under which the model is served; "0" where it is not served.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_model_version(ctx: Option<&Ctx>) -> *const c_char {
    guarded(ptr::null(), || Ok(given(ctx, "ctx")?.version()))
}

/// Microseconds until the last deadline in the batch, 0 when it has passed; UINT64_MAX where there is
/// none.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_remaining_us(ctx: Option<&Ctx>) -> u64 {
    guarded(u64::MAX, || {
        let remaining = given(ctx, "ctx")?.remaining();
        let us = remaining.and_then(|remaining| u64::try_from(remaining.as_micros()).ok());
        Ok(us.unwrap_or(u64::MAX))
    })
}

/// Rows of the batch, 1 to max_batch; 0 if it fails.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_rows(batch: Option<&Batch>) -> usize {
    guarded(0, || given(batch, "batch")?.rows())
}

/// All elements of an input, row after row: dtype is that of the signature. They are not copied, and
/// must not be written. NULL if there is no such input, or it holds something else.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_input_data(
    batch: Option<&Batch>,
    name: Text,
    dtype: Dtype,
) -> *const c_void {
    guarded(ptr::null(), || {
        given(batch, "batch")?.data(name.get("name")?, dtype)
    })
}

/// An input, all rows of it; NULL if there is no such input.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_input(batch: Option<&Batch>, name: Text) -> *const Tensor {
    guarded(ptr::null(), || {
        Ok(ptr::from_ref(
            given(batch, "batch")?.tensor(name.get("name")?)?,
        ))
    })
}

/// An input by its place in the signature, from 0; NULL if there are not so many.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_input_at(batch: Option<&Batch>, index: usize) -> *const Tensor {
    guarded(ptr::null(), || {
        Ok(ptr::from_ref(given(batch, "batch")?.tensor_at(index)?))
    })
}

/// One row of an input, of whatever type and dimensions; NULL if there is no such input or row. The
/// struct and its dims are there until the next call of this function.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_input_row(
    batch: Option<&Batch>,
    name: Text,
    row: usize,
) -> *const Tensor {
    guarded(ptr::null(), || {
        given(batch, "batch")?.row(name.get("name")?, row)
    })
}

/// All elements of an output whose rows are alike, row after row, zero at first, to be written until
/// predict returns: dtype is that of the signature. NULL if there is no such output, it holds
/// something else, or its rows may differ.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_output_data(
    out: Option<&mut Outputs>,
    name: Text,
    dtype: Dtype,
) -> *mut c_void {
    guarded(ptr::null_mut(), || {
        given(out, "out")?.data(name.get("name")?, dtype)
    })
}

/// An output: its dimensions, and its data if its rows are alike; NULL if there is no such output.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_output(out: Option<&mut Outputs>, name: Text) -> *const Tensor {
    guarded(ptr::null(), || {
        Ok(ptr::from_ref(given(out, "out")?.tensor(name.get("name")?)?))
    })
}

/// An output by its place in the signature, from 0; NULL if there are not so many.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_output_at(out: Option<&mut Outputs>, index: usize) -> *const Tensor {
    guarded(ptr::null(), || {
        Ok(ptr::from_ref(given(out, "out")?.tensor_at(index)?))
    })
}

/// Copies all rows of an output whose rows are alike from the model's own memory. Name, dtype, dims
/// (rows first) and bytes must be those of the output.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_set(out: Option<&mut Outputs>, tensor: Option<&Tensor>) -> c_int {
    status(|| given(out, "out")?.set(given(tensor, "tensor")?))
}

/// Answers the next row of an output whose rows may differ, with a tensor of that one row. Rows that
/// have failed are left out. The data is copied.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_push(out: Option<&mut Outputs>, row: Option<&Tensor>) -> c_int {
    status(|| given(out, "out")?.push(given(row, "row")?))
}

/// skysail_push for an output with one variable dimension: count elements.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_push_elements(
    out: Option<&mut Outputs>,
    name: Text,
    dtype: Dtype,
    data: Data,
    count: usize,
) -> c_int {
    status(|| {
        let width = datatype(dtype)?
            .width()
            .ok_or("strings are no elements: use skysail_push")?;
        let bytes = count.checked_mul(width).ok_or("count is too large")?;
        given(out, "out")?.push_elements(name.get("name")?, dtype, data.get(bytes)?)
    })
}

/// skysail_push for an output of one string a row. It need not end with a zero byte.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_push_text(
    out: Option<&mut Outputs>,
    name: Text,
    text: Data,
    bytes: usize,
) -> c_int {
    status(|| given(out, "out")?.push_text(name.get("name")?, text.get(bytes)?))
}

/// Fails one row, from 0, with a message for whoever asked; the other rows stand. What is written for
/// the row is not used.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_fail_row(out: Option<&mut Outputs>, row: usize, message: Text) -> c_int {
    status(|| {
        let message = message.lossy().unwrap_or_default();
        given(out, "out")?.fail_row(row, message)
    })
}

/// A stage of so many bytes of address space, which takes no memory; NULL if there is not so much.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_stage_new(bytes: usize) -> Option<Box<Stage>> {
    guarded(None, || Ok(Some(Box::new(Stage::new(bytes)?))))
}

/// Where its addresses begin.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_stage_base(stage: Option<&Stage>) -> *const c_void {
    guarded(ptr::null(), || Ok(given(stage, "stage")?.base()))
}

/// Shows the data of an input, by its place in the signature, until the stage is cleared: the offset from
/// its base. SIZE_MAX if there is no room left, or the data did not come by shared memory: copy it then.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_stage_show(
    stage: Option<&mut Stage>,
    batch: Option<&Batch>,
    index: usize,
) -> usize {
    guarded(usize::MAX, || {
        let payload = given(batch, "batch")?.payload_at(index)?;
        Ok(given(stage, "stage")?.show(payload).unwrap_or(usize::MAX))
    })
}

/// Replaces what was shown by zeros, which must be done before predict returns. If it fails, the process
/// had better end: what was shown would change.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_stage_clear(stage: Option<&mut Stage>) -> c_int {
    status(|| given(stage, "stage")?.clear())
}

/// Frees the addresses, which nobody may read any more. NULL is nothing to free.
#[unsafe(no_mangle)]
pub extern "C" fn skysail_stage_free(stage: Option<Box<Stage>>) {
    drop(stage);
}

fn given<T>(handle: Option<T>, what: &str) -> Result<T> {
    handle.ok_or_else(|| Failure(format!("{what} is NULL")))
}

fn status(call: impl FnOnce() -> Result<()>) -> c_int {
    guarded(SKYSAIL_FAILED, || call().map(|()| 0))
}
