//! The list of conversations, the latest first, and of users.

use pabal_client::FriendState;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders};

use super::Theme;
use crate::panes::Panes;
use crate::state::{Entry, Focus, State};
use crate::text;

pub(super) fn draw(state: &State, theme: Theme, panes: Panes, frame: &mut Frame<'_>) {
    frame.render_widget(Block::new().borders(Borders::LEFT).style(theme.quiet()), panes.rule);
    let area = panes.list;
    if area.is_empty() {
        return;
    }
    let me = text::line(&state.me.username);
    let title = Line::styled(text::fit(&format!(" 파발 {me}"), area.width.into()), theme.strong());
    frame.render_widget(title, Rect { height: 1, ..area });
    let rows = usize::from(area.height.saturating_sub(1));
    let entries = state.entries();
    let chosen = state.selected();
    let selected = entries.iter().position(|entry| Some(*entry) == chosen);
    let above = selected.map_or(0, |at| (at + 1).saturating_sub(rows));
    for (row, entry) in (1..area.height).zip(entries.iter().skip(above)) {
        let at = Rect { y: area.y + row, height: 1, ..area };
        frame.render_widget(
            line(state, theme, *entry, chosen == Some(*entry), area.width.into()),
            at,
        );
    }
    if entries.is_empty() {
        let hint =
            Line::styled(text::fit(" n: new conversation", area.width.into()), theme.quiet());
        frame.render_widget(hint, Rect { y: area.y + 1, height: area.height.min(2) - 1, ..area });
    }
}

fn line(state: &State, theme: Theme, entry: Entry, chosen: bool, columns: usize) -> Line<'static> {
    let (sign, name, count, style) = match entry {
        Entry::Conversation(channel_id) => {
            let Some(conversation) = state.conversations.get(&channel_id) else {
                return Line::default();
            };
            let sign = conversation.peer.map_or("#", |peer| presence(state, Some(peer)));
            let count = match conversation.unread {
                0 => String::new(),
                1..1_000 => conversation.unread.to_string(),
                _ => "999+".into(),
            };
            let style = match (conversation.unread > 0, state.open == Some(channel_id)) {
                (true, _) => theme.news(),
                (false, true) => theme.strong(),
                (false, false) => Style::new(),
            };
            (sign, state.title(conversation), count, style)
        }
        Entry::Person(user_id) => {
            let request = state.people.friendship(user_id) == Some(FriendState::Received);
            let request = if request { "request" } else { "" };
            let name = state.people.name(user_id).to_owned();
            (presence(state, Some(user_id)), name, request.to_owned(), theme.quiet())
        }
    };
    let free = columns.saturating_sub(text::width(&count) + 5);
    let name = text::fit(&name, free);
    let gap = " ".repeat(free - text::width(&name));
    let row = Line::from(vec![
        Span::styled(format!(" {sign} "), if sign == "●" { theme.good() } else { theme.quiet() }),
        Span::styled(format!("{name}{gap} "), style),
        Span::styled(format!("{count} "), style),
    ]);
    let here = matches!(entry, Entry::Conversation(id) if state.open == Some(id));
    match state.focus {
        Focus::List if chosen => row.patch_style(theme.selected()),
        Focus::Writing if here => row.patch_style(theme.strong()),
        _ => row,
    }
}

/// A sign for the presence of a user, as far as it is known.
pub(super) fn presence(state: &State, user: Option<pabal_client::UserId>) -> &'static str {
    match user.and_then(|user_id| state.people.is_online(user_id)) {
        Some(true) => "●",
        Some(false) => "○",
        None => "@",
    }
}
