//! Colours: the sixteen of the terminal, so that they match the user's theme, or none if the user wants none
//! (<https://no-color.org>). Nothing is expressed by colour alone.

use pabal_client::UserId;
use ratatui::style::{Color, Modifier, Style};

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    Colours,
    Plain,
}

impl Theme {
    /// The theme that the environment asks for.
    pub(crate) fn of_environment() -> Self {
        let none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if none { Self::Plain } else { Self::Colours }
    }

    fn coloured(self, style: Style, colour: Color) -> Style {
        match self {
            Self::Colours => style.fg(colour),
            Self::Plain => style,
        }
    }

    /// A name: always the same colour for the same user.
    pub(crate) fn name(self, user_id: UserId) -> Style {
        const COLOURS: [Color; 6] = [
            Color::Cyan,
            Color::Magenta,
            Color::Yellow,
            Color::Blue,
            Color::LightRed,
            Color::LightCyan,
        ];
        // Ids of users differ in their upper bits as well.
        let spread = user_id.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let at = usize::try_from(spread).unwrap_or_default() % COLOURS.len();
        self.coloured(self.strong(), COLOURS[at])
    }

    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(crate) fn quiet(self) -> Style {
        match self {
            Self::Colours => Style::new().fg(Color::DarkGray),
            Self::Plain => Style::new().add_modifier(Modifier::DIM),
        }
    }

    pub(crate) fn good(self) -> Style {
        self.coloured(Style::new(), Color::Green)
    }

    pub(crate) fn news(self) -> Style {
        self.coloured(self.strong(), Color::Yellow)
    }

    pub(crate) fn wrong(self) -> Style {
        self.coloured(self.strong(), Color::Red)
    }

    pub(crate) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}
