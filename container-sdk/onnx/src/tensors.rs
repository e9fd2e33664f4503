//! Rows of a batch as tensors of tract, and back: each is copied once.

use std::ops::Range;

use half::f16;
use skysail_container::{Batch, Element, Outputs, Result};
use tract_onnx::prelude::*;

use crate::file::Port;

/// `rows` of an input, with rows of zeros behind them up to `count`.
pub(crate) fn input(
    batch: &Batch,
    index: usize,
    port: &Port,
    rows: Range<usize>,
    count: usize,
) -> Result<Tensor> {
    let from = Rows {
        batch,
        index,
        port,
        rows,
        count,
    };
    match port.datum {
        DatumType::Bool => from.converted(|byte: u8| byte != 0),
        DatumType::U8 => from.plain::<u8>(),
        DatumType::U16 => from.plain::<u16>(),
        DatumType::U32 => from.plain::<u32>(),
        DatumType::U64 => from.plain::<u64>(),
        DatumType::I8 => from.plain::<i8>(),
        DatumType::I16 => from.plain::<i16>(),
        DatumType::I32 => from.plain::<i32>(),
        DatumType::I64 => from.plain::<i64>(),
        DatumType::F16 => from.converted(f16::from_bits),
        DatumType::F32 => from.plain::<f32>(),
        DatumType::F64 => from.plain::<f64>(),
        DatumType::String => from.strings(),
        other => Err(format!(
            "input '{}' holds {other:?}, which is not supported",
            port.name
        )
        .into()),
    }
}

/// Rows of one input.
struct Rows<'a> {
    batch: &'a Batch,
    index: usize,
    port: &'a Port,
    rows: Range<usize>,
    count: usize,
}

impl Rows<'_> {
    fn elements<T: Element>(&self) -> Result<&[T]> {
        let ranges = self.batch.row_ranges(self.index)?;
        let mut ranges = ranges.skip(self.rows.start).take(self.rows.len());
        let first = ranges.next().unwrap_or_default();
        let end = ranges.last().map_or(first.end, |last| last.end);
        Ok(&self.batch.tensor::<T>(self.index)?[first.start..end])
    }

    fn plain<T: Element + Datum + Copy + Default>(&self) -> Result<Tensor> {
        let elements = self.elements::<T>()?;
        let shape = self.shape(elements.len())?;
        if self.count == self.rows.len() {
            return Ok(Tensor::from_shape(&shape, elements)?);
        }
        self.padded(&shape, elements.to_vec())
    }

    fn converted<T: Element, U: Datum + Copy + Default>(&self, of: fn(T) -> U) -> Result<Tensor> {
        let elements: Vec<U> = self.elements::<T>()?.iter().map(|one| of(*one)).collect();
        self.padded(&self.shape(elements.len())?, elements)
    }

    fn padded<T: Datum + Copy + Default>(
        &self,
        shape: &[usize],
        mut elements: Vec<T>,
    ) -> Result<Tensor> {
        elements.resize(shape.iter().product(), T::default());
        Ok(Tensor::from_shape(shape, &elements)?)
    }

    fn strings(&self) -> Result<Tensor> {
        let all = self.batch.strings(self.index)?;
        let each: usize = self.port.dims.iter().map(|dim| dim.unwrap_or(1)).product();
        let texts = all
            .skip(self.rows.start * each)
            .take(self.rows.len() * each);
        let mut texts: Vec<String> = texts.map(str::to_owned).collect();
        let shape = self.shape(texts.len())?;
        texts.resize(shape.iter().product(), String::new());
        Ok(tract_ndarray::ArrayD::from_shape_vec(shape, texts)?.into_tensor())
    }

    /// The shape of the tensor: an open dimension is what `elements` make it.
    fn shape(&self, elements: usize) -> Result<Vec<usize>> {
        let known: usize = self.port.dims.iter().flatten().product();
        let open = elements / (known * self.rows.len()).max(1);
        let dims = self.port.dims.iter().map(|dim| dim.unwrap_or(open));
        Ok(std::iter::once(self.count).chain(dims).collect())
    }
}

/// Answers `rows` with the first rows of `tensor`.
pub(crate) fn output(
    out: &mut Outputs,
    index: usize,
    port: &Port,
    tensor: &Tensor,
    rows: Range<usize>,
) -> Result<()> {
    let each = tensor.shape()[1..].iter().product::<usize>();
    if port.datum == DatumType::String {
        let plain = tensor.try_as_plain_ram()?;
        let texts = plain.as_slice::<String>()?;
        for row in 0..rows.len() {
            out.push_strings(index, &texts[row * each..(row + 1) * each])?;
        }
        return Ok(());
    }
    let row_bytes = each * port.datum.size_of();
    let tensor = tensor.cast_to_dt(port.datum)?;
    let bytes = tensor.as_bytes();
    if !port.dims.contains(&None) {
        let to = rows.start * row_bytes..rows.end * row_bytes;
        let bytes = &bytes[..rows.len() * row_bytes];
        out.bytes_mut(index)?[to].copy_from_slice(bytes);
        return Ok(());
    }
    let sizes = port.dims.iter().zip(&tensor.shape()[1..]);
    let open = sizes.filter(|(dim, _)| dim.is_none());
    let open: Vec<u32> = open.map(|(_, size)| *size as u32).collect();
    out.push_bytes(index, &open, &bytes[..row_bytes])?;
    Ok(())
}
