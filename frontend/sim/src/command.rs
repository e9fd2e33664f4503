//! The command line of `batchsim`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::grid::{Configuration, Extent, run_grid};
use crate::kind::Kind;
use crate::{plot, report};

/// What to simulate, and how to show it.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Print JSON.
    pub json: bool,
    /// A fraction of the work: short runs of one seed.
    pub quick: bool,
    /// The first seed.
    pub seed: u64,
    /// Where the plot goes.
    pub svg: Option<PathBuf>,
    /// Only profiles and loads whose names contain one of these.
    pub only: Vec<String>,
}

impl Command {
    /// Runs it; tables go to `out`, progress to `progress`.
    ///
    /// # Errors
    /// What writing reports.
    pub fn run(&self, out: &mut dyn Write, progress: &mut dyn Write) -> io::Result<()> {
        if let Some(path) = &self.svg {
            std::fs::write(path, plot::step(self.seed))?;
            writeln!(progress, "wrote {}", path.display())?;
        }
        let extent = self.extent();
        let wanted =
            |one: &Configuration| self.wants(&format!("{} {}", one.shape.name, one.load.name()));
        let tell = |one: &Configuration| {
            let Configuration {
                shape,
                objective,
                replicas,
                load,
            } = one;
            let (name, load) = (shape.name, load.name());
            let told = writeln!(
                progress,
                "{name} {:.0} ms x{replicas} {load}",
                objective * 1e3
            );
            drop(told);
        };
        let cells = run_grid(&Kind::ALL, &extent, wanted, tell);
        let bars = report::bars(&cells);
        if self.json {
            return writeln!(out, "{}", report::json(&cells, &bars));
        }
        let mut text = report::goodput_table(&cells);
        let _ = write!(text, "\n{}", report::detail_table(&cells));
        let _ = write!(text, "\n{}", report::configuration_table(&cells));
        let _ = write!(text, "\n{}", report::bar_lines(&bars));
        out.write_all(text.as_bytes())
    }

    fn extent(&self) -> Extent {
        let (seconds, queries, seeds) = if self.quick {
            (1.5, 2e4, 1)
        } else {
            (3.0, 2e5, 2)
        };
        Extent {
            seconds,
            queries,
            seeds,
            seed: self.seed,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}
