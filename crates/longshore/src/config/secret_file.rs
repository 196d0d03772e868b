//! Secrets from files: `x_file` beside `x`.

use std::fs;

use longshore_core::Secret;

/// No secret is larger; a wrong path (a log, a device) should not be read whole.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads a secret from a file, without its trailing newline.
///
/// # Errors
/// A sentence that names the file, never its content.
pub(crate) fn read_secret_file(path: &str) -> Result<Secret<String>, String> {
    let refuse = |error: &dyn std::fmt::Display| format!("cannot read the file `{path}`: {error}");
    let metadata = fs::metadata(path).map_err(|error| refuse(&error))?;
    if metadata.len() > MAX_BYTES {
        return Err(refuse(&format_args!("it has more than {MAX_BYTES} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| refuse(&error))?;
    let secret =
        text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if secret.is_empty() {
        return Err(refuse(&"it is empty"));
    }
    Ok(Secret::new(secret.to_owned()))
}
