//! What an author may write, and what is refused.

use super::*;
use crate::Signature;
use crate::error::causes;

fn outputs(rows: usize) -> Outputs {
    let signature = Signature::new()
        .input("x", "f32")
        .output("y", "f32[2]")
        .output("v", "f64[-1,2]")
        .output("s", "string");
    let (schema, _) = signature.build().expect("valid");
    let mut out = Outputs::new(Arc::new(schema));
    out.begin(rows, None).expect("small");
    out
}

fn error<T: std::fmt::Debug>(result: Result<T>) -> String {
    causes(&result.expect_err("wrong"))
}

/// Pushes rows until every tensor has as many as the batch.
fn fill(out: &mut Outputs, rows: usize) {
    for row in 0..rows {
        out.push("v", &[row as f64, 0.5]).expect("fits");
        out.push_str("s", &row.to_string()).expect("fits");
    }
}

#[test]
fn gives_what_was_written_in_place_and_pushed() {
    let mut out = outputs(2);
    out.f32_mut("y")
        .expect("floats")
        .copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
    out.push("v", &[1.0_f64, 2.0, 3.0, 4.0]).expect("two pairs");
    out.push::<f64>("v", &[]).expect("no pairs");
    out.push_str("s", "é").expect("a text");
    out.push_str("s", "").expect("a text");
    let (columns, failed, _) = out.finish().expect("complete");
    assert_eq!(columns[0].as_slice(), Some(&[1.0_f32, 2.0, 3.0, 4.0][..]));
    assert_eq!(columns[1].row_ranges().collect::<Vec<_>>(), [0..4, 4..4]);
    assert_eq!(
        columns[2].strings().collect::<Vec<_>>(),
        ["é".as_bytes(), b""]
    );
    assert!(failed.is_empty());
}

#[test]
fn bytes_are_written_in_place_and_pushed_whatever_they_hold() {
    let mut out = outputs(2);
    let floats: Vec<u8> = (1..=4_u8)
        .flat_map(|i| f32::from(i).to_le_bytes())
        .collect();
    out.bytes_mut("y")
        .expect("in place")
        .copy_from_slice(&floats);
    let pair = [1.5_f64, 2.5].map(f64::to_le_bytes).concat();
    out.push_bytes("v", &[1], &pair).expect("one pair");
    out.push_bytes("v", &[0], &[]).expect("no pairs");
    for text in ["a", "b"] {
        out.push_str("s", text).expect("a text");
    }
    assert_eq!(
        error(out.push_bytes("v", &[1], &pair[1..])),
        "row 2 does not fit the signature: tensor 'v' has 15 bytes, 16 expected"
    );
    assert_eq!(
        error(out.push_bytes("s", &[], b"c")),
        "output 's' holds string, asked for fixed-width elements"
    );
    assert!(error(out.bytes_mut("v").map(drop)).contains("push them one by one"));
    assert_eq!(out.specs()[0].name, "y");
    let (columns, _, _) = out.finish().expect("complete");
    assert_eq!(columns[0].as_slice(), Some(&[1.0_f32, 2.0, 3.0, 4.0][..]));
    assert_eq!(columns[1].as_slice(), Some(&[1.5_f64, 2.5][..]));
}

#[test]
fn sends_the_buffer_that_was_written() {
    let mut out = outputs(1);
    let written = out.f32_mut("y").expect("floats").as_ptr();
    fill(&mut out, 1);
    let (columns, _, _) = out.finish().expect("complete");
    assert_eq!(columns[0].data().as_bytes().as_ptr(), written.cast());
}

#[test]
fn refuses_another_number_of_rows_than_the_batch() {
    let mut out = outputs(3);
    fill(&mut out, 2);
    assert_eq!(
        error(out.finish()),
        "output 'v' has 2 rows, the batch has 3"
    );
    let mut out = outputs(1);
    fill(&mut out, 2);
    assert_eq!(
        error(out.finish()),
        "output 'v' has 2 rows, the batch has 1"
    );
    let wrong = outputs(3).set("y", &[0.0_f32; 4]);
    assert_eq!(
        error(wrong),
        "output 'y' was given 4 elements, 3 rows of 2 expected"
    );
}

#[test]
fn a_failed_row_takes_no_push_and_costs_no_other() {
    let mut out = outputs(4);
    for row in [0, 1, 2, 3] {
        if row != 1 && row != 3 {
            out.push("v", &[f64::from(row), 0.5]).expect("fits");
            out.push_str("s", &row.to_string()).expect("fits");
            continue;
        }
        out.fail_row(row as usize, format!("row {row} is bad"));
        out.fail_row(row as usize, "told twice");
    }
    let (columns, failed, _) = out.finish().expect("complete");
    let errors: Vec<_> = failed.iter().map(|e| (e.row, e.error.as_str())).collect();
    assert_eq!(errors, [(1, "row 1 is bad"), (3, "row 3 is bad")]);
    assert_eq!(
        columns[2].strings().collect::<Vec<_>>(),
        [&b"0"[..], b"", b"2", b""]
    );
    let mut out = outputs(1);
    fill(&mut out, 1);
    out.fail_row(1, "none such");
    assert_eq!(
        error(out.finish()),
        "row 1 was failed, the batch has 1 rows"
    );
}

#[test]
fn errors_name_the_tensor_and_what_to_do() {
    let mut out = outputs(1);
    let known = "the signature has y: f32[2], v: f64[-1,2], s: string";
    assert_eq!(
        error(out.f32_mut("z").map(drop)),
        format!("no output 'z'; {known}")
    );
    let wrong = out.tensor_mut::<f64>("y").map(drop);
    assert_eq!(error(wrong), "output 'y' holds f32, asked for f64");
    let wrong = out.tensor_mut::<f64>("v").map(drop);
    assert_eq!(
        error(wrong),
        "output 'v' has rows of their own shape; push them one by one"
    );
    let wrong = out.push("y", &[1.0_f32, 2.0]);
    assert_eq!(
        error(wrong),
        "output 'y' has rows of one shape; write them in place"
    );
    let wrong = error(out.push("v", &[1.0_f64]));
    assert_eq!(
        wrong,
        "row 0 does not fit the signature: tensor 'v' has 8 bytes, 0 expected"
    );
    assert_eq!(
        error(out.push_str("v", "x")),
        "output 'v' holds f64, asked for string"
    );
}

#[test]
fn refuses_more_bytes_than_a_message_before_it_allocates_them() {
    let signature = Signature::new()
        .input("x", "f32")
        .output("y", "f32[1000000]");
    let (schema, _) = signature.build().expect("valid");
    let wrong = Outputs::new(Arc::new(schema)).begin(1000, None);
    assert_eq!(
        error(wrong),
        "the outputs have 4000000000 bytes, at most 67043328 allowed"
    );
}

#[test]
fn long_row_errors_are_cut_to_fit_the_header() {
    let failed = |rows: usize| row_errors((0..rows).map(|row| (row, "é".repeat(600))).collect());
    let errors = failed(100);
    assert!(
        errors
            .iter()
            .all(|error| error.error.len() > 200 && error.error.starts_with('é'))
    );
    let bytes: usize = errors
        .iter()
        .map(|e| e.error.len() + ROW_ERROR_OVERHEAD_BYTES)
        .sum();
    assert!(bytes <= ROW_ERROR_BYTES_MAX, "{bytes}");
    assert_eq!(too_many_errors(&errors, 100), None);
    let told = too_many_errors(&failed(5000), 5000).expect("too many to name");
    assert!(
        told.starts_with("5000 of 5000 rows failed, row 0 first: é"),
        "{told}"
    );
    assert_eq!(too_many_errors(&[], 0), None);
}
