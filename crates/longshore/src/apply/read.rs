//! Text to document. YAML; JSON is YAML too.

use serde_saphyr::Error;

use super::document::Document;
use crate::config::fault::{Fault, Faults};
use crate::config::nearest::suggestion;

/// Reads a resource file.
///
/// # Errors
/// The first place that is not understood, with its line, and never with what stands there: it may be a secret.
pub(crate) fn read(text: &str, name: &str) -> Result<Document, Faults> {
    serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|at| format!(", line {} column {}", at.line(), at.column()));
        let origin = format!("`{name}`{}", place.unwrap_or_default());
        Faults(vec![Fault::new("", problem(error.without_snippet())).said_by(Some(origin))])
    })
}

fn problem(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key `{field}`{}", suggestion(field, expected.iter().copied()))
        }
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("`{variant}` is not known; expected one of: {}", expected.join(", "))
        }
        // These would repeat the value.
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("expected {expected}")
        }
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}
