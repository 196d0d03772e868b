//! A subscription: which event types, under which filter, go to which endpoint.

mod ordered;

use std::fmt;
use std::str::FromStr;

use crate::filter::FilterSet;
use crate::ids::{EndpointId, ProjectId, SourceId, SubscriptionId};
use crate::retry::RetrySchedule;

pub use ordered::{OnExhausted, Ordered};

/// Which event types match: one exactly, every one below a prefix, or all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TypePattern {
    /// `invoice.paid`
    Exact(String),
    /// `invoice.*`, held as `invoice.`: every type that starts with it and goes on.
    Prefix(String),
    /// `*`
    Any,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an event type pattern: expected a type (`invoice.paid`), `prefix.*` or `*`")]
pub struct PatternError(String);

impl TypePattern {
    /// Whether an event of that type matches.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == event_type,
            Self::Prefix(prefix) => {
                event_type.len() > prefix.len() && event_type.starts_with(prefix.as_str())
            }
            Self::Any => true,
        }
    }

    /// How specific it is: an exact type beats a prefix, a longer prefix a shorter one, and all beat `*`.
    #[must_use]
    pub fn rank(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Prefix(prefix) => prefix.len(),
            Self::Any => 0,
        }
    }
}

impl FromStr for TypePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || PatternError(text.chars().take(128).collect());
        match text {
            "*" => Ok(Self::Any),
            _ if text.is_empty() || text.chars().any(char::is_control) => Err(refuse()),
            _ => match text.split_once('*') {
                None => Ok(Self::Exact(text.to_owned())),
                Some((prefix, "")) if prefix.ends_with('.') && prefix.len() > 1 => {
                    Ok(Self::Prefix(prefix.to_owned()))
                }
                Some(_) => Err(refuse()),
            },
        }
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl serde::Serialize for TypePattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TypePattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which events of a project go to an endpoint.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// The tenant.
    pub project: ProjectId,
    /// Where matching events go.
    pub endpoint: EndpointId,
    /// For people.
    pub name: String,
    /// An event matches when any of these does.
    pub event_types: Vec<TypePattern>,
    /// Filters by event type. The most specific pattern that matches is the one that is asked; none means no
    /// filter.
    pub filters: Vec<(TypePattern, FilterSet)>,
    /// Beats the project's schedule.
    pub retry: Option<RetrySchedule>,
    /// Whether its deliveries go out in order, and by what.
    pub ordered: Option<Ordered>,
    /// The only source whose events it takes; `None` for all.
    pub source: Option<SourceId>,
}

impl Subscription {
    /// Whether it takes events of that source.
    #[must_use]
    pub fn takes_from(&self, source: Option<SourceId>) -> bool {
        self.source.is_none() || self.source == source
    }

    /// The filter to ask for an event of that type, if any.
    #[must_use]
    pub fn filter_for(&self, event_type: &str) -> Option<&FilterSet> {
        self.filters
            .iter()
            .filter(|(pattern, _)| pattern.matches(event_type))
            .max_by_key(|(pattern, _)| pattern.rank())
            .map(|(_, filter)| filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_exactly_by_prefix_or_all() {
        let cases = [
            ("invoice.paid", "invoice.paid", true),
            ("invoice.paid", "invoice.paid.late", false),
            ("invoice.*", "invoice.paid", true),
            ("invoice.*", "invoice.paid.late", true),
            ("invoice.*", "invoice.", false),
            ("invoice.*", "invoice", false),
            ("invoice.*", "invoices.paid", false),
            ("*", "anything", true),
        ];
        for (pattern, event_type, expected) in cases {
            let parsed: TypePattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(event_type), expected, "{pattern} on {event_type}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn a_star_elsewhere_is_refused() {
        for pattern in ["", "*.paid", "invoice*", "in*voice", ".*", "a.*.b", "a\nb"] {
            assert!(pattern.parse::<TypePattern>().is_err(), "{pattern}");
        }
    }
}
