//! The OpenAPI 3.1 document, from the code.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi as Derive};

use super::problem::ErrorBody;

/// What operations are added to.
#[derive(Derive)]
#[openapi(
    info(
        title = "Longshore API",
        description = "The public API of Longshore, a webhooks gateway fed by message brokers."
    ),
    components(schemas(ErrorBody)),
    modifiers(&Bearer),
    security(("ApiKeyAuth" = [])),
)]
pub(crate) struct Base;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key")).build();
        let components = document.components.get_or_insert_with(Components::new);
        components.add_security_scheme("ApiKeyAuth", SecurityScheme::Http(scheme));
    }
}

/// What every operation may answer besides what it says itself.
const COMMON: [(&str, &str); 12] = [
    ("400", "The request is wrong; the message names the field and says what to write."),
    ("401", "No key, or one that does not exist or has expired."),
    ("403", "The key has no right to this."),
    ("404", "There is no such thing."),
    ("409", "It clashes with what is there."),
    ("412", "It was changed meanwhile (`If-Match`)."),
    ("413", "The body is too large."),
    ("415", "The body is not JSON."),
    ("422", "The idempotency key was used with another request."),
    ("429", "Too many requests: come again after `Retry-After`."),
    ("500", "Something is wrong with the installation."),
    ("503", "The database is away: send the request again."),
];

/// Completes a document: what all operations have in common.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            for (status, description) in COMMON {
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem(description)));
            }
        }
    }
    document
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}
