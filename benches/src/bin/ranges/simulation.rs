//! One model version on invented time: the real row log and batcher, replicas that only take
//! time.
//!
//! Events come in the order of the data plane: a core claims the row of a query, decodes into it,
//! and queues the query or, if the cache has its answer, lets go of the row; a batch is assembled
//! when its replica is free; the next batch of a replica leaves before the rows of the one that
//! was answered are free again. The batcher knows the model's profile from the start, and goes
//! on learning.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use skysail_core::batching::{
    Actions, Arrival, BatchNumber, Batcher, Dispatch, Ended, Options, Priority, Window,
    WindowOptions,
};
use skysail_core::replica::{ReplicaId, Terms};
use skysail_rpc::channel::Sharing;
use skysail_rpc::copies::Copied;
use skysail_rpc::rows::{Placed, RowLayout, RowLog, RowRanges, assemble};
use skysail_rpc::{Payload, PayloadBuf};
use smallvec::SmallVec;

use crate::workload::{Profile, Workload};

/// 784 floats.
pub(crate) const ROW_BYTES: usize = 784 * size_of::<f32>();
/// The latency objective of the (stricter) application.
const OBJECTIVE: Duration = Duration::from_millis(20);
/// The other application's objective is so many times as long.
const LOOSE: u32 = 4;
/// Time in which a core decodes a query, half of it more or less (`benches/micro/json.rs`); or the
/// share of a core's time for it at load 1, if that is less: no workload has to wait for long.
const DECODE_SECONDS: f64 = 9e-6;
const DECODE_SHARE: f64 = 0.3;
/// Queries of a run at load 1, and the limits of its seconds.
const RUN_QUERIES: f64 = 150_000.0;
const RUN_SECONDS: (f64, f64) = (1.0, 60.0);

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) workload: Workload,
    pub(crate) profile: Profile,
    pub(crate) replicas: usize,
    /// Applications on the model, with an objective each.
    pub(crate) objectives: usize,
    /// Cores of the front end, on which queries come at random.
    pub(crate) cores: usize,
    /// Share of queries that the cache answers; they come beside the workload's.
    pub(crate) hits: f64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    batches: u64,
    /// Batches of one range.
    single: u64,
    /// Batches of ranges of the log.
    in_ranges: u64,
    ranges: u64,
    ranges_max: usize,
    rows: u64,
    /// Rows of batches of several ranges, which the container copies.
    gathered: u64,
    /// Rows moved within the log because the ranges were too many.
    moved: u64,
    /// Rows copied because no row was free when they came or when they had to move.
    full: u64,
    /// Sum over the rows that were used before, and their number, of the rows that were claimed
    /// since.
    turns: (u64, u64),
}

impl Figures {
    /// Batches that the container sees as they lie, in percent.
    pub(crate) fn single_percent(&self) -> f64 {
        percent(self.single, self.batches)
    }

    /// Mean ranges of a batch that is sent as ranges.
    pub(crate) fn ranges_mean(&self) -> f64 {
        self.ranges as f64 / self.in_ranges as f64
    }

    /// Most of them.
    pub(crate) fn ranges_max(&self) -> f64 {
        self.ranges_max as f64
    }

    /// Rows that the container gathers, in percent.
    pub(crate) fn gathered_percent(&self) -> f64 {
        percent(self.gathered, self.rows)
    }

    /// Rows that the front end moves because of too many ranges, in percent.
    pub(crate) fn moved_percent(&self) -> f64 {
        percent(self.moved, self.rows)
    }

    /// Rows that the front end copies because the log is full, in percent.
    pub(crate) fn full_percent(&self) -> f64 {
        percent(self.full, self.rows)
    }

    /// Mean rows claimed until one is used again: what the caches have to hold.
    pub(crate) fn turn_rows(&self) -> f64 {
        self.turns.0 as f64 / self.turns.1 as f64
    }

    /// Rows of a batch.
    pub(crate) fn batch_rows(&self) -> f64 {
        self.rows as f64 / self.batches as f64
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

/// A row of a batch.
#[derive(Debug)]
struct Row {
    row: Payload,
    moved: Option<Copied>,
}

impl Placed for Row {
    fn first_tensor(&self) -> &Payload {
        &self.row
    }

    fn move_into(&mut self, bufs: SmallVec<[PayloadBuf; 1]>, why: Copied) {
        self.row = row(bufs);
        self.moved.get_or_insert(why);
    }
}

/// A row whose bytes are as they were: nobody computes on them.
fn row(mut bufs: SmallVec<[PayloadBuf; 1]>) -> Payload {
    let mut buf = bufs.pop().expect("one tensor");
    buf.advance::<u8>(ROW_BYTES);
    buf.freeze()
}

/// A query that came to a core.
struct Arrived {
    at: Instant,
    objective: Duration,
    is_hit: bool,
}

/// A core of the front end: it decodes one query at a time, into the row that it claimed.
#[derive(Default)]
struct Core {
    waiting: VecDeque<Arrived>,
    decoding: Option<Decoding>,
}

struct Decoding {
    done: Instant,
    deadline: Instant,
    row: Payload,
    is_hit: bool,
}

/// A batch at a replica.
struct InFlight {
    number: BatchNumber,
    sent: Instant,
    done: Instant,
    _rows: Vec<Row>,
    _ranges: Option<RowRanges>,
}

struct Simulation {
    profile: Profile,
    log: Arc<RowLog>,
    /// The input of a query that found the log full.
    on_heap: Payload,
    cores: Vec<Core>,
    decode_seconds: f64,
    batcher: Batcher<Payload>,
    actions: Actions<Payload>,
    replicas: Vec<Option<InFlight>>,
    times: Rng,
    figures: Figures,
    /// When each row was claimed last, in rows claimed.
    claimed: Vec<u64>,
    claims: u64,
}

/// What happens next, after the queries that came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Answered { replica: usize },
    Decoded { core: usize },
}

/// Runs `setup` for a share of its time.
pub(crate) fn run(setup: &Setup, seed: u64, time_share: f64) -> Figures {
    let mut seeds = Rng::with_seed(seed);
    let capacity = setup
        .profile
        .capacity(setup.replicas, OBJECTIVE.as_secs_f64());
    let (least, most) = RUN_SECONDS;
    let seconds = (RUN_QUERIES / capacity).clamp(least, most) * time_share;
    let with_hits = capacity / (1.0 - setup.hits);
    let arrivals = setup.workload.arrivals(seeds.fork(), with_hits, seconds);
    let (mut kinds, times) = (seeds.fork(), seeds.fork());
    let start = Instant::now();
    let mut simulation = Simulation::new(setup, start, times);
    for at in arrivals {
        let now = start + Duration::from_secs_f64(at);
        simulation.run_until(now);
        let (core, loose) = (
            kinds.usize(..setup.cores),
            kinds.usize(..setup.objectives) > 0,
        );
        let arrived = Arrived {
            at: now,
            objective: if loose { OBJECTIVE * LOOSE } else { OBJECTIVE },
            is_hit: kinds.f64() < setup.hits,
        };
        simulation.arrive(now, core, arrived);
    }
    simulation.figures
}

impl Simulation {
    fn new(setup: &Setup, start: Instant, times: Rng) -> Simulation {
        let rows = Sharing::default().log_rows;
        let layout = RowLayout::new([ROW_BYTES], rows).expect("rows of a size");
        let profile = setup.profile;
        let capacity = profile.capacity(setup.replicas, OBJECTIVE.as_secs_f64());
        let decode_share = DECODE_SHARE * setup.cores as f64 * (1.0 - setup.hits) / capacity;
        let options = WindowOptions {
            profile: Some((profile.fixed_ms / 1e3, profile.row_ms / 1e3)),
            ..WindowOptions::default()
        };
        let mut batcher = Batcher::new(start, Options::default(), Box::new(Window::new(options)));
        for id in (0..setup.replicas as u64).map(ReplicaId) {
            let terms = Terms {
                slots: 1,
                max_batch: profile.batch_max,
            };
            batcher.replica_joined(id, terms);
        }
        Simulation {
            profile,
            log: RowLog::create("ranges", layout, setup.cores).expect("memory"),
            on_heap: PayloadBuf::zeroed(ROW_BYTES).freeze(),
            cores: (0..setup.cores).map(|_| Core::default()).collect(),
            decode_seconds: DECODE_SECONDS.min(decode_share),
            batcher,
            actions: Actions::default(),
            replicas: (0..setup.replicas).map(|_| None).collect(),
            times,
            figures: Figures::default(),
            claimed: vec![0; rows],
            claims: 0,
        }
    }

    /// A query arrives on a core.
    fn arrive(&mut self, now: Instant, core: usize, arrived: Arrived) {
        self.cores[core].waiting.push_back(arrived);
        if self.cores[core].decoding.is_none() {
            self.decode(now, core);
        }
    }

    /// Starts with the next query of a core, if there is one.
    fn decode(&mut self, now: Instant, core: usize) {
        let Some(arrived) = self.cores[core].waiting.pop_front() else {
            return;
        };
        let row = match self.log.claim_on(core) {
            Some(claim) => row(claim.into_bufs()),
            None => self.on_heap.clone(),
        };
        self.note_claim(&row);
        let seconds = self.decode_seconds * (0.5 + self.times.f64());
        self.cores[core].decoding = Some(Decoding {
            done: now + Duration::from_secs_f64(seconds),
            deadline: arrived.at + arrived.objective,
            row,
            is_hit: arrived.is_hit,
        });
    }

    /// Queues what a core has decoded, unless it is a hit.
    fn decoded(&mut self, now: Instant, core: usize) {
        let decoding = self.cores[core].decoding.take().expect("a query");
        if decoding.is_hit {
            drop(decoding);
        } else {
            let arrival = Arrival {
                application: 0,
                deadline: decoding.deadline,
                cost: 1,
                bytes: ROW_BYTES,
                priority: Priority::Normal,
            };
            let actions = &mut self.actions;
            // A query that is given back is over, and its row free.
            drop(self.batcher.push(now, decoding.row, arrival, actions));
            self.send(now);
        }
        self.decode(now, core);
    }

    /// Everything that happens up to `now`.
    fn run_until(&mut self, now: Instant) {
        while let Some((at, event)) = self.next_event().filter(|(at, _)| *at <= now) {
            match event {
                Event::Answered { replica } => self.answered(at, replica),
                Event::Decoded { core } => self.decoded(at, core),
            }
        }
    }

    fn next_event(&self) -> Option<(Instant, Event)> {
        let answered = |(replica, batch): (usize, &Option<InFlight>)| {
            Some((batch.as_ref()?.done, Event::Answered { replica }))
        };
        let decoded = |(core, busy): (usize, &Core)| {
            Some((busy.decoding.as_ref()?.done, Event::Decoded { core }))
        };
        let answered = self.replicas.iter().enumerate().filter_map(answered);
        let decoded = self.cores.iter().enumerate().filter_map(decoded);
        answered.chain(decoded).min()
    }

    /// A batch comes back.
    fn answered(&mut self, now: Instant, replica: usize) {
        // Its rows are free once the next batch has left.
        let batch = self.replicas[replica].take().expect("a batch in flight");
        let id = ReplicaId(replica as u64);
        let compute = now - batch.sent;
        let (ended, actions) = (Ended::Answered { compute }, &mut self.actions);
        self.batcher
            .batch_ended(now, id, batch.number, ended, actions);
        self.send(now);
    }

    /// Sends every batch that can be formed; what it answered or gave up before is over.
    fn send(&mut self, now: Instant) {
        self.batcher.poll(now, &mut self.actions);
        for dispatch in std::mem::take(&mut self.actions.dispatches) {
            self.send_one(now, dispatch);
        }
        self.actions.clear();
    }

    fn send_one(&mut self, now: Instant, dispatch: Dispatch) {
        let Dispatch {
            replica, number, ..
        } = dispatch;
        let row = |row: &Payload| Row {
            row: row.clone(),
            moved: None,
        };
        let held = self.batcher.batch(replica, number).flatten();
        let mut rows: Vec<Row> = held.map(row).collect();
        let ranges = assemble(&self.log, &mut rows);
        self.note_batch(&rows, ranges.as_ref());
        let seconds = self.profile.draw_seconds(&mut self.times, rows.len());
        self.replicas[replica.0 as usize] = Some(InFlight {
            number,
            sent: now,
            done: now + Duration::from_secs_f64(seconds),
            _rows: rows,
            _ranges: ranges,
        });
    }

    fn note_claim(&mut self, row: &Payload) {
        let Some(row) = row.row_in(&self.log) else {
            return;
        };
        self.claims += 1;
        let before = std::mem::replace(&mut self.claimed[row as usize], self.claims);
        if before > 0 {
            self.figures.turns.0 += self.claims - before;
            self.figures.turns.1 += 1;
        }
    }

    fn note_batch(&mut self, batch: &[Row], ranges: Option<&RowRanges>) {
        let (figures, rows) = (&mut self.figures, batch.len() as u64);
        figures.batches += 1;
        figures.rows += rows;
        let Some(ranges) = ranges.map(|ranges| ranges.ranges().len()) else {
            figures.full += rows;
            return;
        };
        figures.in_ranges += 1;
        figures.single += u64::from(ranges == 1);
        figures.ranges += ranges as u64;
        figures.ranges_max = figures.ranges_max.max(ranges);
        figures.gathered += if ranges > 1 { rows } else { 0 };
        let moved = |why| {
            let moved = batch.iter().filter(|row| row.moved == Some(why));
            moved.count() as u64
        };
        figures.moved += moved(Copied::Gathered);
        figures.full += moved(Copied::FurtherModel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{PROFILES, WORKLOADS};

    fn setup(objectives: usize) -> Setup {
        Setup {
            workload: WORKLOADS[1],
            profile: PROFILES[1],
            replicas: 1,
            objectives,
            cores: 1,
            hits: 0.0,
        }
    }

    #[test]
    fn a_seed_says_what_happens() {
        let run = |seed| format!("{:?}", run(&setup(2), seed, 0.05));
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn rows_are_in_place_gathered_or_copied() {
        for objectives in [1, 2] {
            let figures = run(&setup(objectives), 1, 0.05);
            assert!(figures.batches > 50 && figures.batch_rows() > 10.0);
            assert!(figures.gathered + figures.full <= figures.rows);
            assert!(figures.moved <= figures.gathered);
            assert!(figures.ranges_max <= 8 && figures.single <= figures.in_ranges);
        }
    }
}
