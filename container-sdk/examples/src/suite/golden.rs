//! The models of the golden exchanges, as `schema/golden/README.md` says; `sum` is the example.

use std::time::Duration;

use skysail_container::{Batch, Cell, Ctx, DataType, Model, Outputs, Payload, Result, Signature};

pub(super) struct Fixed;

impl Model for Fixed {
    fn signature() -> Signature {
        Signature::new()
            .input("x", "f32[3]")
            .output("y", "f32[2]")
            .output("top", "i64")
            .max_batch(64)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Fixed)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let x = batch.f32("x")?;
        for (x, y) in x.chunks(3).zip(out.f32_mut("y")?.chunks_mut(2)) {
            y.copy_from_slice(&[x[0] + x[1], 2.0 * x[2]]);
        }
        for (x, top) in x.chunks(3).zip(out.tensor_mut::<i64>("top")?) {
            *top = (1..3).fold(0, |top, at| if x[at] > x[top] { at } else { top }) as i64;
        }
        Ok(())
    }
}

pub(super) struct Texts;

impl Model for Texts {
    fn signature() -> Signature {
        let signature = Signature::new()
            .input("s", "string")
            .input("tags", "bytes[-1]");
        signature
            .output("upper", "string")
            .output("back", "bytes[-1]")
            .max_batch(64)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Texts)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        for text in batch.strings("s")? {
            out.push_str("upper", &text.to_ascii_uppercase())?;
        }
        for tags in batch.cells("tags")? {
            let tags: Vec<&[u8]> = tags.iter_strings().collect();
            out.push_strings("back", tags.into_iter().rev())?;
        }
        Ok(())
    }
}

pub(super) struct Types;

impl Model for Types {
    fn signature() -> Signature {
        DataType::all().fold(Signature::new().max_batch(64), |signature, datatype| {
            let (name, text) = (format!("t_{datatype}"), format!("{datatype}[2]"));
            signature.input(&name, &text).output(&name, &text)
        })
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Types)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        copy::<u8>(batch, out, &[DataType::Bool, DataType::Uint8])?;
        copy::<u16>(
            batch,
            out,
            &[DataType::Uint16, DataType::Fp16, DataType::Bf16],
        )?;
        copy::<u32>(batch, out, &[DataType::Uint32])?;
        copy::<u64>(batch, out, &[DataType::Uint64])?;
        copy::<i8>(batch, out, &[DataType::Int8])?;
        copy::<i16>(batch, out, &[DataType::Int16])?;
        copy::<i32>(batch, out, &[DataType::Int32])?;
        copy::<i64>(batch, out, &[DataType::Int64])?;
        copy::<f32>(batch, out, &[DataType::Fp32])?;
        copy::<f64>(batch, out, &[DataType::Fp64])?;
        for datatype in [DataType::Bytes, DataType::String] {
            for row in batch.cells(datatype as usize)? {
                out.push_cell(datatype as usize, &row)?;
            }
        }
        Ok(())
    }
}

fn copy<T: skysail_container::Element>(
    batch: &Batch,
    out: &mut Outputs,
    datatypes: &[DataType],
) -> Result<()> {
    for datatype in datatypes {
        let index = *datatype as usize;
        out.set(index, batch.tensor::<T>(index)?)?;
    }
    Ok(())
}

pub(super) struct Shapes;

impl Model for Shapes {
    fn signature() -> Signature {
        Signature::new()
            .input("m", "i32[-1,-1]")
            .output("m", "i32[-1,-1]")
            .max_batch(64)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Shapes)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        for row in batch.cells("m")? {
            let [height, width] = row.variable_dims() else {
                return Err("not a matrix".into());
            };
            let bytes = row.data().as_bytes();
            let element = |x: u32, y: u32| &bytes[4 * (y * width + x) as usize..][..4];
            let turned: Vec<u8> = (0..*width)
                .flat_map(|x| (0..*height).flat_map(move |y| element(x, y)))
                .copied()
                .collect();
            let dims = [*width, *height][..].into();
            out.push_cell(
                "m",
                &Cell::variable(Payload::copy_from_slice(&turned), dims),
            )?;
        }
        Ok(())
    }
}

pub(super) struct Picky;

impl Model for Picky {
    fn signature() -> Signature {
        Signature::new()
            .input("x", "i64")
            .output("y", "i64")
            .max_batch(64)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Picky)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let x = batch.i64("x")?;
        if x.contains(&13) {
            return Err("13 is unlucky".into());
        }
        for (row, x) in x.iter().enumerate() {
            if *x < 0 {
                out.fail_row(row, "x is negative");
            }
            out.tensor_mut::<i64>("y")?[row] = 2 * x.max(&0);
        }
        Ok(())
    }
}

pub(super) struct Slow;

impl Model for Slow {
    fn signature() -> Signature {
        Signature::new()
            .input("ms", "u32")
            .output("y", "u32")
            .max_batch(64)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Slow)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        let ms = batch.tensor::<u32>("ms")?;
        std::thread::sleep(Duration::from_millis(
            ms.iter().copied().max().unwrap_or(0).into(),
        ));
        Ok(out.set("y", ms)?)
    }
}
