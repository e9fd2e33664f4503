//! A model of C as the SDK takes it.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use skysail_container::{Predictor, Result, Signature, Source, Unfit, warm_up_with_zeros};

use crate::batch::Batch;
use crate::ctx::Ctx;
use crate::failure::{self, Failure};
use crate::outputs::Outputs;
use crate::{foreign, signature};

/// A function of the model failed. Its message is the thread's last error: what skysail_fail was
/// given, or else why a function of this library failed.
pub const SKYSAIL_FAILED: c_int = -1;
/// What load returns if not the model is wrong, but what it was started with or in; see skysail_unfit.
pub const SKYSAIL_UNFIT: c_int = -2;

/// What warm_up returns if rows of zeros are to go through predict, as if there were no warm_up.
pub const SKYSAIL_ZEROS: c_int = 1;

/// A model: its signature and its functions. Set all of it to zero, then what there is.
///
/// The functions are called on one thread, the one that calls skysail_run: load once, warm_up once,
/// predict for each batch, and unload once if load was good. They return 0, or what skysail_fail
/// returns. What they are given may be used until they return, and data of inputs and outputs by other
/// threads too; ctx, single rows and the outputs' functions by this thread alone.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// sizeof(skysail_model). Later versions of the struct are longer.
    pub size: usize,
    /// Inputs and outputs by one row each, such as `x: f32[784], n: i64 -> y: f32[10]`. Element types
    /// are bool, u8 to u64, i8 to i64, f16, bf16, f32, f64, bytes and string; without brackets a row
    /// has one element; -1 is a dimension in which rows may differ.
    pub signature: *const c_char,
    /// The most rows of a batch, 1 to 65536; 0 for 64.
    pub max_batch: usize,
    /// Name and version of a binding on this library, as the front end's log tells it; NULL if there
    /// is none.
    pub sdk: *const c_char,
    /// Given to load.
    pub user: *mut c_void,
    /// Loads the model: what it stores to state is given to the other functions. NULL if there is
    /// nothing to load; state is then user.
    pub load: Option<
        unsafe extern "C-unwind" fn(
            ctx: *const Ctx,
            user: *mut c_void,
            state: *mut *mut c_void,
        ) -> c_int,
    >,
    /// Prepares the model before it is offered to the front end. NULL: one row and the most rows, of
    /// zeros and empty texts, go through predict.
    pub warm_up: Option<unsafe extern "C-unwind" fn(ctx: *const Ctx, state: *mut c_void) -> c_int>,
    /// Answers a batch, whose rows fit the signature and are 1 to max_batch. If it fails, all of the
    /// batch fails with its message, and the next batch is given to the same state.
    pub predict: Option<
        unsafe extern "C-unwind" fn(
            ctx: *const Ctx,
            state: *mut c_void,
            batch: *const Batch,
            out: *mut Outputs,
        ) -> c_int,
    >,
    /// Frees what load made. NULL if there is nothing to free.
    pub unload: Option<unsafe extern "C-unwind" fn(state: *mut c_void)>,
}

impl Model {
    /// Bytes of the first version of the struct.
    pub(crate) const SIZE_MIN: usize = size_of::<Model>();
    /// No later version will be larger.
    pub(crate) const SIZE_MAX: usize = 4096;
}

const _: () = assert!(size_of::<Model>() == 9 * size_of::<usize>());

/// A model that is not loaded.
#[derive(Debug)]
pub(crate) struct Definition {
    model: Model,
    signature: Signature,
    sdk: String,
}

impl Definition {
    /// # Errors
    /// If something is missing in the model, or its signature cannot be read.
    pub(crate) fn new(model: Model) -> failure::Result<Self> {
        if model.predict.is_none() {
            return Err("the model has no predict".into());
        }
        let mut signature = signature::parse(foreign::text(&model.signature, "the signature")?)?;
        if model.max_batch > 0 {
            signature = signature.max_batch(model.max_batch);
        }
        let sdk = if model.sdk.is_null() {
            concat!("c/", env!("CARGO_PKG_VERSION")).to_owned()
        } else {
            foreign::text(&model.sdk, "the model's sdk")?.to_owned()
        };
        Ok(Definition {
            model,
            signature,
            sdk,
        })
    }
}

impl Source for Definition {
    type Loaded = Loaded;

    fn sdk(&self) -> &str {
        &self.sdk
    }

    fn signature(&self) -> Signature {
        self.signature.clone()
    }

    fn load(&self, ctx: &skysail_container::Ctx) -> Result<Loaded> {
        let (schema, _) = self.signature.clone().build()?;
        let mut loaded = Loaded {
            model: self.model,
            state: None,
            ctx: Box::new(Ctx::new(ctx)),
            batch: Box::new(Batch::new(&schema.inputs)),
            out: Box::new(Outputs::new(&schema.outputs)),
        };
        loaded.load()?;
        Ok(loaded)
    }
}

/// A loaded model, and the handles that it is shown.
#[derive(Debug)]
pub(crate) struct Loaded {
    model: Model,
    /// None until it is loaded.
    state: Option<*mut c_void>,
    ctx: Box<Ctx>,
    batch: Box<Batch>,
    out: Box<Outputs>,
}

#[allow(
    unsafe_code,
    reason = "the model's functions are C's; tests/c has programs under valgrind go through each"
)]
impl Loaded {
    fn load(&mut self) -> Result<()> {
        let mut state = self.model.user;
        if let Some(load) = self.model.load {
            state = ptr::null_mut();
            failure::set_last("");
            // SAFETY: as the header says: the function is what the model's author put there, the
            // handle lives as long as `self`, and `state` until it returns.
            let status = unsafe { load(&raw const *self.ctx, self.model.user, &raw mut state) };
            self.ctx.close();
            told("load", status)?;
        }
        self.state = Some(state);
        Ok(())
    }

    fn state(&self) -> *mut c_void {
        self.state.unwrap_or(ptr::null_mut())
    }

    /// The status of warm_up, or None if the model has none.
    fn own_warm_up(&mut self) -> Option<c_int> {
        let warm_up = self.model.warm_up?;
        failure::set_last("");
        // SAFETY: as in `load`; the state is what load has made.
        let status = unsafe { warm_up(&raw const *self.ctx, self.state()) };
        self.ctx.close();
        Some(status)
    }

    fn call(&mut self) -> c_int {
        let predict = self.model.predict.expect("checked when it was defined");
        let state = self.state();
        failure::set_last("");
        let (ctx, batch) = (&raw const *self.ctx, &raw const *self.batch);
        // SAFETY: as in `own_warm_up`; the handles are open, and closed when it has returned.
        unsafe { predict(ctx, state, batch, &raw mut *self.out) }
    }
}

impl Predictor for Loaded {
    fn warm_up(&mut self, signature: &Signature, ctx: &skysail_container::Ctx) -> Result<()> {
        match self.own_warm_up() {
            Some(status) if status != SKYSAIL_ZEROS => told("warm_up", status),
            _ => warm_up_with_zeros(self, signature, ctx),
        }
    }

    fn predict(
        &mut self,
        batch: &skysail_container::Batch,
        out: &mut skysail_container::Outputs,
        ctx: &skysail_container::Ctx,
    ) -> Result<()> {
        self.ctx.open(ctx);
        let opened = self.batch.open(batch).and_then(|()| self.out.open(out));
        let status = opened.map(|()| self.call());
        self.ctx.close();
        self.batch.close();
        self.out.close();
        told("predict", status.map_err(|Failure(why)| why)?)
    }
}

impl Drop for Loaded {
    #[allow(unsafe_code, reason = "the model's function is C's, as above")]
    fn drop(&mut self) {
        if let (Some(unload), Some(state)) = (self.model.unload, self.state.take()) {
            // SAFETY: the state is what load has made, and nothing uses it from here on.
            unsafe { unload(state) };
        }
    }
}

/// What a function of the model said.
fn told(function: &str, status: c_int) -> Result<()> {
    let why = match failure::last() {
        why if why.is_empty() => format!("the model's {function} returned {status}"),
        why => why,
    };
    match status {
        0 => Ok(()),
        SKYSAIL_UNFIT => Err(Unfit(why).into()),
        _ => Err(why.into()),
    }
}
