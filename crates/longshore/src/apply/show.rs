//! A plan for people.

use std::fmt::Write;

use serde_json::Value;

use super::plan::{Plan, What};

/// Longer values are cut: a diff is to be read.
const LONGEST_VALUE: usize = 120;

/// The plan as text, one resource a line, with a sum at the end. It holds no secret.
pub(crate) fn show(plan: &Plan, is_dry_run: bool) -> String {
    let mut text = String::new();
    let (mut created, mut changed, mut deleted) = (0, 0, 0);
    for line in &plan.lines {
        let id = line.id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
        // Writing to a `String` cannot fail.
        let _ = match &line.what {
            What::Create => {
                created += 1;
                writeln!(text, "+ {}{id}", line.resource)
            }
            What::Delete => {
                deleted += 1;
                writeln!(text, "- {}", line.resource)
            }
            What::LeaveAlone => {
                writeln!(
                    text,
                    "  {} is not in the file and is left alone; `--prune` deletes it",
                    line.resource
                )
            }
            What::Change(differs) => {
                changed += 1;
                let _ = writeln!(text, "~ {}", line.resource);
                differs.iter().try_for_each(|(name, old, new)| match (old, new) {
                    (Value::Null, Value::Null) => writeln!(text, "    {name}: (changed)"),
                    _ => writeln!(text, "    {name}: {} → {}", value(old), value(new)),
                })
            }
        };
    }
    let sum = if created + changed + deleted == 0 {
        "no changes".to_owned()
    } else {
        let tense = if is_dry_run { "would be " } else { "" };
        format!("{created} {tense}created, {changed} {tense}changed, {deleted} {tense}deleted")
    };
    text + &sum
}

fn value(value: &Value) -> String {
    let text = match value {
        Value::Null => "(none)".to_owned(),
        value => value.to_string(),
    };
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
