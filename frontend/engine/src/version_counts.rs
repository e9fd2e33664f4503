//! What was counted of a version since it came, without its batcher's lock.

use skysail_core::Name;
use skysail_monitor::ModelMetrics;
use skysail_monitor::lanes::HistogramReading;

/// A version's lookups and batches since it was registered or connected.
#[derive(Clone, Debug)]
pub struct VersionCounts {
    /// Its model.
    pub model: Name,
    /// Its name.
    pub version: Name,
    /// Lookups answered from the cache.
    pub cache_hits: u64,
    /// Lookups that joined a query being asked.
    pub cache_joins: u64,
    /// Lookups that were asked.
    pub cache_misses: u64,
    /// Rows of batches that came back.
    pub batch_rows: HistogramReading,
    /// Seconds from sending a batch to its reply.
    pub batch_seconds: HistogramReading,
}

impl VersionCounts {
    pub(crate) fn of(model: &Name, version: &Name, metrics: &ModelMetrics) -> VersionCounts {
        VersionCounts {
            model: model.clone(),
            version: version.clone(),
            cache_hits: metrics.cache_hits.get(),
            cache_joins: metrics.cache_joins.get(),
            cache_misses: metrics.cache_misses.get(),
            batch_rows: metrics.batch_rows.reading(),
            batch_seconds: metrics.batch_seconds.reading(),
        }
    }

    /// Lookups in the cache; none where it is turned off.
    #[must_use]
    pub fn cache_lookups(&self) -> u64 {
        self.cache_hits + self.cache_joins + self.cache_misses
    }

    /// Rows that came back.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.batch_rows.sum as u64
    }
}
