//! Rows under headings that fit the width there is.
//!
//! Columns are as wide as their widest cell, and as their least width, so that they do not move
//! when figures grow. Where they do not all fit, those of the highest rank are left out first;
//! in the end the first column, the name, is cut.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::paint::Paint;
use crate::cli::top::format::fitted;
use crate::cli::top::view::Health;

/// Room before each row for the mark of its health.
const MARK_WIDTH: usize = 2;
/// Room before each line of notes.
const NOTE_INDENT: usize = 4;
/// Space between columns, if there is room.
const GAP_WIDE: usize = 2;
/// Space between columns that are all needed.
const GAP_NARROW: usize = 1;
/// Columns up to this rank are rather put close than left out.
const RANK_CLOSE: u8 = 1;
/// A name is not cut below this.
const NAME_WIDTH_MIN: usize = 6;

/// A column; texts stand left, figures right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    heading: &'static str,
    width: usize,
    is_text: bool,
    /// 0 is never left out.
    rank: u8,
}

impl Column {
    /// A column of figures.
    pub(super) const fn figure(heading: &'static str, width: usize, rank: u8) -> Column {
        Column {
            heading,
            width,
            is_text: false,
            rank,
        }
    }

    /// A column of texts.
    pub(super) const fn text(heading: &'static str, width: usize, rank: u8) -> Column {
        Column {
            heading,
            width,
            is_text: true,
            rank,
        }
    }
}

/// A cell's text and what it says of health.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    health: Health,
}

impl Cell {
    /// A figure that is not as it should be.
    pub(super) fn of(text: String, health: Health) -> Cell {
        Cell { text, health }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::of(text, Health::Good)
    }
}

/// A row, with what stands below it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) health: Health,
    /// One for each column.
    pub(super) cells: Vec<Cell>,
    /// Parts, in as many lines as they take.
    pub(super) notes: Vec<String>,
}

/// Rows under headings.
#[derive(Debug)]
pub(super) struct Grid {
    columns: &'static [Column],
    rows: Vec<Row>,
}

/// Which columns are shown, and how.
struct Fit {
    gap: usize,
    /// Column and width.
    columns: Vec<(usize, usize)>,
}

impl Grid {
    pub(super) fn new(columns: &'static [Column], rows: Vec<Row>) -> Grid {
        debug_assert!(rows.iter().all(|row| row.cells.len() == columns.len()));
        Grid { columns, rows }
    }

    /// Headings and rows within `width`.
    pub(super) fn lines(&self, width: usize, paint: Paint) -> Vec<Line<'static>> {
        let fit = self.fit(width);
        let mut lines = vec![self.headings(&fit, paint)];
        for row in &self.rows {
            lines.push(self.row(row, &fit, paint));
            let style = paint.health(row.health.max(Health::Close));
            let notes = flowed(&row.notes, width.saturating_sub(NOTE_INDENT));
            let indented = |note: String| Line::styled(format!("{:NOTE_INDENT$}{note}", ""), style);
            lines.extend(notes.into_iter().map(indented));
        }
        lines
    }

    fn headings(&self, fit: &Fit, paint: Paint) -> Line<'static> {
        let spans = fit.columns.iter().map(|(place, width)| {
            let column = self.columns[*place];
            // The first one names the table.
            let style = match place {
                0 => paint.title(),
                _ => paint.quiet(),
            };
            (aligned(column, column.heading, *width), style)
        });
        line("", paint.quiet(), fit.gap, spans)
    }

    fn row(&self, row: &Row, fit: &Fit, paint: Paint) -> Line<'static> {
        let mark = match row.health {
            Health::Good => "",
            Health::Close => "~",
            Health::Bad => "!",
        };
        let spans = fit.columns.iter().map(|(place, width)| {
            let cell = &row.cells[*place];
            let text = aligned(self.columns[*place], &cell.text, *width);
            (text, paint.health(cell.health))
        });
        line(mark, paint.health(row.health), fit.gap, spans)
    }

    fn fit(&self, width: usize) -> Fit {
        let ranks = self.columns.iter().map(|column| column.rank);
        for rank in (0..=ranks.max().unwrap_or(0)).rev() {
            let wide = self.up_to(rank, GAP_WIDE);
            if wide.width() <= width {
                return wide;
            }
            let narrow = self.up_to(rank, GAP_NARROW);
            if rank <= RANK_CLOSE && narrow.width() <= width {
                return narrow;
            }
        }
        let mut least = self.up_to(0, GAP_NARROW);
        let over = least.width() - width;
        if let Some((_, name)) = least.columns.first_mut() {
            *name = name.saturating_sub(over).max(NAME_WIDTH_MIN);
        }
        least
    }

    fn up_to(&self, rank: u8, gap: usize) -> Fit {
        let shown = self.columns.iter().enumerate();
        let shown = shown.filter(|(_, column)| column.rank <= rank);
        Fit {
            gap,
            columns: shown.map(|(place, _)| (place, self.width(place))).collect(),
        }
    }

    fn width(&self, place: usize) -> usize {
        let column = self.columns[place];
        let cells = self.rows.iter().map(|row| row.cells[place].text.chars());
        let widest = cells.map(Iterator::count).max().unwrap_or(0);
        widest.max(column.width).max(column.heading.len())
    }
}

impl Fit {
    fn width(&self) -> usize {
        let columns: usize = self.columns.iter().map(|(_, width)| width).sum();
        MARK_WIDTH + columns + self.gap * self.columns.len().saturating_sub(1)
    }
}

/// Parts in lines of at most `width`; one that is longer is cut.
fn flowed(parts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let part = fitted(part, width);
        let length = GAP_WIDE + part.chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + length <= width => {
                line.push_str("  ");
                line.push_str(&part);
            }
            _ => lines.push(part),
        }
    }
    lines
}

fn aligned(column: Column, text: &str, width: usize) -> String {
    let text = fitted(text, width);
    if column.is_text {
        format!("{text:<width$}")
    } else {
        format!("{text:>width$}")
    }
}

fn line(
    mark: &'static str,
    style: Style,
    gap: usize,
    spans: impl Iterator<Item = (String, Style)>,
) -> Line<'static> {
    let mut all = vec![Span::styled(format!("{mark:<MARK_WIDTH$}"), style)];
    for (place, (text, style)) in spans.enumerate() {
        if place > 0 {
            all.push(Span::raw(" ".repeat(gap)));
        }
        all.push(Span::styled(text, style));
    }
    Line::from(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::text("NAME", 4, 0),
        Column::figure("RATE/S", 6, 0),
        Column::figure("MORE", 8, 2),
    ];

    fn texts(width: usize) -> Vec<String> {
        let row = |name: &str, health| Row {
            health,
            cells: vec![
                name.to_owned().into(),
                "1.5".to_owned().into(),
                "9".to_owned().into(),
            ],
            notes: match health {
                Health::Bad => vec!["why it is".to_owned(), "and what else".to_owned()],
                _ => Vec::new(),
            },
        };
        let rows = vec![
            row("digits", Health::Good),
            row("words-linear", Health::Bad),
        ];
        let lines = Grid::new(&COLUMNS, rows).lines(width, Paint::new(true));
        lines
            .iter()
            .map(|line| line.to_string().trim_end().to_owned())
            .collect()
    }

    #[test]
    fn columns_are_aligned_and_the_bad_is_marked() {
        assert_eq!(
            texts(40),
            [
                "  NAME          RATE/S      MORE",
                "  digits           1.5         9",
                "! words-linear     1.5         9",
                "    why it is  and what else",
            ]
        );
    }

    #[test]
    fn what_does_not_fit_goes_by_rank_and_the_name_is_cut_last() {
        assert_eq!(
            texts(24)[2..],
            [
                "! words-linear     1.5",
                "    why it is",
                "    and what else"
            ]
        );
        assert_eq!(texts(18)[2], "! words-li…    1.5");
        assert_eq!(texts(1)[2], "! words…    1.5");
    }
}
