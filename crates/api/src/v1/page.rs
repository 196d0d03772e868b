//! Which page of a list a request asks for, in the contract's words.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use longshore_core::EventId;
use longshore_store::control::{Direction, PageRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::problem::Problem;

/// Items per page when the request does not say.
const PER_PAGE: u32 = 20;
/// The most it may say.
pub(crate) const MOST_PER_PAGE: u32 = 1_000;

/// The query of a page.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Items per page, 1 to 1000.
    #[serde(rename = "perPage")]
    #[param(minimum = 1, maximum = 1000, default = 20, value_type = Option<u32>)]
    per_page: Option<String>,
    /// `next` or `prev`: which cursor counts.
    #[param(pattern = "^(next|prev)$")]
    direction: Option<String>,
    /// The `next_page_cursor` of the page before.
    next_page_cursor: Option<String>,
    /// The `prev_page_cursor` of the page after.
    prev_page_cursor: Option<String>,
    /// `DESC` (newest first) or `ASC`.
    #[param(pattern = "^(ASC|DESC)$")]
    sort: Option<String>,
}

impl PageQuery {
    /// The page that is meant. Empty values are as good as none: generated clients send them.
    ///
    /// # Errors
    /// `400` names the parameter.
    pub(crate) fn parse(&self) -> Result<PageRequest, Problem> {
        let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let limit = match given(&self.per_page) {
            None => PER_PAGE,
            Some(text) => {
                text.parse().ok().filter(|count| (1..=MOST_PER_PAGE).contains(count)).ok_or_else(|| {
                    Problem::invalid("perPage", format!("write a number from 1 to {MOST_PER_PAGE}"))
                })?
            }
        };
        let is_ascending = match given(&self.sort).map(|text| text.to_ascii_uppercase()).as_deref() {
            None | Some("DESC") => false,
            Some("ASC") => true,
            Some(_) => return Err(Problem::invalid("sort", "write `ASC` or `DESC`")),
        };
        let direction = match given(&self.direction).map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("next") => Direction::Next,
            Some("prev") => Direction::Previous,
            Some(_) => return Err(Problem::invalid("direction", "write `next` or `prev`")),
        };
        let (name, cursor) = match direction {
            Direction::Next => ("next_page_cursor", given(&self.next_page_cursor)),
            Direction::Previous => ("prev_page_cursor", given(&self.prev_page_cursor)),
        };
        let cursor = cursor
            .map(|text| text.parse::<EventId>())
            .transpose()
            .map_err(|_| Problem::invalid(name, "give back the cursor of a page as it was"))?;
        Ok(PageRequest { limit, cursor: cursor.map(EventId::as_uuid), direction, is_ascending })
    }
}

/// The query of a request, decoded; a fault is a [`Problem`].
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(params) = Query::try_from_uri(&parts.uri).map_err(|error| {
            Problem::new(http::StatusCode::BAD_REQUEST, format!("the query: {}", error.body_text()))
        })?;
        Ok(Self(params))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<PageRequest, String> {
        let uri = format!("http://x/?{query}").parse().unwrap();
        let Query(page) = Query::<PageQuery>::try_from_uri(&uri).unwrap();
        page.parse().map_err(|problem| problem.message)
    }

    #[test]
    fn pages_are_asked_for_in_the_contracts_words() {
        let page =
            parse("perPage=5&sort=ASC&direction=prev&prev_page_cursor=01JD0000000000000000000SHP").unwrap();
        assert_eq!((page.limit, page.is_ascending, page.direction), (5, true, Direction::Previous));
        assert!(page.cursor.is_some());

        let page = parse("next_page_cursor=&direction=&sort=&perPage=").unwrap();
        assert_eq!((page.limit, page.cursor, page.is_ascending), (20, None, false));
        for (query, field) in [
            ("perPage=0", "`perPage`"),
            ("perPage=1001", "`perPage`"),
            ("perPage=x", "`perPage`"),
            ("sort=up", "`sort`"),
            ("direction=up", "`direction`"),
            ("next_page_cursor=x", "`next_page_cursor`"),
        ] {
            assert!(parse(query).unwrap_err().starts_with(field), "{query}");
        }
    }
}
