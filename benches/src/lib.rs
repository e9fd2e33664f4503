//! Benchmarks of Skysail: what its binaries share.
//!
//! `micro/` measures one operation with criterion; `src/bin/` and `scenarios/` measure running
//! processes.
//! Figures are for one machine and one moment: compare ratios of one run.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "binaries that print their results")]

pub mod bare;
pub mod clock;
pub mod frontend;
pub mod inputs;
pub mod orders;
pub mod process;
pub mod result;

/// Runs a bench on this thread, prints what it found, as JSON or as a table, and ends.
///
/// # Errors
/// What the bench says.
pub fn run(
    bench: impl Future<Output = anyhow::Result<result::Results>>,
    as_json: bool,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(bench)?.print(as_json);
    Ok(())
}
