//! Counts HTTP responses by status.

use std::sync::Arc;

use hyper::StatusCode;
use skysail_monitor::Metrics;

/// The counters of one port. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    metrics: Arc<Metrics>,
    port: &'static str,
    ok: prometheus_client::metrics::counter::Counter,
}

impl Answered {
    /// Counters of `port`.
    #[must_use]
    pub(crate) fn new(metrics: &Arc<Metrics>, port: &'static str) -> Answered {
        let ok = metrics.http_responses(port, StatusCode::OK.as_u16());
        Answered {
            metrics: metrics.clone(),
            port,
            ok,
        }
    }

    /// Counts a response.
    pub(crate) fn count(&self, status: StatusCode) {
        if status == StatusCode::OK {
            self.ok.inc();
        } else {
            self.metrics
                .http_responses(self.port, status.as_u16())
                .inc();
        }
    }
}
