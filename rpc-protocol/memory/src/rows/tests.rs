use super::*;
use proptest::prelude::*;

fn log(rows: usize, row_bytes: &[usize]) -> Arc<RowLog> {
    let layout = RowLayout::new(row_bytes.iter().copied(), rows).expect("a layout");
    RowLog::create("test", layout, 1).expect("memory")
}

/// A row whose bytes are all `value`.
fn write(log: &Arc<RowLog>, value: u8) -> Option<SmallVec<[Payload; 1]>> {
    let fill = |(column, mut buf): (usize, PayloadBuf)| {
        let bytes = log.layout.columns[column].row_bytes;
        buf.extend_from_slice(&vec![value; bytes]);
        buf.freeze()
    };
    let bufs = log.claim()?.into_bufs();
    Some(bufs.into_iter().enumerate().map(fill).collect())
}

fn row(log: &Arc<RowLog>, value: u8) -> Payload {
    write(log, value).expect("a free row").swap_remove(0)
}

#[test]
fn rows_that_come_in_turn_are_one_range_of_every_tensor() {
    let log = log(64, &[12, 100]);
    let rows: Vec<_> = (1..=3)
        .map(|value| write(&log, value).expect("free"))
        .collect();
    let ranges = RowRanges::of(&log, rows.iter().map(|row| &row[0])).expect("rows");
    assert_eq!(ranges.ranges(), [RowRange { first: 0, rows: 3 }]);
    drop(rows);
    assert_eq!(log.rows_held(), 3, "the batch holds them");
    let payloads = ranges.into_payloads();
    assert_eq!(payloads[0].as_bytes(), [[1; 12], [2; 12], [3; 12]].concat());
    assert_eq!(
        payloads[1].as_bytes(),
        [[1; 100], [2; 100], [3; 100]].concat()
    );
    drop(payloads);
    assert_eq!(log.rows_held(), 0);
}

#[test]
fn a_row_that_nobody_kept_leaves_no_gap() {
    let log = log(64, &[8]);
    let first = row(&log, 1);
    drop(row(&log, 2));
    let second = row(&log, 3);
    let ranges = RowRanges::of(&log, [&first, &second]).expect("rows");
    assert_eq!(ranges.ranges(), [RowRange { first: 0, rows: 2 }]);
}

/// Where rows of a log of 16 segments of 4 rows come to lie.
fn claim_rows(log: &Arc<RowLog>, count: usize) -> Vec<(u32, Payload)> {
    let rows = (0..count).map(|_| row(log, 1));
    rows.map(|row| (row.row_in(log).expect("a row of it"), row))
        .collect()
}

fn numbers(rows: &[(u32, Payload)]) -> Vec<u32> {
    rows.iter().map(|(number, _)| *number).collect()
}

#[test]
fn the_segment_that_follows_opens_after_a_full_one() {
    let log = log(64, &[8]);
    let mut rows = claim_rows(&log, 6);
    drop(rows.drain(..4));
    rows.extend(claim_rows(&log, 3));
    assert_eq!(numbers(&rows), [4, 5, 6, 7, 8], "not 0, which is free");
    let last = claim_rows(&log, 55);
    assert_eq!(last.last().map(|row| row.0), Some(63));
    drop(rows);
    assert_eq!(
        numbers(&claim_rows(&log, 1)),
        [0],
        "nothing follows the last"
    );
}

#[test]
fn a_row_with_nothing_beside_it_lies_in_the_first_free_segment() {
    let log = log(64, &[8]);
    let rows = claim_rows(&log, 9);
    drop(rows);
    assert_eq!(numbers(&claim_rows(&log, 2)), [0, 1]);
}

#[test]
fn a_row_beside_a_batch_lies_in_the_first_free_segment() {
    let log = log(64, &[8]);
    let mut rows = claim_rows(&log, 8);
    drop(rows.drain(..4));
    let batch = RowRanges::of(&log, rows.iter().map(|(_, row)| row)).expect("one range");
    assert_eq!(
        numbers(&claim_rows(&log, 1)),
        [0],
        "7 is in a batch already"
    );
    drop(batch);
}

#[test]
fn a_query_that_goes_at_once_does_not_lead_astray() {
    let log = log(64, &[8]);
    let mut rows = claim_rows(&log, 8);
    drop(rows.drain(..4));
    drop(claim_rows(&log, 1));
    rows.extend(claim_rows(&log, 1));
    assert_eq!(numbers(&rows), [4, 5, 6, 7, 8], "7 waits, and 8 beside it");
}

#[test]
fn gaps_make_ranges_and_ranges_are_gathered() {
    let log = log(64, &[8]);
    let mut rows: Vec<_> = (0..20).map(|value| Some(row(&log, value))).collect();
    rows[3] = None;
    let kept: Vec<&Payload> = rows[..6].iter().flatten().collect();
    let ranges = RowRanges::of(&log, kept).expect("rows");
    assert_eq!(ranges.ranges().len(), 2);
    let gathered = ranges.into_payloads();
    let expected: Vec<u8> = [0, 1, 2, 4, 5]
        .iter()
        .flat_map(|value| [*value; 8])
        .collect();
    assert_eq!(gathered[0].as_bytes(), expected);
    let odd: Vec<&Payload> = rows.iter().flatten().step_by(2).collect();
    assert!(RowRanges::of(&log, odd).is_none(), "more than eight ranges");
    drop((gathered, rows));
    assert_eq!(log.rows_held(), 0, "nothing is held by what failed");
}

#[test]
fn a_full_log_says_so_and_recovers() {
    let log = log(32, &[8]);
    let held: Vec<_> = std::iter::from_fn(|| write(&log, 7)).collect();
    assert_eq!(held.len(), 32);
    assert!(log.claim().is_none());
    drop(held);
    let again: Vec<_> = std::iter::from_fn(|| write(&log, 8)).collect();
    assert_eq!(again.len(), 32);
}

#[test]
fn a_run_is_written_as_one() {
    let log = log(64, &[8, 3]);
    let single = row(&log, 9);
    let mut run = log.claim_run(3).expect("room");
    run.rows_mut(0).fill(1);
    run.rows_mut(1).fill(2);
    let ranges = run.freeze();
    assert_eq!(ranges.ranges(), [RowRange { first: 1, rows: 3 }]);
    assert_eq!(log.rows_held(), 4);
    let payloads = ranges.into_payloads();
    assert_eq!(
        (payloads[0].as_bytes(), payloads[1].as_bytes()),
        (&[1; 24][..], &[2; 9][..])
    );
    assert!(
        log.claim_run(5).is_none() && log.claim_run(0).is_none(),
        "a segment has 4 rows"
    );
    drop((single, payloads));
    assert_eq!(log.rows_held(), 0);
}

#[test]
fn rows_that_no_container_saw_are_claimed_again_at_once() {
    let log = log(640, &[8]);
    let claim = || log.claim_run(3).expect("room").freeze();
    let seen = claim();
    let first = seen.ranges()[0];
    drop(seen);
    let unseen = claim();
    let second = unseen.ranges()[0];
    assert_ne!(second, first, "its lines lie in another cache");
    drop(unseen.into_payloads());
    assert_eq!(claim().ranges(), [second]);
}

#[test]
fn a_run_that_fits_nowhere_is_refused() {
    // Segments of 2 rows, and a row beyond the last of them.
    let log = log(21, &[8]);
    let held: Vec<_> = (0..20).map_while(|_| write(&log, 7)).collect();
    assert_eq!(held.len(), 20);
    assert!(log.claim_run(2).is_none() && log.claim().is_none());
    drop(held);
    assert!(log.claim_run(2).is_some());
}

#[test]
fn only_a_whole_row_of_this_log_is_a_row() {
    let (log, other) = (log(8, &[16]), log(8, &[16]));
    let payload = row(&log, 1);
    assert_eq!(payload.row_in(&log), Some(0));
    assert_eq!(payload.row_in(&other), None);
    let half = payload.slice(0, 8).expect("inside");
    assert_eq!(half.row_in(&log), None);
    assert_eq!(Payload::copy_from_slice(&[1; 16]).row_in(&log), None);
}

#[test]
fn layouts_that_do_not_fit_into_memory_are_none() {
    assert!(RowLayout::new([usize::MAX], 2).is_none());
    assert!(RowLayout::new([usize::MAX / 2, usize::MAX / 2, 2], 1).is_none());
    assert!(RowLayout::new([], 8).is_none() && RowLayout::new([8], 0).is_none());
    assert!(RowLayout::new([1], usize::MAX).is_none());
}

#[test]
fn threads_have_segments_of_their_own() {
    let layout = RowLayout::new([8], 256).expect("a layout");
    let log = RowLog::create("test", layout, 2).expect("memory");
    let count = if cfg!(miri) { 20 } else { 2000 };
    let work = |value: u8| {
        let log = log.clone();
        move || {
            for _ in 0..count {
                let rows: Vec<_> = (0..5).map_while(|_| write(&log, value)).collect();
                let ranges = RowRanges::of(&log, rows.iter().map(|row| &row[0]));
                drop(rows);
                for payload in ranges.into_iter().flat_map(RowRanges::into_payloads) {
                    assert!(payload.as_bytes().iter().all(|byte| *byte == value));
                }
            }
        }
    };
    let threads: Vec<_> = (1..=4)
        .map(|value| std::thread::spawn(work(value)))
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(log.rows_held(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 200 }))]

    /// Rows are written, kept, dropped in any order; what is held never changes.
    #[test]
    fn what_is_held_never_changes(steps in prop::collection::vec((0..3_u8, any::<u8>()), 1..120)) {
        let log = log(24, &[4, 9]);
        let mut held: Vec<(u8, SmallVec<[Payload; 1]>)> = Vec::new();
        for (step, value) in steps {
            match step {
                0 | 1 => match write(&log, value) {
                    Some(row) => held.push((value, row)),
                    None => prop_assert!(held.len() >= 12, "a row of each segment is held"),
                },
                _ if !held.is_empty() => drop(held.swap_remove(value as usize % held.len())),
                _ => {}
            }
            prop_assert_eq!(log.rows_held(), held.len());
            for (value, row) in &held {
                prop_assert!(row.iter().all(|part| part.as_bytes().iter().all(|b| b == value)));
            }
        }
    }
}
