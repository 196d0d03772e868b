//! What was found, line by line, as it is found.

use serde_json::json;

use crate::failure::say;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, and will not always.
    Warn,
    /// A promise is not kept, or something does not work.
    Fail,
}

/// Says each finding at once, and counts.
#[derive(Debug)]
pub(super) struct Findings {
    is_json: bool,
    failed: usize,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Findings {
    pub(super) const fn new(is_json: bool) -> Self {
        Self { is_json, failed: 0 }
    }

    /// What was looked at, how it is, and what to do.
    pub(super) fn add(&mut self, level: Level, what: &str, found: &str, advice: &str) {
        self.failed += usize::from(level == Level::Fail);
        if self.is_json {
            return say(
                &json!({"level": level.as_str(), "what": what, "found": found, "advice": advice}).to_string()
            );
        }
        let advice = if advice.is_empty() { String::new() } else { format!("\n      → {advice}") };
        say(&format!("{:<5} {what}: {found}{advice}", level.as_str()));
    }

    /// Something is as it should be.
    pub(super) fn ok(&mut self, what: &str, found: &str) {
        self.add(Level::Ok, what, found, "");
    }

    /// How many failed.
    pub(super) const fn failed(&self) -> usize {
        self.failed
    }
}
