//! The program around a model: flags, log, signals, exit status.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use skysail_rpc::message::{Reject, RejectReason};
use skysail_rpc::transport::zmq;
use tracing_subscriber::EnvFilter;

use crate::error::causes;
use crate::runner::told;
use crate::{Model, Options, Runner, Source, StartError, Stop, Typed, selftest};

/// Exit status of a container that a second signal ends.
const INTERRUPTED: i32 = 130;

const HELP: &str = "\
Examples:
  Join a front end on this machine:
    --rpc ipc:///var/lib/skysail/rpc.sock --model digits --version 1
  Join a front end over tcp:
    --rpc tcp://127.0.0.1:7000 --token-file join.token --model digits --version 1
  Join a front end with keys, which skysail keys new makes:
    --rpc tcp://10.0.0.1:7000 --key digits.key --server-key frontend.pub --model digits --version 1
  Check the model without a front end:
    --selftest --path ./model

Exit status: 0 asked to stop, or the version was removed, 1 the model failed or the front
end refuses it, 2 wrong usage, environment or signature, 130 interrupted twice. RUST_LOG sets what is logged.";

/// Serves a model to a Skysail front end.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true, after_help = HELP)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

/// The whole of a container's `main`: reads flags and environment, loads the model, warms it
/// up and serves it, coming back by itself whenever the front end was away.
///
/// SIGTERM or SIGINT asks it to leave: what is in hand is answered first. A second one ends
/// it at once.
#[must_use]
pub fn serve<M: Model>() -> ExitCode {
    ExitCode::from(serve_from(&Typed::<M>::default(), std::env::args_os()))
}

/// [`serve()`] for the model of a [`Source`], with the program's name and its arguments: the
/// exit status.
#[must_use]
pub fn serve_from<S: Source, A>(source: &S, args: impl IntoIterator<Item = A>) -> u8
where
    A: Into<OsString> + Clone,
{
    match Cli::try_parse_from(args) {
        Ok(cli) => run_from(source, &cli.options),
        Err(error) => {
            // Nobody is left to tell if the terminal is gone.
            drop(error.print());
            u8::try_from(error.exit_code()).unwrap_or(2)
        }
    }
}

/// [`serve()`] for a program that has read the options by itself.
#[must_use]
#[allow(
    clippy::needless_pass_by_value,
    reason = "the last call of a program, often by pointer"
)]
pub fn run<M: Model>(options: Options) -> ExitCode {
    ExitCode::from(run_from(&Typed::<M>::default(), &options))
}

/// [`run`] for the model of a [`Source`]: the exit status. The model is dropped by then.
#[must_use]
pub fn run_from<S: Source>(source: &S, options: &Options) -> u8 {
    log_to_stderr();
    if options.selftest {
        return selftest::run(source, options);
    }
    match serve_for_ever(source, options) {
        Ok(Ok(())) => 0,
        Ok(Err(reject)) => {
            let model = options.model.as_deref().unwrap_or_default();
            let version = options.version.as_deref().unwrap_or_default();
            say(&format!(
                "{model}:{version} has ended: {}",
                refusal(&reject)
            ));
            status(reject.reason)
        }
        Err(error) => {
            say(&format!("error: {}", causes(&error)));
            error.status()
        }
    }
}

fn serve_for_ever<S: Source>(
    source: &S,
    options: &Options,
) -> Result<Result<(), Reject>, StartError> {
    let endpoint = options.endpoint()?;
    // Before the model is loaded, which may take long: a wrong endpoint stays wrong.
    zmq::check_endpoint(endpoint).map_err(|error| StartError::Endpoint(causes(&error)))?;
    let keys = options.keys()?;
    zmq::tune_allocator();
    let mut runner = Runner::load_from(source, options)?;
    catch_signals(&runner.stop()).map_err(StartError::Signals)?;
    Ok(runner.serve_over(|| zmq::connect_with(endpoint, keys.as_ref())))
}

/// A version that was removed needs its containers no longer: no error. PROTOCOL 4.8
fn status(reason: RejectReason) -> u8 {
    match reason {
        RejectReason::Removed => 0,
        // How it was started is wrong, or what it says of itself.
        RejectReason::BadToken | RejectReason::BadHello | RejectReason::WrongSchema => 2,
        _ => 1,
    }
}

/// The first SIGTERM or SIGINT asks to leave; the second one exits.
fn catch_signals(stop: &Stop) -> std::io::Result<()> {
    for signal in [SIGTERM, SIGINT] {
        // In this order: the exit looks at what an earlier signal has left.
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, stop.flag())?;
        signal_hook::flag::register(signal, stop.flag())?;
    }
    Ok(())
}

/// Why the front end refuses the container, and what to do.
fn refusal(reject: &Reject) -> String {
    let advice = match reject.reason {
        RejectReason::ProtocolVersion => "use an SDK and a front end of one release",
        RejectReason::BadToken => {
            "pass the front end's DATA_DIR/join.token with --token-file, or where it has keys let \
             the key's .pub there name the model"
        }
        RejectReason::BadHello => "correct the signature, the names or the slots",
        RejectReason::WrongSchema => "serve the registered signature, or register a new version",
        RejectReason::Removed => "register the version again, or serve another one",
        RejectReason::Violation => "please report it with the logs of both sides",
        _ => "try again later",
    };
    format!("{}: {}; {advice}", told(reject.reason), reject.detail)
}

/// A program that has a log of its own keeps it.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    drop(log.try_init());
}

/// One line for the person who started the container.
fn say(line: &str) {
    // Nobody is left to tell if standard error is gone.
    drop(writeln!(std::io::stderr(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Ctx, Outputs, Predictor, Signature};
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_shows_examples() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        for needle in ["SKYSAIL_RPC", "--token-file", "Examples:", "--selftest"] {
            assert!(help.contains(needle), "{needle} is not in {help}");
        }
    }

    #[test]
    fn reads_the_models_version_not_its_own() {
        let line = [
            "c",
            "--rpc",
            "ipc://x",
            "--model",
            "m",
            "--version",
            "7",
            "--slots",
            "3",
        ];
        let options = Cli::try_parse_from(line).expect("valid").options;
        assert_eq!((options.version.as_deref(), options.slots), (Some("7"), 3));
        assert!(Cli::try_parse_from(["c", "--slots", "0"]).is_err());
        assert!(
            Cli::try_parse_from(["c", "--json"]).is_err(),
            "only with --selftest"
        );
    }

    /// Its signature is a matter of the value.
    struct Wide(usize);

    impl Source for Wide {
        type Loaded = Box<dyn Predictor>;

        fn signature(&self) -> Signature {
            let row = format!("u8[{}]", self.0);
            Signature::new().input("x", &row).output("y", &row)
        }

        fn load(&self, ctx: &Ctx) -> Result<Self::Loaded, crate::Error> {
            if ctx.path("").is_dir() {
                Ok(Box::new(Copies))
            } else {
                Err("no such directory".into())
            }
        }
    }

    struct Copies;

    impl Predictor for Copies {
        fn predict(
            &mut self,
            batch: &Batch,
            out: &mut Outputs,
            _: &Ctx,
        ) -> Result<(), crate::Error> {
            let x = batch.column("x")?.data();
            out.bytes_mut("y")?.copy_from_slice(x.as_bytes());
            Ok(())
        }
    }

    #[test]
    fn a_model_known_at_run_time_is_served_by_its_arguments() {
        assert_eq!(serve_from(&Wide(3), ["wide", "--selftest"]), 0);
        let lost = ["wide", "--selftest", "--path", "/no/such/place"];
        assert_eq!(serve_from(&Wide(3), lost), 1, "it does not load");
        assert_eq!(
            serve_from(&Wide(0), ["wide", "--selftest"]),
            1,
            "no dimension is 0"
        );
        assert_eq!(serve_from(&Wide(3), ["wide", "--slots", "0"]), 2, "usage");
        assert_eq!(serve_from(&Wide(3), ["wide", "--help"]), 0);
        let nowhere = ["wide", "--rpc", "udp://x", "--model", "m", "--version", "1"];
        assert_eq!(serve_from(&Wide(3), nowhere), 2, "an endpoint of no kind");
    }

    #[test]
    fn a_refusal_says_what_and_what_to_do() {
        let (reason, detail) = (RejectReason::Removed, "by an operator".to_owned());
        let told = refusal(&Reject { reason, detail });
        let expected = "the version was removed: by an operator; \
                        register the version again, or serve another one";
        assert_eq!(told, expected);
    }
}
