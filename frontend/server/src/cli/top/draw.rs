//! The screen: what it shows of a [`Ui`], drawn into a buffer.
//!
//! ```text
//! about        where the front end is, what is shown
//! totals       sums and an empty line, or why there are no new ones
//! body         tables or help, scrolled
//! keys
//! ```

mod grid;
mod help;
mod paint;
mod sections;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::format::{count, or_dash, percent, rate, seconds};
use super::ui::{Link, Ui};
use super::view::{Health, View};
pub(super) use paint::Paint;
pub(super) use sections::lines;

const KEYS: &str = "q quit  j/k scroll  space hold  s sort  ? help";

/// Draws everything; clamps how far it is scrolled to what there is.
pub(super) fn draw(frame: &mut Frame<'_>, ui: &mut Ui, paint: Paint) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [about_row, totals_rows, body_rows, keys_row] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(about(ui, paint), about_row);
    let totals = totals(ui, usize::from(totals_rows.width), paint);
    let totals = Paragraph::new(totals).wrap(Wrap { trim: true });
    frame.render_widget(totals, totals_rows);
    let body = body(ui, usize::from(body_rows.width), paint);
    let seen = usize::from(body_rows.height);
    ui.scroll = ui.scroll.min(body.len().saturating_sub(seen));
    ui.page = seen;
    let place = place(ui.scroll, seen, body.len());
    let shown: Vec<_> = body.into_iter().skip(ui.scroll).take(seen).collect();
    let style = match ui.silence() {
        Some(_) if !ui.is_help_shown => paint.quiet(),
        _ => Style::new(),
    };
    frame.render_widget(Paragraph::new(shown).style(style), body_rows);
    keys(frame, keys_row, &place, paint);
}

/// Where the front end is and what is shown of it.
fn about(ui: &Ui, paint: Paint) -> Line<'static> {
    let mut text = format!("  {}", ui.address);
    if let Some(view) = &ui.shown {
        text += &format!(
            "  pid {}  over {}",
            view.pid,
            seconds(view.interval_seconds)
        );
    }
    text += &format!("  by {}", ui.sort.name());
    let mut spans = vec![Span::styled("skysail top", paint.strong()), Span::raw(text)];
    if ui.is_held {
        let held = Style::new().add_modifier(Modifier::REVERSED);
        spans.extend([Span::raw("  "), Span::styled(" HELD ", held)]);
    }
    Line::from(spans)
}

/// Sums over all, or what stands against new ones.
fn totals(ui: &Ui, width: usize, paint: Paint) -> Line<'static> {
    let bad = paint.health(Health::Bad);
    if let Some(silence) = ui.silence() {
        let time = seconds(silence.as_secs_f64());
        let why = match &ui.link {
            Link::Lost { why } => why,
            Link::Good => "the front end was asked and is silent",
        };
        return Line::styled(format!("no answer for {time}, trying on: {why}"), bad);
    }
    match &ui.shown {
        None => Line::styled("the first interval is being counted", paint.quiet()),
        Some(view) => {
            let (text, is_bad) = summary(view, width);
            Line::styled(text, if is_bad { bad } else { Style::new() })
        }
    }
}

/// Sums over all in a line, as far as they fit; and whether an objective is missed.
pub(super) fn summary(view: &View, width: usize) -> (String, bool) {
    let totals = view.totals();
    let verdict = match (view.applications.len(), totals.missing) {
        _ if totals.offered == 0.0 => "no queries".to_owned(),
        (1, 0) => "SLO holds".to_owned(),
        (_, 0) => "all SLOs hold".to_owned(),
        (1, _) => "SLO missed".to_owned(),
        (all, some) => format!("{some} of {all} SLOs missed"),
    };
    let share = totals.in_time / totals.offered;
    let plural = if totals.replicas == 1 { "" } else { "s" };
    let parts = [
        format!("{}/s offered", rate(totals.offered)),
        format!(
            "{} in time",
            or_dash(Some(share).filter(|one| one.is_finite()), percent)
        ),
        format!("{}/s default", rate(totals.default)),
        format!("{} queued", count(totals.queued)),
        format!("{} replica{plural}", totals.replicas),
    ];
    let joined = |text: String, part: String| match text.len() + 2 + part.len() <= width {
        true => format!("{text}  {part}"),
        false => text,
    };
    (parts.into_iter().fold(verdict, joined), totals.missing > 0)
}

fn body(ui: &Ui, width: usize, paint: Paint) -> Vec<Line<'static>> {
    match &ui.shown {
        _ if ui.is_help_shown => help::lines(paint),
        Some(view) => lines(view, ui.sort, width, paint),
        None => Vec::new(),
    }
}

/// Which lines of the body are seen, if not all.
fn place(scroll: usize, seen: usize, all: usize) -> String {
    if all <= seen {
        return String::new();
    }
    format!("lines {}-{} of {all}", scroll + 1, (scroll + seen).min(all))
}

fn keys(frame: &mut Frame<'_>, row: Rect, place: &str, paint: Paint) {
    let columns = [Constraint::Min(0), Constraint::Length(place.len() as u16)];
    let [left, right] = Layout::horizontal(columns).areas(row);
    frame.render_widget(Line::styled(KEYS, paint.quiet()), left);
    frame.render_widget(Line::raw(place.to_owned()), right);
}

#[cfg(test)]
mod tests;
