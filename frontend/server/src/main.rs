//! The `skysail` command: the front end, its demo, its clients, and the bundled containers.
//!
//! The composition root: the only crate that knows all others. [`config`] reads files,
//! environment and flags into one value; [`frontend`] wires the parts together and runs them;
//! everything else is a subcommand.

#![forbid(unsafe_code)]

mod access;
mod allow_list;
mod cli;
mod config;
mod conformance;
mod console;
mod container;
mod data_dir;
mod demo;
mod example;
mod frontend;
mod keys;
mod package;
mod python;
mod seen;
mod serve;
mod token_file;
mod tokens;

use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory, Parser, Subcommand};
use mimalloc::MiMalloc;

/// Requests are many small allocations of a few sizes, which this one serves in fewer steps. What
/// libzmq allocates is glibc's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Serve predictions from machine-learning models, with the tail latency under control.
#[derive(Debug, Parser)]
#[command(name = "skysail", version, max_term_width = 100, after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  skysail demo                                    two models on real data, in a minute
  skysail serve --data-dir /var/lib/skysail       a front end
  skysail app add digits --input floats --slo 20ms --default -1
  skysail deploy --model mlp --version 1 --input floats -- ./my-container
  skysail app link digits mlp
  skysail status
  skysail top";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve two digit classifiers, query them with real images, and show the result
    Demo(demo::Args),
    /// Run a front end
    Serve(serve::Args),
    #[command(flatten)]
    Client(cli::ClientCommand),
    /// Show live what applications answer in time, and how versions and replicas do
    Top(cli::top::Top),
    /// Send load to an application or a URL, open-loop, and measure its latency
    Load(Box<cli::load::Load>),
    /// Make the keys by which containers beyond this machine are known
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make, list and revoke the tokens that a front end lets in
    #[command(subcommand)]
    Tokens(tokens::Command),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Run a front end and a Python model, and start the model again whenever its file changes
    Dev(python::Dev),
    /// Serve a model of a library from its file, as a container
    #[command(subcommand)]
    Container(container::Container),
    /// Make of a model's folder one that runs elsewhere, or the context of an image
    Package(Box<package::Args>),
    /// Run a bundled example model as a container
    ExampleContainer(example::Args),
    /// Hold a container program in any language to the container protocol
    Conformance(conformance::Args),
    /// Serve the model of the conformance suite that --model names
    #[command(hide = true)]
    SuiteContainer(conformance::ContainerArgs),
    /// Become a container that ends with the suite (run by the suite)
    #[command(hide = true)]
    ExecUnder {
        parent: u32,
        #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Start and watch the containers of deployments (run by the front end)
    #[command(hide = true, name = "child-supervise")]
    Supervise,
    /// Become a container (run by the supervisor)
    #[command(hide = true)]
    ExecContainer {
        #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
}

fn main() -> ExitCode {
    let started = Instant::now();
    skysail_rpc::transport::zmq::tune_allocator();
    let outcome = match Args::parse().command {
        Command::Demo(args) => demo::run(&args, started),
        Command::Serve(args) => serve::run(&args),
        Command::Client(command) => command.run(),
        Command::Top(top) => top.run(),
        Command::Load(load) => load.run(),
        Command::Dev(dev) => dev.run(),
        Command::Container(container) => container.run(),
        Command::Package(args) => args.run(),
        Command::ExampleContainer(args) => Ok(example::run(args)),
        Command::Conformance(args) => args.run(),
        Command::SuiteContainer(args) => args.run(),
        Command::ExecUnder { parent, command } => Ok(conformance::exec(parent, &command)),
        Command::Keys(command) => command.run(),
        Command::Tokens(command) => command.run(),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Args::command(),
                "skysail",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Supervise => Ok(skysail_control::orchestrator::supervise()),
        Command::ExecContainer { command } => {
            let (program, args) = command.split_first().expect("clap wants at least one");
            Ok(skysail_control::orchestrator::exec_container(program, args))
        }
    };
    outcome.unwrap_or_else(|error| console::report(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_demo_lists_no_flags_that_it_refuses() {
        let mut args = Args::command();
        let mut help = |name: &str| {
            let command = args.find_subcommand_mut(name).expect("it is there");
            command.render_long_help().to_string()
        };
        for flag in ["--tls-cert", "--tls-key"] {
            assert!(
                help("serve").contains(flag) && !help("demo").contains(flag),
                "{flag}"
            );
        }
    }
}
