//! The catalogue of event types: made, imported, exported.

use http::Method;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, FOREIGN, key};

async fn audited(bed: &Bed, action: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM audit_log WHERE action = $1")
        .bind(action)
        .fetch_one(&bed.sql)
        .await
        .unwrap()
}

async fn import(bed: &Bed, spec: &str) -> Answer {
    bed.post("/event-types/import", json!({ "spec": spec })).await
}

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "string"}, "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
        "$defs": {"line": {"type": "object", "properties": {"sum": {"type": "integer"}}}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_type_is_made_read_changed_and_deprecated() {
    let bed = Bed::new().await;
    let body = json!({"name": "invoice.paid", "category": "billing", "description": "Paid.", "json_schema": schema()});
    let made = bed.post("/event-types", body).await;
    assert_eq!((made.status, made.message()), (201, "Event type created successfully"));
    let data = made.data();
    assert_eq!((&data["name"], &data["category"]), (&json!("invoice.paid"), &json!("billing")));
    assert_eq!((&data["description"], &data["json_schema"]), (&json!("Paid."), &schema()));
    assert!(data.get("deprecated_at").is_none());

    let path = format!("/event-types/{}", made.text("/uid"));
    let read = bed.get(&path).await;
    assert_eq!((read.message(), read.data()), ("Event type fetched successfully", data));

    let tag = read.headers["etag"].to_str().unwrap().to_owned();
    let put =
        async |body: Value| bed.ask(Method::PUT, &path).body(body).header("if-match", &tag).send().await;
    let updated = put(json!({"description": "It was paid.", "name": "other"})).await;
    assert_eq!((updated.status, updated.message()), (201, "Event type updated successfully"));
    assert_eq!(
        (&updated.data()["name"], &updated.data()["category"]),
        (&json!("invoice.paid"), &json!("billing"))
    );
    assert_eq!(
        (&updated.data()["description"], &updated.data()["json_schema"]),
        (&json!("It was paid."), &schema())
    );
    assert_eq!(put(json!({"category": "x"})).await.status, 412);
    assert!(bed.put(&path, json!({"json_schema": {}})).await.data().get("json_schema").is_none());

    let deprecate = format!("{path}/deprecate");
    let deprecated = bed.post(&deprecate, json!({})).await;
    assert_eq!((deprecated.status, deprecated.message()), (201, "Event type deprecated successfully"));
    assert!(deprecated.data()["deprecated_at"].is_string());
    assert_eq!(bed.post(&deprecate, json!({})).await.data(), deprecated.data());

    assert_eq!(bed.post("/event-types", json!({"name": "a"})).await.status, 201);
    let listed = bed.get("/event-types").await;
    assert_eq!(listed.message(), "Event types fetched successfully");
    assert_eq!((&listed.data()[0]["name"], &listed.data()[1]), (&json!("a"), deprecated.data()));
    for (action, count) in
        [("event_type.created", 2), ("event_type.updated", 2), ("event_type.deprecated", 1)]
    {
        assert_eq!(audited(&bed, action).await, count, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named() {
    let bed = Bed::new().await;
    let made = bed.post("/event-types", json!({"name": "taken"})).await;
    let path = format!("/event-types/{}", made.text("/uid"));
    let schema = |schema: Value| json!({"name": "x", "json_schema": schema});
    for (body, status, said) in [
        (json!({}), 400, "`name`: is missing"),
        (json!({"name": ""}), 400, "`name`: is missing"),
        (json!({"name": 7}), 400, "`name`: invalid type"),
        (json!({"name": "invoice.*"}), 400, "`name`: `invoice.*` is no event type"),
        (json!({"name": "*"}), 400, "`name`: `*` is no event type"),
        (json!({"name": "a\nb"}), 400, "`name`: "),
        (json!({"name": "a".repeat(513)}), 400, "`name`: "),
        (json!({"name": "taken"}), 409, "`name`: the project has an event type `taken` already"),
        (json!({"name": "x", "category": "c".repeat(257)}), 400, "`category`: write at most"),
        (json!({"name": "x", "description": "d".repeat(16_385)}), 400, "`description`: write at most"),
        (schema(json!([1])), 400, "`json_schema`: expected a JSON Schema"),
        (schema(json!({"type": "text"})), 400, "`json_schema`: "),
        (
            schema(json!({"$ref": "https://schemas.test/a"})),
            400,
            "`json_schema`: `https://schemas.test/a` is no place",
        ),
        (schema(json!({"items": {"$ref": "#"}})), 400, "`json_schema`: `#` leads back to itself"),
    ] {
        let answer = bed.post("/event-types", body.clone()).await;
        assert!(answer.status == status && answer.message().starts_with(said), "{body}: {answer:?}");
    }
    let answer = bed.put(&path, json!({"json_schema": {"type": 7}})).await;
    assert!(answer.status == 400 && answer.message().starts_with("`json_schema`: "), "{answer:?}");
    for missing in ["/event-types/01JD000000000000000000N0NE", "/event-types/nonsense"] {
        for answer in [
            bed.get(missing).await,
            bed.put(missing, json!({})).await,
            bed.post(&format!("{missing}/deprecate"), json!({})).await,
        ] {
            assert_eq!((answer.status, answer.message()), (404, "event type not found"));
        }
    }
    let foreign = format!("/api/v1/projects/{FOREIGN}{path}");
    assert_eq!(bed.ask(Method::GET, &foreign).key(key("foreign")).send().await.status, 404);
    assert_eq!(
        bed.get("/event-types/export?format=xml").await.message(),
        "`format`: write `openapi` or `asyncapi`"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_of_an_openapi_document_become_event_types() {
    let bed = Bed::new().await;
    bed.post("/event-types", json!({"name": "order.made", "category": "shop", "description": "old"})).await;
    let yaml = r##"
openapi: 3.1.0
info: {title: Shop, version: "1"}
webhooks:
  order.made:
    post:
      description: An order was made.
      requestBody:
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Order"}
      responses: {"200": {description: ok}}
  order.gone:
    $ref: "#/components/pathItems/gone"
components:
  pathItems:
    gone:
      summary: An order is gone.
      put:
        tags: [shop, more]
        deprecated: true
        requestBody: {$ref: "#/components/requestBodies/gone"}
  requestBodies:
    gone:
      content:
        text/plain: {}
        application/cloudevents+json:
          schema:
            type: object
            properties:
              order: {$ref: "#/components/schemas/Order"}
              line: {$ref: "#/components/schemas/Line"}
  schemas:
    Order:
      type: object
      required: [id]
      properties:
        id: {type: string}
        lines: {type: array, items: {$ref: "#/components/schemas/Line"}}
    Line:
      type: object
      properties: {sum: {type: integer}}
"##;
    let imported = import(&bed, yaml).await;
    assert_eq!((imported.status, imported.message()), (200, "Event types imported successfully"));
    let [gone, made] = imported.data().as_array().unwrap().as_slice() else { panic!("{imported:?}") };
    let line = json!({"type": "object", "properties": {"sum": {"type": "integer"}}});
    let order = json!({
        "type": "object", "required": ["id"],
        "properties": {"id": {"type": "string"}, "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}}},
    });
    let mut expected = order.clone();
    expected["$defs"] = json!({"Line": line});
    assert_eq!((&made["name"], &made["category"]), (&json!("order.made"), &json!("shop")));
    assert_eq!((&made["description"], &made["json_schema"]), (&json!("An order was made."), &expected));
    assert_eq!((&gone["name"], &gone["category"]), (&json!("order.gone"), &json!("shop")));
    assert_eq!(gone["description"], "An order is gone.");
    assert!(gone["deprecated_at"].is_string());
    assert_eq!(
        gone["json_schema"],
        json!({
            "type": "object",
            "properties": {"order": {"$ref": "#/$defs/Order"}, "line": {"$ref": "#/$defs/Line"}},
            "$defs": {"Order": order, "Line": line},
        })
    );
    assert_eq!(bed.get("/event-types").await.data(), imported.data());
    // The same again is no change.
    assert_eq!(import(&bed, yaml).await.data(), imported.data());
    assert_eq!(audited(&bed, "event_types.imported").await, 1);

    let old = json!({
        "openapi": "3.0.3",
        "x-webhooks": {"a": {"post": {"requestBody": {"content": {"application/json": {
            "schema": {"type": "object", "properties": {"b": {"type": "string", "nullable": true}}},
        }}}}}},
    });
    let imported = import(&bed, &old.to_string()).await;
    assert_eq!(imported.data()[0]["json_schema"]["properties"]["b"], json!({"type": ["string", "null"]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_imported_changes_nothing() {
    let bed = Bed::new().await;
    let with = |webhooks: Value| json!({"openapi": "3.1.0", "webhooks": webhooks}).to_string();
    let post = |schema: Value| json!({"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}}});
    for (spec, said) in [
        (String::new(), "`spec`: is missing"),
        ("{".to_owned(), "`spec`: is neither JSON nor YAML"),
        ("a: [".to_owned(), "`spec`: is neither JSON nor YAML"),
        ("plain".to_owned(), "`spec`: is no OpenAPI 3 document"),
        (json!({"swagger": "2.0"}).to_string(), "`spec`: is no OpenAPI 3 document"),
        (json!({"openapi": "3.1.0", "paths": {}}).to_string(), "`spec`: has no `webhooks`"),
        (with(json!({})), "`spec`: has no `webhooks`"),
        (with(json!({"a.*": {"post": {}}})), "`spec: webhooks.a.*`: `a.*` is no event type"),
        (with(json!({"ok": {"post": {}}, "a": {}})), "`spec: webhooks.a`: has no operation"),
        (
            with(json!({"ok": {"post": {}}, "a": {"$ref": "#/none"}})),
            "`spec: webhooks.a`: `#/none` is no place",
        ),
        (with(json!({"a": {"$ref": "#/webhooks/a"}})), "`spec: webhooks.a`: `#/webhooks/a` leads nowhere"),
        (with(json!({"ok": {"post": {}}, "a": post(json!({"type": 7}))})), "`spec: webhooks.a`: "),
        (
            with(json!({"a": {"post": {"tags": ["t".repeat(257)]}}})),
            "`spec: webhooks.a: tags`: write at most",
        ),
        (
            with(json!({"a": {"post": {"description": "a\0"}}})),
            "`spec: webhooks.a: description`: write at most",
        ),
        (
            with(json!({"ok": {"post": {}}, "a": post(json!({"items": {"$ref": "other.yaml#/a"}}))})),
            "`spec: webhooks.a`: `other.yaml#/a` is no place",
        ),
    ] {
        let answer = import(&bed, &spec).await;
        assert!(answer.status == 400 && answer.message().starts_with(said), "{spec}: {answer:?}");
    }
    assert_eq!(bed.post("/event-types/import", json!({})).await.status, 400);
    assert_eq!(bed.get("/event-types").await.data(), &json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_as_openapi_and_imported_is_the_same_catalogue() {
    let bed = Bed::new().await;
    for body in [
        json!({"name": "invoice.paid", "category": "billing", "description": "Paid.", "json_schema": schema()}),
        json!({"name": "invoice/paid", "json_schema": {"type": "object"}}),
        json!({"name": "invoice_paid", "json_schema": {"type": "array"}}),
        json!({"name": "plain"}),
    ] {
        assert_eq!(bed.post("/event-types", body).await.status, 201);
    }
    let listed = bed.get("/event-types").await;
    let plain = listed.text("/3/uid");
    bed.post(&format!("/event-types/{plain}/deprecate"), json!({})).await;
    let exported = bed.ask(Method::GET, "/event-types/export").key(key("viewer")).send().await.body;
    assert_eq!(exported["openapi"], "3.1.0");
    assert_eq!(exported["info"]["title"], "Events of acme-project");
    let paid = &exported["webhooks"]["invoice.paid"]["post"];
    assert_eq!((&paid["tags"], &paid["description"]), (&json!(["billing"]), &json!("Paid.")));
    assert_eq!(exported["webhooks"]["plain"]["post"]["deprecated"], true);
    let components = exported["components"]["schemas"].as_object().unwrap();
    assert_eq!(components.len(), 3);
    assert_eq!(
        components["invoice.paid"]["properties"]["lines"]["items"]["$ref"],
        "#/components/schemas/invoice.paid/$defs/line"
    );
    // Every reference leads somewhere.
    let mut references = Vec::new();
    collect(&exported, &mut references);
    assert!(references.len() >= 4);
    for reference in references {
        assert!(exported.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }

    let without = |answer: &Answer| -> Vec<Value> {
        let mut items = answer.data().as_array().unwrap().clone();
        for item in &mut items {
            for own in ["uid", "created_at", "updated_at", "deprecated_at"] {
                item.as_object_mut().unwrap().remove(own);
            }
        }
        items
    };
    let before = bed.get("/event-types").await;
    bed.run("DELETE FROM event_types").await;
    assert_eq!(import(&bed, &exported.to_string()).await.status, 200);
    let after = bed.get("/event-types").await;
    assert_eq!(without(&after), without(&before));
    assert!(after.data()[3]["deprecated_at"].is_string());
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "$ref" => references.push(text.clone()),
                    member => collect(member, references),
                }
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_is_exported_as_asyncapi() {
    let bed = Bed::new().await;
    let body = json!({"name": "invoice paid", "category": "billing", "description": "Paid.", "json_schema": schema()});
    bed.post("/event-types", body).await;
    bed.post("/event-types", json!({"name": "plain"})).await;
    let exported = bed.get("/event-types/export?format=asyncapi").await.body;
    assert_eq!(exported["asyncapi"], "3.0.0");
    let message = &exported["components"]["messages"]["invoice_paid"];
    assert_eq!((&message["name"], &message["tags"]), (&json!("invoice paid"), &json!([{"name": "billing"}])));
    assert_eq!(message["payload"], json!({"$ref": "#/components/schemas/invoice_paid"}));
    assert_eq!(exported["operations"]["sendEvents"]["action"], "send");
    assert_eq!(exported["channels"]["events"]["messages"].as_object().unwrap().len(), 2);
    let mut references = Vec::new();
    collect(&exported, &mut references);
    for reference in references {
        assert!(exported.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
}
