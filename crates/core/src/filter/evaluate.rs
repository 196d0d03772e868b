//! Asking a filter about a document.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::number::{coerced, compare, equal};
use super::path::{Names, Path};
use super::{Filter, Node, Semantics, Test};

/// Whether every entry of the filter matches; in compat, whether any does while none mismatches.
pub(super) fn evaluate(filter: &Filter, document: &Value, semantics: Semantics, names: Names) -> bool {
    let mut matched = filter.0.is_empty();
    for node in &filter.0 {
        match verdict(node, document, semantics, names) {
            Some(true) => matched = true,
            Some(false) => return false,
            None => {}
        }
    }
    matched
}

/// Whether an entry matches; `None` when it is skipped, which happens in compat only.
fn verdict(node: &Node, document: &Value, semantics: Semantics, names: Names) -> Option<bool> {
    let mut matches = |filter: &Filter| evaluate(filter, document, semantics, names);
    let found = |path: &Path| path.find(document, names, semantics, &mut |_| true);
    // The known implementation skips absent keys, except where `$` leaves it with an empty list of elements.
    let absent = |path: &Path| (semantics == Semantics::Strict || path.has_any()).then_some(false);
    match node {
        Node::Any(filters) => Some(filters.iter().any(matches)),
        Node::All(filters) => Some(filters.iter().all(&mut matches)),
        Node::Holds(path, tests) => {
            let holds = |value: &Value| tests.iter().all(|test| passes(test, value, semantics));
            if path.find(document, names, semantics, &mut |value| holds(value)) {
                Some(true)
            } else if semantics == Semantics::Compat && found(path) {
                Some(false)
            } else {
                absent(path)
            }
        }
        Node::Absent(path) => match (semantics, found(path)) {
            (Semantics::Strict, found) => Some(!found),
            (Semantics::Compat, true) => Some(false),
            (Semantics::Compat, false) => absent(path),
        },
    }
}

fn passes(test: &Test, value: &Value, semantics: Semantics) -> bool {
    match semantics {
        Semantics::Strict => passes_strictly(test, value),
        Semantics::Compat => passes_as_compat(test, value),
    }
}

fn passes_strictly(test: &Test, value: &Value) -> bool {
    let order = |number| value.as_number().and_then(|value| compare(value, number));
    match test {
        Test::Is(wanted) => equal(value, wanted) || contains(value, wanted),
        Test::Eq(wanted) => equal(value, wanted),
        Test::Neq(wanted) => !equal(value, wanted),
        Test::Gt(number) => order(number).is_some_and(Ordering::is_gt),
        Test::Gte(number) => order(number).is_some_and(Ordering::is_ge),
        Test::Lt(number) => order(number).is_some_and(Ordering::is_lt),
        Test::Lte(number) => order(number).is_some_and(Ordering::is_le),
        Test::In(list) => list.iter().any(|wanted| equal(value, wanted)),
        Test::Nin(list) => !list.iter().any(|wanted| equal(value, wanted)),
        Test::Matches(regex) => value.as_str().is_some_and(|text| regex.is_match(text)),
        Test::Exists => true,
    }
}

/// Where the known implementation gives an error, this is a mismatch.
fn passes_as_compat(test: &Test, value: &Value) -> bool {
    let order = |number: &Number| coerced(value)?.partial_cmp(&number.as_f64()?);
    // An array is never an element of a list there, whatever the list holds.
    let listed = |list: &[Value]| !value.is_array() && list.iter().any(|wanted| same_as_float(value, wanted));
    match test {
        Test::Is(wanted) if value.is_array() => contains(value, wanted),
        Test::Is(wanted) | Test::Eq(wanted) => equals_coerced(value, wanted),
        Test::Neq(wanted) => !equals_coerced(value, wanted),
        Test::Gt(number) => order(number).is_some_and(Ordering::is_gt),
        Test::Gte(number) => order(number).is_some_and(Ordering::is_ge),
        Test::Lt(number) => !order(number).is_some_and(Ordering::is_ge),
        Test::Lte(number) => order(number).is_some_and(Ordering::is_le),
        Test::In(list) => listed(list),
        Test::Nin(list) => !listed(list),
        Test::Matches(regex) => value.as_str().is_some_and(|text| regex.is_match(text)),
        Test::Exists => true,
    }
}

fn contains(value: &Value, wanted: &Value) -> bool {
    value.as_array().is_some_and(|elements| elements.iter().any(|element| equal(element, wanted)))
}

fn same_as_float(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn equals_coerced(a: &Value, b: &Value) -> bool {
    match (coerced(a), coerced(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => equal(a, b),
        _ => false,
    }
}
