use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{RowLayout, RowRange};
use super::*;

const ROW_BYTES: usize = 8;

/// A query whose row is its number.
struct Query {
    number: u64,
    row: Payload,
    moved: Option<Copied>,
}

impl Query {
    fn new(number: u64, buf: Option<PayloadBuf>) -> Query {
        let mut buf = buf.unwrap_or_default();
        buf.extend_from_slice(&number.to_ne_bytes());
        let row = buf.freeze();
        Query {
            number,
            row,
            moved: None,
        }
    }
}

impl Placed for Query {
    fn first_tensor(&self) -> &Payload {
        &self.row
    }

    fn move_into(&mut self, mut bufs: SmallVec<[PayloadBuf; 1]>, why: Copied) {
        let mut buf = bufs.pop().expect("one tensor");
        buf.extend_from_slice(self.row.as_bytes());
        self.row = buf.freeze();
        self.moved = Some(why);
    }
}

fn log(rows: usize) -> Arc<RowLog> {
    let layout = RowLayout::new([ROW_BYTES], rows).expect("a layout");
    RowLog::create("test", layout, 1).expect("memory")
}

fn in_log(log: &Arc<RowLog>, number: u64) -> Query {
    let buf = log.claim().expect("a free row").into_bufs().pop();
    Query::new(number, buf)
}

/// The numbers in the rows of `ranges`, in their order.
fn numbers(ranges: RowRanges) -> Vec<u64> {
    let payload = ranges.into_payloads().swap_remove(0);
    payload.as_slice::<u64>().expect("numbers").to_vec()
}

fn of(queries: &[Query]) -> Vec<u64> {
    queries.iter().map(|query| query.number).collect()
}

#[test]
fn queries_come_into_the_order_of_their_rows() {
    let log = log(64);
    let mut queries: Vec<_> = (0..6).map(|number| in_log(&log, number)).collect();
    queries.swap(0, 4);
    queries.rotate_left(2);
    let ranges = assemble(&log, &mut queries).expect("one range");
    assert_eq!(ranges.ranges(), [RowRange { first: 0, rows: 6 }]);
    assert_eq!(of(&queries), [0, 1, 2, 3, 4, 5]);
    assert!(queries.iter().all(|query| query.moved.is_none()));
}

#[test]
fn the_shortest_runs_move() {
    let log = log(256);
    let all: Vec<_> = (0..100).map(|number| in_log(&log, number)).collect();
    // Nine runs, of 1, 2 … 9 rows.
    let starts = [0, 2, 5, 9, 14, 20, 27, 35, 44];
    let kept = |number: u64| {
        (1..)
            .zip(starts)
            .any(|(n, at)| (at..at + n).contains(&number))
    };
    let mut queries: Vec<_> = all.into_iter().filter(|q| kept(q.number)).collect();
    let ranges = assemble(&log, &mut queries).expect("few ranges");
    assert_eq!(ranges.ranges().len(), RANGES_MAX);
    let moved = queries.iter().filter(|q| q.moved == Some(Copied::Gathered));
    let moved: BTreeSet<_> = moved.map(|query| query.number).collect();
    assert_eq!(moved, BTreeSet::from([0, 2, 3]));
    assert_eq!(numbers(ranges), of(&queries));
}

#[test]
fn without_room_nothing_is_lost() {
    let log = log(16);
    let mut queries: Vec<_> = (0..16).map(|number| in_log(&log, number)).collect();
    queries.push(Query::new(16, None));
    assert!(assemble(&log, &mut queries).is_none());
    let mut all = of(&queries);
    all.sort_unstable();
    assert_eq!(all, (0..17).collect::<Vec<_>>());
    let whole = |query: &Query| query.row.as_bytes() == query.number.to_ne_bytes();
    assert!(queries.iter().all(whole));
}

/// Rows in ascending order, those outside of the log first.
fn sorted_rows() -> impl Strategy<Value = Vec<Option<u32>>> {
    let inside = prop::collection::btree_set(0..120_u32, 0..80);
    (0..4_usize, inside).prop_map(|(outside, inside)| {
        let outside = std::iter::repeat_n(None, outside);
        outside.chain(inside.into_iter().map(Some)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 500 }))]

    #[test]
    fn what_stays_is_fewer_ranges_than_there_can_be(rows in sorted_rows()) {
        let moved: BTreeSet<usize> = runs_to_move(&rows).into_iter().flatten().collect();
        let stays: Vec<_> = (0..rows.len()).filter(|at| !moved.contains(at)).collect();
        prop_assert!(stays.iter().all(|at| rows[*at].is_some()), "what is elsewhere moves");
        let stays: Vec<_> = stays.into_iter().map(|at| rows[at]).collect();
        prop_assert!(runs(&stays).len() < RANGES_MAX);
    }

    /// Against every way to keep as many runs: none moves fewer rows.
    #[test]
    fn as_few_rows_move_as_can_be(rows in sorted_rows()) {
        let moved: usize = runs_to_move(&rows).iter().map(Range::len).sum();
        let mut lens: Vec<usize> = Vec::new();
        let mut last = None;
        for row in rows.iter().flatten() {
            match lens.last_mut() {
                Some(len) if last.map(|last: u32| last + 1) == Some(*row) => *len += 1,
                _ => lens.push(1),
            }
            last = Some(*row);
        }
        lens.sort_unstable_by(|a, b| b.cmp(a));
        let kept: usize = lens.iter().take(RANGES_MAX - 1).sum();
        prop_assert_eq!(moved, rows.len() - kept);
    }

    #[test]
    fn runs_cover_all_rows_in_order(rows in sorted_rows()) {
        let covered: Vec<usize> = runs(&rows).into_iter().flatten().collect();
        prop_assert_eq!(covered, (0..rows.len()).collect::<Vec<_>>());
    }

    /// Queries are claimed, dropped and put onto the heap, and batches made of any of them.
    #[test]
    fn a_batch_has_its_queries_rows_in_their_order(
        steps in prop::collection::vec((0..8_u8, any::<u16>()), 1..150),
    ) {
        let log = log(96);
        let mut queries: Vec<Query> = Vec::new();
        for (number, (step, pick)) in (0..).zip(steps) {
            match step {
                0..=4 => {
                    let buf = log.claim().and_then(|claim| claim.into_bufs().pop());
                    queries.push(Query::new(number, buf));
                }
                5 => queries.push(Query::new(number, None)),
                6 if !queries.is_empty() => {
                    queries.swap_remove(usize::from(pick) % queries.len());
                }
                _ => {
                    let size = usize::from(pick) % (queries.len() + 1);
                    let mut batch = queries.split_off(queries.len() - size);
                    let before: BTreeSet<u64> = of(&batch).into_iter().collect();
                    let room = 96 - log.rows_held();
                    match assemble(&log, &mut batch) {
                        Some(ranges) => {
                            prop_assert!(ranges.ranges().len() <= RANGES_MAX);
                            prop_assert_eq!(ranges.rows(), batch.len());
                            prop_assert_eq!(numbers(ranges), of(&batch));
                        }
                        None => prop_assert!(room < 96, "an empty log has room"),
                    }
                    prop_assert_eq!(before, of(&batch).into_iter().collect::<BTreeSet<_>>());
                    queries.extend(batch);
                }
            }
            let whole = |query: &Query| query.row.as_bytes() == query.number.to_ne_bytes();
            prop_assert!(queries.iter().all(whole), "a query keeps its bytes");
        }
        drop(queries);
        prop_assert_eq!(log.rows_held(), 0);
    }
}
