//! Figures of a running test on standard error: a few lines that a terminal redraws, or a line every few
//! seconds elsewhere.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::counts::{Counts, Verdict};
use crate::latency::quantile_ms;

/// How often a terminal is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(500);
/// How often a line is written elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Standard error.
#[derive(Debug)]
pub(super) struct Live {
    terminal: bool,
    /// Lines of the last drawing, which the next one replaces.
    lines: Cell<usize>,
    reported: Cell<Option<Instant>>,
    before: Option<(Instant, Counts, Duration)>,
}

/// The figures to show.
#[derive(Debug)]
pub(super) struct Now {
    pub(super) left: Duration,
    pub(super) clients: usize,
    pub(super) connected: usize,
    /// Since the first message.
    pub(super) counts: Counts,
    pub(super) verdict: Verdict,
    /// Deliveries since the last drawing.
    pub(super) latency: Histogram<u64>,
    /// Sends against the schedule, since the last drawing.
    pub(super) lateness: Histogram<u64>,
    /// CPU time of this process since its start.
    pub(super) cpu: Duration,
}

impl Live {
    pub(super) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, lines: Cell::new(0), reported: Cell::new(None), before: None }
    }

    pub(super) fn every(&self) -> Duration {
        if self.terminal { DRAWN_EVERY } else { LINE_EVERY }
    }

    /// Shows the progress of the preparations.
    pub(super) fn progress(&self, what: &str, done: usize, of: usize) {
        let now = Instant::now();
        let due = self.reported.get().is_none_or(|reported| now - reported >= self.every());
        if due || done == of {
            self.reported.set(Some(now));
            self.put(&[format!("{done} of {of} {what}")]);
        }
    }

    pub(super) fn say(&self, what: &str) {
        self.put(&[what.to_owned()]);
    }

    /// Shows the current figures.
    pub(super) fn draw(&mut self, now: &Now) {
        let at = Instant::now();
        let (since, before, cpu) = self.before.unwrap_or((at, now.counts, now.cpu));
        self.before = Some((at, now.counts, now.cpu));
        let seconds = (at - since).as_secs_f64();
        if seconds > 0.0 {
            self.put(&lines(
                now,
                now.counts - before,
                now.cpu.saturating_sub(cpu),
                seconds,
                self.terminal,
            ));
        }
    }

    /// Removes the drawing, so that other text can follow.
    pub(super) fn clear(&self) {
        self.put(&[]);
    }

    fn put(&self, lines: &[String]) {
        let mut text = String::new();
        if self.terminal && self.lines.get() > 0 {
            // Move to the first line and erase from there on (ECMA-48, CUU and ED).
            text = format!("\x1b[{}A\x1b[J", self.lines.get());
        }
        for line in lines {
            text += line;
            text.push('\n');
        }
        self.lines.set(lines.len());
        let mut out = io::stderr().lock();
        // A closed standard error does not end the test.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// `window` is what was counted in the last `seconds`.
fn lines(now: &Now, window: Counts, cpu: Duration, seconds: f64, terminal: bool) -> Vec<String> {
    let rate = |count: u64| count as f64 / seconds;
    let of = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let Verdict { lost, repeated, reordered } = now.verdict;
    let first = format!(
        "{:>4.0} s left   {} of {} connected   generator {:.0} % of a core, sends {:.1} ms late",
        now.left.as_secs_f64(),
        now.connected,
        now.clients,
        cpu.as_secs_f64() / seconds * 100.0,
        quantile_ms(&now.lateness, 0.99)
    );
    let second = format!(
        "{:>8.0} sent/s   {:>9.0} delivered/s   p50 {:.1} ms   p99 {:.1} ms",
        rate(window.messages),
        rate(window.deliveries),
        quantile_ms(&now.latency, 0.5),
        quantile_ms(&now.latency, 0.99)
    );
    let third = format!(
        "{:>8.0} bytes a delivery   {:.0} % empty responses   missing {lost}   repeated {repeated}   \
         reordered {reordered}",
        of(window.bytes_in + window.bytes_out, window.deliveries),
        of(window.empty, window.answers) * 100.0,
    );
    if terminal {
        vec![first, second, third]
    } else {
        vec![[first, second, third].map(|it| it.trim().to_owned()).join("   ")]
    }
}
