//! Whether a container said what the recording says.

use std::time::Duration;

use skysail_rpc::message::{Hello, Message, Outcome, Part, PartKind, Reply};

use crate::wrong::same;

/// Tells what differs, if anything that matters does.
pub(crate) fn compare(expected: &Message, found: &Message) -> Result<(), String> {
    match (expected, found) {
        (Message::Hello(expected), Message::Hello(found)) => compare_hello(expected, found),
        (Message::Reply(expected), Message::Reply(found)) => compare_reply(expected, found),
        (
            Message::Heartbeat {
                batches_done: expected,
            },
            Message::Heartbeat {
                batches_done: found,
            },
        ) => same("batches_done", expected, found),
        (Message::Drain { .. }, Message::Drain { .. }) => Ok(()),
        _ => Err(format!(
            "a {} came, a {} was expected",
            found.name(),
            expected.name()
        )),
    }
}

/// The message without what differs from run to run.
pub(crate) fn normal(message: Message) -> Message {
    match message {
        Message::Hello(hello) => Message::from(Hello {
            sdk: "golden".into(),
            token: Vec::new(),
            pid: 0,
            host: String::new(),
            spin: Duration::ZERO,
            ..*hello
        }),
        Message::Reply(reply) => Message::Reply(Reply {
            compute: Duration::ZERO,
            ..reply
        }),
        other => other,
    }
}

fn compare_hello(expected: &Hello, found: &Hello) -> Result<(), String> {
    same("protocol_min", &expected.protocol_min, &found.protocol_min)?;
    same("protocol_max", &expected.protocol_max, &found.protocol_max)?;
    same("model", &expected.model, &found.model)?;
    same("version", &expected.version, &found.version)?;
    same("schema", &expected.schema, &found.schema)?;
    same("max_batch", &expected.max_batch, &found.max_batch)?;
    same("slots", &expected.slots, &found.slots)
}

fn compare_reply(expected: &Reply, found: &Reply) -> Result<(), String> {
    same("batch", &expected.batch, &found.batch)?;
    match (&expected.outcome, &found.outcome) {
        (Outcome::Failed { error: expected }, Outcome::Failed { error: found }) => {
            contains("error", expected, found)?;
        }
        (expected, found) => same("outcome", expected, found)?,
    }
    same("rows", &expected.rows, &found.rows)?;
    same(
        "number of row errors",
        &expected.row_errors.len(),
        &found.row_errors.len(),
    )?;
    for (expected, found) in expected.row_errors.iter().zip(&found.row_errors) {
        same("row of a row error", &expected.row, &found.row)?;
        contains("row error", &expected.error, &found.error)?;
    }
    compare_parts(expected, found)
}

fn compare_parts(expected_reply: &Reply, found_reply: &Reply) -> Result<(), String> {
    let expected = expected_reply.tensors.clone().into_parts();
    let found = found_reply.tensors.clone().into_parts();
    same("number of parts", &expected.len(), &found.len())?;
    for (expected, found) in sorted(&expected).into_iter().zip(sorted(&found)) {
        let what = |field: &str| {
            format!(
                "{field} of tensor {}'s {:?}",
                expected.tensor, expected.kind
            )
        };
        same("tensor of a part", &expected.tensor, &found.tensor)?;
        same(&what("kind"), &expected.kind, &found.kind)?;
        same(&what("type"), &expected.datatype, &found.datatype)?;
        same(&what("shape"), &expected.shape, &found.shape)?;
        let (expected, found) = (meant(expected, expected_reply), meant(found, found_reply));
        same(&what("bytes"), &expected, &found)?;
    }
    Ok(())
}

/// The bytes of a part without those of failed rows, which mean nothing (PROTOCOL 5.4), where
/// all rows have one length.
fn meant(part: &Part, reply: &Reply) -> Vec<u8> {
    let bytes = part.payload.as_bytes();
    let parts = reply.tensors.clone().into_parts();
    let parts = parts
        .iter()
        .filter(|other| other.tensor == part.tensor)
        .count();
    let row_bytes = bytes.len() / (reply.rows as usize).max(1);
    if reply.row_errors.is_empty() || parts > 1 || row_bytes == 0 {
        return bytes.to_vec();
    }
    let failed = |row: usize| {
        reply
            .row_errors
            .iter()
            .any(|error| error.row as usize == row)
    };
    let rows = bytes
        .chunks(row_bytes)
        .enumerate()
        .filter(|(row, _)| !failed(*row));
    rows.flat_map(|(_, bytes)| bytes).copied().collect()
}

/// By tensor, then by kind.
fn sorted(parts: &[Part]) -> Vec<&Part> {
    let kind = |kind: PartKind| match kind {
        PartKind::Data => 0,
        PartKind::Offsets => 1,
        PartKind::Shapes => 2,
    };
    let mut parts: Vec<&Part> = parts.iter().collect();
    parts.sort_by_key(|part| (part.tensor, kind(part.kind)));
    parts
}

fn contains(what: &str, expected: &str, found: &str) -> Result<(), String> {
    if found.contains(expected) {
        return Ok(());
    }
    Err(format!(
        "{what} is '{found}', expected to contain '{expected}'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skysail_rpc::message::{BatchId, RowError};

    fn reply() -> Reply {
        Reply {
            batch: BatchId(1),
            outcome: Outcome::Ok,
            rows: 2,
            tensors: Default::default(),
            row_errors: vec![RowError {
                row: 1,
                error: "is bad".into(),
            }],
            compute: Duration::from_millis(7),
        }
    }

    #[test]
    fn passes_over_what_differs_from_run_to_run() {
        let slower = Reply {
            compute: Duration::from_secs(1),
            ..reply()
        };
        assert_eq!(
            compare(&Message::Reply(reply()), &Message::Reply(slower)),
            Ok(())
        );
        let error = "ValueError: it is bad".to_owned();
        let wordier = Reply {
            row_errors: vec![RowError { row: 1, error }],
            ..reply()
        };
        assert_eq!(
            compare(&Message::Reply(reply()), &Message::Reply(wordier)),
            Ok(())
        );
    }

    fn with_bytes(bytes: &[u8]) -> Message {
        let part = Part {
            tensor: 0,
            kind: PartKind::Data,
            datatype: skysail_rpc::DataType::Uint8,
            shape: [2][..].into(),
            payload: skysail_rpc::Payload::copy_from_slice(bytes),
        };
        Message::Reply(Reply {
            tensors: [part].into_iter().collect(),
            ..reply()
        })
    }

    #[test]
    fn the_bytes_of_a_failed_row_mean_nothing() {
        assert_eq!(compare(&with_bytes(&[1, 2]), &with_bytes(&[1, 9])), Ok(()));
        let error = compare(&with_bytes(&[1, 2]), &with_bytes(&[3, 2])).expect_err("differs");
        assert_eq!(error, "bytes of tensor 0's Data is [3], [1] expected");
    }

    #[test]
    fn tells_what_differs() {
        let error = |found| compare(&Message::Reply(reply()), &found).expect_err("differs");
        let rows = Message::Reply(Reply { rows: 3, ..reply() });
        assert_eq!(error(rows), "rows is 3, 2 expected");
        let outcome = Message::Reply(Reply {
            outcome: Outcome::Cancelled,
            ..reply()
        });
        assert_eq!(error(outcome), "outcome is Cancelled, Ok expected");
        let none = Message::Reply(Reply {
            row_errors: vec![],
            ..reply()
        });
        assert_eq!(error(none), "number of row errors is 0, 1 expected");
        let beat = Message::Heartbeat { batches_done: 0 };
        assert_eq!(error(beat), "a heartbeat came, a reply was expected");
    }
}
