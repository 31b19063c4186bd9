//! Values over time, a panel each, one above the other on one axis of time.

use super::{Canvas, Scale};
use crate::report::text::{escape, figure};

/// One value over time, in a panel of its own.
#[derive(Clone, Debug)]
pub struct Panel {
    /// The value, with its unit.
    pub title: &'static str,
    /// Seconds and value, in order of time.
    pub points: Vec<(f64, f64)>,
}

/// A span of time with a name.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// What happens in it.
    pub name: &'static str,
    /// Its begin in seconds.
    pub from: f64,
    /// Its end in seconds.
    pub to: f64,
}

const WIDTH: f64 = 640.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 56.0;
const HEIGHT: f64 = 104.0;
const GAP: f64 = 40.0;
/// The file has no page around it, so the style is in it.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#333}.title{font-size:16px;\
font-weight:600}.axis{stroke:#bbb;fill:none}.span{fill:#2563eb18}.line{stroke:#2563eb;\
stroke-width:1.5;fill:none;stroke-linejoin:round}.quiet{fill:#777;font-size:12px}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.axis{stroke:#555}.span{fill:#60a5fa22}\
.line{stroke:#60a5fa}.quiet{fill:#999}}";

/// Draws the panels. Spans are shaded in all of them and named in the first. Each value axis begins at 0.
pub fn timeline(title: &str, panels: &[Panel], spans: &[Span]) -> String {
    let height = TOP + panels.len() as f64 * (HEIGHT + GAP) + 8.0;
    let points = || panels.iter().flat_map(|panel| &panel.points);
    let end = points().map(|&(at, _)| at).fold(1.0, f64::max);
    let x = Scale { log: false, low: 0.0, high: end, from: LEFT, to: WIDTH - RIGHT };
    let description: Vec<_> = panels.iter().map(|panel| panel.title).collect();
    let mut canvas = Canvas::new(title, &description.join("; "), (WIDTH, height));
    canvas.add(&format!("<style>{}</style>", escape(STYLE)));
    canvas.text("title", "start", 8.0, 22.0, title);
    for (number, panel) in panels.iter().enumerate() {
        let top = TOP + number as f64 * (HEIGHT + GAP);
        let named: &[Span] = if number == 0 { spans } else { &[] };
        shade(&mut canvas, &x, top, spans, named);
        draw(&mut canvas, &x, top, panel);
    }
    if !panels.is_empty() {
        let foot = height - 8.0 - GAP + 16.0;
        canvas.text("quiet", "start", x.from, foot, "0 s");
        canvas.text("quiet", "end", x.to, foot, &format!("{end:.0} s"));
    }
    canvas.end()
}

fn shade(canvas: &mut Canvas, x: &Scale, top: f64, spans: &[Span], named: &[Span]) {
    for span in spans {
        let (from, to) = (x.at(span.from), x.at(span.to));
        canvas.add(&format!(
            "<rect class=\"span\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
             height=\"{HEIGHT}\"/>",
            to - from
        ));
    }
    for span in named {
        canvas.text("quiet", "start", x.at(span.from) + 4.0, top + HEIGHT - 6.0, span.name);
    }
}

fn draw(canvas: &mut Canvas, x: &Scale, top: f64, panel: &Panel) {
    let bottom = top + HEIGHT;
    let most = panel.points.iter().map(|&(_, value)| value).fold(f64::MIN_POSITIVE, f64::max);
    let y = Scale { log: false, low: 0.0, high: most, from: bottom, to: top };
    canvas.text("panel", "start", 8.0, top - 7.0, panel.title);
    canvas.path("axis", "", [(x.from, top), (x.from, bottom), (x.to, bottom)].into_iter());
    for (value, text) in [(0.0, "0".to_owned()), (most, figure(most))] {
        canvas.text("quiet", "end", LEFT - 5.0, y.at(value) + 4.0, &text);
    }
    let line = panel.points.iter().map(|&(at, value)| (x.at(at), y.at(value)));
    canvas.path("line", "", line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_a_file_of_its_own_with_a_line_a_panel() {
        let panel = |title, most| Panel { title, points: vec![(0.0, 0.0), (10.0, most)] };
        let panels = [panel("Memory, MiB", 4.0), panel("Files < 10", 8.0)];
        let spans = [Span { name: "load", from: 2.0, to: 5.0 }];
        let svg = timeline("A & B", &panels, &spans);
        let document = roxmltree::Document::parse(&svg).expect("well-formed");
        let of = |class: &str| {
            let same = |node: &roxmltree::Node<'_, '_>| node.attribute("class") == Some(class);
            document.descendants().filter(same).collect::<Vec<_>>()
        };
        assert_eq!((of("line").len(), of("span").len(), of("panel").len()), (2, 2, 2));
        // The greatest value is at the top of its panel, the last moment at the right edge.
        let path = of("line")[0].attribute("d").expect("a path");
        assert_eq!(path, "M52.0 160.0L628.0 56.0");
        assert!(svg.contains("<style>") && svg.contains("A &amp; B"), "{svg}");
    }
}
