//! The layout of the screen. A narrow screen shows either the list or the conversation, whichever has the
//! focus.

use ratatui::layout::{Constraint, Layout, Rect};

/// From this many columns on, the list and the conversation are side by side.
const WIDE: u16 = 60;
/// The most rows of the text that is being written.
const WRITING: usize = 5;
/// Columns of the prompt before it.
pub(crate) const PROMPT: u16 = 2;

/// The parts of the screen; those that are not shown are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panes {
    pub(crate) list: Rect,
    /// The line between the list and the conversation.
    pub(crate) rule: Rect,
    pub(crate) title: Rect,
    pub(crate) timeline: Rect,
    /// Users who are typing, and errors.
    pub(crate) notice: Rect,
    pub(crate) prompt: Rect,
    pub(crate) writing: Rect,
    pub(crate) status: Rect,
}

impl Panes {
    /// Whether the list and the conversation fit side by side.
    pub(crate) fn wide(columns: u16) -> bool {
        columns >= WIDE
    }

    /// The parts of `area`. `in_list`: the list has the focus. `rows`: the number of rows of the text that is
    /// being written, for a number of columns.
    pub(crate) fn of(area: Rect, in_list: bool, rows: impl Fn(usize) -> usize) -> Self {
        let [main, status] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
        let list = match (Self::wide(area.width), in_list) {
            (true, _) => (area.width / 4).clamp(18, 32),
            (false, true) => area.width,
            (false, false) => 0,
        };
        let rule = u16::from(Self::wide(area.width));
        let [list, rule, right] = Layout::horizontal([
            Constraint::Length(list),
            Constraint::Length(rule),
            Constraint::Fill(1),
        ])
        .areas(main);
        let columns = right.width.saturating_sub(PROMPT);
        let written = rows(usize::from(columns)).clamp(1, WRITING);
        let [title, timeline, notice, bottom] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
            Constraint::Length(u16::try_from(written).unwrap_or(1)),
        ])
        .areas(right);
        let [prompt, writing] =
            Layout::horizontal([Constraint::Length(PROMPT), Constraint::Fill(1)]).areas(bottom);
        Self { list, rule, title, timeline, notice, prompt, writing, status }
    }
}
