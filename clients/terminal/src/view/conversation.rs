//! The open conversation: its title, its messages, a notice, and the text that is being written.

use pabal_client::FriendState;
use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::Paragraph;

use super::{Theme, list};
use crate::panes::Panes;
use crate::state::conversation::Conversation;
use crate::state::timeline::{GUTTER, Mark, Row};
use crate::state::{Focus, State};
use crate::text;

pub(super) fn draw(state: &State, theme: Theme, panes: Panes, frame: &mut Frame<'_>) {
    frame.render_widget(title(state, theme, panes.title.width.into()), panes.title);
    timeline(state, theme, panes.timeline, frame);
    frame.render_widget(notice(state, theme, panes.notice.width.into()), panes.notice);
    writing(state, theme, panes, frame);
}

fn title(state: &State, theme: Theme, columns: usize) -> Line<'static> {
    let Some(conversation) = state.conversation() else {
        return Line::styled(text::fit(" no conversation is open", columns), theme.quiet());
    };
    // Without the list beside it, the title shows how many messages of other conversations are new.
    let others = state.conversations.values().filter(|it| it.channel_id != conversation.channel_id);
    let news = match others.map(|it| it.unread).sum::<u64>() {
        news if news > 0 && !Panes::wide(state.size.width) => format!("Tab: {news} new "),
        _ => String::new(),
    };
    let columns = columns.saturating_sub(text::width(&news));
    let name = text::fit(&state.title(conversation), columns.saturating_sub(2));
    let about = about(state, conversation);
    let free = columns.saturating_sub(text::width(&name) + 3);
    let about = text::fit(&about, free);
    let gap = " ".repeat(free - text::width(&about));
    Line::from(vec![
        Span::styled(format!(" {name}"), theme.strong()),
        Span::styled(format!("  {about}{gap}"), theme.quiet()),
        Span::styled(news, theme.news()),
    ])
}

/// The presence of the other user, or the members of a group.
fn about(state: &State, conversation: &Conversation) -> String {
    if let Some(peer) = conversation.peer {
        let sign = list::presence(state, Some(peer));
        return match (state.people.friendship(peer), state.people.is_online(peer)) {
            (_, Some(true)) => format!("{sign} online"),
            (_, Some(false)) => format!("{sign} offline"),
            (Some(FriendState::Received), _) => "friend request: F7 accepts".into(),
            (Some(FriendState::Requested), _) => "friend request sent".into(),
            _ => String::new(),
        };
    }
    let Some(members) = &conversation.members else { return String::new() };
    let names: Vec<_> = members.iter().take(crate::state::NAMED).copied().collect();
    let names: Vec<_> = names.into_iter().map(|id| state.people.name(id)).collect();
    format!("{}: {}", members.len(), names.join(", "))
}

fn timeline(state: &State, theme: Theme, area: Rect, frame: &mut Frame<'_>) {
    let Some((timeline, rows)) = state.timeline() else {
        if !area.is_empty() && state.conversation().is_none() {
            let hint = "↑ ↓ Enter: select and open\nF4: new conversation, F1: all keys";
            let hint = Paragraph::new(Text::styled(hint, theme.quiet()));
            frame.render_widget(hint.alignment(Alignment::Center), middle(area, 2));
        }
        return;
    };
    let tail = timeline.tail(state.scroll + rows);
    let end = tail.len().saturating_sub(state.scroll.min(tail.len().saturating_sub(rows)));
    let seen = &tail[end.saturating_sub(rows)..end];
    let columns = usize::from(area.width);
    let lines: Vec<_> = seen.iter().map(|row| line(state, theme, row, columns)).collect();
    // The newest message is at the bottom, even if the messages do not fill the screen.
    let free = area.height.saturating_sub(u16::try_from(lines.len()).unwrap_or(area.height));
    let area = Rect { y: area.y + free, height: area.height - free, ..area };
    frame.render_widget(Paragraph::new(lines), area);
}

fn middle(area: Rect, rows: u16) -> Rect {
    let free = area.height.saturating_sub(rows);
    Rect { y: area.y + free / 2, height: area.height - free, ..area }
}

fn line(state: &State, theme: Theme, row: &Row, columns: usize) -> Line<'static> {
    match row {
        Row::Top(words) => Line::styled(centred(words, " ", columns), theme.quiet()),
        Row::Day(day) => Line::styled(centred(&format!(" {day} "), "─", columns), theme.quiet()),
        Row::New => Line::styled(centred(" new ", "─", columns), theme.news()),
        Row::From(user_id, time) => {
            let name = text::fit(state.people.name(*user_id), columns.saturating_sub(8));
            let time = time.as_deref().unwrap_or_default();
            Line::from(vec![
                Span::styled(name, theme.name(*user_id)),
                Span::styled(format!(" {time}"), theme.quiet()),
            ])
        }
        Row::Said(mark, words) => {
            let (sign, style) = match mark {
                Some(Mark::Sending) => ("◌", theme.quiet()),
                Some(Mark::Sent) => ("✓", theme.quiet()),
                Some(Mark::Read) => ("✓", theme.good()),
                Some(Mark::Failed) => ("✗", theme.wrong()),
                None => (" ", theme.quiet()),
            };
            // The mark differs even without colours.
            let rest = if *mark == Some(Mark::Read) { "✓ " } else { "  " };
            Line::from(vec![Span::styled(format!("{sign}{rest}"), style), Span::raw(words.clone())])
        }
        Row::Why(words) => Line::styled(format!("{}{words}", " ".repeat(GUTTER)), theme.wrong()),
    }
}

fn centred(words: &str, fill: &str, columns: usize) -> String {
    let words = text::fit(words, columns);
    let free = columns.saturating_sub(text::width(&words));
    let (left, right) = (free / 2, free - free / 2);
    format!("{}{words}{}", fill.repeat(left), fill.repeat(right))
}

fn notice(state: &State, theme: Theme, columns: usize) -> Line<'static> {
    let (words, style) = if let Some(notice) = &state.notice {
        (notice.text.clone(), if notice.wrong { theme.wrong() } else { theme.good() })
    } else if state.scroll > 0 {
        let news = state.conversation().map_or(0, |it| it.unread);
        let news = if news > 0 { format!("{news} new · ") } else { String::new() };
        (format!("↓ {news}Esc: newest message"), theme.news())
    } else {
        let typing = state.open.map(|open| state.people.typing(open)).unwrap_or_default();
        let words = match typing.as_slice() {
            [] => return Line::styled("─".repeat(columns), theme.quiet()),
            [one] => format!("{one} is typing…"),
            [one, other] => format!("{one} and {other} are typing…"),
            [one, rest @ ..] => format!("{one} and {} others are typing…", rest.len()),
        };
        (words, theme.quiet())
    };
    let words = format!("─ {} ", text::fit(&words, columns.saturating_sub(4)));
    let rest = "─".repeat(columns.saturating_sub(text::width(&words)));
    let words = words.trim_start_matches("─").to_owned();
    Line::from(vec![
        Span::styled("─", theme.quiet()),
        Span::styled(words, style),
        Span::styled(rest, theme.quiet()),
    ])
}

fn writing(state: &State, theme: Theme, panes: Panes, frame: &mut Frame<'_>) {
    let area = panes.writing;
    if area.is_empty() {
        return;
    }
    let here = state.focus == Focus::Writing;
    let prompt = Span::styled("> ", if here { theme.strong() } else { theme.quiet() });
    frame.render_widget(prompt, Rect { height: 1, ..panes.prompt });
    let draft = state.draft();
    if draft.is_empty() {
        let hint = match (state.open.is_some(), here) {
            (true, true) => "type a message; F1: all keys",
            (true, false) => "Tab: type a message",
            (false, _) => "",
        };
        frame.render_widget(Span::styled(hint, theme.quiet()), area);
    }
    let shown = draft.shown(area.width.into());
    let (row, column) = shown.cursor;
    let above = (row + 1).saturating_sub(area.height.into());
    let rows = shown.rows.into_iter().skip(above).map(Line::raw);
    if !draft.is_empty() {
        frame.render_widget(Paragraph::new(rows.collect::<Vec<_>>()), area);
    }
    if here && state.dialog.is_none() {
        let offset = |at: usize| u16::try_from(at).unwrap_or_default();
        frame.set_cursor_position((area.x + offset(column), area.y + offset(row - above)));
    }
}
