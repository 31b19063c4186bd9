//! Plots of the report: lines, bars, dots on a line, and a map of regions. Their colours are classes of
//! the page.

use super::{
    Axis, BOTTOM, Canvas, HEIGHT, LEFT, LINE, Look, RIGHT, Scale, Series, TOP, WIDTH, mark,
};

/// Lines with marks at the measured points; the name of each line is at its end.
pub(crate) fn lines(
    title: &str,
    description: &str,
    (x_axis, y_axis): (Axis, Axis),
    series: &[Series],
) -> String {
    let all = || series.iter().flat_map(|one| one.points.iter().chain(&one.line));
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let x = x_axis.scale(all().map(|(x, _)| *x), LEFT, right);
    let y = y_axis.scale(all().map(|(_, y)| *y), bottom, TOP);
    let mut canvas = Canvas::new(title, description, (WIDTH, HEIGHT));
    canvas.axes((x_axis, x), (y_axis, y));
    let mut ends = Vec::new();
    for one in series {
        let positions = one.line.iter().map(|(at, value)| (x.at(*at), y.at(*value)));
        canvas.path(&format!("line {}", one.look.hue), one.look.dash, positions);
        for (at, value) in &one.points {
            canvas.add(&mark(one.look.mark, one.look.hue, x.at(*at), y.at(*value)));
        }
        if let Some((at, value)) = one.line.last().or(one.points.last()) {
            ends.push((y.at(*value), x.at(*at), one));
        }
    }
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let wanted: Vec<_> = ends.iter().map(|end| end.0).collect();
    for (position, (at, from, one)) in spread(&wanted, TOP, bottom).into_iter().zip(ends) {
        canvas.path("leader", "", [(from + 2.0, at), (right + 6.0, position)].into_iter());
        // The legend shows the line or the mark only if it is drawn.
        if !one.line.is_empty() {
            let sample = [(right + 7.0, position), (right + 29.0, position)];
            canvas.path(&format!("line {}", one.look.hue), one.look.dash, sample.into_iter());
        }
        if !one.points.is_empty() {
            canvas.add(&mark(one.look.mark, one.look.hue, right + 18.0, position));
        }
        canvas.text("name", "start", right + 33.0, position + 4.0, &one.name);
    }
    canvas.end()
}

/// Positions near the wanted ones with at least a line between them; both in order.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut positions: Vec<f64> = wanted.to_vec();
    let mut least = top;
    for position in &mut positions {
        *position = position.max(least);
        least = *position + LINE;
    }
    let mut most = bottom + 4.0;
    for position in positions.iter_mut().rev() {
        *position = position.min(most);
        most = *position - LINE;
    }
    positions
}

/// A bar, or the dots of one row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The label.
    pub name: String,
    /// The look.
    pub look: Look,
    /// The parts of a bar, one after the other; or dots from left to right.
    pub values: Vec<f64>,
    /// The text after it.
    pub note: String,
    /// Whether its name is bold.
    pub strong: bool,
}

impl Row {
    /// A row without a note, not bold.
    pub(crate) fn of(name: String, look: Look, values: Vec<f64>) -> Self {
        Self { name, look, values, note: String::new(), strong: false }
    }

    fn class(&self) -> &'static str {
        if self.strong { "name strong" } else { "name" }
    }
}

/// Bars, one above the other. The first part of each is full, others are pale.
pub(crate) fn bars(title: &str, description: &str, axis: Axis, rows: &[Row]) -> String {
    const STEP: f64 = 36.0;
    let height = TOP + rows.len() as f64 * STEP + 8.0;
    let mut canvas = Canvas::new(title, description, (WIDTH, height));
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
pub(crate) fn dots(title: &str, description: &str, axis: Axis, rows: &[Row]) -> String {
    const STEP: f64 = 36.0;
    let bottom = TOP + rows.len() as f64 * STEP;
    let mut canvas = Canvas::new(title, description, (WIDTH, bottom + BOTTOM));
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
        let positions = || row.values.iter().map(|value| (x.at(*value), top + 20.0));
        canvas.path(&format!("line {}", row.look.hue), row.look.dash, positions());
        for (at, y) in positions() {
            canvas.add(&mark(row.look.mark, row.look.hue, at, y));
        }
    }
    canvas.end()
}

/// A region of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// The label within the region.
    pub name: &'static str,
    /// The look.
    pub look: Look,
}

/// A map: each point has the colour of its region, whose name is in its middle; lines are drawn on top.
pub(crate) fn map(
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
    let mut canvas = Canvas::new(title, description, (WIDTH, HEIGHT));
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
        let positions = one.line.iter().map(|(at, value)| (x.at(*at), y.at(*value)));
        canvas.path(&format!("line {}", one.look.hue), one.look.dash, positions);
    }
    for (region, size, across, down) in found.into_iter().filter(|one| one.1 > 400.0) {
        canvas.text("position", "middle", across / size, down / size + 4.0, region.name);
    }
    canvas.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_apart_and_inside() {
        let positions = spread(&[50.0, 51.0, 52.0, 229.0, 230.0], 20.0, 230.0);
        for pair in positions.windows(2) {
            assert!(pair[1] - pair[0] >= LINE - 1e-9, "{positions:?}");
        }
        assert!(
            positions.iter().all(|position| (20.0..=234.0).contains(position)),
            "{positions:?}"
        );
    }
}
