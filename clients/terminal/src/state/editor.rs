//! A text that is being written, with a cursor between two grapheme clusters.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::text;

/// The longest message that the server accepts.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// A text that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Editor {
    text: String,
    /// A byte position between two grapheme clusters.
    cursor: usize,
}

/// How an editor is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) rows: Vec<String>,
    /// Row and column.
    pub(crate) cursor: (usize, usize),
}

impl Editor {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Returns the text and clears the editor.
    pub(crate) fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Inserts at the cursor as much of the text as fits. Returns whether all of it fitted.
    pub(crate) fn insert(&mut self, text: &str) -> bool {
        let text = text::clean(&text.replace("\r\n", "\n").replace('\r', "\n"));
        let free = MESSAGE_BYTES_MAX.saturating_sub(self.text.len());
        let end = text.floor_char_boundary(free);
        self.text.insert_str(self.cursor, &text[..end]);
        self.cursor += end;
        end == text.len()
    }

    pub(crate) fn left(&mut self) {
        self.cursor = self.before();
    }

    pub(crate) fn right(&mut self) {
        self.cursor = self.after();
    }

    /// Moves to the beginning of the line.
    pub(crate) fn home(&mut self) {
        self.cursor = self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1);
    }

    /// Moves to the end of the line.
    pub(crate) fn end(&mut self) {
        self.cursor += self.text[self.cursor..].find('\n').unwrap_or(self.text.len() - self.cursor);
    }

    pub(crate) fn backspace(&mut self) {
        self.cut(self.before());
    }

    pub(crate) fn delete(&mut self) {
        self.text.drain(self.cursor..self.after());
    }

    /// Deletes the word before the cursor.
    pub(crate) fn delete_word(&mut self) {
        let before = self.text[..self.cursor].trim_end();
        self.cut(
            before
                .rfind(char::is_whitespace)
                .map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8)),
        );
    }

    /// Deletes the text before the cursor.
    pub(crate) fn delete_before(&mut self) {
        self.cut(0);
    }

    fn cut(&mut self, from: usize) {
        self.text.drain(from..self.cursor);
        self.cursor = from;
    }

    fn before(&self) -> usize {
        self.text[..self.cursor].grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        let next = self.text[self.cursor..].graphemes(true).next();
        self.cursor + next.map_or(0, str::len)
    }

    /// The text in rows of `columns`. A row is broken where it is full, even within a word: a word that moves
    /// to the next row while it is being written would move the cursor.
    pub(crate) fn shown(&self, columns: usize) -> Shown {
        let columns = columns.max(2);
        let mut rows = vec![String::new()];
        let (mut cursor, mut taken) = ((0, 0), 0);
        for (at, grapheme) in self.text.grapheme_indices(true) {
            let wide = if grapheme == "\n" { 0 } else { grapheme.width() };
            if taken + wide > columns {
                rows.push(String::new());
                taken = 0;
            }
            if at == self.cursor {
                cursor = (rows.len() - 1, taken);
            }
            if grapheme == "\n" {
                rows.push(String::new());
                taken = 0;
            } else if let Some(row) = rows.last_mut() {
                row.push_str(grapheme);
                taken += wide;
            }
        }
        if self.cursor == self.text.len() {
            if taken == columns {
                rows.push(String::new());
                taken = 0;
            }
            cursor = (rows.len() - 1, taken);
        }
        Shown { rows, cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Editor {
        let mut editor = Editor::default();
        assert!(editor.insert(text));
        editor
    }

    #[test]
    fn a_grapheme_cluster_is_edited_as_one_letter() {
        let mut editor = written("a안👨‍👩‍👧e\u{301}");
        editor.backspace();
        assert_eq!(editor.text(), "a안👨‍👩‍👧");
        editor.left();
        editor.left();
        editor.delete();
        assert_eq!(editor.text(), "a👨‍👩‍👧");
        editor.backspace();
        editor.backspace();
        editor.delete();
        editor.delete();
        assert!(editor.is_empty());
    }

    #[test]
    fn words_and_lines_are_deleted() {
        let mut editor = written("one two\nthree  ");
        editor.delete_word();
        assert_eq!(editor.text(), "one two\n");
        editor.delete_word();
        assert_eq!(editor.text(), "one ");
        editor.home();
        editor.insert("> ");
        editor.end();
        editor.insert("!");
        assert_eq!(editor.text(), "> one !");
        editor.delete_before();
        assert!(editor.is_empty());
    }

    #[test]
    fn the_cursor_is_at_the_position_of_the_next_letter() {
        let mut editor = written("안녕하세요");
        assert_eq!(
            editor.shown(4),
            Shown { rows: ["안녕", "하세", "요"].map(str::to_owned).to_vec(), cursor: (2, 2) }
        );
        editor.left();
        assert_eq!(editor.shown(4).cursor, (2, 0));
        assert_eq!(written("abcd").shown(4).cursor, (1, 0));
        assert_eq!(written("a\n").shown(4).cursor, (1, 0));
        assert_eq!(written("").shown(4), Shown { rows: vec![String::new()], cursor: (0, 0) });
    }

    #[test]
    fn the_text_is_limited_to_the_longest_message() {
        let mut editor = written(&"가".repeat(5_000));
        assert!(!editor.insert(&"나".repeat(5_000)));
        assert!(editor.text().len() <= MESSAGE_BYTES_MAX);
        assert!(editor.text().len() > MESSAGE_BYTES_MAX - 3);
    }
}
