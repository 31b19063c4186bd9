//! `cells.jsonl`: every cell that was ever measured into a folder, a line each, written at once.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::grid::Size;
use crate::record::Record;

/// What has to be the same for an old measurement to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The program: length and time of its file.
    pub program: String,
    /// The machine.
    pub machine: String,
    /// Which grid, which says how long windows were.
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
    /// Opens the file of a folder and reads what was measured in this context; of a cell that was measured
    /// again, the last. A line that was cut off by the end of its program is passed over.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is something else.
    pub fn open(folder: &Path, context: Context, fresh: bool) -> Outcome<Self> {
        let path = folder.join("cells.jsonl");
        let same = |line: &Line| line.context == context;
        let records = if fresh { BTreeMap::new() } else { read(&path, same)? };
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        // A line of its own, whatever was cut off before.
        if fs::read(&path)?.last().is_some_and(|last| *last != b'\n') {
            file.write_all(b"\n")?;
        }
        Ok(Self { file, context, records })
    }

    /// What is known of a cell, by its name.
    pub fn get(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// Keeps a record.
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

/// Everything that was last measured into a folder, by whatever program.
///
/// # Errors
/// If the file cannot be read, or is something else.
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
