use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::*;
use crate::cli::top::sort::Sort;
use crate::cli::top::ui::Sample;
use crate::cli::top::view::tests::{answers, empty};

fn ui() -> Ui {
    let start = Instant::now();
    let (before, after) = answers();
    let sample = |load, at| Sample { load, at };
    let address = "127.0.0.1:1338".to_owned();
    let second = Duration::from_secs(1);
    let mut ui = Ui::new(address, sample(before, start), second, Sort::Name);
    let end = start + Duration::from_secs(2);
    ui.answered("127.0.0.1:1338".to_owned(), sample(after, end));
    ui.tick(end);
    ui
}

/// The screen's lines, and whether any of it has a colour.
fn screen(ui: &mut Ui, (width, height): (u16, u16), paint: Paint) -> (Vec<String>, bool) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a buffer");
    terminal
        .draw(|frame| draw(frame, ui, paint))
        .expect("drawn");
    let buffer = terminal.backend().buffer();
    let line = |row| {
        let cells = (0..width).map(|column| buffer[(column, row)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    let has_colour = buffer.content.iter().any(|cell| cell.fg != Color::Reset);
    ((0..height).map(line).collect(), has_colour)
}

fn text(ui: &mut Ui, size: (u16, u16)) -> String {
    screen(ui, size, Paint::new(true)).0.join("\n")
}

#[test]
fn a_small_terminal_shows_all_three_tables() {
    let expected = "\
skysail top  127.0.0.1:1338  pid 7  over 2.0s  by name
SLO missed  100/s offered  98.0% in time  2.0/s default  3 queued  1 replica

  APPLICATION   OFFERED/S  IN TIME  LATE/S  DEFAULT/S     P50     P99    SLO
! digits              100    98.0%       0        2.0   5.8ms  20.0ms   20ms
    default/s: shed 2.0

  VERSION      ARRIVE/S CAPACITY HEADROOM QUEUE OLDEST BATCH  ALPHA   BETA
  mlp:1             100    1,250      92%     3  4.0ms   4.0  2.0ms  100us
    shed/s: window 2.0

  REPLICA       STATE    BUSY  SLOWNESS  IN FLIGHT  TRANSPORT  STRAGGLERS/S
  mlp:1 #3      ready     50%      1.00   1, 1.2ms  shm 40us              0
";
    let text = text(&mut ui(), (80, 24));
    let shown: String = text
        .lines()
        .take(13)
        .fold(String::new(), |all, line| all + line + "\n");
    assert_eq!(shown, expected, "in\n{text}");
    let keys = text.lines().last().expect("keys");
    assert!(keys.starts_with("q quit"), "{text}");
}

#[test]
fn a_wide_terminal_shows_more() {
    let text = text(&mut ui(), (160, 50));
    for heading in ["IN TIME/S", "MARGIN", "QUANTILE", "BATCHES/S", "POLICY"] {
        assert!(text.contains(heading), "{heading} in\n{text}");
    }
}

#[test]
fn without_colour_what_is_bad_is_marked_all_the_same() {
    let (lines, has_colour) = screen(&mut ui(), (80, 24), Paint::new(false));
    assert!(!has_colour);
    assert!(lines.iter().any(|line| line.starts_with("! digits")));
    let (_, has_colour) = screen(&mut ui(), (80, 24), Paint::new(true));
    assert!(has_colour);
}

#[test]
fn a_front_end_that_is_away_is_said_over_the_last_view() {
    let mut ui = ui();
    let why = "cannot reach the front end at 127.0.0.1:1338: connection refused; is it running?";
    ui.lost(why.to_owned());
    ui.tick(Instant::now() + Duration::from_secs(60));
    let text = text(&mut ui, (80, 24));
    let lines: Vec<_> = text.lines().skip(1).take(2).collect();
    assert!(lines[0].starts_with("no answer for "), "{text}");
    assert!(lines[0].contains("cannot reach the front end"), "{text}");
    assert!(lines[1].ends_with("is it running?"), "all of it in\n{text}");
    assert!(text.contains("! digits"), "{text}");
}

#[test]
fn an_empty_front_end_says_what_to_do_first() {
    let at = Instant::now();
    let sample = || Sample { load: empty(), at };
    let mut ui = Ui::new(
        "here".to_owned(),
        sample(),
        Duration::from_secs(1),
        Sort::Name,
    );
    assert!(text(&mut ui, (80, 24)).contains("the first interval is being counted"));
    ui.answered("here".to_owned(), sample());
    let text = text(&mut ui, (80, 24));
    assert!(text.contains("none yet: skysail app add"), "{text}");
    assert!(text.contains("none connected"), "{text}");
    assert!(text.contains("no queries"), "{text}");
}

#[test]
fn what_does_not_fit_is_scrolled_to_its_end_and_no_further() {
    let mut ui = ui();
    ui.scroll = usize::MAX / 2;
    let end = text(&mut ui, (80, 8));
    assert!(end.contains("STRAGGLERS"), "{end}");
    assert!(end.contains("lines 7-10 of 10"), "{end}");
    assert_eq!(ui.scroll, 6);
    assert_eq!(ui.page, 4);
    text(&mut ui, (80, 24));
    assert_eq!(ui.scroll, 0, "a terminal that grew shows all");
}

#[test]
fn any_size_can_be_drawn() {
    let mut ui = ui();
    for size in [(1, 1), (2, 5), (10, 3), (40, 10), (300, 2)] {
        for is_help_shown in [false, true] {
            ui.is_help_shown = is_help_shown;
            text(&mut ui, size);
        }
    }
}

#[test]
fn the_help_says_what_figures_mean_and_fits_eighty_columns() {
    let mut ui = ui();
    ui.is_help_shown = true;
    let text = text(&mut ui, (80, 60));
    assert!(text.contains("HEADROOM    share of it"), "{text}");
    assert!(
        text.contains("STRAGGLERS  batches several times slower"),
        "{text}"
    );
}
