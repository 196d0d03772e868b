//! The filter language: which events of a matching type a subscription wants.
//!
//! What it is for: a JSON document of paths and operators, parsed once and asked for every event. What it does
//! not do: read event types or parse bodies. Invariant: a parsed filter is valid and bounded in size, so that
//! asking it neither fails nor panics.
//!
//! | written | matches |
//! |---|---|
//! | `{"a.b": 1}`, `{"a": {"b": 1}}` | a value equal to it, or a list that contains it |
//! | `{"a": {"$eq": 1}}`, `$neq` | a value that is (not) equal to it |
//! | `{"a": {"$gt": 1, "$lte": 9}}`, `$gte`, `$lt` | a number in that order to it |
//! | `{"a": {"$in": [1, 2]}}`, `$nin` | a value that is (not) equal to one of them |
//! | `{"a": {"$regex": "^x"}}` | a string with a match anywhere in it |
//! | `{"a": {"$exist": true}}` | presence; `false`: absence |
//! | `{"$or": [{…}, {…}]}`, `$and` | one of the filters, or all of them |
//!
//! In a path, `a.0.b` is the `b` of the first element, `a.$.b` that of any element (all operators of one object
//! then hold for the same element) and `$.b` the same for a document that is an array. All entries of a filter
//! must match; an empty filter matches everything. A key with dots in it is the same as nested keys.
//!
//! | | [`Semantics::Strict`] | [`Semantics::Compat`] |
//! |---|---|---|
//! | absent key | mismatch, for `$neq` and `$nin` too; only `$exist: false` matches | skipped; mismatch if all are absent |
//! | `$exist: false` | matches absence | never matches, but does not hinder others when absent |
//! | equality | same type; numbers by exact value (`1` equals `1.0`) | as `f64`; numeric strings equal numbers |
//! | order | numbers only | numeric strings are numbers; `$lt` of another value matches |
//! | value is an object, or a list with objects in it | present | absent: only what is inside is present |
//! | header names | compared without case | compared with case |

mod evaluate;
mod number;
mod parse;
mod path;

use std::borrow::Cow;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use evaluate::evaluate;
use path::{Names, Path};

/// How a filter treats absent keys and mixed types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Semantics {
    /// An absent key is a mismatch; no coercion of numeric strings.
    #[default]
    Strict,
    /// As the v1 contract's known implementation does it.
    Compat,
}

/// A parsed filter over one JSON document.
#[derive(Clone, Debug)]
pub struct Filter(Vec<Node>);

/// One entry of a filter; all entries of a filter must match.
#[derive(Clone, Debug)]
enum Node {
    Any(Vec<Filter>),
    All(Vec<Filter>),
    /// Some value at the path passes every test.
    Holds(Path, Vec<Test>),
    /// There is no value at the path.
    Absent(Path),
}

#[derive(Clone, Debug)]
enum Test {
    /// A bare value: equality or membership.
    Is(Value),
    Eq(Value),
    Neq(Value),
    Gt(Number),
    Gte(Number),
    Lt(Number),
    Lte(Number),
    In(Vec<Value>),
    Nin(Vec<Value>),
    Matches(Regex),
    Exists,
}

/// Why a filter is not one; names the path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter at `{path}`: {problem}")]
pub struct FilterError {
    /// Where in the filter document.
    pub path: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl FilterError {
    fn new(path: impl Into<String>, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { path: path.into(), problem: problem.into().into_owned() }
    }

    /// The same, of a filter that is the member `name` of something.
    #[must_use]
    pub fn under(self, name: &str) -> Self {
        let path = if self.path == parse::TOP { name.to_owned() } else { format!("{name}.{}", self.path) };
        Self { path, ..self }
    }
}

impl Filter {
    /// Parses a filter document.
    ///
    /// # Errors
    /// [`FilterError`] for an unknown operator, an operand of the wrong type, a pattern that is not a regular
    /// expression, a path that cannot match, and a document too deep or too large.
    pub fn parse(document: &Value) -> Result<Self, FilterError> {
        parse::filter(document)
    }

    /// Whether a document matches.
    #[must_use]
    pub fn matches(&self, document: &Value, semantics: Semantics) -> bool {
        evaluate(self, document, semantics, Names::Exact)
    }

    /// Whether a flat object of headers matches.
    pub(crate) fn matches_headers(&self, headers: &Value, semantics: Semantics) -> bool {
        let names = match semantics {
            Semantics::Strict => Names::IgnoreCase,
            Semantics::Compat => Names::Exact,
        };
        evaluate(self, headers, semantics, names)
    }

    /// Whether it matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The filters of a subscription by scope; all present ones must match.
#[derive(Clone, Debug, Default)]
pub struct FilterSet {
    /// Over the event's body.
    pub body: Option<Filter>,
    /// Over the event's headers, as an object of first values. Header values are strings.
    pub headers: Option<Filter>,
}

impl FilterSet {
    /// Parses the filters of both scopes; null and empty documents are no filter.
    ///
    /// # Errors
    /// [`FilterError`] as for [`Filter::parse`], its path beginning with `body` or `headers`.
    pub fn parse(body: Option<&Value>, headers: Option<&Value>) -> Result<Self, FilterError> {
        let scope = |name: &str, document: Option<&Value>| match document {
            None | Some(Value::Null) => Ok(None),
            Some(document) => match Filter::parse(document) {
                Ok(filter) => Ok((!filter.is_empty()).then_some(filter)),
                Err(error) => Err(error.under(name)),
            },
        };
        Ok(Self { body: scope("body", body)?, headers: scope("headers", headers)? })
    }

    /// Whether it matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let empty = |filter: &Option<Filter>| filter.as_ref().is_none_or(Filter::is_empty);
        empty(&self.body) && empty(&self.headers)
    }

    /// Whether an event matches; `headers` is an object of first values.
    ///
    /// Header names compare without case in [`Semantics::Strict`] and with case in [`Semantics::Compat`].
    #[must_use]
    pub fn matches(&self, body: &Value, headers: &Value, semantics: Semantics) -> bool {
        self.headers.as_ref().is_none_or(|filter| filter.matches_headers(headers, semantics))
            && self.body.as_ref().is_none_or(|filter| filter.matches(body, semantics))
    }
}

#[cfg(test)]
mod tests;
