//! Good and bad models under the self-test.

use super::*;
use crate::{Batch, Ctx, Model, Outputs, Result, Signature, Typed};

/// Doubles its input, with a fault to choose.
struct Faulty<const FAULT: u8>;

const NONE: u8 = 0;
const BY_PLACE: u8 = 1;
const NAN: u8 = 2;
const LOAD: u8 = 3;
const BATCH: u8 = 4;

impl<const FAULT: u8> Model for Faulty<FAULT> {
    fn signature() -> Signature {
        let signature = Signature::new()
            .input("x", "f32[2]")
            .input("s", "string[-1]");
        signature
            .output("y", "f32[2]")
            .output("t", "string[-1]")
            .max_batch(8)
    }

    fn load(_: &Ctx) -> Result<Self> {
        if FAULT == LOAD {
            Err("no weights".into())
        } else {
            Ok(Faulty)
        }
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let x = batch.f32("x")?;
        assert!(FAULT != NAN || !x[0].is_nan(), "not a number");
        if FAULT == BATCH && x[0] != 0.0 {
            return Err("never".into());
        }
        let y = out.f32_mut("y")?;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
        if FAULT == BY_PLACE {
            y[0] += 1.0;
        }
        for row in batch.cells("s")? {
            out.push_strings("t", row.iter_strings())?;
        }
        Ok(())
    }
}

fn report<const FAULT: u8>() -> Vec<String> {
    checks(&Typed::<Faulty<FAULT>>::default(), &Options::default())
        .iter()
        .map(line)
        .collect()
}

#[test]
fn a_good_model_passes_every_check() {
    let report = report::<NONE>();
    assert!(
        report.iter().all(|line| line.contains(": ok")),
        "{report:?}"
    );
    assert_eq!(report.len(), 9);
    assert_eq!(
        report[0],
        "signature: ok ((x: f32[2], s: string[-1]) -> (y: f32[2], t: string[-1]))"
    );
    assert_eq!(report[2], "empty batch: ok (refused before the model)");
}

#[test]
fn each_fault_is_found_and_told() {
    let by_place = report::<BY_PLACE>();
    assert_eq!(
        by_place[7],
        "permuted rows: FAILED: row 1 gets another 'y' as row 0 of the batch"
    );
    let nan = report::<NAN>();
    assert_eq!(
        nan[8],
        "not a number: FAILED: the model panicked: not a number"
    );
    let load = report::<LOAD>();
    assert_eq!(
        load[3..],
        ["load: FAILED: the model does not load: no weights"]
    );
    let batch = report::<BATCH>();
    assert_eq!(batch[5], "batch of 1: FAILED: never");
}

#[test]
fn the_result_as_json_names_every_check() {
    let checks = checks(&Typed::<Faulty<LOAD>>::default(), &Options::default());
    let value = as_value(&checks, false);
    assert_eq!(value["ok"], false);
    assert_eq!(value["checks"][3]["name"], "load");
    assert_eq!(
        value["checks"][3]["detail"],
        "the model does not load: no weights"
    );
}
