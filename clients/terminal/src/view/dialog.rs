//! Dialogs: keys, costs, forms.

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Padding, Paragraph};

use super::Theme;
use super::status::bytes;
use crate::state::dialog::{Dialog, Form};
use crate::state::{KEYS, State, policy_name, transport_name};
use crate::text;

pub(super) fn draw(state: &State, dialog: &Dialog, theme: Theme, frame: &mut Frame<'_>) {
    match dialog {
        Dialog::Keys => {
            let lines = KEYS.iter().map(|(keys, what)| {
                Line::from(vec![
                    Span::styled(format!("{keys:<12}"), theme.strong()),
                    Span::raw(*what),
                ])
            });
            window(" Keys ", "any key closes", lines.collect(), 40, theme, frame);
        }
        Dialog::Costs => {
            let narrow = frame.area().width < 62;
            let title = format!(" Costs · {} ", policy_name(state.policy));
            let lines = costs(state, theme, narrow);
            window(&title, "F2: next transport", lines, if narrow { 38 } else { 60 }, theme, frame);
        }
        Dialog::Form(form) => self::form(state, form, theme, frame),
    }
}

/// A table with a row for each transport.
fn costs(state: &State, theme: Theme, narrow: bool) -> Vec<Line<'static>> {
    let row = |name: &str, cells: [String; 5]| {
        let [requests, received, sent, messages, each] = cells;
        if narrow {
            format!("{name:<12}{requests:>7}{messages:>6}{each:>9}")
        } else {
            format!("{name:<13}{requests:>8}{received:>9}{sent:>9}{messages:>8}{each:>9}")
        }
    };
    let head = if narrow {
        ["req", "", "", "msgs", "each"]
    } else {
        ["requests", "in", "out", "msgs", "each"]
    };
    let mut lines = vec![Line::styled(row("", head.map(str::to_owned)), theme.quiet())];
    lines.extend(state.costs.each().map(|(transport, tally)| {
        let cells = [
            tally.requests.to_string(),
            bytes(tally.received_bytes),
            bytes(tally.sent_bytes),
            tally.messages.to_string(),
            tally.bytes_per_message().map_or("–".into(), bytes),
        ];
        let in_use = state.line.transport() == Some(transport);
        let style = if in_use { theme.strong() } else { theme.quiet() };
        Line::styled(row(transport_name(transport), cells), style)
    }));
    lines.push(Line::default());
    lines.push(Line::styled("each: bytes per message, both ways", theme.quiet()));
    lines
}

fn form(state: &State, form: &Form, theme: Theme, frame: &mut Frame<'_>) {
    let columns = 44.min(frame.area().width.saturating_sub(4));
    let inner = usize::from(columns.saturating_sub(4));
    let mut lines = Vec::new();
    let mut cursor = (0, 0);
    for (at, field) in form.fields.iter().enumerate() {
        let here = at == form.at;
        lines.push(Line::styled(field.label, if here { theme.strong() } else { theme.quiet() }));
        let shown = field.editor.shown(inner.saturating_sub(2));
        let (row, column) = shown.cursor;
        if here {
            cursor = (lines.len(), 2 + column);
        }
        let words = shown.rows.get(row).cloned().unwrap_or_default();
        lines.push(Line::from(vec![Span::styled("> ", theme.quiet()), Span::raw(words)]));
    }
    let wrong = state.notice.as_ref().filter(|notice| notice.wrong);
    if let Some(wrong) = wrong {
        let words = text::wrap(&wrong.text, inner);
        lines.extend(words.into_iter().map(|line| Line::styled(line, theme.wrong())));
    }
    let title = format!(" {} ", form.title());
    let area = window(&title, "Enter · Esc", lines, columns, theme, frame);
    let offset = |at: usize| u16::try_from(at).unwrap_or_default();
    let (x, y) = (area.x + offset(cursor.1), area.y + offset(cursor.0));
    if x < area.right() && y < area.bottom() {
        frame.set_cursor_position((x, y));
    }
}

/// Draws a window in the middle of the screen, and returns the area of its lines.
fn window(
    title: &str,
    hint: &str,
    lines: Vec<Line<'static>>,
    columns: u16,
    theme: Theme,
    frame: &mut Frame<'_>,
) -> Rect {
    let screen = frame.area();
    let width = columns.min(screen.width);
    let rows = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2);
    let height = rows.min(screen.height);
    let area = Rect {
        x: screen.x + (screen.width - width) / 2,
        y: screen.y + (screen.height - height) / 2,
        width,
        height,
    };
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme.quiet())
        .padding(Padding::horizontal(1))
        .title(Line::styled(title.to_owned(), theme.strong()))
        .title_bottom(Line::styled(format!(" {hint} "), theme.quiet()).alignment(Alignment::Right));
    let inner = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(block), area);
    inner
}
