//! Media types, as far as it matters whether a payload is JSON.

/// The type and subtype of a `Content-Type`, without parameters.
#[must_use]
pub fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a payload of this `Content-Type` is JSON text in UTF-8: `application/json`, `text/json` or any `…+json`,
/// with no other charset.
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    let is_json = ["/json", "+json"].into_iter().any(|end| {
        let start = essence.len().checked_sub(end.len());
        start.and_then(|start| essence.get(start..)).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
    });
    is_json && content_type.split(';').skip(1).all(is_utf8)
}

/// Whether a payload of this `Content-Type` is what no `Content-Type` means: plain `application/json`.
#[must_use]
pub fn is_plain_json(content_type: &str) -> bool {
    essence(content_type).eq_ignore_ascii_case("application/json") && is_json(content_type)
}

/// Whether a parameter leaves the text in UTF-8; those that are no charset do.
fn is_utf8(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return true };
    let value = value.trim().trim_matches('"');
    !name.trim().eq_ignore_ascii_case("charset")
        || ["utf-8", "utf8", "us-ascii"].into_iter().any(|known| known.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_other_media_types() {
        for text in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "text/json;charset=\"utf-8\"",
            "application/vnd.a+json",
            "application/json; profile=x",
        ] {
            assert!(is_json(text), "{text}");
        }
        for text in
            ["", ";", "json", "text/plain", "application/jsonl", "application/json; charset=utf-16", "é+jso"]
        {
            assert!(!is_json(text), "{text}");
        }
        assert!(is_plain_json("application/json ;charset=utf-8") && !is_plain_json("text/json"));
    }
}
