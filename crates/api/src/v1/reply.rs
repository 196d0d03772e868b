//! What a request is answered with: the contract's envelope `{"status": true, "message", "data"}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::ETAG;
use http::{HeaderValue, StatusCode};
use longshore_core::Timestamp;
use longshore_store::control::Page;
use serde::Serialize;
use utoipa::ToSchema;

use super::etag;
use super::version::Shape;

/// The body of every success.
#[derive(Serialize, ToSchema)]
pub(crate) struct Envelope<T> {
    /// Always `true`.
    pub(crate) status: bool,
    /// What was done, for people.
    pub(crate) message: String,
    /// The answer itself.
    pub(crate) data: T,
}

/// The body of a success that has nothing to return: `data` is `null`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always `true`.
    pub(crate) status: bool,
    /// What was done, for people.
    pub(crate) message: String,
    /// Always `null`.
    #[schema(value_type = Option<Object>, required)]
    pub(crate) data: Option<()>,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Paged<T> {
    /// The items, in the list's order.
    pub(crate) content: Vec<T>,
    /// Where to go from here.
    pub(crate) pagination: Pagination,
}

/// Where a page stands in its list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pagination {
    /// Items per page.
    pub(crate) per_page: u32,
    /// Whether more follow.
    pub(crate) has_next_page: bool,
    /// Whether there are some before.
    pub(crate) has_prev_page: bool,
    /// Give it back as `prev_page_cursor` with `direction=prev`; empty at the beginning.
    pub(crate) prev_page_cursor: String,
    /// Give it back as `next_page_cursor`; empty at the end.
    pub(crate) next_page_cursor: String,
}

/// A success.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    status: StatusCode,
    message: String,
    data: T,
    etag: Option<Timestamp>,
    shape: Option<Shape>,
}

impl<T> Reply<T> {
    /// `200`
    pub(crate) fn ok(message: impl Into<String>, data: T) -> Self {
        Self { status: StatusCode::OK, message: message.into(), data, etag: None, shape: None }
    }

    /// `201`
    pub(crate) fn created(message: impl Into<String>, data: T) -> Self {
        Self { status: StatusCode::CREATED, ..Self::ok(message, data) }
    }

    /// `202`: what the contract answers to updates.
    pub(crate) fn accepted(message: impl Into<String>, data: T) -> Self {
        Self { status: StatusCode::ACCEPTED, ..Self::ok(message, data) }
    }

    /// With the `ETag` of something that was changed last at that instant.
    pub(crate) fn tagged(self, updated_at: Timestamp) -> Self {
        Self { etag: Some(updated_at), ..self }
    }

    /// `data`, or each item of a page, has a shape that older versions of the API had otherwise.
    pub(crate) fn shaped(self, shape: Shape) -> Self {
        Self { shape: Some(shape), ..self }
    }
}

impl<T> Paged<T> {
    /// A page, with cursors by `id`.
    pub(crate) fn new(page: Page<T>, per_page: u32, id: impl Fn(&T) -> String) -> Self {
        let cursor =
            |item: Option<&T>, is_there: bool| item.filter(|_| is_there).map(&id).unwrap_or_default();
        let pagination = Pagination {
            per_page,
            has_next_page: page.has_next,
            has_prev_page: page.has_previous,
            prev_page_cursor: cursor(page.items.first(), page.has_previous),
            next_page_cursor: cursor(page.items.last(), page.has_next),
        };
        Self { content: page.items, pagination }
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let envelope = Envelope { status: true, message: self.message, data: self.data };
        let mut response = (self.status, Json(envelope)).into_response();
        if let Some(tag) = self.etag.and_then(|at| HeaderValue::from_str(&etag::of(at)).ok()) {
            response.headers_mut().insert(ETAG, tag);
        }
        if let Some(shape) = self.shape {
            response.extensions_mut().insert(shape);
        }
        response
    }
}
