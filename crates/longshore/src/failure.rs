//! How a failure is told and what code the process ends with.

use std::io::Write;
use std::process::ExitCode;

use crate::config::Faults;

/// Wrong usage or configuration; clap ends with the same code.
const USAGE: u8 = 2;

/// Writes the error with its causes to standard error and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let mut text = format!("error: {error}");
    let mut told = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Many errors already include their cause's text.
        if !told.contains(&cause) {
            text.push_str(&format!("\n  caused by: {cause}"));
        }
        told = cause;
    }
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
    if error.downcast_ref::<Faults>().is_some() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

/// Writes a line to standard output. A closed pipe (`… | head`) is the reader's choice, not a failure.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
