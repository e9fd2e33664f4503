//! Colours, or none where `NO_COLOR` is set.

use ratatui::style::{Color, Modifier, Style};

use crate::cli::top::view::Health;

/// How things are painted. Nothing is told by colour alone.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Paint {
    has_colour: bool,
}

impl Paint {
    /// With colours or without.
    pub(in super::super) fn new(has_colour: bool) -> Paint {
        Paint { has_colour }
    }

    /// As the environment asks: any text in `NO_COLOR` means none (no-color.org).
    pub(in super::super) fn by_environment() -> Paint {
        Paint::new(std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty()))
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    /// Of a figure, by what it says.
    pub(super) fn health(self, health: Health) -> Style {
        match health {
            Health::Good => Style::new(),
            Health::Close => self.colour(Color::Yellow),
            Health::Bad => self.colour(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// Of a section's name.
    pub(super) fn title(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// Of headings and of what is not to catch the eye.
    pub(super) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Of what says where and what this is.
    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}
