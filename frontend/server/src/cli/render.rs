//! Text for people: aligned columns, short times.

use std::fmt::{Display, Write};

use serde_json::Value;

/// Space between columns.
const GAP: &str = "  ";

/// Rows of text under headings.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Table {
        Table {
            rows: vec![headings.map(str::to_owned).to_vec()],
        }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.rows[0].len(), "a cell for each heading");
        self.rows.push(cells.into());
    }

    /// Whether there is nothing under the headings.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The table, or `instead` where it is empty.
    pub(crate) fn or(&self, instead: &str) -> String {
        if self.is_empty() {
            format!("{instead}\n")
        } else {
            self.text()
        }
    }

    /// Columns are as wide as their widest cell; the last has no space behind it.
    fn text(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let padded = |(cell, width): (&String, &usize)| format!("{cell:<width$}");
            let cells: Vec<_> = row.iter().zip(&widths).map(padded).collect();
            text.push_str(cells.join(GAP).trim_end());
            text.push('\n');
        }
        text
    }
}

/// A value in a cell: strings bare, nothing as `-`, lists with commas.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => one_line(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The items of a list; none where it is something else.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Microseconds with the unit that makes them short.
pub(super) fn time(micros: &Value) -> String {
    match micros.as_u64() {
        None => cell(micros),
        Some(micros) if micros >= 1_000_000 => format!("{}s", micros as f64 / 1e6),
        Some(micros) if micros >= 1_000 => format!("{}ms", micros as f64 / 1e3),
        Some(micros) => format!("{micros}us"),
    }
}

/// A number; 0 where it is something else.
pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// Seconds with the unit that makes them short.
pub(super) fn seconds(value: &Value) -> String {
    match value.as_f64() {
        None => "-".to_owned(),
        Some(seconds) if seconds.abs() >= 1.0 => format!("{seconds:.1}s"),
        Some(seconds) if seconds.abs() >= 1e-3 => format!("{:.1}ms", seconds * 1e3),
        Some(seconds) if seconds.abs() < 1e-6 && seconds != 0.0 => {
            format!("{:.0}ns", seconds * 1e9)
        }
        Some(seconds) => format!("{:.0}us", seconds * 1e6),
    }
}

/// Facts, a line each, under names of one width.
#[derive(Debug, Default)]
pub(super) struct Facts(String);

impl Facts {
    /// Adds one.
    pub(super) fn add(&mut self, name: &str, said: impl Display) {
        // A string takes everything.
        let _ = writeln!(self.0, "{name:<10} {said}");
    }

    /// All of them.
    pub(super) fn text(self) -> String {
        self.0
    }
}

/// What a latency grows by, where a query is so many of them.
pub(super) fn unit(cost_mean: &Value) -> String {
    match number(cost_mean) {
        mean if mean > 1.0 => format!("unit of size, {mean:.1} of them a query"),
        _ => "row".to_owned(),
    }
}

/// Sections under titles, with a line between them.
pub(super) fn sections(parts: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (title, body) in parts {
        if !text.is_empty() {
            text.push('\n');
        }
        // A string takes everything.
        let _ = writeln!(text, "{title}\n{}", body.trim_end());
    }
    text
}

/// Control characters would move the cursor or hide text.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_not_padded() {
        let mut table = Table::new(["NAME", "N"]);
        assert_eq!(table.or("nothing"), "nothing\n");
        table.row(["a".into(), "1".into()]);
        table.row(["größer".into(), "-".into()]);
        assert_eq!(table.or("nothing"), "NAME    N\na       1\ngrößer  -\n");
    }

    #[test]
    fn cells_are_short_and_on_one_line() {
        for (value, shown) in [
            (json!(null), "-"),
            (json!(""), "-"),
            (json!([]), "-"),
            (json!(["a", "b"]), "a,b"),
            (json!("a\nb\u{1b}[2J"), "a b [2J"),
            (json!(1.5), "1.5"),
        ] {
            assert_eq!(cell(&value), shown);
        }
    }

    #[test]
    fn times_have_the_unit_that_makes_them_short() {
        for (micros, shown) in [
            (500, "500us"),
            (20_000, "20ms"),
            (1_500, "1.5ms"),
            (600_000_000, "600s"),
        ] {
            assert_eq!(time(&json!(micros)), shown);
        }
    }
}
