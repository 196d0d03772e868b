//! Keeps operations away whose feature is off: from the routes, and from the document.
//!
//! An operation belongs to a feature by the extension `x-longshore-feature` of its documentation. One that the installation
//! does not offer is answered as if it were not there; whether it is on in a project is found out by
//! [`InProject`](crate::v1::access::InProject), once it is known that the caller may know.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Method;
use longshore_core::features::{Feature, FeatureSwitches};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};

use crate::v1::{control::Control, unknown_path};

const EXTENSION: &str = "x-longshore-feature";

/// The operation asked for belongs to this feature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guarded(pub(crate) Feature);

/// Which operations belong to features.
#[derive(Clone)]
pub(crate) struct Gate {
    control: Control,
    operations: Arc<HashMap<(Method, String), Feature>>,
}

impl Gate {
    /// By the whole document.
    pub(crate) fn new(control: Control, document: &OpenApi) -> Self {
        let paths = document.paths.paths.iter();
        let operations = paths.flat_map(|(path, item)| {
            operations(item).into_iter().filter_map(move |(method, operation)| {
                Some(((method, path.clone()), feature_of(operation.as_ref()?)?))
            })
        });
        let operations = Arc::new(operations.collect());
        Self { control, operations }
    }
}

/// Answers what the installation does not offer as if it were not there.
pub(crate) async fn gate(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let feature = path.and_then(|path| gate.operations.get(&(method, path)).copied());
    if let Some(feature) = feature {
        if !gate.control.settings().features.offers(feature) {
            return unknown_path().await.into_response();
        }
        request.extensions_mut().insert(Guarded(feature));
    }
    next.run(request).await
}

/// The document without the operations of features that the installation does not offer.
pub(crate) fn offered(mut document: OpenApi, switches: &FeatureSwitches) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in operations {
            operation.take_if(|known| feature_of(known).is_some_and(|feature| !switches.offers(feature)));
        }
    }
    document
        .paths
        .paths
        .retain(|_, item| operations(item).into_iter().any(|(_, operation)| operation.is_some()));
    document
}

fn operations(item: &PathItem) -> [(Method, &Option<Operation>); 5] {
    [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::DELETE, &item.delete),
        (Method::PATCH, &item.patch),
    ]
}

fn feature_of(operation: &Operation) -> Option<Feature> {
    operation.extensions.as_ref()?.get(EXTENSION)?.as_str()?.parse().ok()
}
