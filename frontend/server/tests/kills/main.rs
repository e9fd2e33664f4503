//! `kill -9` in a loop under load: of containers, at any moment of their lives, and of the front
//! end.
//!
//! Every query that a living front end was asked is answered, and by the prediction for its own
//! input or by the default; after each round everything that was held for whoever is gone has
//! been given back. A round is drawn from the seed and its number alone.
//!
//! | variable | sets | default |
//! |---|---|---|
//! | `SKYSAIL_KILLS` | how many processes are killed | 25 |
//! | `SKYSAIL_KILLS_SEED` | the seed | random |

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is its own test harness"
)]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../harness/mod.rs"]
mod harness;
mod load;
mod oracle;
mod schedule;
mod system;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use load::{Load, Tally};
use schedule::{Action, Options, Round};
use system::{Holdings, System};

/// Looks, and the time between them, after which quiet is believed.
const QUIET_LOOKS: u32 = 8;
const QUIET_LOOK: Duration = Duration::from_millis(30);
const TEST: &str = "whoever_is_killed_leaves_nothing_and_no_query_is_lost_or_answered_wrongly";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_some_and(|arg| arg == "container") {
        return oracle::container(args);
    }
    let filters: Vec<_> = args.filter_map(|arg| arg.into_string().ok()).collect();
    if filters.iter().any(|arg| arg == "--list") {
        println!("{TEST}: test");
        return ExitCode::SUCCESS;
    }
    let mut names = filters
        .iter()
        .filter(|arg| !arg.starts_with('-'))
        .peekable();
    let chosen = names.peek().is_none() || names.any(|name| TEST.contains(name.as_str()));
    let began = Instant::now();
    println!("\nrunning {} tests", u8::from(chosen));
    let passed = !chosen || passes();
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; \
         finished in {:.2}s\n",
        if passed { "ok" } else { "FAILED" },
        u8::from(chosen && passed),
        u8::from(!passed),
        u8::from(!chosen),
        began.elapsed().as_secs_f64(),
    );
    ExitCode::from(u8::from(!passed) * 101)
}

fn passes() -> bool {
    let seed = number("SKYSAIL_KILLS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let wanted = number("SKYSAIL_KILLS").unwrap_or(25);
    let before = shared_files();
    let mut history = Vec::new();
    let mut run = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let run = run.insert(Run::start(seed));
        while run.kills < wanted {
            history.push(format!("round {}: {:?}", run.rounds, run.next()));
            run.play();
        }
    }));
    let outcome = outcome.and_then(|()| {
        catch_unwind(AssertUnwindSafe(|| {
            let (rounds, kills, tally) = run.take().unwrap().end();
            println!("test {TEST} ... ok (seed {seed}, {rounds} rounds, {kills} kills, {tally:?})");
            let left: Vec<_> = shared_files().difference(&before).cloned().collect();
            assert!(left.is_empty(), "left in /dev/shm: {left:?}");
        }))
    });
    if outcome.is_err() {
        println!("test {TEST} ... FAILED");
        println!("to play it again: SKYSAIL_KILLS_SEED={seed} SKYSAIL_KILLS={wanted}");
        let last = history.len().saturating_sub(3);
        history[last..].iter().for_each(|round| println!("{round}"));
        run.iter().for_each(|run| println!("{}", run.system.logs()));
    }
    outcome.is_ok()
}

/// A system under load, round after round.
struct Run {
    seed: u64,
    system: System,
    load: Load,
    rounds: u64,
    kills: u64,
    /// What is held in quiet times, by the number of cores.
    quiet: BTreeMap<usize, Holdings>,
    /// Queries answered by this front end, as it says and as it was heard, when it was last quiet.
    answered: Option<(u64, u64)>,
}

impl Run {
    /// Learns what a system holds before anybody was killed, for each number of cores.
    fn start(seed: u64) -> Run {
        let mut quiet = BTreeMap::new();
        for cores in [2, 1] {
            let spin = false;
            let mut system = System::start(Options { cores, spin });
            let load = Load::start(system.frontend.query, seed);
            let enough = |tally: &Tally| tally.predictions.values().filter(|n| **n > 100).count();
            harness::until("predictions", || (enough(&load.tally()) == 2).then_some(()));
            let pause = load.pause();
            system.assert_status_says_shm();
            let holdings = in_quiet(&system);
            drop(pause);
            quiet.insert(cores, holdings);
            if cores == 1 {
                system.wait_for_all();
                return Run {
                    seed,
                    system,
                    load,
                    rounds: 0,
                    kills: 0,
                    quiet,
                    answered: None,
                };
            }
            load.stop();
            system.stop();
        }
        unreachable!("one of them has one core")
    }

    fn next(&self) -> Round {
        Round::draw(self.seed, self.rounds)
    }

    /// Plays a round, and sees that it leaves nothing.
    fn play(&mut self) {
        let round = self.next();
        std::thread::sleep(round.delay);
        self.act(&round);
        self.system.wait_for_all();
        let before = self.load.tally().predictions;
        let more = |tally: &Tally| {
            let grew = |(model, count)| before.get(model) < Some(count);
            tally.predictions.iter().all(grew)
        };
        harness::until("predictions of both models", || {
            more(&self.load.tally()).then_some(())
        });
        let pause = self.load.pause();
        self.system.assert_status_says_shm();
        let cores = self.system.options().cores;
        self.system.wait_for_holdings(&self.quiet[&cores]);
        self.system.assert_alive();
        let answered = (self.system.answered(), self.load.tally().answered());
        drop(pause);
        self.assert_conserved(answered);
        self.rounds += 1;
    }

    /// Since the last time, the front end has answered as many queries as were asked.
    fn assert_conserved(&mut self, now: (u64, u64)) {
        if let Some(before) = self.answered.replace(now) {
            assert_eq!(now.0 - before.0, now.1 - before.1, "queries answered");
        }
    }

    fn act(&mut self, round: &Round) {
        let mourn = || std::thread::sleep(round.mourning);
        match &round.action {
            Action::Kill { whom } => {
                whom.iter().for_each(|one| self.kill(*one));
                mourn();
                whom.iter().for_each(|one| self.system.replace(*one));
            }
            Action::KillTwice { whom, age } => {
                self.kill(*whom);
                self.system.replace(*whom);
                std::thread::sleep(*age);
                self.kill(*whom);
                mourn();
                self.system.replace(*whom);
            }
            Action::Stop { whom, time } => {
                self.system.signal(*whom, Signal::STOP);
                std::thread::sleep(*time);
                self.system.signal(*whom, Signal::CONT);
            }
            Action::StopAndKill { whom, time } => {
                self.system.signal(*whom, Signal::STOP);
                std::thread::sleep(*time);
                self.kill(*whom);
                mourn();
                self.system.replace(*whom);
            }
            Action::KillFrontend {
                with,
                down,
                options,
            } => {
                self.load.frontend_changes();
                self.answered = None;
                self.system.frontend.process.kill_9();
                self.kills += 1;
                with.iter().for_each(|one| self.kill(*one));
                std::thread::sleep(*down);
                self.system.replace_frontend(*options);
                self.load.frontend_changes();
                with.iter().for_each(|one| self.system.replace(*one));
            }
        }
    }

    fn kill(&mut self, container: usize) {
        self.system.kill(container);
        self.kills += 1;
    }

    fn end(self) -> (u64, u64, Tally) {
        let tally = self.load.stop();
        self.system.stop();
        (self.rounds, self.kills, tally)
    }
}

/// What is held without load, once that stays the same: connections take a moment to close.
fn in_quiet(system: &System) -> Holdings {
    let mut last = system.holdings();
    let mut times = 0;
    let end = Instant::now() + harness::PATIENCE;
    while times < QUIET_LOOKS {
        assert!(Instant::now() < end, "it does not become quiet: {last:#?}");
        std::thread::sleep(QUIET_LOOK);
        let found = system.holdings();
        let is_quiet = found == last && found.is_quiet();
        times = if is_quiet { times + 1 } else { 0 };
        last = found;
    }
    last
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// Files of ours in /dev/shm: there are none, ever.
fn shared_files() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/dev/shm").into_iter().flatten();
    let name =
        |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    entries
        .filter_map(name)
        .filter(|name| name.contains("skysail"))
        .collect()
}
