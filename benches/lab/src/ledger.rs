//! `cells.jsonl`: every measured cell of a folder, one line per cell, written as soon as it is measured.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::grid::Size;
use crate::record::Record;

/// The conditions that must be equal for an earlier measurement to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The program: length and time of its file.
    pub program: String,
    /// The machine.
    pub machine: String,
    /// The size of the grid, which defines the length of windows.
    pub size: Size,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    context: Context,
    record: Record,
}

/// The file, open to append to.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    context: Context,
    records: BTreeMap<String, Record>,
}

impl Ledger {
    /// Opens the file of a folder and reads the measurements of this context; the last one of each cell. An
    /// incomplete line of an interrupted program is skipped.
    ///
    /// # Errors
    /// If the file cannot be read or written, or has another format.
    pub fn open(folder: &Path, context: Context, fresh: bool) -> Outcome<Self> {
        let path = folder.join("cells.jsonl");
        let same = |line: &Line| line.context == context;
        let records = if fresh { BTreeMap::new() } else { read(&path, same)? };
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        // Begin a new line after an incomplete one.
        if fs::read(&path)?.last().is_some_and(|last| *last != b'\n') {
            file.write_all(b"\n")?;
        }
        Ok(Self { file, context, records })
    }

    /// The record of a cell, by its name.
    pub fn get(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// Appends a record.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&mut self, record: Record) -> Outcome<()> {
        let line = Line { context: self.context.clone(), record };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.records.insert(line.record.cell.name(), line.record);
        Ok(())
    }
}

/// The last measurement of each cell of a folder, by any program.
///
/// # Errors
/// If the file cannot be read, or has another format.
pub fn everything(folder: &Path) -> Outcome<Vec<Record>> {
    Ok(read(&folder.join("cells.jsonl"), |_| true)?.into_values().collect())
}

fn read(path: &Path, wanted: impl Fn(&Line) -> bool) -> Outcome<BTreeMap<String, Record>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    let mut records = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        match serde_json::from_str::<Line>(line) {
            Ok(line) if wanted(&line) => {
                records.insert(line.record.cell.name(), line.record);
            }
            Ok(_) => {}
            Err(error) if error.is_eof() => {}
            Err(error) => {
                return Err(format!("{}:{}: {error}", path.display(), number + 1).into());
            }
        }
    }
    Ok(records)
}
