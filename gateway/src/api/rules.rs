//! The rules for names, texts and passwords. One function per rule; each returns the value in the
//! form in which it is stored.

use pabal_core::protocol::Problem;
use unicode_normalization::UnicodeNormalization;

/// A username in the form in which it is stored: lower case, in Unicode normalisation form NFKC.
///
/// 2 to 32 letters and digits of any script, `_`, `-` and `.`, beginning and ending with a letter
/// or digit. `Mina` and `mina` are the same name. So are composed and decomposed Hangul syllables,
/// as different systems type them.
pub(super) fn username(text: &str) -> Result<String, Problem> {
    let name: String = username_prefix(text);
    let count = name.chars().count();
    let wrong = |detail: &str| Err(Problem::invalid("username", detail));
    if !(2..=32).contains(&count) {
        return wrong("must have 2 to 32 characters");
    }
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.chars().all(plain) {
        return wrong("may contain letters and digits of any script, `_`, `-` and `.`");
    }
    let whole = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    if !whole(name.chars().next()) || !whole(name.chars().next_back()) {
        return wrong("must begin and end with a letter or digit");
    }
    Ok(name)
}

/// The beginning of a username, in the form in which usernames are stored.
pub fn username_prefix(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

/// Checks the password in `field`: 8 to 256 bytes of any content.
///
/// # Errors
/// `invalid`. Do not retry.
pub fn password(field: &str, text: &str) -> Result<(), Problem> {
    if (8..=256).contains(&text.len()) {
        return Ok(());
    }
    Err(Problem::invalid(field, "must have 8 to 256 bytes"))
}

/// The name that other users see: 1 to 64 characters on one line.
pub(super) fn display_name(text: &str) -> Result<String, Problem> {
    line("display_name", text, 1, 64)
}

/// A status line: up to 140 characters; empty for none.
pub(super) fn status_text(text: &str) -> Result<String, Problem> {
    line("status_text", text, 0, 140)
}

/// The name of a device: up to 64 characters.
pub(super) fn device_name(text: &str) -> Result<String, Problem> {
    line("device_name", text, 0, 64)
}

/// A group's name: 1 to 100 characters on one line.
pub(super) fn group_name(text: &str) -> Result<String, Problem> {
    line("name", text, 1, 100)
}

/// An http or https URL of up to 2,048 bytes; empty for none.
pub(super) fn avatar_url(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.len() > 2_048 {
        return Err(Problem::invalid("avatar_url", "must have at most 2048 bytes"));
    }
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url.into()),
        _ => Err(Problem::invalid("avatar_url", "must be an http:// or https:// URL")),
    }
}

/// A language tag in the form of BCP 47 (RFC 5646): `en`, `ko-KR`, `zh-Hant-TW`.
pub(super) fn locale(text: &str) -> Result<String, Problem> {
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or_default();
    let well_formed = text.len() <= 35
        && (2..=8).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        });
    if well_formed {
        return Ok(text.to_owned());
    }
    Err(Problem::invalid("locale", "must be a language tag such as en or ko-KR"))
}

/// A text on one line, with surrounding spaces removed. The length is in characters.
fn line(field: &str, text: &str, least: usize, most: usize) -> Result<String, Problem> {
    let text: String = text.trim().nfc().collect();
    if !(least..=most).contains(&text.chars().count()) {
        let detail = format!("must have {least} to {most} characters");
        return Err(Problem::invalid(field, detail));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::invalid(field, "must not contain control characters"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_of_every_script_are_normalised() {
        assert_eq!(username("Mina.Kim-2").expect("valid"), "mina.kim-2");
        let (composed, decomposed) = ("\u{bbf8}\u{b098}01", "\u{1106}\u{1175}\u{1102}\u{1161}01");
        assert_eq!(username(decomposed).expect("valid"), composed);
        assert_eq!(username("미나").expect("two syllables"), "미나");
        assert_eq!(username("ＭＩＮＡ").expect("full width"), "mina");
        for wrong in ["a", "a b c", ".mina", "mina-", "mi\u{0}na", "mina@home", ""] {
            assert!(username(wrong).is_err(), "{wrong:?}");
        }
        assert!(username(&"a".repeat(32)).is_ok());
        assert!(username(&"a".repeat(33)).is_err());
    }

    #[test]
    fn the_length_of_a_password_is_in_bytes() {
        assert!(password("password", "1234567").is_err());
        assert!(password("password", "12345678").is_ok());
        assert!(password("password", "비밀번호").is_ok(), "twelve bytes");
        assert!(password("password", &"x".repeat(257)).is_err());
    }

    #[test]
    fn lines_are_trimmed_and_have_no_control_characters() {
        assert_eq!(display_name("  Mina ").expect("valid"), "Mina");
        assert!(display_name("   ").is_err());
        assert!(display_name("a\nb").is_err());
        assert_eq!(status_text("").expect("none"), "");
        assert!(status_text(&"x".repeat(141)).is_err());
    }

    #[test]
    fn a_picture_has_an_http_or_https_url() {
        assert!(avatar_url("https://example.org/a.png").is_ok());
        assert_eq!(avatar_url("").expect("none"), "");
        for wrong in ["javascript:alert(1)", "data:,x", "example.org", "http://"] {
            assert!(avatar_url(wrong).is_err(), "{wrong}");
        }
        assert!(avatar_url(&format!("https://example.org/{}", "x".repeat(2_048))).is_err());
    }

    #[test]
    fn locales_are_language_tags() {
        for right in ["en", "ko-KR", "zh-Hant-TW", "de-CH-1996"] {
            assert!(locale(right).is_ok(), "{right}");
        }
        for wrong in ["", "k", "ko_KR", "ko-", "-ko", "1a", "toolonglanguage"] {
            assert!(locale(wrong).is_err(), "{wrong}");
        }
    }
}
