//! What an idle front end costs: CPU and wake-ups with models and replicas that nobody asks.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use skysail_benches::frontend::Frontend;
use skysail_benches::process::{cpu_time, skysail, sleep_model, sleeps};
use skysail_benches::result::{Bar, Results, Row};

/// From the last replica's arrival to the measurement: what starting costs is over by then.
const SETTLE: Duration = Duration::from_secs(2);
/// Most of a core that an idle front end may use, in percent.
const CPU_PERCENT_MAX: f64 = 2.0;

/// Measures what a front end costs that has models and replicas and nothing to do.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Models
    #[arg(long, default_value_t = 10)]
    models: usize,
    /// Replicas of each model
    #[arg(long, default_value_t = 4)]
    replicas: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// The skysail binary [default: the one beside this]
    #[arg(long)]
    skysail: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let folder = tempfile::tempdir()?;
    let frontend = Frontend::start(&skysail(args.skysail.clone())?, folder.path(), &[])?;
    runtime.block_on(deploy(&frontend, &args))?;
    std::thread::sleep(SETTLE);
    let found = measure(frontend.process.id(), Duration::from_secs_f64(args.seconds))?;
    results(&args, &found).print(args.json);
    Ok(())
}

/// Deploys all models and waits for their replicas.
async fn deploy(frontend: &Frontend, args: &Args) -> Result<()> {
    let container = sleep_model()?.display().to_string();
    for model in 0..args.models {
        let name = format!("model-{model}");
        frontend.register(&name, "floats", Some(1)).await?;
        frontend
            .deploy(&name, args.replicas, std::slice::from_ref(&container))
            .await?;
    }
    frontend
        .wait_for_replicas(args.models * args.replicas)
        .await?;
    Ok(())
}

/// What a process used while it was looked at.
struct Used {
    cpu_percent: f64,
    /// Wake-ups a second, by the name of the thread.
    wake_ups: Vec<(String, f64)>,
}

fn measure(pid: u32, time: Duration) -> Result<Used> {
    let (begin, cpu_before, before) = (Instant::now(), cpu_time(pid)?, sleeps(pid)?);
    std::thread::sleep(time);
    let (cpu, after) = (cpu_time(pid)?, sleeps(pid)?);
    let seconds = begin.elapsed().as_secs_f64();
    let a_second = |(thread, count): (String, u64)| {
        let earlier = before.get(&thread).copied().unwrap_or(0);
        (thread, count.saturating_sub(earlier) as f64 / seconds)
    };
    Ok(Used {
        cpu_percent: 100.0 * (cpu - cpu_before).as_secs_f64() / seconds,
        wake_ups: after.into_iter().map(a_second).collect(),
    })
}

fn results(args: &Args, found: &Used) -> Results {
    let (models, replicas) = (args.models, args.models * args.replicas);
    let name = format!("{models} models, {replicas} replicas");
    let in_all = found.wake_ups.iter().map(|(_, rate)| rate).sum();
    let mut rows = vec![
        Row::new(
            &name,
            0,
            "cpu of the front end",
            "% core",
            &[found.cpu_percent],
        ),
        Row::new(&name, 0, "wake-ups", "/s", &[in_all]),
    ];
    for (thread, rate) in &found.wake_ups {
        rows.push(Row::new(
            &format!("thread {thread}"),
            0,
            "wake-ups",
            "/s",
            &[*rate],
        ));
    }
    let cpu = "cpu of an idle front end, % of a core";
    let bars = vec![Bar::at_most(cpu, found.cpu_percent, CPU_PERCENT_MAX)];
    Results::new("idle", rows, bars)
}
