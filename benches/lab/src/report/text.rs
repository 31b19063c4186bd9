//! Formats figures and text for the report.

/// Escapes text for HTML, XML and their attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other if other.is_control() && other != '\n' => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// A figure with two or three significant digits.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    let short = |value: f64| {
        let digits = match value.abs() {
            size if size >= 99.95 => 0,
            size if size >= 9.995 => 1,
            size if size >= 0.0995 => 2,
            size if size >= 0.00995 => 3,
            _ => 4,
        };
        let text = format!("{value:.digits$}");
        let text = if text.contains('.') { text.trim_end_matches('0') } else { &text };
        text.trim_end_matches('.').to_owned()
    };
    match size {
        0.0 => "0".to_owned(),
        _ if size >= 0.9995e9 => format!("{} G", short(value / 1e9)),
        _ if size >= 0.9995e6 => format!("{} M", short(value / 1e6)),
        _ if size >= 9_995.0 => format!("{} k", short(value / 1e3)),
        _ => short(value),
    }
}

/// A count in full.
pub(super) fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (number, digit) in digits.chars().enumerate() {
        if number > 0 && (digits.len() - number).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as per cent.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent.abs() < 9.95 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

/// A figure, or a dash.
pub(super) fn maybe(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), figure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_that_count() {
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.012"),
            (0.5, "0.5"),
            (12.34, "12.3"),
            (100.0, "100"),
            (1234.0, "1234"),
            (12_345.0, "12.3 k"),
            (2_000_000.0, "2 M"),
        ] {
            assert_eq!(figure(value), text);
        }
        let counts = [7, 1_280, 1_000_000].map(count);
        assert_eq!(counts, ["7", "1,280", "1,000,000"]);
        assert_eq!((percent(0.034), percent(0.5)), ("3.4 %".to_owned(), "50 %".to_owned()));
    }

    #[test]
    fn nothing_that_is_said_becomes_a_tag() {
        assert_eq!(escape("a<b & \"c\"\u{7}"), "a&lt;b &amp; &quot;c&quot;");
    }
}
