//! What is wrong with a configuration or a resource file: every fault at once, each with its place.

use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where: a key (`http.bind`) or a path in a resource file (`projects[0].endpoints[1].url`); may be empty.
    pub(crate) path: String,
    /// Who said so: a file, an environment variable, a flag.
    pub(crate) origin: Option<String>,
    /// What is wrong and what to do.
    pub(crate) problem: String,
}

impl Fault {
    pub(crate) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), origin: None, problem: problem.into() }
    }

    #[must_use]
    pub(crate) fn said_by(mut self, origin: Option<String>) -> Self {
        self.origin = origin;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), &self.origin) {
            ("", None) => f.write_str(&self.problem),
            ("", Some(origin)) => write!(f, "{origin}: {}", self.problem),
            (path, None) => write!(f, "`{path}`: {}", self.problem),
            (path, Some(origin)) => write!(f, "`{path}` ({origin}): {}", self.problem),
        }
    }
}

/// Every fault that was found; never empty as an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    pub(crate) fn one(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self(vec![Fault::new(path, problem)])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [fault] => fault.fmt(f),
            faults => {
                write!(f, "{} faults:", faults.len())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
            }
        }
    }
}
