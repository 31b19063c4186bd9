//! Draws the state. Owns the appearance and nothing else.

mod conversation;
mod dialog;
mod list;
mod status;
mod theme;

use ratatui::Frame;

use crate::state::State;

pub(crate) use theme::Theme;

/// Draws everything.
pub(crate) fn view(state: &State, theme: Theme, frame: &mut Frame<'_>) {
    let panes = state.panes();
    let panes_fit = frame.area().as_size() == state.size;
    if !panes_fit {
        // The size of the terminal changed, and its event has not been handled yet.
        return;
    }
    list::draw(state, theme, panes, frame);
    conversation::draw(state, theme, panes, frame);
    status::draw(state, theme, panes.status, frame);
    if let Some(dialog) = &state.dialog {
        dialog::draw(state, dialog, theme, frame);
    }
}
