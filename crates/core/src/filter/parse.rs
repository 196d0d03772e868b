//! Reading a filter document.
//!
//! What it is for: everything that can be wrong with a filter is said here, once. Invariant: depth, size and
//! compiled patterns of an accepted filter are bounded, whoever wrote it.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Number, Value};

use super::path::Path;
use super::{Filter, FilterError, Node, Test};

/// How an error names the document as a whole.
pub(super) const TOP: &str = "(top)";

const MAX_DEPTH: usize = 32;
const MAX_VALUES: usize = 2_048;
const MAX_TEXT_BYTES: usize = 64 * 1024;
const MAX_PATTERNS: usize = 32;
/// Compiled size of one pattern; keeps a repeated class such as `\w{1000}` from taking the memory of a process.
const MAX_PATTERN_BYTES: usize = 1024 * 1024;

const OPERATORS: &str = "$eq, $neq, $gt, $gte, $lt, $lte, $in, $nin, $regex or $exist";

/// Parses a whole document.
pub(super) fn filter(document: &Value) -> Result<Filter, FilterError> {
    Measure::default().visit(document, 0).map_err(|problem| FilterError::new(TOP, problem))?;
    Parser::default().filter(document, "")
}

#[derive(Default)]
struct Measure {
    values: usize,
    text_bytes: usize,
}

impl Measure {
    fn visit(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels: write dotted paths (`a.b.c`)"));
        }
        self.values += 1;
        match value {
            Value::String(text) => self.text_bytes += text.len(),
            Value::Array(array) => array.iter().try_for_each(|value| self.visit(value, depth + 1))?,
            Value::Object(object) => object.iter().try_for_each(|(key, value)| {
                self.text_bytes += key.len();
                self.visit(value, depth + 1)
            })?,
            _ => {}
        }
        if self.values > MAX_VALUES || self.text_bytes > MAX_TEXT_BYTES {
            return Err(format!(
                "larger than {MAX_VALUES} values or {MAX_TEXT_BYTES} bytes of text: split it into several subscriptions"
            ));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Parser {
    patterns: usize,
}

impl Parser {
    fn filter(&mut self, document: &Value, at: &str) -> Result<Filter, FilterError> {
        let Value::Object(object) = document else {
            let place = if at.is_empty() { TOP } else { at };
            return Err(FilterError::new(
                place,
                format!("expected an object of paths and values, found {}", kind(document)),
            ));
        };
        let mut nodes = Vec::with_capacity(object.len());
        for (key, value) in object {
            let here = join(at, key);
            match key.as_str() {
                "$or" => nodes.push(Node::Any(self.filters(value, &here)?)),
                "$and" => nodes.push(Node::All(self.filters(value, &here)?)),
                _ if is_operator(key) => {
                    let problem = match known(key) {
                        true => {
                            format!("`{key}` needs a path before it: write {{\"path\": {{\"{key}\": …}}}}")
                        }
                        false => unknown(key),
                    };
                    return Err(FilterError::new(here, problem));
                }
                _ => self.entry(key, value, &here, &mut nodes)?,
            }
        }
        Ok(Filter(nodes))
    }

    fn filters(&mut self, value: &Value, at: &str) -> Result<Vec<Filter>, FilterError> {
        match value {
            Value::Array(filters) if !filters.is_empty() => filters
                .iter()
                .enumerate()
                .map(|(index, filter)| self.filter(filter, &format!("{at}[{index}]")))
                .collect(),
            other => Err(FilterError::new(
                at,
                format!(
                    "expected a list of filters such as [{{\"a\": 1}}, {{\"b\": 2}}], found {}",
                    kind(other)
                ),
            )),
        }
    }

    /// One path with what is below it: a bare value, operators, or more of the path.
    fn entry(
        &mut self,
        path: &str,
        value: &Value,
        at: &str,
        nodes: &mut Vec<Node>,
    ) -> Result<(), FilterError> {
        let Value::Object(object) = value else {
            nodes.push(Node::Holds(parse_path(path, at)?, vec![Test::Is(value.clone())]));
            return Ok(());
        };
        let operators = object.keys().filter(|key| is_operator(key)).count();
        if object.is_empty() {
            return Err(FilterError::new(
                at,
                "an empty object asks nothing: write a value, or {\"$exist\": true} to ask for presence",
            ));
        }
        if operators == 0 {
            for (key, value) in object {
                self.entry(&format!("{path}.{key}"), value, &join(at, key), nodes)?;
            }
            return Ok(());
        }
        if operators < object.len() {
            return Err(FilterError::new(
                at,
                "operators and keys are mixed in one object: write the keys as paths of their own (`a.b`)",
            ));
        }
        let tested = parse_path(path, at)?;
        nodes.push(self.tests(tested, object, at)?);
        Ok(())
    }

    fn tests(&mut self, path: Path, operators: &Map<String, Value>, at: &str) -> Result<Node, FilterError> {
        if operators.get("$exist") == Some(&Value::Bool(false)) {
            return match operators.len() {
                1 => Ok(Node::Absent(path)),
                _ => Err(FilterError::new(
                    at,
                    "\"$exist\": false beside other operators can never match: leave one of them out",
                )),
            };
        }
        let mut tests = Vec::with_capacity(operators.len());
        for (operator, operand) in operators {
            let test = self.test(operator, operand);
            tests.push(test.map_err(|problem| FilterError::new(join(at, operator), problem))?);
        }
        Ok(Node::Holds(path, tests))
    }

    fn test(&mut self, operator: &str, operand: &Value) -> Result<Test, String> {
        match operator {
            "$eq" => Ok(Test::Eq(operand.clone())),
            "$neq" => Ok(Test::Neq(operand.clone())),
            "$gt" => number(operand).map(Test::Gt),
            "$gte" => number(operand).map(Test::Gte),
            "$lt" => number(operand).map(Test::Lt),
            "$lte" => number(operand).map(Test::Lte),
            "$in" => list(operand).map(Test::In),
            "$nin" => list(operand).map(Test::Nin),
            "$regex" => self.pattern(operand).map(Test::Matches),
            "$exist" => match operand {
                Value::Bool(true) => Ok(Test::Exists),
                other => Err(format!("expected true or false, found {}", kind(other))),
            },
            "$or" | "$and" => Err(format!(
                "`{operator}` stands beside paths, not below one: write {{\"{operator}\": [{{\"a.b\": …}}, …]}}"
            )),
            other => Err(unknown(other)),
        }
    }

    fn pattern(&mut self, operand: &Value) -> Result<Regex, String> {
        let Value::String(pattern) = operand else {
            return Err(format!("expected a regular expression as a string, found {}", kind(operand)));
        };
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err(format!("more than {MAX_PATTERNS} patterns: join some of them with `|`"));
        }
        RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build().map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "the pattern is too large: write smaller repetitions".to_owned()
            }
            error => {
                // The parser draws the pattern over several lines; its last line says what is wrong.
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim();
                format!("not a regular expression ({})", reason.trim_start_matches("error: "))
            }
        })
    }
}

fn parse_path(path: &str, at: &str) -> Result<Path, FilterError> {
    Path::parse(path).map_err(|problem| FilterError::new(at, problem))
}

fn number(operand: &Value) -> Result<Number, String> {
    match operand {
        Value::Number(number) => Ok(number.clone()),
        Value::String(text) => {
            Err(format!("expected a number, found the string `{}`: leave out the quotes", short(text)))
        }
        other => Err(format!("expected a number, found {}", kind(other))),
    }
}

fn list(operand: &Value) -> Result<Vec<Value>, String> {
    match operand {
        Value::Array(list) => Ok(list.clone()),
        other => Err(format!("expected a list such as [1, 2], found {}", kind(other))),
    }
}

/// Whether a key is meant as an operator; `$` and `$.a` are the beginning of a path.
fn is_operator(key: &str) -> bool {
    key.strip_prefix('$').is_some_and(|rest| !rest.is_empty() && !rest.starts_with('.'))
}

fn known(operator: &str) -> bool {
    OPERATORS.split([',', ' ']).any(|name| name == operator)
}

fn unknown(operator: &str) -> String {
    format!("`{}` is not an operator: write {OPERATORS}, or $or and $and beside paths", short(operator))
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() { short(key) } else { format!("{at}.{}", short(key)) }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
