//! Feature flags: which there are, how far they are, and where one is on. Pure rules; who decided what is found out elsewhere.
//!
//! A feature is code that is there and not yet promised. Invariant: one that is off is absent, from the API and from its
//! document. A feature that has been GA for two releases leaves this list, and its operations stay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How far a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// May change or go: off unless the installation turns it on, and then each project for itself.
    Alpha,
    /// Will stay, may change: there unless the installation turns it off; on where a project turns it on.
    Beta,
    /// Done: on everywhere.
    Ga,
}

/// A feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// What retention does to a project, and what it left.
    RetentionReport,
}

/// A name that no feature has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no feature is called `{name}`; there are {}", Feature::names())]
pub struct UnknownFeature {
    name: String,
}

/// What an installation decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureSwitches {
    enabled: Vec<Feature>,
    disabled: Vec<Feature>,
}

impl Stage {
    /// The word used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alpha => "alpha",
            Self::Beta => "beta",
            Self::Ga => "ga",
        }
    }
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::RetentionReport];

    /// Its name, in the configuration and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetentionReport => "retention_report",
        }
    }

    /// How far it is.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::RetentionReport => Stage::Alpha,
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::RetentionReport => "What retention does to a project, and how far back its events go",
        }
    }

    fn names() -> String {
        Self::ALL.map(|feature| format!("`{}`", feature.as_str())).join(", ")
    }
}

impl FeatureSwitches {
    /// What an installation turned on and off.
    #[must_use]
    pub const fn new(enabled: Vec<Feature>, disabled: Vec<Feature>) -> Self {
        Self { enabled, disabled }
    }

    /// Whether projects of this installation can have it.
    #[must_use]
    pub fn offers(&self, feature: Feature) -> bool {
        match feature.stage() {
            Stage::Alpha => self.enabled.contains(&feature) && !self.disabled.contains(&feature),
            Stage::Beta => !self.disabled.contains(&feature),
            Stage::Ga => true,
        }
    }

    /// Whether it is on in a project that decided so; `None` when it decided nothing.
    #[must_use]
    pub fn is_on(&self, feature: Feature, decided: Option<bool>) -> bool {
        self.offers(feature) && (feature.stage() == Stage::Ga || decided.unwrap_or(false))
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Feature {
    type Err = UnknownFeature;

    fn from_str(text: &str) -> Result<Self, UnknownFeature> {
        let found = Self::ALL.into_iter().find(|feature| feature.as_str() == text);
        found.ok_or_else(|| UnknownFeature { name: text.chars().take(64).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alpha_feature_needs_both_the_installation_and_the_project() {
        let feature = Feature::RetentionReport;
        let (silent, on) = (FeatureSwitches::default(), FeatureSwitches::new(vec![feature], Vec::new()));
        let both = FeatureSwitches::new(vec![feature], vec![feature]);

        assert!(!silent.offers(feature) && !silent.is_on(feature, Some(true)));
        assert!(on.offers(feature) && on.is_on(feature, Some(true)));
        assert!(!on.is_on(feature, None) && !on.is_on(feature, Some(false)));
        assert!(!both.is_on(feature, Some(true)));
    }

    #[test]
    fn names_read_back() {
        for feature in Feature::ALL {
            assert_eq!(feature.to_string().parse(), Ok(feature));
        }
        let problem = "dark_mode".parse::<Feature>().unwrap_err().to_string();
        assert!(problem.contains("`retention_report`"), "{problem}");
    }
}
