//! Drawings as SVG: `charts` of the report's page, whose style they use, and a `timeline` that is a
//! file of its own. Both read in light and dark, and at the width of a phone.

pub(crate) mod charts;
mod timeline;

use std::fmt::Write;

pub use timeline::{Panel, Span, timeline};

use crate::report::text::{escape, figure};

/// The width of a drawing in its own units: that of the narrowest phone, so that text is never scaled down.
const WIDTH: f64 = 360.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 102.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 40.0;
const HEIGHT: f64 = 270.0;
/// Between the base lines of two labels.
const LINE: f64 = 14.0;

/// An axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// The quantity, with its unit.
    pub label: &'static str,
    /// Whether the scale is logarithmic.
    pub log: bool,
    /// The bounds; those of the values by default.
    pub range: Option<(f64, f64)>,
    /// The format of a value.
    pub write: fn(f64) -> String,
}

impl Axis {
    pub(crate) fn log(label: &'static str) -> Self {
        Self { label, log: true, range: None, write: figure }
    }

    pub(crate) fn linear(label: &'static str) -> Self {
        Self { label, log: false, range: None, write: figure }
    }

    pub(crate) fn within(self, from: f64, to: f64) -> Self {
        Self { range: Some((from, to)), ..self }
    }

    pub(crate) fn written(self, write: fn(f64) -> String) -> Self {
        Self { write, ..self }
    }

    fn scale(self, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Scale {
        let values = values.filter(|value| value.is_finite() && (!self.log || *value > 0.0));
        let (low, high) = self.range.unwrap_or_else(|| {
            let all = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            match (self.log, all.0.is_finite()) {
                (_, false) => (0.1, 1.0),
                (true, _) => (all.0 / 1.3, all.1 * 1.3),
                (false, _) => (all.0.min(0.0), (all.1 * 1.08).max(f64::MIN_POSITIVE)),
            }
        });
        Scale { log: self.log, low, high, from, to }
    }
}

/// Maps values to positions.
#[derive(Clone, Copy, Debug)]
struct Scale {
    log: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// A few round values.
    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            let of = |steps: &[f64]| -> Vec<f64> {
                let all = decades.clone();
                let all = all.flat_map(|ten| steps.iter().map(move |step| step * 10f64.powi(ten)));
                all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
            };
            let tens = of(&[1.0]);
            if tens.len() >= 3 { tens } else { of(&[1.0, 2.0, 5.0]) }
        } else {
            let rough = (self.high - self.low) / 4.0;
            let ten = 10f64.powf(rough.log10().floor());
            let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * ten);
            let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
            let first = (self.low / step).ceil() as i64;
            let ticks = (first..).map(|number| number as f64 * step);
            ticks.take_while(|tick| *tick <= self.high).collect()
        }
    }
}

/// The look of a series: a hue of the page, a dash and a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// The page's class for its colour.
    pub hue: &'static str,
    /// Lengths of dash and gap; empty for a solid line.
    pub dash: &'static str,
    /// The mark of a measured point.
    pub mark: Mark,
}

/// Marks differ, so that series can be distinguished without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Circle,
    Square,
    Triangle,
    Diamond,
}

fn mark(mark: Mark, hue: &str, x: f64, y: f64) -> String {
    let shape = match mark {
        Mark::Circle => format!("M{:.1} {y:.1}a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0 -7.2 0z", x - 3.6),
        Mark::Square => format!("M{:.1} {:.1}h6.6v6.6h-6.6z", x - 3.3, y - 3.3),
        Mark::Triangle => format!("M{x:.1} {:.1}l4.2 7.4h-8.4z", y - 4.4),
        Mark::Diamond => format!("M{x:.1} {:.1}l4.5 4.5l-4.5 4.5l-4.5 -4.5z", y - 4.5),
    };
    format!("<path class=\"mark {hue}\" d=\"{shape}\"/>")
}

/// A line of a plot.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Written at its end.
    pub name: String,
    /// The look.
    pub look: Look,
    /// The measured points, drawn as marks.
    pub points: Vec<(f64, f64)>,
    /// The points of the model, drawn as a line.
    pub line: Vec<(f64, f64)>,
}

/// A drawing in progress.
struct Canvas(String);

impl Canvas {
    fn new(title: &str, description: &str, (width, height): (f64, f64)) -> Self {
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\"><title>{}</title><desc>{}</desc>\n",
            escape(title),
            escape(description)
        ))
    }

    fn text(&mut self, class: &str, anchor: &str, x: f64, y: f64, text: &str) {
        self.add(&format!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escape(text)
        ));
    }

    fn path(&mut self, class: &str, dash: &str, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (number, (x, y)) in points.enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(path, "{}{x:.1} {y:.1}", if number == 0 { 'M' } else { 'L' });
        }
        if path.is_empty() {
            return;
        }
        let dash = match dash {
            "" => String::new(),
            dash => format!(" stroke-dasharray=\"{dash}\""),
        };
        self.add(&format!("<path class=\"{class}\"{dash} d=\"{path}\"/>"));
    }

    fn add(&mut self, element: &str) {
        self.0.push_str(element);
        self.0.push('\n');
    }

    fn axes(&mut self, x: (Axis, Scale), y: (Axis, Scale)) {
        let ((x_axis, x), (y_axis, y)) = (x, y);
        for tick in y.ticks() {
            let at = y.at(tick);
            self.path("grid", "", [(x.from, at), (x.to, at)].into_iter());
            self.text("tick", "end", x.from - 5.0, at + 4.0, &(y_axis.write)(tick));
        }
        for tick in x.ticks() {
            let at = x.at(tick);
            self.path("grid", "", [(at, y.from), (at, y.from + 4.0)].into_iter());
            self.text("tick", "middle", at, y.from + 16.0, &(x_axis.write)(tick));
        }
        self.path("axis", "", [(x.from, y.from), (x.to, y.from)].into_iter());
        self.text("label", "start", 2.0, TOP - 12.0, y_axis.label);
        self.text("label", "middle", (x.from + x.to) / 2.0, y.from + 33.0, x_axis.label);
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let scale = Axis::log("").scale([0.3, 700.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.ticks(), [1.0, 10.0, 100.0]);
        let scale = Axis::linear("").scale([3.0, 87.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.ticks(), [0.0, 25.0, 50.0, 75.0]);
    }
}
