//! What the screen is to show, and what keys and answers do to it.
//!
//! Pure: neither terminal nor clock; [`draw`](super::draw) shows it.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::answer::Load;
use super::sort::Sort;
use super::view::View;

/// An answer that takes so much longer than the interval is missed.
const OVERDUE: Duration = Duration::from_secs(2);

/// An answer and when it came.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) load: Load,
    pub(super) at: Instant,
}

/// Whether the front end answers.
#[derive(Debug)]
pub(super) enum Link {
    /// It did at the last poll.
    Good,
    /// It did not.
    Lost { why: String },
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct Ui {
    /// Of the front end.
    pub(super) address: String,
    pub(super) link: Link,
    pub(super) shown: Option<View>,
    pub(super) sort: Sort,
    /// Whether the view stays as it is.
    pub(super) is_held: bool,
    pub(super) is_help_shown: bool,
    /// Lines of the body above the screen.
    pub(super) scroll: usize,
    /// Lines of the body on it.
    pub(super) page: usize,
    /// Between two polls.
    interval: Duration,
    /// The last answer.
    last: Sample,
    /// The time, as the loop last told it.
    now: Instant,
}

/// What a key asks the loop for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To draw again.
    Draw,
    /// To end.
    Quit,
}

impl Ui {
    /// Before the first interval is over.
    pub(super) fn new(address: String, first: Sample, interval: Duration, sort: Sort) -> Ui {
        Ui {
            address,
            link: Link::Good,
            shown: None,
            sort,
            is_held: false,
            is_help_shown: false,
            scroll: 0,
            page: 0,
            now: first.at,
            interval,
            last: first,
        }
    }

    /// Takes an answer of the front end at `address`.
    pub(super) fn answered(&mut self, address: String, sample: Sample) {
        let elapsed = sample.at.saturating_duration_since(self.last.at);
        let mut view = View::between(&self.last.load, &sample.load, elapsed);
        self.now = sample.at;
        self.last = sample;
        (self.address, self.link) = (address, Link::Good);
        if !self.is_held {
            self.sort.apply(&mut view);
            self.shown = Some(view);
        }
    }

    /// Takes it that there is no answer.
    pub(super) fn lost(&mut self, why: String) {
        self.link = Link::Lost { why };
    }

    /// Takes the time.
    pub(super) fn tick(&mut self, now: Instant) {
        self.now = now;
    }

    /// Since the last answer, where another was due.
    pub(super) fn silence(&self) -> Option<Duration> {
        let silence = self.now.saturating_duration_since(self.last.at);
        let is_lost = matches!(self.link, Link::Lost { .. });
        (is_lost || silence > self.interval + OVERDUE).then_some(silence)
    }

    /// Does what a key says.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> Asked {
        if key.kind == KeyEventKind::Release {
            return Asked::Draw;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Asked::Quit,
            KeyCode::Char('q') => return Asked::Quit,
            KeyCode::Esc if !self.is_help_shown => return Asked::Quit,
            KeyCode::Esc | KeyCode::Char('?' | 'h') => self.toggle_help(),
            KeyCode::Char(' ') => self.is_held = !self.is_held,
            KeyCode::Char('s') => self.sort_next(),
            code => self.scroll(code),
        }
        Asked::Draw
    }

    fn toggle_help(&mut self) {
        self.is_help_shown = !self.is_help_shown;
        self.scroll = 0;
    }

    fn sort_next(&mut self) {
        self.sort = self.sort.next();
        if let Some(view) = &mut self.shown {
            self.sort.apply(view);
        }
    }

    /// What is beyond the end is clamped where the end is known, when drawing.
    fn scroll(&mut self, code: KeyCode) {
        let page = self.page.saturating_sub(1).max(1);
        self.scroll = match code {
            KeyCode::Down | KeyCode::Char('j') => self.scroll + 1,
            KeyCode::Up | KeyCode::Char('k') => self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll + page,
            KeyCode::PageUp => self.scroll.saturating_sub(page),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => usize::MAX / 2,
            _ => self.scroll,
        };
    }
}

#[cfg(test)]
mod tests;
