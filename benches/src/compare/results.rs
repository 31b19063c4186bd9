//! The file of a comparison: a line for the programs and sizes, then a line for each finished turn, so
//! that an interrupted comparison continues with the turn that it did not finish.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::costs::{Cell, Cost, Size};
use crate::Outcome;

/// What has to be the same for turns to belong to one comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The earlier program.
    pub before: Program,
    /// The later program.
    pub after: Program,
    /// The sizes of the cells.
    pub size: Size,
}

/// A program, as the file system describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: u128,
}

/// Both programs in one cell, one straight after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The pair, from 0.
    pub pair: usize,
    /// The cell.
    pub cell: Cell,
    /// The figures of the earlier program.
    pub before: Vec<Cost>,
    /// The same figures of the later program.
    pub after: Vec<Cost>,
}

/// The turns of a comparison, in memory and in its file.
#[derive(Debug)]
pub struct Results {
    file: File,
    turns: Vec<Turn>,
}

impl Program {
    /// Describes a program.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn of(path: &Path) -> Outcome<Self> {
        let metadata =
            std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let modified_ms = metadata.modified()?.duration_since(UNIX_EPOCH)?.as_millis();
        Ok(Self { path: path.display().to_string(), bytes: metadata.len(), modified_ms })
    }
}

impl Results {
    /// Opens the file of a comparison, with the turns that it holds; makes it if there is none.
    ///
    /// # Errors
    /// If the file belongs to another comparison, is damaged, or cannot be written.
    pub fn open(path: &Path, comparison: &Comparison) -> Outcome<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let text = std::fs::read_to_string(path)?;
        let mut lines = text.lines();
        match lines.next() {
            None => writeln!(file, "{}", serde_json::to_string(comparison)?)?,
            Some(line) if serde_json::from_str::<Comparison>(line)? == *comparison => {}
            Some(_) => {
                let path = path.display();
                return Err(format!("{path} is of other programs or sizes: remove it").into());
            }
        }
        let turns = lines.enumerate().map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| {
                format!("{}, line {}: {error}: remove the line", path.display(), number + 2).into()
            })
        });
        Ok(Self { file, turns: turns.collect::<Outcome<_>>()? })
    }

    /// Whether a pair has this cell already.
    pub fn has(&self, pair: usize, cell: Cell) -> bool {
        self.turns.iter().any(|turn| turn.pair == pair && turn.cell == cell)
    }

    /// Adds a turn and writes it to the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, turn: Turn) -> Outcome<()> {
        // One write, so that an interrupt leaves no half of a line.
        self.file.write_all(format!("{}\n", serde_json::to_string(&turn)?).as_bytes())?;
        self.turns.push(turn);
        Ok(())
    }

    /// The turns of a cell, in the order in which they were measured.
    pub fn of(&self, cell: Cell) -> impl Iterator<Item = &Turn> {
        self.turns.iter().filter(move |turn| turn.cell == cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(after: &str) -> Comparison {
        let program = |path: &str| Program { path: path.into(), bytes: 1, modified_ms: 2 };
        Comparison { before: program("old"), after: program(after), size: Size::QUICK }
    }

    fn turn(pair: usize) -> Turn {
        let cost = |value| vec![Cost { what: "µs".into(), value }];
        Turn { pair, cell: Cell::Fanout, before: cost(1.25), after: cost(1.5) }
    }

    #[test]
    fn a_comparison_continues_with_the_turns_of_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/compare.jsonl");
        let mut results = Results::open(&path, &comparison("new")).expect("a new file");
        assert!(!results.has(0, Cell::Fanout));
        results.add(turn(0)).expect("it is written");
        drop(results);
        let results = Results::open(&path, &comparison("new")).expect("the same comparison");
        assert!(results.has(0, Cell::Fanout));
        assert!(!results.has(0, Cell::Idle) && !results.has(1, Cell::Fanout));
        assert_eq!(results.of(Cell::Fanout).collect::<Vec<_>>(), [&turn(0)]);
    }

    #[test]
    fn the_file_of_another_comparison_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("compare.jsonl");
        Results::open(&path, &comparison("new")).expect("a new file");
        let refused = Results::open(&path, &comparison("newer")).expect_err("another program");
        assert!(refused.to_string().contains("remove it"), "{refused}");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("compare.jsonl");
        Results::open(&path, &comparison("new"))
            .expect("a new file")
            .add(turn(0))
            .expect("written");
        let mut file = OpenOptions::new().append(true).open(&path).expect("the file");
        file.write_all(b"{\"pair\":1,\n").expect("written");
        let damaged = Results::open(&path, &comparison("new")).expect_err("half a line");
        assert!(damaged.to_string().contains("line 3"), "{damaged}");
    }
}
