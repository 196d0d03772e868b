//! Paths into a document: keys, array indexes and `$` for any element.
//!
//! What it is for: finding the values a test is about. What it does not do: test them. Invariant: a path has no
//! empty segment, ends in a key or an index, and has few enough segments to walk recursively.

use serde_json::{Map, Value};

use super::Semantics;

const MAX_SEGMENTS: usize = 64;
const MAX_ANY: usize = 3;
const ANY: &str = "$";

/// How keys are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Exact,
    IgnoreCase,
}

/// A path, split at its dots.
#[derive(Clone, Debug)]
pub(super) struct Path {
    text: String,
    /// Where each segment of `text` ends.
    ends: Vec<usize>,
}

impl Path {
    /// Splits a path; the error says what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let ends: Vec<usize> =
            text.match_indices('.').map(|(dot, _)| dot).chain(std::iter::once(text.len())).collect();
        let path = Self { text: text.to_owned(), ends };
        let segments = || (0..path.ends.len()).map(|at| path.segment(at));
        if segments().any(str::is_empty) {
            Err("a name in the path is empty: write names with single dots between, e.g. `a.b`".to_owned())
        } else if path.ends.len() > MAX_SEGMENTS {
            Err(format!("the path has more than {MAX_SEGMENTS} names: filter on a value higher up"))
        } else if path.segment(path.ends.len() - 1) == ANY {
            Err("a path cannot end in `$`: name a key of the elements (`a.$.b`), or write `a` alone to ask \
                 whether the list contains a value"
                .to_owned())
        } else if segments().filter(|segment| *segment == ANY).count() > MAX_ANY {
            Err(format!(
                "the path has more than {MAX_ANY} `$`: write the index of an element for some of them"
            ))
        } else {
            Ok(path)
        }
    }

    /// Whether it stands for several values.
    pub(super) fn has_any(&self) -> bool {
        (0..self.ends.len()).any(|at| self.segment(at) == ANY)
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before] + 1)
    }

    fn segment(&self, at: usize) -> &str {
        &self.text[self.start(at)..self.ends[at]]
    }

    /// Calls `visit` with each value at the path until it returns true; whether it did.
    pub(super) fn find(
        &self,
        document: &Value,
        names: Names,
        semantics: Semantics,
        visit: &mut dyn FnMut(&Value) -> bool,
    ) -> bool {
        self.walk(0, document, names, semantics, visit)
    }

    fn walk(
        &self,
        at: usize,
        value: &Value,
        names: Names,
        semantics: Semantics,
        visit: &mut dyn FnMut(&Value) -> bool,
    ) -> bool {
        if at == self.ends.len() {
            return (semantics == Semantics::Strict || is_leaf(value)) && visit(value);
        }
        match value {
            Value::Object(object) => (at..self.ends.len())
                // A key may hold dots itself: flattened, `{"a.b": 1}` and `{"a": {"b": 1}}` are the same.
                .take_while(|&last| last == at || object.keys().any(|key| key.contains('.')))
                .any(|last| {
                    let name = &self.text[self.start(at)..self.ends[last]];
                    named(object, name, names)
                        .any(|inner| self.walk(last + 1, inner, names, semantics, visit))
                }),
            // Compat flattens lists of objects only: a list of scalars is one value.
            Value::Array(_) if semantics == Semantics::Compat && is_leaf(value) => false,
            Value::Array(array) if self.segment(at) == ANY => {
                array.iter().any(|element| self.walk(at + 1, element, names, semantics, visit))
            }
            Value::Array(array) => index(self.segment(at))
                .and_then(|index| array.get(index))
                .is_some_and(|element| self.walk(at + 1, element, names, semantics, visit)),
            _ => false,
        }
    }
}

fn named<'v>(object: &'v Map<String, Value>, name: &str, names: Names) -> impl Iterator<Item = &'v Value> {
    let exact = (names == Names::Exact).then(|| object.get(name)).flatten();
    let others = (names == Names::IgnoreCase).then(|| object.iter()).into_iter().flatten();
    exact
        .into_iter()
        .chain(others.filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// An index in its one spelling: `01` is a key, not an index.
fn index(segment: &str) -> Option<usize> {
    let digits = segment.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (segment.len() > 1 && segment.starts_with('0')) { None } else { segment.parse().ok() }
}

/// Whether flattening leaves the value whole.
fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.is_empty(),
        Value::Array(array) => !array.iter().any(|element| element.is_object() || element.is_array()),
        _ => true,
    }
}
