//! JSON documents of clients. What is wrong with one is said with the path of the field and in terms of
//! JSON: the words of the parser, which quote the client and name types of this program, stay here.

use pabal_core::protocol::Problem;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Reads a JSON document. An empty body, or one of white space, counts as `{}`.
///
/// # Errors
/// `invalid`: for the field `body`, with line and column, if the text is not JSON; else for the path of
/// the first field that is absent or has the wrong type, such as `members[1]`. Do not retry.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use pabal_transports::http::json;
///
/// assert_eq!(json::parse::<BTreeMap<String, u8>>(b"{\"a\": 1}").unwrap()["a"], 1);
/// let problem = json::parse::<BTreeMap<String, u8>>(b"{\"a\": true}").unwrap_err();
/// assert_eq!(problem.detail, "a: must be a whole number");
/// ```
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.trim_ascii().is_empty() { &b"{}"[..] } else { body };
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        problem(&path, &error.into_inner())
    })?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn problem(path: &str, error: &serde_json::Error) -> Problem {
    if error.classify() != Category::Data {
        return not_json(error);
    }
    let said = error.to_string();
    // An absent field is reported at the object that lacks it.
    let missing = said.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match (missing, path) {
        (Some(field), ".") => Problem::invalid(field, "is required"),
        (Some(field), path) => Problem::invalid(format!("{path}.{field}"), "is required"),
        (None, ".") => Problem::invalid("body", expectation(&said)),
        (None, path) => Problem::invalid(path, expectation(&said)),
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let detail = match error.classify() {
        Category::Eof => {
            format!("ends in the middle of a JSON document: line {line} column {column}")
        }
        _ => format!("is not JSON: line {line} column {column}"),
    };
    Problem::invalid("body", detail)
}

/// What a field must be, from what the parser says of it.
fn expectation(said: &str) -> String {
    let said = said.rsplit_once(" at line ").map_or(said, |(said, _)| said);
    // Ours begin with it; the parser's have it last, after a quotation of the client.
    let expected = said
        .strip_prefix("expected ")
        .or_else(|| said.rsplit_once(", expected ").map(|(_, expected)| expected));
    let Some(expected) = expected else {
        return "has a value that is not allowed".to_owned();
    };
    let expected = match expected {
        "a borrowed string" | "string or map" => "a string",
        "a map" => "an object",
        "a sequence" => "an array",
        "a boolean" => "true or false",
        "unit" => "null",
        "f32" | "f64" => "a number",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        // A type of this program.
        expected if expected.starts_with("struct ") => "an object",
        expected if expected.starts_with("enum ") => "one of the known values",
        expected => expected,
    };
    format!("must be {expected}")
}

#[cfg(test)]
mod tests {
    use pabal_core::model::UserId;

    use super::*;

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default)]
    struct Document {
        name: String,
        members: Vec<UserId>,
        secret: Option<bool>,
        count: u32,
        role: Role,
        inner: Inner,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Role {
        #[default]
        Member,
        Admin,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    struct Inner {
        needed: String,
    }

    #[test]
    fn what_is_wrong_is_named_in_terms_of_json() {
        for (text, field, detail) in [
            (r#"{"name":7}"#, "name", "must be a string"),
            (r#"{"name":null}"#, "name", "must be a string"),
            (r#"{"members":["1",2]}"#, "members[1]", "must be a decimal string below 2^63"),
            (r#"{"members":["x"]}"#, "members[0]", "must be a decimal string below 2^63"),
            (r#"{"members":"1"}"#, "members", "must be an array"),
            (r#"{"secret":"yes"}"#, "secret", "must be true or false"),
            (r#"{"count":-1}"#, "count", "must be a whole number"),
            (r#"{"count":"1"}"#, "count", "must be a whole number"),
            (r#"{"role":"owner"}"#, "role", "must be `member` or `admin`"),
            (r#"{"role":", expected nonsense"}"#, "role", "must be `member` or `admin`"),
            (r#"{"inner":{}}"#, "inner.needed", "is required"),
            (r#"{"inner":7}"#, "inner", "must be an object"),
            (r#"{"inner":[]}"#, "inner", "must be an object"),
            ("[7]", "[0]", "must be a string"),
            ("7", "body", "must be an object"),
            (r#"{"name":"#, "body", "ends in the middle of a JSON document: line 1 column 8"),
            ("{\n\"name\" 7}", "body", "is not JSON: line 2 column 8"),
            (r#"{"name":"a"} {}"#, "body", "is not JSON: line 1 column 14"),
            (r#"{"name":"\ud800"}"#, "body", "is not JSON: line 1 column 16"),
        ] {
            let problem = parse::<Document>(text.as_bytes()).unwrap_err();
            let said = (&*problem.errors[0].field, &*problem.errors[0].detail);
            assert_eq!(said, (field, detail), "{text}");
        }
        let deep = "[".repeat(100_000);
        let refused = parse::<serde_json::Value>(deep.as_bytes()).unwrap_err();
        assert_eq!(refused.errors[0].field, "body");
    }

    #[test]
    fn a_document_of_the_right_form_is_read() {
        let text = br#"{"members":["7"],"inner":{"needed":"x"},"unknown":[1]}"#;
        let document: Document = parse(text).unwrap();
        assert_eq!((document.members, &*document.inner.needed), (vec![UserId::new(7)], "x"));
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        for text in ["", " \r\n", "{}", " {\"unknown\": [1]} "] {
            assert_eq!(parse::<Document>(text.as_bytes()).unwrap().name, "", "{text:?}");
        }
    }
}
