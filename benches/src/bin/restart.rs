//! How long a killed front end is missed: from its `kill -9` to the first prediction of the
//! next one, by a container that was started by hand and by one that is deployed.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use skysail_benches::frontend::Frontend;
use skysail_benches::process::skysail;
use skysail_benches::result::{Bar, Results, Row};

const BODY: &str = "{\"input\":[1,2]}";

/// Measures how long a front end that is killed with SIGKILL is missed.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Repetitions
    #[arg(long, default_value_t = 9)]
    reps: usize,
    /// The skysail binary [default: the one beside this]
    #[arg(long)]
    skysail: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let binary = skysail(args.skysail)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (by_hand, deployed) = runtime.block_on(measure(&binary, args.reps))?;
    let rows = vec![
        Row::new("container by hand", 0, "kill to prediction", "ms", &by_hand),
        Row::new(
            "deployed container",
            0,
            "kill to prediction",
            "ms",
            &deployed,
        ),
    ];
    let worst = rows.iter().map(|row| row.max).fold(0.0, f64::max);
    let bars = vec![Bar::at_most("slowest of all, ms", worst, 5000.0)];
    Results::new("restart", rows, bars).print(args.json);
    Ok(())
}

/// Milliseconds of each repetition, by hand and deployed.
async fn measure(binary: &Path, reps: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let folder = tempfile::tempdir()?;
    let mut frontend = Frontend::start(binary, folder.path(), &[])?;
    frontend.register("hand", "doubles", None).await?;
    frontend.register("deployed", "doubles", None).await?;
    let command = [
        binary.to_string_lossy().as_ref(),
        "example-container",
        "sum",
    ]
    .map(str::to_owned);
    frontend.deploy("deployed", 1, &command).await?;
    let _container = frontend.container(binary, "sum", "hand")?;
    let (mut by_hand, mut deployed) = (Vec::new(), Vec::new());
    for _ in 0..reps {
        frontend.wait_for_prediction("hand", BODY).await?;
        frontend.wait_for_prediction("deployed", BODY).await?;
        frontend.process.kill();
        let killed = Instant::now();
        frontend = Frontend::start(binary, folder.path(), &[])?;
        let since = async |app: &str| {
            frontend.wait_for_prediction(app, BODY).await?;
            Ok::<_, anyhow::Error>(killed.elapsed().as_secs_f64() * 1000.0)
        };
        let (hand, deploy) = tokio::join!(since("hand"), since("deployed"));
        by_hand.push(hand?);
        deployed.push(deploy?);
    }
    Ok((by_hand, deployed))
}
