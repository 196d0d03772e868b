//! A row as it was sent, and what is wrong with it.

use longshore_core::endpoint::Authentication;
use longshore_core::project::EgressSettings;
use longshore_core::{Secret, TypePattern};
use longshore_store::control::OnboardRow;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use crate::v1::egress::Egress;

/// The longest name, event type, user name and password, in characters.
const LONGEST: usize = 256;

/// An endpoint to be made, and the events that it gets.
#[derive(Clone, Default, Deserialize, ToSchema)]
pub(crate) struct OnboardItem {
    /// For people; the subscription's too.
    #[schema(required)]
    pub(super) name: Option<String>,
    /// Where to POST.
    #[schema(required)]
    pub(super) url: Option<String>,
    /// Which events: a type, `prefix.*`, or `*`, which is the default.
    pub(super) event_type: Option<String>,
    /// For HTTP Basic, together with the password.
    pub(super) auth_username: Option<String>,
    /// For HTTP Basic, together with the user name.
    pub(super) auth_password: Option<String>,
}

/// What is wrong with a row.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct OnboardErrorView {
    /// Which, from 1; the heading of a CSV file is none.
    pub(super) row: usize,
    /// Which field of it.
    pub(super) field: &'static str,
    /// What is wrong, for people.
    pub(super) message: String,
}

type Checked<T> = Result<T, String>;

impl OnboardItem {
    /// The row as it is to be made. What is wrong with it goes to `errors`, all of it.
    pub(super) fn check(
        self,
        row: usize,
        rules: &dyn Egress,
        egress: &EgressSettings,
        errors: &mut Vec<OnboardErrorView>,
    ) -> Option<OnboardRow> {
        let mut take = |field: &'static str, message: String| {
            errors.push(OnboardErrorView { row, field, message });
        };
        let name = line(self.name).and_then(|name| name.ok_or_else(|| "is missing".to_owned()));
        let name = name.map_err(|message| take("name", message));
        let url = url(self.url, rules, egress).map_err(|message| take("url", message));
        let event_type = event_type(self.event_type).map_err(|message| take("event_type", message));
        let username = credential(self.auth_username);
        let username = username.and_then(|text| match text {
            Some(name) if name.contains(':') => {
                Err("must not hold a colon: HTTP Basic cannot carry it".to_owned())
            }
            other => Ok(other),
        });
        let username = username.map_err(|message| take("auth_username", message));
        let password = credential(self.auth_password).map_err(|message| take("auth_password", message));
        let (username, password) = (username.ok()?, password.ok()?);
        let authentication = match (username, password) {
            (None, None) => None,
            (Some(username), Some(password)) => {
                Some(Authentication::Basic { username, password: Secret::new(password) })
            }
            (None, Some(_)) => {
                take("auth_username", "is missing: there is a password".to_owned());
                return None;
            }
            (Some(_), None) => {
                take("auth_password", "is missing: there is a user name".to_owned());
                return None;
            }
        };
        Some(OnboardRow { name: name.ok()?, url: url.ok()?, event_type: event_type.ok()?, authentication })
    }
}

/// A text in one line; none for an empty one.
fn line(given: Option<String>) -> Checked<Option<String>> {
    let text = given.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match text {
        Some(text) if text.chars().count() > LONGEST || text.chars().any(char::is_control) => {
            Err(format!("write at most {LONGEST} characters in one line"))
        }
        other => Ok(other),
    }
}

/// The same, with the spaces around it.
fn credential(given: Option<String>) -> Checked<Option<String>> {
    match given.filter(|text| !text.is_empty()) {
        Some(text) if text.chars().count() > LONGEST || text.chars().any(char::is_control) => {
            Err(format!("write at most {LONGEST} characters in one line"))
        }
        other => Ok(other),
    }
}

fn event_type(given: Option<String>) -> Checked<TypePattern> {
    match line(given)? {
        None => Ok(TypePattern::Any),
        Some(text) => {
            text.parse().map_err(|error: longshore_core::subscription::PatternError| error.to_string())
        }
    }
}

fn url(given: Option<String>, rules: &dyn Egress, egress: &EgressSettings) -> Checked<Url> {
    let text = given.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    rules.url(&text.ok_or("is missing")?, egress)
}
