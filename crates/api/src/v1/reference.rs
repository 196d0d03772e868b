//! The document as a page for people: plain HTML, without a script.
//!
//! Everything that goes into the page is escaped; nothing is left out for a lack of room: what a reader searches for is found by
//! the browser's own search.

mod html;
mod schema;

use serde_json::{Map, Value};

use html::{anchor, escape, text};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// An operation with where it is.
struct Operation<'a> {
    method: &'static str,
    path: &'a str,
    spec: &'a Value,
}

/// The whole page.
pub(crate) fn page(document: &Value) -> String {
    let title = text(&document["info"], "title");
    let tags = by_tag(document);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/docs/style.css\">\n</head>\n<body>\n",
        title = escape(title),
    );
    navigation(&mut page, title, &tags, document);
    page.push_str("<main>\n");
    page.push_str(&format!(
        "<h1>{} <small>{}</small></h1>\n<p>{}</p>\n<p>As a document: <a href=\"/api/v1/openapi.json\">openapi.json</a></p>\n",
        escape(title),
        escape(text(&document["info"], "version")),
        escape(text(&document["info"], "description")),
    ));
    for (tag, operations) in &tags {
        page.push_str(&format!("<section>\n<h2 id=\"{}\">{}</h2>\n", anchor("tag", tag), escape(tag)));
        operations.iter().for_each(|operation| show(&mut page, operation, document));
        page.push_str("</section>\n");
    }
    page.push_str("<section>\n<h2 id=\"schemas\">Schemas</h2>\n");
    for (name, schema) in members(&document["components"]["schemas"]) {
        page.push_str(&format!(
            "<article id=\"{}\">\n<h3>{}</h3>\n{}</article>\n",
            anchor("schema", name),
            escape(name),
            schema::table(schema)
        ));
    }
    page.push_str("</section>\n</main>\n</body>\n</html>\n");
    page
}

/// Operations by their first tag, both in the order of the document.
fn by_tag(document: &Value) -> Vec<(&str, Vec<Operation<'_>>)> {
    let mut tags: Vec<(&str, Vec<Operation<'_>>)> = Vec::new();
    for (path, item) in members(&document["paths"]) {
        for method in METHODS {
            let spec = &item[method];
            if spec.is_null() {
                continue;
            }
            let tag = spec["tags"][0].as_str().unwrap_or("Other");
            let operation = Operation { method, path, spec };
            match tags.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, operations)) => operations.push(operation),
                None => tags.push((tag, vec![operation])),
            }
        }
    }
    tags.sort_by_key(|(tag, _)| *tag);
    tags
}

fn navigation(page: &mut String, title: &str, tags: &[(&str, Vec<Operation<'_>>)], document: &Value) {
    page.push_str(&format!("<nav>\n<strong>{}</strong>\n<ul>\n", escape(title)));
    for (tag, operations) in tags {
        page.push_str(&format!("<li><a href=\"#{}\">{}</a>\n<ul>\n", anchor("tag", tag), escape(tag)));
        for operation in operations {
            page.push_str(&format!(
                "<li><a href=\"#{}\">{}</a></li>\n",
                operation.anchor(),
                escape(operation.title())
            ));
        }
        page.push_str("</ul></li>\n");
    }
    page.push_str("<li><a href=\"#schemas\">Schemas</a>\n<ul>\n");
    for (name, _) in members(&document["components"]["schemas"]) {
        page.push_str(&format!("<li><a href=\"#{}\">{}</a></li>\n", anchor("schema", name), escape(name)));
    }
    page.push_str("</ul></li>\n</ul>\n</nav>\n");
}

fn show(page: &mut String, operation: &Operation<'_>, document: &Value) {
    let Operation { method, path, spec } = operation;
    page.push_str(&format!(
        "<article id=\"{}\">\n<h3>{}</h3>\n<p class=\"call\"><b class=\"{method}\">{}</b> <code>{}</code></p>\n",
        operation.anchor(),
        escape(operation.title()),
        method.to_uppercase(),
        escape(path)
    ));
    let description = text(spec, "description");
    if !description.is_empty() {
        page.push_str(&format!("<p>{}</p>\n", escape(description)));
    }
    if let Some(feature) = spec["x-longshore-feature"].as_str() {
        let feature = escape(feature);
        page.push_str(&format!("<p class=\"note\">Where the feature <code>{feature}</code> is on.</p>\n"));
    }
    parameters(page, &spec["parameters"]);
    bodies(page, "Body", &spec["requestBody"]);
    page.push_str("<h4>Responses</h4>\n");
    for (status, response) in members(&spec["responses"]) {
        // What every operation may answer stands in one place; here it is folded away.
        let reference = response["$ref"]
            .as_str()
            .and_then(|reference| document.pointer(reference.trim_start_matches('#')));
        let response = reference.unwrap_or(response);
        let open = if status.starts_with('2') { " open" } else { "" };
        page.push_str(&format!(
            "<details{open}><summary><b>{}</b> {}</summary>\n",
            escape(status),
            escape(text(response, "description"))
        ));
        bodies(page, "", response);
        page.push_str("</details>\n");
    }
    page.push_str("</article>\n");
}

fn parameters(page: &mut String, parameters: &Value) {
    let Some(parameters) = parameters.as_array().filter(|all| !all.is_empty()) else { return };
    page.push_str(
        "<h4>Parameters</h4>\n<table>\n<tr><th>Name</th><th>In</th><th>Type</th><th>Meaning</th></tr>\n",
    );
    for parameter in parameters {
        let required = if parameter["required"] == true { " <i>required</i>" } else { "" };
        page.push_str(&format!(
            "<tr><td><code>{}</code>{required}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(text(parameter, "name")),
            escape(text(parameter, "in")),
            schema::summary(&parameter["schema"]),
            escape(text(parameter, "description"))
        ));
    }
    page.push_str("</table>\n");
}

/// What a request or a response has as its content.
fn bodies(page: &mut String, title: &str, holder: &Value) {
    for (media, content) in members(&holder["content"]) {
        if !title.is_empty() {
            page.push_str(&format!("<h4>{}</h4>\n", escape(title)));
        }
        let schema = &content["schema"];
        page.push_str(&format!("<p><code>{}</code>: {}</p>\n", escape(media), schema::summary(schema)));
        if schema["properties"].is_object() {
            page.push_str(&schema::table(schema));
        }
    }
}

/// The members of an object, in its order; none of anything else.
fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

impl Operation<'_> {
    fn title(&self) -> &str {
        let summary = text(self.spec, "summary");
        if summary.is_empty() { text(self.spec, "operationId") } else { summary.trim_end_matches('.') }
    }

    fn anchor(&self) -> String {
        anchor("operation", text(self.spec, "operationId"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_document_says_stands_in_the_page_and_never_as_markup() {
        let page = page(&json!({
            "info": {"title": "T<script>", "version": "1", "description": "d"},
            "paths": {"/a/{id}": {"post": {
                "operationId": "DoIt", "summary": "Do & see.", "tags": ["Things"],
                "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {"200": {"description": "\"fine\""}},
            }}},
            "components": {"schemas": {"Thing": {"type": "object", "required": ["n"], "properties": {
                "n": {"type": "integer", "description": "How <many>"},
                "all": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
            }}}},
        }));

        assert!(page.contains("T&lt;script&gt;") && !page.contains("<script"));
        assert!(page.contains("<a href=\"#operation-doit\">Do &amp; see</a>"), "{page}");
        assert!(page.contains("<h2 id=\"tag-things\">Things</h2>"));
        assert!(page.contains("<a href=\"#schema-thing\">Thing</a>") && page.contains("id=\"schema-thing\""));
        assert!(page.contains("How &lt;many&gt;") && page.contains("&quot;fine&quot;"));
        assert!(page.contains("array of <a href"));
    }
}
