//! The filters of lists whose names may be repeated, in the contract's words.

use std::fmt::Display;
use std::str::FromStr;

use longshore_core::Timestamp;

use super::problem::Problem;

/// The longest text that is looked for.
const LONGEST: usize = 1024;
/// The most values of one filter.
const MOST: usize = 100;

/// The parameters of a query, in their order.
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

impl Pairs {
    /// The values of a parameter, under whichever of its names; empty ones do not count.
    ///
    /// # Errors
    /// `400`: too many, or one is too long.
    pub(crate) fn all(&self, names: &[&str]) -> Result<Vec<&str>, Problem> {
        let given = self.0.iter().filter(|(name, value)| names.contains(&name.as_str()) && !value.is_empty());
        let values: Vec<&str> = given.map(|(_, value)| value.as_str()).collect();
        let name = names.first().copied().unwrap_or_default();
        if values.len() > MOST {
            return Err(Problem::invalid(name, format!("name {MOST} at most")));
        }
        if values.iter().any(|value| value.len() > LONGEST) {
            return Err(Problem::invalid(name, format!("write at most {LONGEST} bytes")));
        }
        Ok(values)
    }

    /// The value of a parameter that is given once.
    ///
    /// # Errors
    /// `400`: it is given twice, or is too long.
    pub(crate) fn one(&self, names: &[&str]) -> Result<Option<&str>, Problem> {
        match self.all(names)?[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(Problem::invalid(names.first().copied().unwrap_or_default(), "write it once")),
        }
    }

    /// The same, understood.
    ///
    /// # Errors
    /// `400` names the field.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, names: &[&str]) -> Result<Vec<T>, Problem> {
        let name = names.first().copied().unwrap_or_default();
        let parse = |text: &str| text.parse().map_err(|error| Problem::invalid(name, error));
        self.all(names)?.into_iter().map(parse).collect()
    }

    /// An instant: RFC 3339, or the contract's form without a zone, which is UTC.
    ///
    /// # Errors
    /// `400` names the field.
    pub(crate) fn time(&self, names: &[&str]) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.one(names)? else { return Ok(None) };
        let parsed = text.parse().ok().or_else(|| format!("{text}Z").parse().ok());
        let name = names.first().copied().unwrap_or_default();
        let wrong = || Problem::invalid(name, "write a time such as `2026-01-31T08:15:00Z`");
        parsed.map(Some).ok_or_else(wrong)
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// `400` names the field.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.one(&[name])? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Problem::invalid(name, "write `true` or `false`")),
        }
    }
}
