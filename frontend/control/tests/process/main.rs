//! The process orchestrator and the file store with real processes.
//!
//! This executable is its own supervisor, shim and victim: it is started again with another first
//! argument, as the `skysail` binary is. Each test carries a mark in its replicas' environment, by
//! which it finds, and at its end kills, whatever it started.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is its own test harness"
)]

mod orchestrator;
mod roles;
mod store;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use skysail_control::orchestrator::{exec_container, supervise};

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let role = args
        .first()
        .and_then(|arg| arg.to_str())
        .unwrap_or_default();
    match role {
        "child-supervise" => supervise(),
        "exec-container" => exec_container(&args[2], &args[3..]),
        "front-end" => roles::front_end(args[1].as_ref()),
        "store-writer" => roles::store_writer(args[1].as_ref()),
        "store-opener" => roles::store_opener(args[1].as_ref()),
        _ => run_tests(role),
    }
}

fn run_tests(first_arg: &str) -> ExitCode {
    let filter = if first_arg.starts_with('-') {
        ""
    } else {
        first_arg
    };
    let all = orchestrator::TESTS.iter().chain(store::TESTS);
    let (chosen, left): (Vec<&Test>, Vec<_>) = all.partition(|(name, _)| name.contains(filter));
    let began = Instant::now();
    println!("\nrunning {} tests", chosen.len());
    let failed = failures(&chosen);
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; \
         finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        chosen.len() - failed,
        left.len(),
        began.elapsed().as_secs_f64(),
    );
    ExitCode::from(u8::from(failed > 0) * 101)
}

fn failures(tests: &[&Test]) -> usize {
    std::thread::scope(|scope| {
        let handles: Vec<_> = tests
            .iter()
            .map(|test| scope.spawn(|| passes(test)))
            .collect();
        handles
            .into_iter()
            .filter_map(|one| one.join().ok())
            .filter(|passed| !passed)
            .count()
    })
}

fn passes(&(name, test): &Test) -> bool {
    let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    passed
}
