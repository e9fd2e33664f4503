//! `skysail demo`: two digit classifiers on real data, queried over HTTP as a client would.
//!
//! Starts a front end, deploys both models as processes of their own, registers an
//! application for each, sends every image of the test split to both, and prints what came
//! of it beside what the training script measured offline.

mod report;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use skysail_control::{NewApplication, NewVersion};
use skysail_core::registry::{Batching, Deployment};
use skysail_core::{InputType, Name};
use skysail_examples::test_split::{self, TestImage};
use skysail_load::{ClosedLoop, Request};

use crate::cli::parse;
use crate::config::{Auth, Config, Flags};
use crate::console::usage;
use crate::frontend::Running;
use crate::serve::{announce, exit_status, notice};
use report::{Row, Table};

/// Connections that send queries side by side.
const CONNECTIONS: usize = 8;
/// Time for the containers to come up.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// A query that is not answered by then has failed.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
// Its own queries go without TLS; who asks for it all the same is told so.
#[command(
    after_help = EXAMPLES,
    mut_arg("tls_cert", |arg| arg.hide(true)),
    mut_arg("tls_key", |arg| arg.hide(true))
)]
pub(crate) struct Args {
    /// Exit after the table: 0 if every query got a prediction and the accuracies match, else 1
    #[arg(long)]
    once: bool,
    /// Print JSON: a line when ready, a line with the results
    #[arg(long)]
    json: bool,
    /// Latency objective of the applications
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = parse::duration)]
    slo: Duration,
    #[command(flatten)]
    flags: Flags,
}

const EXAMPLES: &str = "\
Examples:
  skysail demo
  skysail demo --once --json
  skysail demo --query 127.0.0.1:0 --management 127.0.0.1:0 --rpc 127.0.0.1:0

State lives in a temporary directory unless --data-dir is given.";

/// An application of the demo and the model that answers it.
struct Case {
    application: &'static str,
    model: &'static str,
}

const CASES: [Case; 2] = [
    Case {
        application: "digits",
        model: "digits-mlp",
    },
    Case {
        application: "digits-linear",
        model: "digits-linear",
    },
];

const VERSION: &str = "1";
const FEATURES: u32 = 64;

/// Runs the demo. `started` is when the process began.
pub(crate) fn run(args: &Args, started: Instant) -> Result<ExitCode> {
    let (config, temporary) = configure(args)?;
    let running = Running::start(&config).map_err(usage)?;
    if args.json {
        announce(&running, true);
    }
    register(&running, args.slo)?;
    wait_for_replicas(&running)?;
    let table = measure(&running, started)?;
    report::show(&table, running.about(), args.json);
    let (status, notice) = if args.once {
        let status = match table.ok {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        };
        (status, Duration::ZERO)
    } else {
        if !args.json {
            report::show_next_steps(&running, &test_split::images()[0]);
        }
        let signal = running.wait_for_signal();
        (exit_status(signal), notice(signal, &config))
    };
    running.stop(notice);
    drop(temporary);
    Ok(status)
}

/// The configuration, with a temporary data directory unless one is given.
fn configure(args: &Args) -> Result<(Config, Option<tempfile::TempDir>)> {
    let mut flags = args.flags.clone();
    // The table is the point; what the front end logs of its ordinary life would bury it.
    flags.log.get_or_insert_with(|| "warn".to_owned());
    // Nobody balances queries over demos.
    flags.drain_notice_seconds.get_or_insert(0);
    let mut temporary = None;
    if flags.data_dir.is_none() {
        let folder = tempfile::Builder::new().prefix("skysail-demo-").tempdir();
        let folder = folder
            .context("cannot make a temporary directory")
            .map_err(usage)?;
        flags.data_dir = Some(PathBuf::from(folder.path()));
        temporary = Some(folder);
    }
    let config = Config::read(None, &flags).map_err(usage)?;
    if config.certificate()?.is_some() {
        let error =
            anyhow!("the demo asks its queries without TLS: leave out --tls-cert and --tls-key");
        return Err(usage(error));
    }
    if config.auth().map_err(usage)? == Auth::Token {
        let why = "the demo asks its front end without a token: keep it on loopback, or say \
                   --auth none to let in anybody who reaches it";
        return Err(usage(anyhow!(why)));
    }
    Ok((config, temporary))
}

/// Registers what a data directory that was used before may have already.
fn register(running: &Running, slo: Duration) -> Result<()> {
    let control = &running.shared.control;
    let registry = control.registry();
    let program = std::env::current_exe().context("cannot find this executable")?;
    for Case { application, model } in &CASES {
        if !registry.models.contains_key(*model) {
            control.add_model_version(&NewVersion {
                idempotent: true,
                model: (*model).to_owned(),
                version: VERSION.to_owned(),
                input_type: InputType::Floats,
                labels: vec!["demo".to_owned()],
                container_name: String::new(),
                model_data_path: String::new(),
                batching: Batching::default(),
            })?;
        }
        let command = [&program.to_string_lossy(), "example-container", model];
        control.deploy(&Deployment {
            model: Name::new(model)?,
            version: Name::new(VERSION)?,
            replicas: 1,
            replicas_before: None,
            command: command.map(str::to_owned).to_vec(),
        })?;
        if !registry.applications.contains_key(*application) {
            control.add_application(&NewApplication {
                guarantee: None,
                name: (*application).to_owned(),
                input_type: InputType::Floats,
                features: Some(FEATURES),
                latency_slo_micros: slo.as_micros() as u64,
                default_output: "-1".to_owned(),
            })?;
            control.link_models(application, &[(*model).to_owned()])?;
        }
    }
    Ok(())
}

fn wait_for_replicas(running: &Running) -> Result<()> {
    let patience = Instant::now() + START_PATIENCE;
    loop {
        let replicas = running.shared.engine.replicas();
        let missing = |case: &&Case| !replicas.iter().any(|replica| replica.model == case.model);
        let Some(missing) = CASES.iter().find(missing) else {
            return Ok(());
        };
        if Instant::now() > patience {
            bail!(
                "the container of {} did not connect within {} s; its log is below {}",
                missing.model,
                START_PATIENCE.as_secs(),
                running.shared.log_dir.display()
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asks both applications for every test image, from threads of its own.
fn measure(running: &Running, started: Instant) -> Result<Table> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let about = running.about();
    runtime.block_on(async {
        let images = test_split::images();
        let first = ask(about.query, CASES[0].application, &images[0]).await?;
        let first_prediction_ms = started.elapsed().as_secs_f64() * 1000.0;
        if first["default"] != false {
            bail!("the first query got the default: {first}");
        }
        let mut rows = Vec::new();
        for case in &CASES {
            rows.push(measure_one(about.query, about.management, case, &images).await?);
        }
        Ok(Table::new(rows, first_prediction_ms))
    })
}

async fn measure_one(
    query: SocketAddr,
    management: SocketAddr,
    case: &Case,
    images: &[TestImage],
) -> Result<Row> {
    let path = format!("/{}/predict", case.application);
    let requests: Result<Vec<_>, _> = images
        .iter()
        .map(|image| Request::post_json(&path, body(image)))
        .collect();
    let load = ClosedLoop {
        address: query,
        connections: CONNECTIONS,
        timeout: ANSWER_PATIENCE,
    };
    let before = report::Counters::read(management, case.model).await?;
    let (mut predictions, mut defaults, mut correct) = (0, 0, 0);
    let sent = load.send_each(requests?, |answer| {
        let Some(found) = answer.result.ok().and_then(|r| parse(&r.body)) else {
            return;
        };
        if found["default"] == false {
            predictions += 1;
            correct += u64::from(found["output"] == images[answer.index].label);
        } else {
            defaults += 1;
        }
    });
    let sent = sent.await.context("cannot send the queries")?;
    let counted = report::Counters::read(management, case.model)
        .await?
        .since(&before);
    let offline = test_split::offline(case.model).context("the training report lacks a model")?;
    Ok(Row {
        application: case.application,
        model: case.model,
        version: VERSION,
        queries: images.len() as u64,
        predictions,
        defaults,
        correct,
        correct_offline: offline.correct,
        accuracy: ratio(correct, images.len()),
        accuracy_offline: ratio(offline.correct, images.len()),
        p50_us: sent.p50_us(),
        p99_us: sent.p99_us(),
        max_us: sent.max_us(),
        batch_rows_mean: counted.batch_rows_mean(),
        cache_hits: counted.cache_hits,
    })
}

fn ratio(part: u64, whole: usize) -> f64 {
    part as f64 / whole as f64
}

async fn ask(query: SocketAddr, application: &str, image: &TestImage) -> Result<serde_json::Value> {
    let path = format!("/{application}/predict");
    let response = skysail_load::post_json(query, &path, body(image)).await?;
    parse(&response.body).context("the answer is not JSON")
}

fn parse(body: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(body).ok()
}

/// The query for an image, as JSON.
fn body(image: &TestImage) -> String {
    serde_json::json!({ "input": image.pixels }).to_string()
}
