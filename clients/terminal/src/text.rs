//! Text on a terminal: its width in columns, its line breaks, and the characters that must not reach the
//! terminal.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Columns that text takes: two for Hangul, Han and most emoji.
pub(crate) fn width(text: &str) -> usize {
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

/// Text without the characters that control the terminal or change the direction of writing.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push('\n'),
            '\t' => out.push_str("    "),
            // Explicit directions (UAX #9) would affect the text after the message.
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {}
            control if control.is_control() => {}
            other => out.push(other),
        }
    }
    out
}

/// The same as [`clean`], on one line.
pub(crate) fn line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

/// As much of a line as fits, with `…` at the end if it was cut.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut taken = 0;
    for grapheme in text.graphemes(true) {
        let wide = grapheme.width();
        if taken + wide + 1 > columns {
            break;
        }
        taken += wide;
        out.push_str(grapheme);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// Breaks text into lines of at most `columns`: after spaces and between wide letters, and within a word only
/// if it is longer than a line. Spaces at a break are not shown.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    text.split('\n').flat_map(|line| wrap_line(line, columns)).collect()
}

fn wrap_line(line: &str, columns: usize) -> Vec<String> {
    let mut out = Vec::new();
    // Byte positions: the beginning of the line, and the last position where it may be broken.
    let (mut start, mut may_break, mut taken) = (0, 0, 0);
    for (at, grapheme) in line.grapheme_indices(true) {
        let wide = grapheme.width();
        let space = grapheme == " ";
        if wide > 1 && at > start {
            may_break = at;
        }
        if taken + wide > columns && !space {
            let end = if may_break > start { may_break } else { at };
            out.push(line[start..end].trim_end().to_owned());
            start = end;
            taken = width(&line[start..at]);
        }
        taken += wide;
        if space || wide > 1 {
            may_break = at + grapheme.len();
        }
    }
    out.push(line[start..].trim_end().to_owned());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_a_terminal() {
        assert_eq!(width("mina"), 4);
        assert_eq!(width("안녕"), 4);
        assert_eq!(width("漢字かな"), 8);
        assert_eq!(width("👍"), 2);
        assert_eq!(width("👨‍👩‍👧‍👦"), 2);
        assert_eq!(width("e\u{301}"), 1);
    }

    #[test]
    fn lines_break_at_words_and_between_wide_letters() {
        assert_eq!(wrap("who is hungry?", 8), ["who is", "hungry?"]);
        assert_eq!(wrap("안녕하세요", 5), ["안녕", "하세", "요"]);
        assert_eq!(wrap("ab안녕 하세요", 6), ["ab안녕", "하세요"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("a\n\nb", 4), ["a", "", "b"]);
        assert_eq!(wrap("👍👍👍", 4), ["👍👍", "👍"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("한", 0), ["한"]);
    }

    #[test]
    fn every_line_fits_and_no_letter_is_lost() {
        let text = "The courier 파발 rode 한양에서 의주까지 without rest🐎🐎 and-arrived-in-time.";
        for columns in 2..60 {
            let lines = wrap(text, columns);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:?}");
            let letters = |text: &str| text.replace(' ', "");
            assert_eq!(letters(&lines.concat()), letters(text));
        }
    }

    #[test]
    fn a_line_that_is_cut_ends_in_dots() {
        assert_eq!(fit("mina", 4), "mina");
        assert_eq!(fit("minari", 4), "min…");
        assert_eq!(fit("안녕하", 4), "안…");
        assert_eq!(fit("x", 0), "");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\r\u{7}\tc\nd\u{202e}e"), "a[2Jb    c\nde");
        assert_eq!(line("a\nb"), "a b");
    }
}
