//! The last line: the transport in use, the state of the connection, and the traffic so far.

use pabal_client::{Policy, State as Connection};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Theme;
use crate::panes::Panes;
use crate::state::{State, policy_name, transport_name};
use crate::text;

pub(super) fn draw(state: &State, theme: Theme, area: Rect, frame: &mut Frame<'_>) {
    let columns = usize::from(area.width);
    let (sign, words, style) = match &state.line {
        Connection::Connected { transport } => {
            let name = transport_name(*transport);
            let auto = state.policy == Policy::Auto && Panes::wide(area.width);
            let auto = if auto { " (auto)" } else { "" };
            ("●", format!("{name}{auto}"), theme.good())
        }
        Connection::Waiting { until, why } => {
            let left = until.saturating_duration_since(state.now).as_secs_f64().ceil();
            let name = policy_name(state.policy);
            ("○", format!("{name}: retry in {left} s · {}", text::line(why)), theme.wrong())
        }
        Connection::Ended { why } => ("✗", text::line(why), theme.wrong()),
        _ => ("◌", format!("{}: connecting…", policy_name(state.policy)), theme.news()),
    };
    let connected = state.line.transport().is_some();
    let cost = if connected { cost(state, Panes::wide(area.width)) } else { String::new() };
    let free = columns.saturating_sub(text::width(&cost) + 5);
    let words = text::fit(&words, free);
    let gap = " ".repeat(free - text::width(&words));
    frame.render_widget(
        Line::from(vec![
            Span::styled(format!(" {sign} "), style),
            Span::styled(format!("{words}{gap}"), style),
            Span::styled(format!(" {cost} "), theme.quiet()),
        ]),
        area,
    );
}

/// The traffic, in as much detail as fits.
fn cost(state: &State, wide: bool) -> String {
    let total = state.costs.total();
    let each = total.bytes_per_message().map(bytes);
    if !wide {
        let each = each.map(|each| format!(" · {each}/msg")).unwrap_or_default();
        return format!("{} req{each}", total.requests);
    }
    let each = each.map(|each| format!(" · {each}/message")).unwrap_or_default();
    let (received, sent) = (bytes(total.received_bytes), bytes(total.sent_bytes));
    format!("{} requests · ↓{received} ↑{sent}{each}", total.requests)
}

/// A number of bytes, for people.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut amount = count as f64 / 1_024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if amount < 1_023.5 {
            break;
        }
        (amount, unit) = (amount / 1_024.0, larger);
    }
    if amount < 9.95 { format!("{amount:.1} {unit}") } else { format!("{amount:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_shown_in_three_digits() {
        let shown = [0, 1_023, 1_024, 10_188, 10_240, 1_048_575, 3 << 30].map(super::bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "9.9 KiB", "10 KiB", "1.0 MiB", "3.0 GiB"]);
    }
}
