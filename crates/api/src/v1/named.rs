//! Names and addresses that requests give, checked.

use super::problem::Problem;

/// The longest name, in characters.
const LONGEST: usize = 256;

/// A name for people.
///
/// # Errors
/// `400` names the field: it is absent, empty, too long, or holds control characters.
pub(crate) fn name(field: &str, given: Option<String>) -> Result<String, Problem> {
    let text = given.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Problem::invalid(field, "is missing"))?;
    if text.chars().count() > LONGEST || text.chars().any(char::is_control) {
        return Err(Problem::invalid(field, format!("write at most {LONGEST} characters in one line")));
    }
    Ok(text)
}

/// An e-mail address, as far as one can tell without writing to it.
///
/// # Errors
/// `400` names the field.
pub(crate) fn email(field: &str, given: Option<String>) -> Result<String, Problem> {
    let text = name(field, given)?;
    let is_one = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.is_empty()
            && !domain.contains('@')
            && !text.contains(char::is_whitespace)
    });
    if is_one { Ok(text) } else { Err(Problem::invalid(field, "is no e-mail address")) }
}
