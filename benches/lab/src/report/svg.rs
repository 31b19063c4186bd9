//! Plots as SVG for the page: their colours are the page's, so that they read in light and dark; their
//! text reads at the width of a phone, for which they are drawn.

use std::fmt::Write;

use super::text::{escape, figure};

/// The drawing's width, in its own units: the narrowest phone's, so that text is never smaller than it
/// is written.
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
pub(super) struct Axis {
    /// What it is, with its unit.
    pub label: &'static str,
    /// Whether each step multiplies.
    pub log: bool,
    /// From where to where; the values tell, if nothing is said.
    pub range: Option<(f64, f64)>,
    /// How a value is written.
    pub write: fn(f64) -> String,
}

impl Axis {
    pub(super) fn log(label: &'static str) -> Self {
        Self { label, log: true, range: None, write: figure }
    }

    pub(super) fn linear(label: &'static str) -> Self {
        Self { label, log: false, range: None, write: figure }
    }

    pub(super) fn within(self, from: f64, to: f64) -> Self {
        Self { range: Some((from, to)), ..self }
    }

    pub(super) fn written(self, write: fn(f64) -> String) -> Self {
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

/// From values to places.
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

    /// Round values, few enough to be told apart.
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

/// How something is drawn: one of the page's hues and marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The page's class for its colour.
    pub hue: &'static str,
    /// Lengths of dash and gap; none for a whole line.
    pub dash: &'static str,
    /// The mark of a measured point.
    pub mark: Mark,
}

/// Marks differ so that colour is not needed to tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
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
pub(super) struct Series {
    /// Written at its end.
    pub name: String,
    /// How it looks.
    pub look: Look,
    /// What was measured: marks.
    pub points: Vec<(f64, f64)>,
    /// What is drawn besides: the model.
    pub line: Vec<(f64, f64)>,
}

/// A drawing in progress.
struct Canvas(String);

impl Canvas {
    fn new(title: &str, description: &str, height: f64) -> Self {
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
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

/// Lines with marks where something was measured; the name of each stands at its end.
pub(super) fn lines(
    title: &str,
    description: &str,
    (x_axis, y_axis): (Axis, Axis),
    series: &[Series],
) -> String {
    let all = || series.iter().flat_map(|one| one.points.iter().chain(&one.line));
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let x = x_axis.scale(all().map(|(x, _)| *x), LEFT, right);
    let y = y_axis.scale(all().map(|(_, y)| *y), bottom, TOP);
    let mut canvas = Canvas::new(title, description, HEIGHT);
    canvas.axes((x_axis, x), (y_axis, y));
    let mut ends = Vec::new();
    for one in series {
        let places = one.line.iter().map(|(at, value)| (x.at(*at), y.at(*value)));
        canvas.path(&format!("line {}", one.look.hue), one.look.dash, places);
        for (at, value) in &one.points {
            canvas.add(&mark(one.look.mark, one.look.hue, x.at(*at), y.at(*value)));
        }
        if let Some((at, value)) = one.line.last().or(one.points.last()) {
            ends.push((y.at(*value), x.at(*at), one));
        }
    }
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let wanted: Vec<_> = ends.iter().map(|end| end.0).collect();
    for (place, (at, from, one)) in spread(&wanted, TOP, bottom).into_iter().zip(ends) {
        canvas.path("leader", "", [(from + 2.0, at), (right + 6.0, place)].into_iter());
        // A sample of what is drawn, and of nothing else.
        if !one.line.is_empty() {
            let sample = [(right + 7.0, place), (right + 29.0, place)];
            canvas.path(&format!("line {}", one.look.hue), one.look.dash, sample.into_iter());
        }
        if !one.points.is_empty() {
            canvas.add(&mark(one.look.mark, one.look.hue, right + 18.0, place));
        }
        canvas.text("name", "start", right + 33.0, place + 4.0, &one.name);
    }
    canvas.end()
}

/// Places as near to the wanted ones as they can be a line apart; both in order.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut places: Vec<f64> = wanted.to_vec();
    let mut least = top;
    for place in &mut places {
        *place = place.max(least);
        least = *place + LINE;
    }
    let mut most = bottom + 4.0;
    for place in places.iter_mut().rev() {
        *place = place.min(most);
        most = *place - LINE;
    }
    places
}

/// A bar, or the dots of one row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What it is about.
    pub name: String,
    /// How it looks.
    pub look: Look,
    /// Parts of a bar, one behind the other; or dots from left to right.
    pub values: Vec<f64>,
    /// What stands behind it.
    pub note: String,
    /// Whether its name stands out.
    pub strong: bool,
}

impl Row {
    /// One that says nothing, like all others.
    pub(super) fn of(name: String, look: Look, values: Vec<f64>) -> Self {
        Self { name, look, values, note: String::new(), strong: false }
    }

    fn class(&self) -> &'static str {
        if self.strong { "name strong" } else { "name" }
    }
}

/// Bars, one above the other. The first part of each is full, others are pale.
pub(super) fn bars(title: &str, description: &str, axis: Axis, rows: &[Row]) -> String {
    const STEP: f64 = 36.0;
    let height = TOP + rows.len() as f64 * STEP + 8.0;
    let mut canvas = Canvas::new(title, description, height);
    let most = rows.iter().map(|row| row.values.iter().sum::<f64>());
    let scale = axis.scale(most, 2.0, WIDTH - 84.0);
    canvas.text("label", "start", 2.0, TOP - 12.0, axis.label);
    for (number, row) in rows.iter().enumerate() {
        let top = TOP + number as f64 * STEP;
        canvas.text(row.class(), "start", 2.0, top + 12.0, &row.name);
        let mut sum = 0.0;
        for (part, value) in row.values.iter().enumerate() {
            let from = if part == 0 { scale.from } else { scale.at(sum) };
            sum += value;
            let width = (scale.at(sum) - from).max(1.0);
            let pale = if part == 0 { "" } else { " pale" };
            canvas.add(&format!(
                "<rect class=\"bar {}{pale}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" \
                 height=\"12\"/>",
                row.look.hue,
                top + 17.0
            ));
        }
        canvas.text("tick", "start", scale.at(sum) + 6.0, top + 27.0, &row.note);
    }
    canvas.end()
}

/// Dots on a line, one row above the other: half, nine tenths … of something.
pub(super) fn dots(title: &str, description: &str, axis: Axis, rows: &[Row]) -> String {
    const STEP: f64 = 36.0;
    let bottom = TOP + rows.len() as f64 * STEP;
    let mut canvas = Canvas::new(title, description, bottom + BOTTOM);
    let all = rows.iter().flat_map(|row| row.values.iter().copied());
    let x = axis.scale(all, 10.0, WIDTH - 14.0);
    for tick in x.ticks() {
        let at = x.at(tick);
        canvas.path("grid", "", [(at, TOP - 6.0), (at, bottom + 4.0)].into_iter());
        canvas.text("tick", "middle", at, bottom + 16.0, &(axis.write)(tick));
    }
    canvas.text("label", "middle", WIDTH / 2.0, bottom + 33.0, axis.label);
    for (number, row) in rows.iter().enumerate() {
        let top = TOP + number as f64 * STEP;
        canvas.text(row.class(), "start", 2.0, top + 8.0, &row.name);
        canvas.text("tick", "end", WIDTH - 2.0, top + 8.0, &row.note);
        let places = || row.values.iter().map(|value| (x.at(*value), top + 20.0));
        canvas.path(&format!("line {}", row.look.hue), row.look.dash, places());
        for (at, y) in places() {
            canvas.add(&mark(row.look.mark, row.look.hue, at, y));
        }
    }
    canvas.end()
}

/// What a map shows at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// Written into it.
    pub name: &'static str,
    /// Its look.
    pub look: Look,
}

/// A map: each place has the colour of its region, whose name stands in its middle; lines run across.
pub(super) fn map(
    title: &str,
    description: &str,
    (x_axis, y_axis): (Axis, Axis),
    region: impl Fn(f64, f64) -> Region,
    series: &[Series],
) -> String {
    const COLUMNS: usize = 79;
    const ROWS: usize = 53;
    let right = WIDTH - 10.0;
    let bottom = HEIGHT - BOTTOM;
    let x = x_axis.scale(std::iter::empty(), LEFT, right);
    let y = y_axis.scale(std::iter::empty(), bottom, TOP);
    let (width, height) = ((right - LEFT) / COLUMNS as f64, (bottom - TOP) / ROWS as f64);
    let value = |scale: &Scale, share: f64| scale.low * (scale.high / scale.low).powf(share);
    let at = |column: usize, row: usize| {
        let rate = value(&x, (column as f64 + 0.5) / COLUMNS as f64);
        region(rate, value(&y, (row as f64 + 0.5) / ROWS as f64))
    };
    let mut canvas = Canvas::new(title, description, HEIGHT);
    let mut found: Vec<(Region, f64, f64, f64)> = Vec::new();
    for column in 0..COLUMNS {
        let mut row = 0;
        while row < ROWS {
            let (from, here) = (row, at(column, row));
            while row < ROWS && at(column, row) == here {
                row += 1;
            }
            let left = LEFT + column as f64 * width;
            let (top, tall) = (bottom - row as f64 * height, (row - from) as f64 * height);
            canvas.add(&format!(
                "<rect class=\"area {}\" x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" \
                 height=\"{tall:.2}\"/>",
                here.look.hue
            ));
            let (middle, size) = ((left + width / 2.0, top + tall / 2.0), width * tall);
            match found.iter_mut().find(|one| one.0 == here) {
                Some(one) => {
                    one.1 += size;
                    one.2 += middle.0 * size;
                    one.3 += middle.1 * size;
                }
                None => found.push((here, size, middle.0 * size, middle.1 * size)),
            }
        }
    }
    canvas.axes((x_axis, x), (y_axis, y));
    for one in series {
        let places = one.line.iter().map(|(at, value)| (x.at(*at), y.at(*value)));
        canvas.path(&format!("line {}", one.look.hue), one.look.dash, places);
    }
    for (region, size, across, down) in found.into_iter().filter(|one| one.1 > 400.0) {
        canvas.text("place", "middle", across / size, down / size + 4.0, region.name);
    }
    canvas.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_apart_and_inside() {
        let places = spread(&[50.0, 51.0, 52.0, 229.0, 230.0], 20.0, 230.0);
        for pair in places.windows(2) {
            assert!(pair[1] - pair[0] >= LINE - 1e-9, "{places:?}");
        }
        assert!(places.iter().all(|place| (20.0..=234.0).contains(place)), "{places:?}");
    }

    #[test]
    fn ticks_are_round_and_within() {
        let scale = Axis::log("").scale([0.3, 700.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.ticks(), [1.0, 10.0, 100.0]);
        let scale = Axis::linear("").scale([3.0, 87.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.ticks(), [0.0, 25.0, 50.0, 75.0]);
    }
}
