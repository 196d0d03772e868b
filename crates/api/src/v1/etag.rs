//! `ETag` and `If-Match`: whoever updates what another has changed meanwhile is told, if he asks for it.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::header::IF_MATCH;
use http::request::Parts;
use longshore_core::Timestamp;

use super::problem::Problem;

/// The tag of something that was changed last at that instant.
pub(crate) fn of(updated_at: Timestamp) -> String {
    format!("\"{:x}\"", updated_at.as_micros())
}

/// The request's `If-Match`, if it has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct IfMatch(Option<String>);

impl IfMatch {
    /// Whether the update may go on.
    ///
    /// # Errors
    /// `412`: it was changed since.
    pub(crate) fn check(&self, updated_at: Timestamp) -> Result<(), Problem> {
        let Some(wanted) = &self.0 else { return Ok(()) };
        let current = of(updated_at);
        let is_it = wanted.split(',').map(str::trim).any(|tag| tag == "*" || tag == current);
        if is_it {
            return Ok(());
        }
        let message =
            format!("it was changed meanwhile: its ETag is {current} now; read it again, then update it");
        Err(Problem::new(StatusCode::PRECONDITION_FAILED, message))
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(
            parts.headers.get(IF_MATCH).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_needs_the_tag_of_the_moment_if_it_names_one() {
        let at = Timestamp::from_micros(255);
        let check =
            |tag: Option<&str>| IfMatch(tag.map(str::to_owned)).check(at).map_err(|problem| problem.status);

        assert_eq!(of(at), "\"ff\"");
        assert_eq!(check(None), Ok(()));
        assert_eq!(check(Some("*")), Ok(()));
        assert_eq!(check(Some("\"a\", \"ff\"")), Ok(()));
        assert_eq!(check(Some("\"a\"")), Err(StatusCode::PRECONDITION_FAILED));
    }
}
