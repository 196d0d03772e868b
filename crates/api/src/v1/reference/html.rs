//! Text within HTML.

use serde_json::Value;

/// A text that is markup nowhere, neither between tags nor within an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The id of a place in the page: letters, digits and hyphens.
pub(super) fn anchor(kind: &str, name: &str) -> String {
    let name = name.chars().map(|character| match character.is_ascii_alphanumeric() {
        true => character.to_ascii_lowercase(),
        false => '-',
    });
    format!("{kind}-{}", name.collect::<String>())
}

/// A member that is a text; empty without.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
