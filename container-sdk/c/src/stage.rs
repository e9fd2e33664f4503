//! The handle of a stage, for bindings whose memory a garbage collector lets go of.

use std::ffi::c_void;

use crate::failure::Result;

/// Address space in which data of a batch is shown once, and reads as zeros ever after.
///
/// For languages with a garbage collector: only that knows when nobody reads any more what a model was
/// shown, and it tells it late. All addresses of a stage can be read until it is freed, and none shows
/// anything twice.
#[derive(Debug)]
pub struct Stage(skysail_container::Stage);

impl Stage {
    pub(crate) fn new(bytes: usize) -> Result<Self> {
        let stage = skysail_container::Stage::new(bytes);
        Ok(Stage(stage.map_err(|error| {
            format!("{bytes} bytes of address space: {error}")
        })?))
    }

    pub(crate) fn base(&self) -> *const c_void {
        self.0.base().cast()
    }

    pub(crate) fn show(&mut self, payload: &skysail_container::Payload) -> Option<usize> {
        self.0.show(payload)
    }

    pub(crate) fn clear(&mut self) -> Result<()> {
        Ok(self
            .0
            .clear()
            .map_err(|error| format!("the stage cannot be cleared: {error}"))?)
    }
}
