//! Command lines, and what is printed of a run that was never made.

use std::io::Write;

use clap::Parser;
use clap::error::ErrorKind;
use skysail_load::{Outcome, Tally};

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    load: Load,
}

fn parsed(line: &str) -> Result<Load, clap::Error> {
    let words = std::iter::once("load").chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.load)
}

fn planned(line: &str) -> Result<Plan, String> {
    let load = parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    load.plan().map_err(|error| error.to_string())
}

fn plan(line: &str) -> Plan {
    planned(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// What is wrong with a line, in one line, as usage.
fn refused(line: &str) -> String {
    let load = parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    match load.plan() {
        Err(CliError::Usage(text)) => {
            assert!(!text.contains('\n'), "{text}");
            text
        }
        Err(error) => panic!("{line}: {error}"),
        Ok(_) => panic!("{line} was not refused"),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn millis(plan: &Plan, seed: u64) -> Vec<u128> {
    let arrivals = plan.schedule.arrivals(seed, plan.window.warm_up);
    let arrivals = arrivals.expect("valid");
    arrivals.take(1000).map(|at| at.as_millis()).collect()
}

const URL: &str = "--url http://127.0.0.1:9/x";

#[test]
fn the_examples_of_the_help_parse() {
    let lines = EXAMPLES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("skysail load "));
    let lines: Vec<_> = lines.collect();
    assert!(lines.len() >= 6);
    for line in lines {
        parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for (line, kind) in [
        ("", ErrorKind::MissingRequiredArgument),
        ("--app a --url http://h/", ErrorKind::ArgumentConflict),
        ("--app a --steps 1:1s --rate 5", ErrorKind::ArgumentConflict),
        (
            "--app a --steps 1:1s --find-max",
            ErrorKind::ArgumentConflict,
        ),
        (
            "--app a --trace t --arrivals gamma",
            ErrorKind::ArgumentConflict,
        ),
        ("--app a --trace t --rate 5", ErrorKind::ArgumentConflict),
        (
            "--app a --trace-unit ms",
            ErrorKind::MissingRequiredArgument,
        ),
        ("--app a --inputs f --body g", ErrorKind::ArgumentConflict),
        (
            "--app a --inputs f --features 5",
            ErrorKind::ArgumentConflict,
        ),
        ("--app a --content-type x", ErrorKind::ArgumentConflict),
        ("--app a --arrivals uniform", ErrorKind::InvalidValue),
        ("--app a --steps 1000", ErrorKind::ValueValidation),
        ("--app a --steps 1000:10", ErrorKind::ValueValidation),
        ("--app a --connections 0", ErrorKind::ValueValidation),
        ("--app a --slo 20", ErrorKind::ValueValidation),
    ] {
        match parsed(line) {
            Err(error) => assert_eq!(error.kind(), kind, "{line}: {error}"),
            Ok(_) => panic!("{line} was taken"),
        }
    }
}

#[test]
fn values_that_cannot_be_right_are_refused_in_one_line() {
    for (flags, says) in [
        ("--rate 0", "rate 0 is not above 0"),
        ("--rate 2000000", "rate 2000000 is not above 0 and at most"),
        ("--arrivals gamma --cv 50", "coefficient of variation 50"),
        ("--cv 2", "--cv needs --arrivals gamma"),
        ("--burst-time 1s", "--burst-time needs --arrivals mmpp"),
        (
            "--arrivals mmpp --burst-ratio 1",
            "bursts need a ratio above 1",
        ),
        (
            "--arrivals mmpp --steps 5:1s",
            "--steps needs --arrivals poisson",
        ),
        ("--steps 5:0s", "a schedule needs"),
        (
            "--steps 5:1s,6:1s --duration 3s",
            "--duration 3s is longer than what is sent: 2s",
        ),
        ("--duration 0s", "--duration must be above 0"),
        ("--slo 0ms", "--slo must be above 0"),
        ("--find-max", "--find-max needs --slo"),
        ("--content-type a/b", "--content-type needs --body"),
        (
            "--management 127.0.0.1:1",
            "--management and --data-dir are for --app",
        ),
        ("--trace /nowhere", "--trace: /nowhere: No such file"),
        ("--body /nowhere", "--body: /nowhere: No such file"),
        ("--inputs /dev/null", "--inputs: /dev/null has no lines"),
    ] {
        let text = refused(&format!("{URL} {flags}"));
        assert!(text.starts_with(says), "{flags}: {text}");
    }
    for (url, says) in [
        (
            "https://h/x",
            "--url: 'https://h/x' has TLS, but load sends plain HTTP only",
        ),
        ("h:1/x", "--url: 'h:1/x' is not supported"),
        ("http://hö:1/", "--url: 'http://hö:1/' is not supported"),
        ("http://:5x/", "--url: ':5x' is not an address"),
    ] {
        let text = refused(&format!("--url {url}"));
        assert!(text.starts_with(says), "{url}: {text}");
    }
}

#[test]
fn a_wrong_line_of_a_trace_is_named() {
    let trace = file("0\n0.5\nsoon\n");
    let path = trace.path().display();
    let text = refused(&format!("{URL} --trace {path}"));
    assert!(text.contains("line 3: 'soon' is not a timestamp"), "{text}");
}

#[test]
fn a_front_end_that_is_not_there_is_no_mistake_of_usage() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let load = parsed(&format!("--app a --management {address}")).expect("parsed");
    let error = load.run().expect_err("nobody is there");
    assert!(!error.is::<crate::console::Usage>());
    assert!(error.to_string().contains("skysail serve"), "{error}");

    let load = parsed(&format!("--url http://{address}/x")).expect("parsed");
    let error = load.run().expect_err("nobody is there");
    assert!(!error.is::<crate::console::Usage>());
    let says = format!("cannot connect to {address} at http://{address}/x: connection refused");
    assert!(error.to_string().starts_with(&says), "{error}");
}

#[test]
fn a_url_is_got_unless_there_is_something_to_post() {
    let got = plan("--url http://127.0.0.1:9");
    assert_eq!((got.target.method(), got.target.address.port()), ("GET", 9));
    assert_eq!(plan("--url http://127.0.0.1/x").target.address.port(), 80);
    let bodies = file("{\"a\":1}\n\n{\"a\":2}\n");
    let path = bodies.path().display();
    let posted = plan(&format!("{URL} --inputs {path}"));
    assert_eq!(posted.target.method(), "POST");
    let mut next = posted.target.bodies(0);
    assert_eq!(
        [next(), next(), next()],
        ["{\"a\":1}", "{\"a\":2}", "{\"a\":1}"]
    );
    let random = plan(&format!("{URL} --features 2"));
    assert_eq!(random.target.method(), "POST");
    let body: Value = serde_json::from_slice(&random.target.bodies(0)()).expect("JSON");
    assert_eq!(body["input"].as_array().map(Vec::len), Some(2));
    let whole = plan(&format!("{URL} --body {path}"));
    assert_eq!(whole.target.bodies(0)(), "{\"a\":1}\n\n{\"a\":2}\n");
}

#[test]
fn a_name_of_several_addresses_is_the_one_where_a_server_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let found = plan(&format!("--url http://localhost:{}/x", address.port()));
    assert_eq!(found.target.address, address);
}

#[test]
fn the_warm_up_of_steps_comes_before_them_and_that_of_a_trace_is_its_begin() {
    let steps = plan(&format!(
        "{URL} --arrivals constant --steps 2:2s,4:1s --warm-up 1s"
    ));
    assert_eq!(steps.window.duration, Duration::from_secs(3));
    assert_eq!(
        millis(&steps, 0),
        [500, 1000, 1500, 2000, 2500, 3000, 3250, 3500, 3750, 4000]
    );
    let trace = file("10\n11\n12\n");
    let path = trace.path().display();
    let random = plan(&format!("{URL} --features 2"));
    assert_eq!(random.target.method(), "POST");
    let body: Value = serde_json::from_slice(&random.target.bodies(0)()).expect("JSON");
    assert_eq!(body["input"].as_array().map(Vec::len), Some(2));
    let whole = plan(&format!("{URL} --trace {path}"));
    assert_eq!(whole.window.warm_up, Duration::ZERO);
    assert_eq!(whole.window.duration, Duration::from_millis(2001));
    assert_eq!(millis(&whole, 0), [0, 1000, 2000]);
    let part = plan(&format!("{URL} --trace {path} --warm-up 1s"));
    assert_eq!(part.window.duration, Duration::from_millis(1001));
    let text = refused(&format!("{URL} --trace {path} --warm-up 3s"));
    assert!(text.starts_with("--warm-up 3s leaves nothing"), "{text}");
}

#[test]
fn a_search_changes_the_rate_and_nothing_else() {
    let mmpp = plan(&format!("{URL} --arrivals mmpp --rate 10 --burst-ratio 5"));
    assert_eq!(
        mmpp.schedule.at(20.0).described(),
        "mmpp 20/s, bursts of 5 times the rate for 200ms, 800ms apart"
    );
    let gamma = plan(&format!("{URL} --arrivals gamma --find-max --slo 20ms"));
    assert_eq!(gamma.window.duration, DURATION_STEP);
    assert_eq!(gamma.schedule.at(7.5).described(), "gamma of CV 4 7.5/s");
}

/// A run of two seconds: 100 requests, 97 in time.
fn measured(slo: Option<Duration>) -> Measured {
    const MS: Duration = Duration::from_millis(1);
    let mut tally = Tally::new(Window {
        warm_up: Duration::ZERO,
        duration: 2000 * MS,
        slo,
    });
    for n in 0..100_u32 {
        let intended = 20 * MS * n;
        tally.offered(intended, n == 99);
        if n == 99 {
            tally.not_sent(intended);
            continue;
        }
        tally.sent(intended, intended + MS / 10);
        let outcome = match n {
            97 => Outcome::Default("shed".into()),
            98 => Outcome::Error("timeout".into()),
            _ => Outcome::Prediction,
        };
        tally.done(intended, intended + 4 * MS, outcome);
    }
    tally.finish(2000 * MS, 99 * MS / 50)
}

fn run_of(slo: Option<Duration>) -> Run {
    Run {
        measured: measured(slo),
        server_cpu: None,
        is_interrupted: false,
    }
}

#[test]
fn a_run_is_shown_as_a_table() {
    let plan = plan(&format!("{URL} --slo 20ms --duration 2s --seed 7"));
    let expected = "\
GET http://127.0.0.1:9/x
poisson 100/s; 2s after a warm-up of 1s, 256 connections, seed 7

                REQUESTS  PER SECOND  OF OFFERED
offered         100       50.0        100.00 %
sent            99        49.5        99.00 %
answered        98        49.0        98.00 %
in time (20ms)  97        48.5        97.00 %
default: shed   1         0.5         1.00 %
error: timeout  1         0.5         1.00 %
not sent        1         0.5         1.00 %

              P50       P90       P99       P99.9     MAX
latency       4.001 ms  4.001 ms  4.001 ms  4.001 ms  4.001 ms
sent late by  0.100 ms  0.100 ms  0.100 ms  0.100 ms  0.100 ms

20.0 us of CPU per request in this process
note: 1 requests found all 256 connections busy and were sent late or not at all; \
--connections allows more
";
    let run = run_of(plan.window.slo);
    let shown = format!("{}\n{}", text::heading(&plan), text::report(&plan, &run));
    assert_eq!(shown, expected);
}

#[test]
fn an_interrupted_run_says_so() {
    let plan = plan(URL);
    let run = Run {
        is_interrupted: true,
        ..run_of(None)
    };
    let shown = text::report(&plan, &run);
    assert!(shown.contains("note: interrupted after 2.0 s"), "{shown}");
    assert!(!shown.contains("in time"), "there is no SLO: {shown}");
    assert_eq!(json::report(&plan, &run)["interrupted"], true);
    assert_eq!(json::report(&plan, &run)["in_time"], Value::Null);
}

#[test]
fn the_cost_of_the_server_is_told_where_it_is_known() {
    let plan = plan(URL);
    let mut run = run_of(None);
    let line = "20.0 us of CPU per request in this process";
    assert!(text::report(&plan, &run).contains(&format!("{line}\n")));
    assert_eq!(
        json::report(&plan, &run)["server_cpu_us_per_request"],
        Value::Null
    );
    run.server_cpu = Some(Duration::from_micros(99 * 85));
    let shown = text::report(&plan, &run);
    let whole = format!("{line}, 85.0 us at the server and its child processes\n");
    assert!(shown.contains(&whole), "{shown}");
    assert_eq!(json::report(&plan, &run)["server_cpu_us_per_request"], 85.0);
}

#[test]
fn json_has_the_series_by_second() {
    let plan = plan(&format!("{URL} --slo 20ms --duration 2s --seed 7"));
    let report = json::report(&plan, &run_of(plan.window.slo));
    assert_eq!(report["schema"], "skysail-load/1");
    assert_eq!(report["default_by_cause"]["shed"], 1);
    assert_eq!(report["error_by_kind"]["timeout"], 1);
    assert_eq!(
        (&report["slo_us"], &report["seed"]),
        (&20_000.into(), &7.into())
    );
    let seconds = report["seconds"].as_array().expect("a series");
    assert_eq!(seconds.len(), 2);
    assert_eq!(
        (&seconds[0]["offered"], &seconds[0]["in_time"]),
        (&50.into(), &50.into())
    );
    assert_eq!(
        (&seconds[1]["errors"], &seconds[1]["not_sent"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn a_search_is_shown_step_by_step_and_with_its_best_run() {
    let plan = plan(&format!("{URL} --slo 20ms --find-max"));
    let best = Step {
        rate: 50.0,
        run: run_of(plan.window.slo),
    };
    assert_eq!(
        text::step(&plan, &best),
        "     50.0/s  p99     4.001 ms  in time 97.00 %  does not hold"
    );
    let found = text::found(&plan, Some(&best), false);
    let says = "\nhighest rate at which the p99 is within 20ms: 50.0/s\n\n";
    assert!(found.starts_with(says), "{found}");
    assert!(text::found(&plan, None, true).contains("no rate was found until interrupted"));
    let steps = [json::step(&plan, &best)];
    let json = json::search(&plan, &steps, Some(&best), false);
    assert_eq!(
        (&json["rate_max"], &json["best"]["answered"]),
        (&50.0.into(), &98.into())
    );
    assert_eq!(json["steps"][0]["holds"], false);
}

#[test]
fn what_binds_a_run_besides_the_server_is_told() {
    const MS: Duration = Duration::from_millis(1);
    let slo = Some(20 * MS);
    let limit_of = |waits: bool, late: Duration| {
        let mut tally = Tally::new(Window {
            warm_up: Duration::ZERO,
            duration: 1000 * MS,
            slo,
        });
        tally.offered(MS, waits);
        tally.sent(MS, MS + late);
        tally.done(MS, MS + late, Outcome::Prediction);
        text::limit(slo, &tally.finish(1000 * MS, MS))
    };
    assert_eq!(limit_of(false, 4 * MS), None);
    assert_eq!(limit_of(false, 6 * MS), Some(text::Limit::Load));
    assert_eq!(limit_of(true, 6 * MS), Some(text::Limit::Connections));
}

#[test]
fn percentages_are_never_rounded_up_to_all() {
    assert_eq!(text::percent(99_999, 100_000), "99.99 %");
    assert_eq!(text::percent(5, 5), "100.00 %");
    assert_eq!(text::percent(0, 0), "-");
}
