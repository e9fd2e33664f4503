//! The tables of `batchsim` without the rest of the benches: quick to build.
//!
//! Arguments: `--quick`, `--json`, `--seed=N`, `--svg=FILE`, `--only=NAME`.

use std::io::{Result, stderr, stdout};

use skysail_sim::command::Command;

fn main() -> Result<()> {
    let mut command = Command {
        seed: 1,
        ..Command::default()
    };
    for argument in std::env::args().skip(1) {
        match argument.split_once('=').unwrap_or((&argument, "")) {
            ("--quick", _) => command.quick = true,
            ("--json", _) => command.json = true,
            ("--seed", seed) => command.seed = seed.parse().expect("a seed is a number"),
            ("--svg", path) => command.svg = Some(path.into()),
            ("--only", name) => command.only.push(name.to_owned()),
            _ => panic!("unknown argument {argument}"),
        }
    }
    command.run(&mut stdout().lock(), &mut stderr().lock())
}
