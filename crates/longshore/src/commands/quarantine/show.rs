//! Quarantined messages as text. What came from outside is made printable: a terminal obeys control characters.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longshore_core::Timestamp;
use longshore_store::{QuarantineCount, QuarantineEntry, QuarantineItem};
use serde_json::json;

use super::names::Names;

/// Longer details are cut in a table.
const LONGEST_DETAIL: usize = 100;

/// One line per message under a heading.
pub(super) fn table(items: &[QuarantineItem], names: &Names) -> String {
    let mut rows =
        vec![["ID", "RECEIVED", "PROJECT", "SOURCE", "REASON", "BYTES", "DETAIL"].map(str::to_owned)];
    rows.extend(items.iter().map(|item| {
        let mut detail = printable(&item.detail);
        if let Some((end, _)) = detail.char_indices().nth(LONGEST_DETAIL) {
            detail.truncate(end);
            detail.push('…');
        }
        if item.replayed_at.is_some() {
            detail = format!("(replayed) {detail}");
        }
        [
            item.id.to_string(),
            seconds(item.received_at),
            printable(&names.of_project(item.project)),
            printable(&names.of_source(item.source)),
            printable(&item.reason),
            item.bytes.to_string(),
            detail,
        ]
    }));
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Writing to a `String` cannot fail.
            let _ =
                if index + 1 == row.len() { write!(text, "{cell}") } else { write!(text, "{cell:width$}  ") };
        }
        text.push('\n');
    }
    text
}

/// How many there are, by reason, and whether all of them were shown.
pub(super) fn sum(counts: &[QuarantineCount], shown: usize) -> String {
    let total: u64 = counts.iter().map(|count| count.count).sum();
    if total == 0 {
        return "nothing in quarantine".to_owned();
    }
    let mut reasons: Vec<(&str, u64)> = Vec::new();
    for count in counts {
        match reasons.iter_mut().find(|(reason, _)| *reason == count.reason) {
            Some((_, sum)) => *sum += count.count,
            None => reasons.push((&count.reason, count.count)),
        }
    }
    let reasons: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{count} {}", printable(reason))).collect();
    let more = if shown as u64 >= total { String::new() } else { format!("; the newest {shown} shown") };
    format!("{total} in quarantine: {}{more}", reasons.join(", "))
}

/// A message as a JSON object, without its content.
pub(super) fn json(item: &QuarantineItem, names: &Names) -> String {
    json!({
        "id": item.id.to_string(),
        "received_at": item.received_at.to_string(),
        "project_id": item.project.to_string(),
        "project": names.of_project(item.project),
        "source_id": item.source.map(|id| id.to_string()),
        "source": item.source.map(|id| names.of_source(Some(id))),
        "reason": item.reason,
        "detail": item.detail,
        "position": item.position,
        "bytes": item.bytes,
        "replayed_at": item.replayed_at.map(|at| at.to_string()),
        // Before a message is replayed this may be the id that a replay would give it, which is nobody's business.
        "event_id": item.event.filter(|_| item.replayed_at.is_some()).map(|id| id.to_string()),
    })
    .to_string()
}

/// Everything about a message, its body at the end.
pub(super) fn whole(entry: &QuarantineEntry, names: &Names) -> String {
    let item = &entry.item;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name:10}{}", printable(value));
    };
    line("id", &item.id.to_string());
    line("received", &item.received_at.to_string());
    line("project", &names.of_project(item.project));
    line("source", &names.of_source(item.source));
    line("reason", &item.reason);
    line("detail", &item.detail);
    line("position", &item.position);
    if let Some(facts) = &entry.facts {
        for (name, value) in [
            ("message", facts.message_id.clone()),
            ("label", facts.label.clone()),
            ("sent", facts.timestamp_ms.map(|millis| Timestamp::from_millis(millis).to_string())),
            ("address", Some(facts.address.clone()).filter(|address| !address.is_empty())),
            ("key", facts.key.clone()),
            ("attempt", facts.attempt.map(|attempt| attempt.to_string())),
            ("redelivery", facts.redelivered.then(|| "the broker had delivered it before".to_owned())),
            ("tombstone", facts.tombstone.then(|| "the broker says there is no body".to_owned())),
        ] {
            if let Some(value) = value {
                line(name, &value);
            }
        }
    }
    if let Some(at) = item.replayed_at {
        let event = item.event.map(|id| format!(", event {id}")).unwrap_or_default();
        line("replayed", &format!("{at}{event}"));
    }
    for (name, value) in entry.headers.iter() {
        line("header", &format!("{name}: {value}"));
    }
    let _ = match std::str::from_utf8(&entry.body) {
        Ok(body) => write!(text, "body      {} bytes of text\n\n{}", item.bytes, printable_lines(body)),
        Err(_) => {
            write!(
                text,
                "body      {} bytes, not text; in base64\n\n{}",
                item.bytes,
                STANDARD.encode(&entry.body)
            )
        }
    };
    text
}

/// On one line, control characters as escapes.
pub(super) fn printable(text: &str) -> String {
    escaped(text, |_| false)
}

fn printable_lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !is_kept(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

fn seconds(at: Timestamp) -> String {
    Timestamp::from_secs(at.as_secs()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(printable("a\u{1b}[2Jb\n\u{9b}c é"), "a\\u{1b}[2Jb\\n\\u{9b}c é");
        assert_eq!(printable_lines("{\n\t1\r\u{7}}"), "{\n\t1\\r\\u{7}}");
    }
}
