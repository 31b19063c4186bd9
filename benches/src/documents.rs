//! The tables of the documents: `measure documents FILE` writes the results of a run into
//! `benches/README.md` and the costs that follow from them into `README.md`. Both tables are of that one
//! run, because the second is made of rows of the first.

use std::path::PathBuf;

use clap::Args;

use crate::Outcome;
use crate::report::Report;

/// The block of `benches/README.md` that holds the results of a whole run.
pub const RESULTS: &str = "measure: results";
/// The block of `README.md` that holds some of their rows.
pub const COSTS: &str = "measure: costs";

/// Cells without which a run is not published.
const PUBLISHED: [&str; 6] = ["fanout", "long-poll", "idle", "durable", "history", "flat"];

/// Rows of the results that are costs of the product, as (cell, part of the text); other rows describe the
/// method and its peers.
const COST_ROWS: [(&str, &str); 13] = [
    ("fanout", "W1 CPU a delivery, to bare tungstenite"),
    ("fanout", "W32 CPU a delivery, to bare tungstenite"),
    ("fanout", "W32 deliveries a second, to bare tungstenite"),
    ("long-poll", "W1 "),
    ("long-poll", "W32 "),
    ("idle", "idle WebSocket session"),
    ("idle", "parked long poll"),
    ("durable", "senders"),
    ("durable", "one sender"),
    ("history", "last 50"),
    ("slow", "p99"),
    ("stop", "SIGTERM"),
    ("redis", "1 partition(s)"),
];

/// Write the results of a run into the tables of both README files.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// JSON of a run of all cells (`measure --json FILE`); without it only README.md is rewritten, from
    /// the results that benches/README.md holds
    file: Option<PathBuf>,
    /// Document of the results
    #[arg(long, value_name = "FILE", default_value = "benches/README.md")]
    results: PathBuf,
    /// Document of the costs
    #[arg(long, value_name = "FILE", default_value = "README.md")]
    costs: PathBuf,
}

/// Rewrites the tables.
///
/// # Errors
/// If a file cannot be read or written, a document has no block, or the run lacks a published cell. No
/// document is changed then.
pub fn run(flags: &Flags) -> Outcome<()> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let (mut results, costs) = (read(&flags.results)?, read(&flags.costs)?);
    if let Some(file) = &flags.file {
        let report: Report = serde_json::from_str(&read(file)?)?;
        let missing =
            PUBLISHED.iter().find(|cell| report.claims.iter().all(|it| it.cell != **cell));
        if let Some(cell) = missing {
            return Err(format!("{} has no cell {cell}: measure all cells", file.display()).into());
        }
        if report.quick {
            return Err(format!("{} is of a quick run, which is too coarse", file.display()).into());
        }
        results = with_block(&results, RESULTS, &report.markdown())?;
    }
    let table = cost_table(block(&results, RESULTS)?)?;
    let costs = with_block(&costs, COSTS, &table)?;
    std::fs::write(&flags.results, results)?;
    std::fs::write(&flags.costs, costs)?;
    Ok(())
}

/// The rows of the results that are costs, as a table of the same columns and the same figures.
///
/// # Errors
/// If the results hold no cost.
pub fn cost_table(results: &str) -> Outcome<String> {
    let rows = rows(results);
    let costs = COST_ROWS.iter().flat_map(|&(cell, part)| {
        let chosen =
            move |row: &&Vec<&str>| row.len() > 1 && row[0] == cell && row[1].contains(part);
        rows.iter().filter(chosen)
    });
    let lines: Vec<_> = costs.map(|row| format!("| {} |\n", row.join(" | "))).collect();
    if lines.is_empty() {
        return Err("the results hold no cost".into());
    }
    Ok(Report::HEAD.to_owned() + &lines.concat())
}

/// The rows of the tables in a text, without heads and rules; each cell without space around it.
pub fn rows(text: &str) -> Vec<Vec<&str>> {
    let mut rows: Vec<Vec<&str>> = Vec::new();
    for line in text.lines() {
        let Some(cells) = line.strip_prefix('|') else { continue };
        let cells = cells.trim_end();
        let cells = cells.strip_suffix('|').unwrap_or(cells);
        if cells.chars().all(|char| "|-: ".contains(char)) {
            // A rule: the line before it is the head.
            rows.pop();
        } else {
            rows.push(cells.split('|').map(str::trim).collect());
        }
    }
    rows
}

/// What a document holds between the two marks of a block.
///
/// # Errors
/// If it has no such block.
pub fn block<'a>(document: &'a str, name: &str) -> Outcome<&'a str> {
    let (_, inside, _) = parts(document, name)?;
    Ok(inside)
}

/// A document with other content in a block.
///
/// # Errors
/// If it has no such block.
pub fn with_block(document: &str, name: &str, content: &str) -> Outcome<String> {
    let (before, _, after) = parts(document, name)?;
    Ok(format!("{before}\n{}\n\n{after}", content.trim()))
}

fn parts<'a>(document: &'a str, name: &str) -> Outcome<(&'a str, &'a str, &'a str)> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let no_block = || format!("the document has no block between {} and {close}", open.trim_end());
    let from = document.find(&open).ok_or_else(no_block)? + open.len();
    let to = from + document[from..].find(&close).ok_or_else(no_block)?;
    Ok((&document[..from], &document[from..to], &document[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Claim, Target};

    fn claim(cell: &str, what: &str, ours: f64) -> Claim {
        Claim {
            cell: cell.into(),
            what: what.into(),
            ours,
            theirs: Some(8.61),
            unit: "µs".into(),
            target: Target::AtMost(1.1),
        }
    }

    fn whole_run() -> Report {
        let mut report = Report { machine: "a machine".into(), ..Report::default() };
        report.claims = PUBLISHED.iter().map(|cell| claim(cell, "other", 1.0)).collect();
        report.claims.push(claim("fanout", "W1 CPU a delivery, to bare tungstenite", 10.16));
        report.claims.push(claim("fanout", "W1 CPU a delivery, to bare frames", 10.16));
        report
    }

    /// Both documents, with something around their blocks.
    fn documents(folder: &std::path::Path, report: &Report) -> Flags {
        let path = |name: &str| folder.join(name);
        let document = |name| format!("above\n<!-- {name} -->\nold\n<!-- /{name} -->\nbelow\n");
        std::fs::write(path("results.md"), document(RESULTS)).expect("written");
        std::fs::write(path("costs.md"), document(COSTS)).expect("written");
        let json = serde_json::to_string(report).expect("JSON");
        std::fs::write(path("run.json"), json).expect("written");
        let file = Some(path("run.json"));
        Flags { file, results: path("results.md"), costs: path("costs.md") }
    }

    #[test]
    fn a_run_rewrites_both_tables_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = documents(folder.path(), &whole_run());
        run(&flags).expect("both documents");
        let costs = std::fs::read_to_string(&flags.costs).expect("costs");
        let row = "| fanout | W1 CPU a delivery, to bare tungstenite | 10.2 µs | 8.61 | 1.18 × | ≤ 1.10 × | FAIL |";
        assert!(costs.contains(row), "{costs}");
        assert!(!costs.contains("bare frames") && !costs.contains("old"), "{costs}");
        assert!(costs.starts_with("above\n") && costs.ends_with("\nbelow\n"), "{costs}");
        let results = std::fs::read_to_string(&flags.results).expect("results");
        assert!(results.contains(row) && results.contains("bare frames"), "{results}");
    }

    #[test]
    fn a_run_without_a_published_cell_and_a_quick_run_change_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut part = whole_run();
        part.claims.retain(|claim| claim.cell != "idle");
        let quick = Report { quick: true, ..whole_run() };
        for (report, why) in [(part, "no cell idle"), (quick, "quick run")] {
            let flags = documents(folder.path(), &report);
            let refused = run(&flags).expect_err("it is not published");
            assert!(refused.to_string().contains(why), "{refused}");
            let results = std::fs::read_to_string(&flags.results).expect("results");
            assert!(results.contains("\nold\n"), "{results}");
        }
    }

    #[test]
    fn rows_are_those_of_data() {
        let text = "text\n\n| a | b |\n|---|--:|\n| 1 | |\n| 2 | x y |\n\n| c |\n|---|\n| 3 |\n";
        assert_eq!(rows(text), [vec!["1", ""], vec!["2", "x y"], vec!["3"]]);
    }

    #[test]
    fn a_document_without_the_block_is_refused() {
        assert!(block("<!-- measure: costs -->\n| 1 |\n", COSTS).is_err());
    }
}
