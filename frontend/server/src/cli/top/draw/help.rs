//! What the figures mean, and the keys.

use ratatui::text::Line;

use super::paint::Paint;

const TEXT: &str = "\
KEYS
  q, Esc, Ctrl-C   quit              space   hold the view, go on
  j k, arrows      scroll by a line  s       sort by name, load, trouble
  PgUp PgDn        by a page         ?, h    this help, and back
  Home End, g G    to an end         columns that do not fit are left out

MARKS
  !  misses its objective: less than 99% in time or p99 above the SLO; arrivals
     above the capacity; no replica for queries that come; a suspect replica
  ~  close to it: less than 10% headroom; a replica that is leaving, or takes
     twice as long as another of its version

APPLICATIONS  over the last interval
  OFFERED/S   queries answered, with whatever
  IN TIME     predictions within the SLO, of all answers
  P50 P99     from the last byte of a query to its answer, defaults too; read
              from buckets, each a third wider than the one before
VERSIONS      shed, late, expired and hedged queries stand below
  ARRIVE/S    queries queued; those that the cache answered are not among them
  CAPACITY    queries a second that its replicas bear within the objective
  HEADROOM    share of it that arrivals leave, averaged over some seconds
  QUEUE       queries that wait now; OLDEST: how long the first of them has
  BATCH       rows of a batch, on average
  ALPHA BETA  a batch takes ALPHA and BETA for each row; planned with MARGIN
              times that, which covers QUANTILE of the batches
REPLICAS      MODEL:VERSION #ID
  BUSY        share of the interval with a batch
  SLOWNESS    its latency over that of ALPHA and BETA: 2 takes twice as long
  IN FLIGHT   batches that it has, and how long the one that it computes
  TRANSPORT   what carries batches, and the time of a batch that is not the
              model's
  STRAGGLERS  batches several times slower than predicted";

/// The help.
pub(super) fn lines(paint: Paint) -> Vec<Line<'static>> {
    let line = |text: &'static str| {
        if text.starts_with(' ') {
            Line::raw(text)
        } else {
            Line::styled(text, paint.title())
        }
    };
    TEXT.lines().map(line).collect()
}
