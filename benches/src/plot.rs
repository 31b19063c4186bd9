//! Lines over time as SVG that is readable in light and dark, and at the width of a phone.

use std::fmt::Write;

use crate::report::figure;

/// One value over time, in a panel of its own.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What it is, with its unit.
    pub title: &'static str,
    /// Seconds and value, in order of time.
    pub points: Vec<(f64, f64)>,
}

/// A span of time with a name.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// What happens in it.
    pub name: &'static str,
    /// From when to when, in seconds.
    pub from: f64,
    /// See `from`.
    pub to: f64,
}

const WIDTH: f64 = 640.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 56.0;
const HEIGHT: f64 = 104.0;
const GAP: f64 = 40.0;
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#333}.title{font-size:16px;\
font-weight:600}.axis{stroke:#bbb;fill:none}.span{fill:#2563eb18}.line{stroke:#2563eb;\
stroke-width:1.5;fill:none;stroke-linejoin:round}.quiet{fill:#777;font-size:12px}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.axis{stroke:#555}.span{fill:#60a5fa22}\
.line{stroke:#60a5fa}.quiet{fill:#999}}";

/// The panels above each other on one axis of time; spans are shaded. The y-axis of each begins at 0.
pub fn timeline(title: &str, panels: &[Panel], spans: &[Span]) -> String {
    let height = TOP + panels.len() as f64 * (HEIGHT + GAP) + 8.0;
    let points = || panels.iter().flat_map(|panel| &panel.points);
    let end = points().map(|&(at, _)| at).fold(1.0, f64::max);
    let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}\"><style>{STYLE}</style>\
         <text class=\"title\" x=\"8\" y=\"22\">{title}</text>\n"
    );
    let mut add = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    for (number, panel) in panels.iter().enumerate() {
        let top = TOP + number as f64 * (HEIGHT + GAP);
        let bottom = top + HEIGHT;
        let most = panel.points.iter().map(|&(_, value)| value).fold(f64::MIN_POSITIVE, f64::max);
        let y = |value: f64| bottom - value / most * HEIGHT;
        for span in spans {
            let (from, width) = (x(span.from), x(span.to) - x(span.from));
            add(format!(
                "<rect class=\"span\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
                 height=\"{HEIGHT}\"/>"
            ));
            if number == 0 {
                let at = from + 4.0;
                let foot = bottom - 6.0;
                let name = span.name;
                add(format!("<text class=\"quiet\" x=\"{at:.1}\" y=\"{foot}\">{name}</text>"));
            }
        }
        add(format!("<text x=\"8\" y=\"{:.1}\">{}</text>", top - 7.0, panel.title));
        add(format!("<path class=\"axis\" d=\"M{LEFT} {top}V{bottom}H{}\"/>", WIDTH - RIGHT));
        for value in [0.0, most] {
            add(format!(
                "<text class=\"quiet\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
                LEFT - 5.0,
                y(value) + 4.0,
                if value == 0.0 { "0".to_owned() } else { figure(value) }
            ));
        }
        let mut path = String::new();
        for (number, &(at, value)) in panel.points.iter().enumerate() {
            let command = if number == 0 { 'M' } else { 'L' };
            // Writing to a string cannot fail.
            let _ = write!(path, "{command}{:.1} {:.1}", x(at), y(value));
        }
        add(format!("<path class=\"line\" d=\"{path}\"/>"));
        if number + 1 == panels.len() {
            for (at, anchor) in [(0.0, "start"), (end, "end")] {
                add(format!(
                    "<text class=\"quiet\" text-anchor=\"{anchor}\" x=\"{:.1}\" y=\"{:.1}\">{:.0} \
                     s</text>",
                    x(at),
                    bottom + 16.0,
                    at
                ));
            }
        }
    }
    svg + "</svg>\n"
}
