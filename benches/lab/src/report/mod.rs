//! The report: one self-contained page, and the raw data in files next to it.

pub(crate) mod text;
mod figures;
mod predictions;
mod peers;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use pabal_cost::{Cell, Model, Transport};
use serde::Serialize;

use self::text::{escape, percent};
use crate::Outcome;
use crate::fit::{Check, check, fit};
use crate::grid::{self, PACE};
use crate::peers::PeerRow;
use crate::process;
use crate::record::Record;

/// The fewest cells that a model is fitted to: there are about as many prices.
const CELLS_TO_FIT: usize = 40;
/// The seed that divides cells into quarters.
const SEED: u64 = 20_261_122;

/// The origin of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Origin {
    /// The machine, in one line.
    pub machine: String,
    /// The version of Pabal.
    pub version: String,
    /// The command that made the report.
    pub command: String,
    /// The day, as `2026-11-22`.
    pub day: String,
}

/// All measurements, and the model fitted to them.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The origin of the run.
    pub origin: Origin,
    /// Every cell that was measured.
    pub records: Vec<Record>,
    /// Cells that were not, and why.
    pub missing: Vec<(String, String)>,
    /// The rows of other systems.
    pub peers: Vec<PeerRow>,
    /// The prices.
    pub model: Model,
    /// Whether the prices are those of this run; otherwise the committed ones.
    pub fitted_here: bool,
    /// The error of the model.
    pub check: Check,
    /// The records that it was fitted to or compared with.
    #[serde(skip)]
    pub fitted: Vec<Record>,
}

impl Findings {
    /// Fits the model. With too few cells the model is the committed one, compared with the cells.
    pub fn new(
        origin: Origin,
        records: Vec<Record>,
        missing: Vec<(String, String)>,
        peers: Vec<PeerRow>,
    ) -> Self {
        let usable = |record: &&Record| record.is_valid() && !record.generator_bound;
        let fitted: Vec<_> = records.iter().filter(usable).cloned().collect();
        let seen: Vec<_> = fitted.iter().collect();
        let fitted_here = seen.len() >= CELLS_TO_FIT;
        let (model, check) = if fitted_here {
            let check = check(&seen, PACE, SEED);
            let model = fit(process::machine_name(), PACE, &seen);
            (Model { cpu_error: check.cpu_all.median, ..model }, check)
        } else {
            let model = Model::committed().clone();
            let check = Check::of(&model, &seen, PACE);
            (model, check)
        };
        Self { origin, records, missing, peers, model, fitted_here, check, fitted }
    }

    /// The valid cells.
    pub fn valid(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| record.is_valid())
    }

    /// The valid cell with the most idle clients of a transport.
    pub(crate) fn silent(&self, transport: Transport, tls: bool) -> Option<&Record> {
        let all = self.valid().filter(|record| {
            record.cell == Cell { tls, ..grid::silent(transport, record.cell.plan.clients) }
        });
        all.max_by_key(|record| record.cell.plan.clients)
    }

    /// Whether every cell was measured and is valid.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.records.iter().all(Record::is_valid)
    }

    /// The page.
    pub fn html(&self) -> String {
        let mut body = String::new();
        let mut add = |text: &str| body.push_str(text);
        add("<h1>What a transport costs</h1>\n");
        add(&format!(
            "<p>Short polling, long polling, server-sent events and WebSocket, side by side on one \
             server: Pabal {}, {} {}, {}. Each cell has its own server on core 0, driven by \
             clients on core 1 that check every delivery.</p>\n",
            escape(&self.origin.version),
            self.records.len(),
            if self.records.len() == 1 { "cell" } else { "cells" },
            escape(&self.origin.day)
        ));
        for problem in self.problems() {
            add(&format!("<p class=\"bad\">{}</p>\n", escape(&problem)));
        }
        let transports = tables::side_by_side(self);
        if !transports.rows.is_empty() {
            add(&transports.html(
            "1,000 clients in groups of 20, 60 messages a client and minute of 128 bytes, HTTP/1.1, \
             no TLS; idle CPU and memory are of clients that receive nothing",
        ));
        }
        add("<h2 id=\"plots\">Questions</h2>\n<div class=\"plots\">\n");
        let measured = figures::figures(self).into_iter();
        let predicted = predictions::figures(self);
        for figure in measured.chain(predicted).chain(peers::figures(&self.peers)) {
            add(&format!(
                "<figure id=\"{}\"><h3>{}</h3>\n{}<figcaption>{}</figcaption></figure>\n",
                figure.id,
                escape(figure.title),
                figure.svg,
                escape(&figure.caption)
            ));
        }
        add("</div>\n<h2 id=\"breakeven\">Break-even</h2>\n");
        add(&tables::break_even(self).html(
            "CPU of the server for one client, by the rate that it receives; by the model, with the server's \
             defaults, HTTP/1.1, no TLS, without storing the messages",
        ));
        add("<h2 id=\"months\">A month of N users</h2>\n");
        add(&tables::months(self).html(
            "Connected for 8 hours a day; cores and memory while all are connected at once; by the \
             model, with the server's defaults, HTTP/1.1, no TLS",
        ));
        add("<h2 id=\"error\">The model</h2>\n");
        add(&format!("<p>{}</p>\n", escape(&self.model_in_words())));
        add(&tables::errors(self).html("Error on cells that the fit did not include"));
        add(&tables::prices(self).html("The price of each term"));
        if let Some(ranking) = peers::ranking(&self.peers) {
            add("<h2 id=\"peers\">Other systems</h2>\n");
            add(&format!("<p>{}</p>\n", escape(&ranking.sentence)));
            if !ranking.behind.is_empty() {
                add("<ul id=\"behind\">\n");
                ranking.behind.iter().for_each(|line| add(&format!("<li>{}</li>\n", escape(line))));
                add("</ul>\n");
            }
            let disturbed = peers::disturbed(&self.peers).unwrap_or_default();
            add(&format!("<p>{PEERS}{}</p>\n", escape(&disturbed)));
            add(&peers::side_by_side(&self.peers).html("The systems at the same work"));
            add(&peers::all(&self.peers).html("All measurements, on the same machine, in turns"));
        }
        add("<h2 id=\"cells\">Every cell</h2>\n");
        add(&tables::cells(self).html("All measurements"));
        add(
            "<h2 id=\"outside\">Checked from outside</h2>\n<p>Bytes: what the clients metered, against \
             what the kernel counted on the loopback interface, less 52 bytes of headers a packet (IPv4, and TCP with timestamps). \
             The kernel's figure includes other traffic on that interface. CPU: the sum \
             over the server's threads, against what the kernel accounted for the server once it had \
             ended, in steps of 10 ms.</p>\n",
        );
        add(&tables::outside(self).html("Difference"));
        add("<h2 id=\"method\">Method</h2>\n");
        add(METHOD);
        add(&format!(
            "<ul><li>Machine: {}</li><li>Raw data: <a href=\"cells.csv\">cells.csv</a>, \
             <a href=\"lab.json\">lab.json</a>, <a href=\"cells.jsonl\">cells.jsonl</a></li></ul>\n\
             <pre>{}</pre>\n",
            escape(&self.origin.machine),
            escape(&self.origin.command)
        ));
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\
             <meta charset=\"utf-8\"/>\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\"/>\n<title>What a transport \
             costs</title>\n<style>\n{}</style></head>\n<body>\n<main>\n{body}</main>\n</body></html>\n",
            include_str!("style.css")
        )
    }

    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = self
            .records
            .iter()
            .filter(|record| !record.is_valid())
            .map(|record| {
                format!(
                    "{} is invalid: {} lost, {} repeated, {} reordered. Its figures are in no plot.",
                    record.cell.name(),
                    record.verdict.lost,
                    record.verdict.repeated,
                    record.verdict.reordered
                )
            })
            .collect();
        problems.extend(
            self.missing.iter().map(|(name, why)| format!("{name} was not measured: {why}")),
        );
        problems
    }

    fn model_in_words(&self) -> String {
        let checked = if self.fitted_here {
            "To check it, a quarter of the cells is held out and predicted by a fit to the others, four \
             times, until each was"
        } else {
            "Too few cells were measured to fit it here: these are the prices that the program was built \
             with, compared with the cells that there are"
        };
        format!(
            "A cell costs the sum of what happens in it, so many times a second, at a price each: \
             messages stored, requests, frames, connections held. The prices are fitted by least \
             squares to {} cells on {}. {checked}. CPU is off by {} in the median. The model draws the \
             lines in the plots, decides between {} in the maps, and gives clients their advice at \
             /v1/discover, where a microsecond a second makes no difference and the simplest transport \
             wins.",
            self.model.cells,
            self.model.machine,
            percent(self.check.cpu_all.median),
            predictions::candidates()
        )
    }

    /// The tables for a README.
    pub fn markdown(&self) -> String {
        let origin = &self.origin;
        let mut text = format!(
            "{}\n1,000 clients in groups of 20, 60 messages a client and minute of 128 bytes, HTTP/1.1 \
             without TLS; {}, {}.\n",
            tables::side_by_side(self).markdown(),
            origin.machine,
            origin.day
        );
        if let Some(ranking) = peers::ranking(&self.peers) {
            text += &format!("\n## Other systems\n\n{}\n\n", ranking.sentence);
            ranking.behind.iter().for_each(|line| text += &format!("- {line}\n"));
            text += &peers::disturbed(&self.peers)
                .map_or_else(String::new, |it| format!("\n{}\n", it.trim()));
            text += &format!("\n{}", peers::side_by_side(&self.peers).markdown());
        }
        text
    }

    /// The table for a terminal, where Pabal is not ahead of others, and whatever is wrong.
    pub fn summary(&self) -> String {
        let mut text = tables::side_by_side(self).plain();
        text += &format!(
            "\nmodel: CPU of cells it did not see is off by {} in the median, {} at worst; bytes by \
             {} and {}\n",
            percent(self.check.cpu_all.median),
            percent(self.check.cpu_all.worst),
            percent(self.check.bytes_all.median),
            percent(self.check.bytes_all.worst)
        );
        if let Some(ranking) = peers::ranking(&self.peers) {
            text += &format!("\n{}\n", ranking.sentence);
            ranking.behind.iter().for_each(|line| text += &format!("- {line}\n"));
            text += &peers::disturbed(&self.peers)
                .map_or_else(String::new, |it| format!("{}\n", it.trim()));
        }
        for problem in self.problems() {
            text += &format!("! {problem}\n");
        }
        text
    }

    /// Writes `report.html`, `cells.csv`, `lab.json` and `summary.md` into a folder; returns the path of
    /// the page.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Outcome<PathBuf> {
        let page = folder.join("report.html");
        fs::write(&page, self.html())?;
        fs::write(folder.join("cells.csv"), tables::csv(&self.records))?;
        fs::write(folder.join("lab.json"), serde_json::to_string_pretty(self)?)?;
        fs::write(folder.join("summary.md"), self.markdown())?;
        Ok(page)
    }
}

/// How the figures of other systems have to be read.
const PEERS: &str = "Medians of turns; a few per cent are noise. Pabal has every message on disk before any client \
receives it, numbers it for each session, authorizes the sender, and delivers it to the sender's own session as \
well; the others keep messages in memory at most and do none of this. Where the generator's core was busy for more than \
nine tenths, rates and times are the generator's.";

const METHOD: &str = "<ul>
<li>A server is the program that makes this report, with a fresh folder on disk, durable history and no rate \
limits; long polls wait for at most 10 s and the ping interval is 10 s, so that a window includes them.</li>
<li>Clients are sessions on their own sockets. Messages are due at random at the stated rate and are sent when they \
are due, whatever happened to earlier ones; latency counts from then.</li>
<li>A cell in which a message was lost, repeated or reordered is invalid. One in which the generator's \
core was busy for more than nine tenths, or sends left late, is generator-bound: marked, and left out of the \
model.</li>
<li>CPU is user and system time of the server's process, added up over its threads as the scheduler of the \
kernel accounts them; what the kernel does for loopback packets in the server's name is in it.</li>
<li>Memory is Rss of smaps_rollup with all clients connected and at rest, less before any and less when a \
tenth were connected, by clients, the greater; the kernel's is TCP's in /proc/net/sockstat.</li>
</ul>
";
