//! Subscriptions, filters and event types over the public API of a running gateway: what is said there is so at once.

use longshore_testkit::receiver::Receiver;
use serde_json::{Value, json};

use crate::bed::{ENDPOINT, PATIENCE, PROJECT, ask, setup, subscribe};
use crate::support::{API_KEY, Database, file, longshore};

async fn send(address: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let (body, path) = (body.to_string(), format!("/api/v1/projects/{PROJECT}{path}"));
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {API_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, _, answer) = ask(address, &request).await;
    (status, serde_json::from_str(&answer).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_by_event_type_decides_what_is_delivered() {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    let receiver = Receiver::start().await;
    let url = receiver.url("/hook");
    let resources = file(&format!(
        "projects: [{{name: shop, id: {PROJECT}, endpoints: [{{name: receiver, id: {ENDPOINT}, url: '{url}', secret: s-one}}],
           api_keys: [{{name: k, key: {API_KEY}}}]}}]"
    ));
    assert_eq!(longshore(&database, &["apply", "-f", resources.path().to_str().unwrap()]).code, 0);
    let gateway = setup(&database).start().await;
    let address = gateway.url("/");
    let body =
        json!({"name": "s", "endpoint_id": ENDPOINT, "filter_config": {"event_types": ["nothing.yet"]}});
    let (status, made) = send(&address, "POST", "/subscriptions", &body).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/subscriptions/{}", made["data"]["uid"].as_str().unwrap());
    let bulk = json!([
        {"event_type": "*", "body": {"level": 1}},
        {"event_type": "order.*", "body": {"level": 2}},
        {"event_type": "order.made", "body": {"level": 3}},
    ]);
    assert_eq!(send(&address, "POST", &format!("{path}/filters/bulk"), &bulk).await.0, 201);
    // The last change: until it is seen nothing matches, and what matches nothing waits for the newest configuration.
    let body = json!({"filter_config": {"event_types": ["*"]}});
    assert_eq!(send(&address, "PUT", &path, &body).await.0, 202);

    for event_type in ["invoice.paid", "order.sent", "order.made"] {
        for level in 1..=3 {
            let event = json!({"event_type": event_type, "data": {"level": level, "type": event_type}});
            assert_eq!(send(&address, "POST", "/events/broadcast", &event).await.0, 201);
        }
    }
    let requests = receiver.wait_for(3, PATIENCE).await;
    let mut bodies: Vec<Value> =
        requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    bodies.sort_by_key(|body| body["level"].as_u64());
    assert_eq!(
        bodies,
        [
            json!({"level": 1, "type": "invoice.paid"}),
            json!({"level": 2, "type": "order.sent"}),
            json!({"level": 3, "type": "order.made"}),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_as_the_catalogue_says_is_refused_with_what_is_wrong() {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    let receiver = Receiver::start().await;
    subscribe(&database, &receiver.url("/hook"));
    let gateway = setup(&database).start().await;
    let address = gateway.url("/");
    let schema = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}});
    let kind = json!({"name": "order.made", "json_schema": schema});
    assert_eq!(send(&address, "POST", "/event-types", &kind).await.0, 201);
    let (status, put) = send(&address, "PUT", "", &json!({"config": {"event_types": "valid"}})).await;
    assert_eq!(status, 202, "{put}");

    let post = async |event_type: &str, data: Value| {
        send(&address, "POST", "/events/broadcast", &json!({"event_type": event_type, "data": data})).await
    };
    let since = tokio::time::Instant::now();
    // The setting is followed within a second.
    let (status, refused) = loop {
        let answer = post("order.gone", json!({})).await;
        if answer.0 != 201 {
            break answer;
        }
        assert!(since.elapsed() < PATIENCE, "the setting is not followed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let message = refused["message"].as_str().unwrap();
    assert!(status == 400 && message.contains("event_type") && message.contains("`order.gone`"), "{refused}");
    let (status, refused) = post("order.made", json!({"id": 7})).await;
    let message = refused["message"].as_str().unwrap();
    assert!(status == 400 && message.contains("data") && message.contains("/id"), "{refused}");
    assert_eq!(post("order.made", json!({"id": "x"})).await.0, 201);
    // A type that was made a moment ago is known at once.
    assert_eq!(send(&address, "POST", "/event-types", &json!({"name": "order.new"})).await.0, 201);
    assert_eq!(post("order.new", json!(1)).await.0, 201);
}
