//! The command line of `batchsim`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::grid::{Cell, Configuration, Extent, run_grid};
use crate::kind::Kind;
use crate::study::{Context, Report, Study};
use crate::{plot, report};

/// What is simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The 84 configurations, held to the bars.
    #[default]
    Grid,
    /// One of the studies beside them.
    Study(Study),
    /// The grid and every study.
    All,
}

impl Choice {
    /// What may be chosen: names, and a line on each.
    #[must_use]
    pub fn names() -> Vec<(&'static str, &'static str)> {
        let grid = ("grid", "84 configurations of one application (the default)");
        let all = ("all", "the grid and every study; many minutes");
        let studies = Study::ALL.iter().map(|one| (one.name(), one.about()));
        let mut names: Vec<_> = std::iter::once(grid).chain(studies).collect();
        names.push(all);
        names
    }

    /// The choice of a name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "grid" => Some(Choice::Grid),
            "all" => Some(Choice::All),
            _ => {
                let mut studies = Study::ALL.into_iter();
                let found = studies.find(|study| study.name() == name);
                found.map(Choice::Study)
            }
        }
    }

    fn has_grid(self) -> bool {
        matches!(self, Choice::Grid | Choice::All)
    }

    fn studies(self) -> Vec<Study> {
        match self {
            Choice::Grid => Vec::new(),
            Choice::Study(study) => vec![study],
            Choice::All => Study::ALL.to_vec(),
        }
    }
}

/// What to simulate, and how to show it.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Which part.
    pub choice: Choice,
    /// Print JSON.
    pub json: bool,
    /// A fraction of the work: short runs of one seed.
    pub quick: bool,
    /// The first seed.
    pub seed: u64,
    /// Where the plot goes.
    pub svg: Option<PathBuf>,
    /// Only settings, cases and loads whose names contain one of these.
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
        let cells = self.choice.has_grid().then(|| self.grid(progress));
        let mut reports = Vec::new();
        for study in self.choice.studies() {
            reports.push(study.run(&mut Context {
                extent: self.extent(),
                only: &self.only,
                progress,
            }));
        }
        if self.json {
            return writeln!(out, "{}", document(cells.as_deref(), &reports));
        }
        if let Some(cells) = &cells {
            out.write_all(report::text(cells).as_bytes())?;
        }
        for (index, report) in reports.iter().enumerate() {
            let gap = if index > 0 || cells.is_some() {
                "\n"
            } else {
                ""
            };
            write!(out, "{gap}{}", report.text())?;
        }
        Ok(())
    }

    fn grid(&self, progress: &mut dyn Write) -> Vec<Cell> {
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
        run_grid(&Kind::ALL, &self.extent(), wanted, tell)
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

/// Everything as JSON; what was not simulated is left out.
fn document(cells: Option<&[Cell]>, reports: &[Report]) -> Value {
    let mut value = cells.map_or_else(|| json!({"schema": report::SCHEMA}), report::json);
    if !reports.is_empty() {
        value["studies"] = json!(reports);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_choice_and_no_other_word_is() {
        let names = Choice::names();
        assert_eq!(names.len(), Study::ALL.len() + 2);
        assert!(names.iter().all(|(name, _)| Choice::named(name).is_some()));
        assert_eq!(Choice::named("grids"), None);
    }

    #[test]
    fn a_study_as_json_holds_its_tables_and_samples_and_no_grid() {
        let command = Command {
            choice: Choice::Study(Study::Drift),
            json: true,
            quick: true,
            seed: 3,
            only: vec!["gpu 20 ms x1".to_owned()],
            ..Command::default()
        };
        let mut out = Vec::new();
        let done = command.run(&mut out, &mut io::sink());
        done.expect("memory takes all that is written");
        let value: Value = serde_json::from_slice(&out).expect("it is JSON");
        assert_eq!(value["schema"], report::SCHEMA);
        assert!(value["cells"].is_null());
        let study = &value["studies"][0];
        assert_eq!(study["study"], "drift");
        assert_eq!(study["samples"].as_array().map(Vec::len), Some(5));
        assert_eq!(study["tables"][0]["rows"][4]["name"], "skysail");
    }
}
