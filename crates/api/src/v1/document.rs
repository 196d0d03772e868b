//! The OpenAPI 3.1 document, from the code.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, Header, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder,
};
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

/// What an answer has in its head, whatever it is.
const REQUEST_ID: (&str, &str) = ("X-Request-ID", "The request's id: the caller's own, or one of ours.");
/// What it has besides where a key or a project has a limit.
const LIMITS: [(&str, &str); 4] = [
    ("Retry-After", "Seconds until it makes sense to come again."),
    ("X-RateLimit-Limit", "Requests that the key has, or events that the project has."),
    ("X-RateLimit-Remaining", "How many are left now."),
    ("X-RateLimit-Reset", "Seconds until the whole limit is there again."),
];

/// Completes a document: what all operations have in common.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        if let Some(post) = &mut item.post {
            post.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
        }
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            for (status, _) in COMMON {
                let responses = &mut operation.responses.responses;
                responses
                    .entry(status.to_owned())
                    .or_insert_with(|| Ref::from_response_name(name(status)).into());
            }
        }
    }
    let responses =
        COMMON.map(|(status, description)| (name(status), RefOr::T(problem(status, description))));
    document.components.get_or_insert_default().responses.extend(responses);
    document
}

/// What the common answer of a status is called.
fn name(status: &str) -> String {
    format!("Problem{status}")
}

fn header((name, description): (&str, &str)) -> (String, RefOr<Header>) {
    let kind = if name == REQUEST_ID.0 { Type::String } else { Type::Integer };
    let schema: Schema = ObjectBuilder::new().schema_type(kind).into();
    let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build();
    (name.to_owned(), RefOr::T(header))
}

fn idempotency_key() -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Of the caller's making, for a request that may be sent again: a repeat within 24 hours does nothing again \
             and is answered as the first was.",
        ))
        .schema(Some(text.pattern(Some("^[!-~]+$"))))
        .build()
}

fn problem(status: &str, description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
    let mut problem =
        ResponseBuilder::new().description(description).content("application/json", content).build();
    problem.headers.extend([header(REQUEST_ID)]);
    if status == "429" {
        problem.headers.extend(LIMITS.map(header));
    }
    problem
}
