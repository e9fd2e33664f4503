//! `--selftest`: what a container can know of its model without a front end.
//!
//! | check | asks |
//! |---|---|
//! | signature, hello | the declaration is valid and survives the wire |
//! | load, warm-up | the model starts |
//! | batch of 1, batch of 3 | made-up rows are answered |
//! | permuted rows | the same rows in another order get the same answers |
//! | not a number | floats that are NaN cost at most their batch, by an error |
//! | empty batch | is refused before it reaches the model |

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use skysail_rpc::PROTOCOL;
use skysail_rpc::limits::{HEARTBEAT, SILENCE};
use skysail_rpc::message::{BatchId, Encoder, Hello, Message, Predict, Tensors, Welcome};
use skysail_rpc::session::{ContainerSession, SessionError, Timing};
use skysail_rpc::tensor::Schema;
use skysail_rpc::{Cell, DataType, TensorSpec};

use crate::{Answer, Options, Predictor, Source, Worker, synth};

/// Rows of the larger batches.
const ROWS: usize = 3;
/// The seed of the made-up rows.
const SEED: u64 = 1;
/// Two floats are alike if they differ by less than this, relative to the larger or to 1: a
/// library may sum a row in another order where it stands elsewhere in the batch.
const TOLERANCE: f64 = 1e-4;
/// The same for half floats, in steps of the last place.
const HALF_STEPS: i32 = 8;

type Row = Vec<Cell>;

/// One check and what came of it: a remark, or why it failed.
#[derive(Debug)]
struct Check {
    name: &'static str,
    outcome: Result<String, String>,
}

/// Runs the checks and prints them; 0 if all are good, 1 if not.
pub(crate) fn run<S: Source>(source: &S, options: &Options) -> u8 {
    let checks = checks(source, options);
    let ok = checks.iter().all(|check| check.outcome.is_ok());
    // Nobody is left to tell if standard output is gone.
    drop(print(&checks, ok, options.json));
    u8::from(!ok)
}

fn print(checks: &[Check], ok: bool, as_json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        return writeln!(out, "{}", as_value(checks, ok));
    }
    checks
        .iter()
        .try_for_each(|check| writeln!(out, "{}", line(check)))
}

fn line(check: &Check) -> String {
    match &check.outcome {
        Ok(remark) if remark.is_empty() => format!("{}: ok", check.name),
        Ok(remark) => format!("{}: ok ({remark})", check.name),
        Err(why) => format!("{}: FAILED: {why}", check.name),
    }
}

fn as_value(checks: &[Check], ok: bool) -> serde_json::Value {
    let check = |check: &Check| {
        let (Ok(detail) | Err(detail)) = &check.outcome;
        json!({ "name": check.name, "ok": check.outcome.is_ok(), "detail": detail })
    };
    json!({ "ok": ok, "checks": checks.iter().map(check).collect::<Vec<_>>() })
}

/// All checks up to the first without which the others make no sense.
fn checks<S: Source>(source: &S, options: &Options) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut add = |name, outcome: Result<String, String>| {
        let ok = outcome.is_ok();
        checks.push(Check { name, outcome });
        ok
    };
    let built = source
        .signature()
        .build()
        .map_err(|error| error.to_string());
    let told = built
        .as_ref()
        .map(|(schema, _)| schema.to_string())
        .map_err(Clone::clone);
    add("signature", told);
    let Ok((schema, max_batch)) = built else {
        return checks;
    };
    add("hello", hello_round_trip(&schema, max_batch));
    add("empty batch", empty_batch(&schema, max_batch));
    let mut worker = match Worker::load_from(source, options.ctx()) {
        Ok(worker) => worker,
        Err(error) => {
            add("load", Err(error.to_string()));
            return checks;
        }
    };
    add("load", Ok(String::new()));
    let warm = worker
        .warm_up()
        .map(|()| String::new())
        .map_err(|error| error.to_string());
    if !add("warm-up", warm) {
        return checks;
    }
    let rows = made_up_rows(&schema, ROWS.min(max_batch));
    add("batch of 1", answer(&mut worker, &rows[..1]));
    add("batch of 3", answer(&mut worker, &rows));
    add("permuted rows", permuted(&mut worker, &rows));
    add("not a number", not_a_number(&mut worker, &rows));
    checks
}

fn hello(schema: &Schema, max_batch: usize) -> Hello {
    Hello {
        protocol_min: PROTOCOL.0,
        protocol_max: PROTOCOL.1,
        sdk: "selftest".into(),
        model: "selftest".into(),
        version: "0".into(),
        schema: schema.clone(),
        max_batch: u32::try_from(max_batch).unwrap_or(u32::MAX),
        slots: 1,
        token: Vec::new(),
        pid: 0,
        host: String::new(),
        spin: Duration::ZERO,
    }
}

fn hello_round_trip(schema: &Schema, max_batch: usize) -> Result<String, String> {
    let sent = hello(schema, max_batch);
    let frame = Encoder::default().encode(&sent.clone().into());
    match Message::decode(&frame) {
        Ok(Message::Hello(came)) if *came == sent => Ok(format!("{} bytes", frame.bytes())),
        Ok(_) => Err("the hello came back changed".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// PROTOCOL 5: the session refuses it, so that no model ever sees it.
fn empty_batch(schema: &Schema, max_batch: usize) -> Result<String, String> {
    let now = Instant::now();
    let hello = hello(schema, max_batch);
    let (mut session, _) = ContainerSession::open(now, Timing::default(), hello);
    let (protocol, replica) = (PROTOCOL.1, 0);
    let welcome = Welcome {
        protocol,
        replica,
        heartbeat: HEARTBEAT,
        silence: SILENCE,
        offer: None,
    };
    let tensors = Tensors::default();
    let remaining = Duration::from_secs(1);
    let predict = Predict {
        batch: BatchId(1),
        rows: 0,
        remaining,
        tensors,
    };
    session
        .on_message(now, Message::Welcome(welcome))
        .map_err(|error| error.to_string())?;
    match session.on_message(now, Message::Predict(predict)) {
        Err(SessionError::Rows { .. }) => Ok("refused before the model".to_owned()),
        other => Err(format!("a batch of 0 rows was not refused: {other:?}")),
    }
}

fn made_up_rows(schema: &Schema, rows: usize) -> Vec<Row> {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut row = || {
        schema
            .inputs
            .iter()
            .map(|spec| synth::row(spec, &mut rng))
            .collect()
    };
    (0..rows).map(|_| row()).collect()
}

fn answer<M: Predictor>(worker: &mut Worker<M>, rows: &[Row]) -> Result<String, String> {
    let answer = worker.predict_rows(rows)?;
    match answer.row_errors.first() {
        None => Ok(String::new()),
        Some(error) => {
            let count = answer.row_errors.len();
            Ok(format!(
                "{count} of {} rows failed: {}",
                rows.len(),
                error.error
            ))
        }
    }
}

/// The rows turned round by one place must get their answers turned round by one place.
fn permuted<M: Predictor>(worker: &mut Worker<M>, rows: &[Row]) -> Result<String, String> {
    let straight = worker.predict_rows(rows)?;
    let mut turned_rows = rows.to_vec();
    turned_rows.rotate_left(1);
    let turned = worker.predict_rows(&turned_rows)?;
    let schema = std::sync::Arc::clone(worker.schema());
    for place in 0..rows.len() {
        let row = (place + 1) % rows.len();
        if failed(&straight, row) != failed(&turned, place) {
            return Err(format!("row {row} fails only in one of the orders"));
        }
        let differs = (0..schema.outputs.len()).find(|index| {
            let cell = |answer: &Answer, row| answer.columns[*index].cells().nth(row);
            !failed(&straight, row)
                && !alike(
                    &schema.outputs[*index],
                    cell(&straight, row),
                    cell(&turned, place),
                )
        });
        if let Some(index) = differs {
            let output = &schema.outputs[index].name;
            return Err(format!(
                "row {row} gets another '{output}' as row {place} of the batch"
            ));
        }
    }
    Ok(String::new())
}

/// An answer or an error, but no panic.
fn not_a_number<M: Predictor>(worker: &mut Worker<M>, rows: &[Row]) -> Result<String, String> {
    let specs = worker.schema().inputs.clone();
    let row = |row: &Row| -> Row {
        let cells = specs.iter().zip(row);
        cells
            .map(|(spec, cell)| synth::nan_row(spec, cell).unwrap_or(cell.clone()))
            .collect()
    };
    let nan: Vec<Row> = rows.iter().map(row).collect();
    if nan == rows {
        return Ok("no float inputs".to_owned());
    }
    match worker.predict_rows(&nan) {
        Err(error) if error.starts_with("the model panicked") => Err(error),
        Err(error) => Ok(format!("refused: {error}")),
        Ok(_) => Ok(String::new()),
    }
}

fn failed(answer: &Answer, row: usize) -> bool {
    answer
        .row_errors
        .iter()
        .any(|error| error.row as usize == row)
}

fn alike(spec: &TensorSpec, one: Option<Cell>, other: Option<Cell>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return false;
    };
    if one.variable_dims() != other.variable_dims() || one.ends() != other.ends() {
        return false;
    }
    let (a, b) = (one.data(), other.data());
    let near = |a: f64, b: f64| {
        let scale = a.abs().max(b.abs()).max(1.0);
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * scale
    };
    match spec.datatype {
        DataType::Fp32 => zip(a.as_slice(), b.as_slice(), |a: f32, b| {
            near(a.into(), b.into())
        }),
        DataType::Fp64 => zip(a.as_slice(), b.as_slice(), near),
        DataType::Fp16 | DataType::Bf16 => zip(a.as_slice(), b.as_slice(), |a: u16, b| {
            (i32::from(a.cast_signed()) - i32::from(b.cast_signed())).abs() <= HALF_STEPS
        }),
        _ => a == b,
    }
}

fn zip<T: Copy>(a: Option<&[T]>, b: Option<&[T]>, near: impl Fn(T, T) -> bool) -> bool {
    let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(*a, *b))
}

#[cfg(test)]
mod tests;
