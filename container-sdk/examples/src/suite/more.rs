//! The models of the other cases, as `container-sdk/conformance/README.md` says.

use std::time::Duration;

use skysail_container::{Batch, Ctx, Model, Outputs, Result, Signature};

/// How long [`SlowLoad`] loads.
const LOAD: Duration = Duration::from_millis(1500);

/// `suite-inputs`
pub(super) struct Inputs;

impl Model for Inputs {
    fn signature() -> Signature {
        let signature = Signature::new()
            .input("a", "f32[2]")
            .input("b", "i64")
            .input("c", "string");
        signature
            .output("total", "f64")
            .output("label", "string")
            .max_batch(64)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Inputs)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let (a, b) = (batch.f32("a")?, batch.i64("b")?);
        let totals = out.tensor_mut::<f64>("total")?;
        for ((a, b), total) in a.chunks(2).zip(b).zip(totals) {
            *total = f64::from(a[0]) + f64::from(a[1]) + *b as f64;
        }
        for (c, b) in batch.strings("c")?.zip(b) {
            out.push_str("label", &format!("{c}:{b}"))?;
        }
        Ok(())
    }
}

/// `suite-wrong`
pub(super) struct Wrong;

impl Model for Wrong {
    fn signature() -> Signature {
        Signature::new()
            .input("how", "i64")
            .output("y", "f32[2]")
            .output("s", "string")
            .max_batch(64)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Wrong)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let (how, rows) = (batch.i64("how")?, batch.rows());
        let first = how.iter().find(|how| **how != 0);
        let mut texts = rows;
        match first.copied().unwrap_or(0) {
            1 => return Err("as asked".into()),
            2 => panic!("as asked"),
            3 => texts += 1,
            4 => texts -= 1,
            5 => out.set("y", &vec![0.0_f32; 3 * rows])?,
            6 => out.set("y", &vec![0.0_f64; 2 * rows])?,
            7 => texts = 0,
            _ => out.set("y", &vec![0.0_f32; 2 * rows])?,
        }
        for _ in 0..texts {
            out.push_str("s", "")?;
        }
        Ok(())
    }
}

/// y = x
fn same(batch: &Batch, out: &mut Outputs) -> Result<()> {
    Ok(out.set("y", batch.f32("x")?)?)
}

fn one_number() -> Signature {
    Signature::new()
        .input("x", "f32")
        .output("y", "f32")
        .max_batch(64)
}

/// `suite-slow-load`
pub(super) struct SlowLoad;

impl Model for SlowLoad {
    fn signature() -> Signature {
        one_number()
    }

    fn load(_: &Ctx) -> Result<Self> {
        std::thread::sleep(LOAD);
        Ok(SlowLoad)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        same(batch, out)
    }
}

/// `suite-crash-load`
pub(super) struct CrashLoad;

impl Model for CrashLoad {
    fn signature() -> Signature {
        one_number()
    }

    fn load(_: &Ctx) -> Result<Self> {
        Err("no weights here".into())
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        same(batch, out)
    }
}

/// `suite-files`
pub(super) struct Files {
    factor: f32,
}

impl Model for Files {
    fn signature() -> Signature {
        one_number()
    }

    fn load(ctx: &Ctx) -> Result<Self> {
        let factor = ctx.read_to_string("factor.txt")?.trim().parse()?;
        Ok(Files { factor })
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let (x, y) = (batch.f32("x")?, out.f32_mut("y")?);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = self.factor * x);
        Ok(())
    }
}
