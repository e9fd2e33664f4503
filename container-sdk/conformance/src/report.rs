//! What came of a suite, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{Played, Suite, Transport, Verdict};

/// Space between columns.
const GAP: &str = "  ";
/// Before what is told of a row.
const INDENT: &str = "      ";

/// A table that is written row by row.
#[derive(Debug)]
pub struct Table {
    name_chars: usize,
    clause_chars: usize,
    transports: Vec<Transport>,
}

impl Table {
    /// A table of the cases and transports of `suite`.
    #[must_use]
    pub fn of(suite: &Suite) -> Table {
        let cases = suite.cases().iter();
        Self::new(
            cases.map(|case| (case.name.as_str(), case.clause.as_str())),
            suite.transports(),
        )
    }

    fn new<'a>(cases: impl Iterator<Item = (&'a str, &'a str)>, transports: &[Transport]) -> Table {
        let start = ("case".len(), "clause".len());
        let (name_chars, clause_chars) = cases.fold(start, |(name, clause), case| {
            (name.max(case.0.len()), clause.max(case.1.len()))
        });
        Table {
            name_chars,
            clause_chars,
            transports: transports.to_vec(),
        }
    }

    /// The headings.
    #[must_use]
    pub fn heading(&self) -> String {
        let cells = self.transports.iter().map(|transport| transport.name());
        self.line("case", "clause", cells)
    }

    /// A row, and under it why something failed or was not played.
    #[must_use]
    pub fn row(&self, played: &Played) -> String {
        let word = |(_, verdict): &(Transport, Verdict)| match verdict {
            Verdict::Passed => "ok",
            Verdict::Failed { .. } => "FAILED",
            Verdict::Skipped { .. } => "skipped",
        };
        let mut text = self.line(
            &played.case,
            &played.clause,
            played.verdicts.iter().map(word),
        );
        for (transports, verdict) in alike(&played.verdicts) {
            match verdict {
                Verdict::Passed => {}
                Verdict::Skipped { reason } => {
                    let _ = write!(text, "\n{INDENT}skipped over {transports}: {reason}");
                }
                Verdict::Failed { reason, log } => {
                    let _ = write!(text, "\n{INDENT}FAILED over {transports}: {reason}");
                    for line in log {
                        let _ = write!(text, "\n{INDENT}  | {line}");
                    }
                }
            }
        }
        text
    }

    fn line<'a>(&self, name: &str, clause: &str, cells: impl Iterator<Item = &'a str>) -> String {
        let (name_chars, clause_chars) = (self.name_chars, self.clause_chars);
        let mut text = format!("{name:<name_chars$}{GAP}{clause:<clause_chars$}");
        for cell in cells {
            let _ = write!(text, "{GAP}{cell:<7}");
        }
        text.trim_end().to_owned()
    }
}

/// Verdicts that say the same, with the names of their transports.
fn alike(verdicts: &[(Transport, Verdict)]) -> Vec<(String, &Verdict)> {
    let mut all: Vec<(String, &Verdict)> = Vec::new();
    for (transport, verdict) in verdicts {
        match all.iter_mut().find(|(_, other)| *other == verdict) {
            Some((names, _)) => {
                let _ = write!(names, ", {transport}");
            }
            None => all.push((transport.to_string(), verdict)),
        }
    }
    all
}

/// How many verdicts there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// As the protocol says.
    pub passed: usize,
    /// Not so.
    pub failed: usize,
    /// Not played.
    pub skipped: usize,
}

impl Sums {
    /// Of all cases over all transports.
    #[must_use]
    pub fn of(played: &[Played]) -> Sums {
        let mut sums = Sums::default();
        for (_, verdict) in played.iter().flat_map(|played| &played.verdicts) {
            match verdict {
                Verdict::Passed => sums.passed += 1,
                Verdict::Failed { .. } => sums.failed += 1,
                Verdict::Skipped { .. } => sums.skipped += 1,
            }
        }
        sums
    }

    /// The last line.
    #[must_use]
    pub fn line(&self, cases: usize) -> String {
        let plural = if cases == 1 { "" } else { "s" };
        let Sums {
            passed,
            failed,
            skipped,
        } = self;
        format!("{cases} case{plural}: {passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Everything as one document.
#[must_use]
pub fn json(command: &str, played: &[Played]) -> Value {
    let sums = Sums::of(played);
    let result = |(transport, verdict): &(Transport, Verdict)| match verdict {
        Verdict::Passed => json!({ "transport": transport.name(), "outcome": "ok" }),
        Verdict::Failed { reason, log } => json!({
            "transport": transport.name(), "outcome": "failed", "reason": reason, "log": log,
        }),
        Verdict::Skipped { reason } => json!({
            "transport": transport.name(), "outcome": "skipped", "reason": reason,
        }),
    };
    let case = |played: &Played| {
        json!({
            "name": played.case,
            "group": played.group,
            "clause": played.clause,
            "results": played.verdicts.iter().map(result).collect::<Vec<_>>(),
        })
    };
    json!({
        "command": command,
        "cases": played.iter().map(case).collect::<Vec<_>>(),
        "passed": sums.passed,
        "failed": sums.failed,
        "skipped": sums.skipped,
        "ok": sums.failed == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(case: &str, verdicts: [Verdict; 3]) -> Played {
        Played {
            case: case.into(),
            clause: "5.2".into(),
            group: "life",
            verdicts: Transport::ALL.into_iter().zip(verdicts).collect(),
        }
    }

    fn failed(reason: &str) -> Verdict {
        let (reason, log) = (reason.to_owned(), vec!["Traceback".to_owned()]);
        Verdict::Failed { reason, log }
    }

    fn skipped() -> Verdict {
        let reason = "tokens are for tcp".to_owned();
        Verdict::Skipped { reason }
    }

    #[test]
    fn a_table_has_a_line_a_case_and_reasons_under_it() {
        let ok = || Verdict::Passed;
        let all = [
            played("drain", [ok(), ok(), ok()]),
            played("join-token", [skipped(), skipped(), ok()]),
            played("killed", [failed("a"), ok(), failed("b")]),
        ];
        let cases = all.iter().map(|p| (p.case.as_str(), p.clause.as_str()));
        let table = Table::new(cases, &Transport::ALL);
        let rows = all.iter().map(|played| table.row(played));
        let lines: Vec<String> = std::iter::once(table.heading()).chain(rows).collect();
        let expected = "\
case        clause  shm      ipc      tcp
drain       5.2     ok       ok       ok
join-token  5.2     skipped  skipped  ok
      skipped over shm, ipc: tokens are for tcp
killed      5.2     FAILED   ok       FAILED
      FAILED over shm: a
        | Traceback
      FAILED over tcp: b
        | Traceback";
        assert_eq!(lines.join("\n"), expected);
        let sums = Sums::of(&all);
        assert_eq!(sums.line(3), "3 cases: 5 passed, 2 failed, 2 skipped");
        let document = json("my container", &all);
        assert_eq!(document["ok"], false);
        assert_eq!(document["cases"][2]["results"][0]["reason"], "a");
        assert_eq!(document["cases"][1]["results"][0]["outcome"], "skipped");
    }
}
