//! Answers every input tensor as it came; its signature stands on the command line.
//!
//! For tests of what lies between a client and a model: any datatype, shape and number of
//! tensors, and a model that takes its time. Input `x` is answered as output `x_out`.
//!
//! ```text
//! echo --tensor x:f32[4] --tensor text:string --delay-ms 50 --rpc … --model … --version …
//! ```
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use clap::Parser;
use skysail_container::{
    Batch, Ctx, DataType, Element, Model, Options, Outputs, Result, Signature, TensorSpec, run,
};

/// Answers its inputs.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
struct Cli {
    /// A tensor that goes in and comes out, such as x:f32[4] or text:string; may be repeated
    #[arg(long = "tensor", value_name = "NAME:TYPE", required = true, value_parser = tensor)]
    tensors: Vec<(String, String)>,
    /// Milliseconds that a batch takes
    #[arg(long, value_name = "MILLIS", default_value_t = 0)]
    delay_ms: u64,
    #[command(flatten)]
    options: Options,
}

fn tensor(text: &str) -> std::result::Result<(String, String), String> {
    let (name, tensor) = text.split_once(':').ok_or("it has no ':'")?;
    Ok((name.to_owned(), tensor.to_owned()))
}

/// The command line, where the signature of a model that is not there yet can see it.
static CLI: OnceLock<Cli> = OnceLock::new();

fn cli() -> &'static Cli {
    CLI.get().expect("main sets it first")
}

struct Echo;

impl Model for Echo {
    fn signature() -> Signature {
        let both = |signature: Signature, (name, text): &(String, String)| {
            signature
                .input(name, text)
                .output(&format!("{name}_out"), text)
        };
        cli().tensors.iter().fold(Signature::new(), both)
    }

    fn load(_: &Ctx) -> Result<Self> {
        Ok(Echo)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
        std::thread::sleep(Duration::from_millis(cli().delay_ms));
        for index in 0..cli().tensors.len() {
            echo(batch.spec(index)?, index, batch, out)?;
        }
        Ok(())
    }
}

fn echo(spec: &TensorSpec, index: usize, batch: &Batch, out: &mut Outputs) -> Result<()> {
    if spec.row_bytes().is_none() {
        for cell in batch.cells(index)? {
            out.push_cell(index, &cell)?;
        }
        return Ok(());
    }
    match spec.datatype {
        DataType::Bool | DataType::Uint8 => copy::<u8>(index, batch, out),
        DataType::Uint16 | DataType::Fp16 | DataType::Bf16 => copy::<u16>(index, batch, out),
        DataType::Uint32 => copy::<u32>(index, batch, out),
        DataType::Uint64 => copy::<u64>(index, batch, out),
        DataType::Int8 => copy::<i8>(index, batch, out),
        DataType::Int16 => copy::<i16>(index, batch, out),
        DataType::Int32 => copy::<i32>(index, batch, out),
        DataType::Int64 => copy::<i64>(index, batch, out),
        DataType::Fp32 => copy::<f32>(index, batch, out),
        DataType::Fp64 => copy::<f64>(index, batch, out),
        DataType::Bytes | DataType::String => unreachable!("their rows have no fixed size"),
    }
}

fn copy<T: Element>(index: usize, batch: &Batch, out: &mut Outputs) -> Result<()> {
    Ok(out.set(index, batch.tensor::<T>(index)?)?)
}

fn main() -> ExitCode {
    let cli = CLI.get_or_init(Cli::parse);
    run::<Echo>(cli.options.clone())
}
