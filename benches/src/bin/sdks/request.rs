//! Single rows in V2's binary form, encoded beforehand.

use anyhow::Result;
use skysail_load::{Method, Request};

/// What a model takes: input `x`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    /// Elements of a row.
    pub(crate) features: usize,
    /// Doubles; floats else.
    pub(crate) is_double: bool,
}

impl Input {
    /// Bytes of a row.
    pub(crate) fn bytes(self) -> usize {
        self.features * if self.is_double { 8 } else { 4 }
    }

    /// A request for `model` with a row of its own for each `seed`, answered in binary form where
    /// `is_binary`.
    pub(crate) fn request(self, model: &str, seed: u64, is_binary: bool) -> Result<Request> {
        let (features, bytes) = (self.features, self.bytes());
        let datatype = if self.is_double { "FP64" } else { "FP32" };
        let header = format!(
            "{{\"inputs\":[{{\"name\":\"x\",\"datatype\":\"{datatype}\",\"shape\":[1,{features}],\
             \"parameters\":{{\"binary_data_size\":{bytes}}}}}],\
             \"parameters\":{{\"binary_data_output\":{is_binary}}}}}"
        );
        let length = header.len().to_string();
        let mut body = header.into_bytes();
        self.write(&mut body, seed);
        let path = format!("/v2/models/{model}/infer");
        let request = Request::new(Method::POST, &path)?;
        let request = request.with_header("inference-header-content-length", &length);
        Ok(request.with_body(body))
    }

    fn write(self, body: &mut Vec<u8>, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..self.features {
            match self.is_double {
                true => body.extend_from_slice(&random.f64().to_le_bytes()),
                false => body.extend_from_slice(&random.f32().to_le_bytes()),
            }
        }
    }
}
