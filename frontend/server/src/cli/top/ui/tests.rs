use super::*;
use crate::cli::top::view::tests::{answers, empty};

const SECOND: Duration = Duration::from_secs(1);

fn sample(load: Load, at: Instant) -> Sample {
    Sample { load, at }
}

/// A screen that has had an interval of two seconds, and its end.
fn ui() -> (Ui, Instant) {
    let start = Instant::now();
    let (before, after) = answers();
    let mut ui = Ui::new("here".to_owned(), sample(before, start), SECOND, Sort::Name);
    let end = start + Duration::from_secs(2);
    ui.answered("here".to_owned(), sample(after, end));
    (ui, end)
}

fn press(ui: &mut Ui, code: KeyCode) -> Asked {
    ui.on_key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn keys_end_it_and_escape_leaves_the_help_first() {
    let (mut ui, _) = ui();
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(ui.on_key(control_c), Asked::Quit);
    assert_eq!(press(&mut ui, KeyCode::Char('q')), Asked::Quit);
    assert_eq!(press(&mut ui, KeyCode::Char('c')), Asked::Draw);
    press(&mut ui, KeyCode::Char('?'));
    assert!(ui.is_help_shown);
    assert_eq!(press(&mut ui, KeyCode::Esc), Asked::Draw);
    assert!(!ui.is_help_shown);
    assert_eq!(press(&mut ui, KeyCode::Esc), Asked::Quit);
}

#[test]
fn a_view_that_is_held_stays_and_goes_on() {
    let (mut ui, end) = ui();
    press(&mut ui, KeyCode::Char(' '));
    let later = end + Duration::from_secs(1);
    ui.answered("here".to_owned(), sample(empty(), later));
    let applications = |ui: &Ui| ui.shown.as_ref().map(|view| view.applications.len());
    assert_eq!(applications(&ui), Some(1));
    press(&mut ui, KeyCode::Char(' '));
    let later = later + Duration::from_secs(1);
    ui.answered("here".to_owned(), sample(empty(), later));
    assert_eq!(applications(&ui), Some(0));
}

#[test]
fn a_front_end_that_went_away_leaves_the_last_view_and_may_come_back_elsewhere() {
    let (mut ui, end) = ui();
    assert_eq!(ui.silence(), None);
    ui.lost("connection refused".to_owned());
    ui.tick(end + SECOND);
    assert!(ui.shown.is_some());
    assert_eq!(ui.silence(), Some(SECOND));
    let (_, after) = answers();
    let back = end + Duration::from_secs(4);
    ui.answered("there".to_owned(), sample(after, back));
    assert_eq!((ui.address.as_str(), ui.silence()), ("there", None));
    let view = ui.shown.expect("a view");
    assert_eq!(view.interval_seconds, 4.0, "rates are over all of it");
}

#[test]
fn scrolling_goes_by_lines_and_pages_and_not_above_the_first() {
    let (mut ui, _) = ui();
    ui.page = 10;
    for (code, scroll) in [
        (KeyCode::Up, 0),
        (KeyCode::Char('j'), 1),
        (KeyCode::Down, 2),
        (KeyCode::PageDown, 11),
        (KeyCode::Char('k'), 10),
        (KeyCode::PageUp, 1),
        (KeyCode::Home, 0),
        (KeyCode::Char('x'), 0),
    ] {
        press(&mut ui, code);
        assert_eq!(ui.scroll, scroll, "{code:?}");
    }
}

#[test]
fn the_order_goes_round() {
    let (mut ui, _) = ui();
    let mut seen = Vec::new();
    for _ in 0..3 {
        press(&mut ui, KeyCode::Char('s'));
        seen.push(ui.sort.name());
    }
    assert_eq!(seen, ["load", "trouble", "name"]);
}

#[test]
fn a_front_end_that_is_silent_is_told_before_the_poll_has_failed() {
    let (mut ui, end) = ui();
    ui.tick(end + SECOND);
    assert_eq!(ui.silence(), None);
    ui.tick(end + 4 * SECOND);
    assert_eq!(ui.silence(), Some(4 * SECOND));
}
