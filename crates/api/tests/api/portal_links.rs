//! Portal links: made, opened, changed, revoked; and what their tokens open is their owner's.

use http::Method;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, FOREIGN, PROJECT, key, token};
use crate::rows::{ENDPOINT, OTHER, SOURCE, delivery, event, id, resources, uuid};

const LINKS: &str = "/portal-links";
const PORTAL: &str = "/api/v1/portal";

async fn create(bed: &Bed, body: Value) -> Answer {
    bed.post(LINKS, body).await
}

async fn opens(bed: &Bed, token: &str) -> u16 {
    bed.ask(Method::GET, PORTAL).key(token.to_owned()).send().await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_link_has_a_url_that_opens_it_until_it_is_revoked() {
    let bed = Bed::new().await;
    let (own, _) = (bed.endpoint("own", Some("acme")).await, bed.endpoint("other", Some("else")).await);
    let made = create(&bed, json!({"name": "Acme", "owner_id": "acme"})).await;

    assert_eq!((made.status, made.text("/auth_type")), (201, "static_token".to_owned()));
    assert_eq!(made.data()["endpoints"], json!([own]));
    assert_eq!(
        (&made.data()["endpoint_count"], made.text("/endpoints_metadata/0/name")),
        (&json!(1), "own".into())
    );
    assert_eq!(made.data()["can_manage_endpoint"], false);
    let text = made.text("/token");
    assert_eq!(made.text("/url"), format!("https://longshore.test/portal?token={text}"));
    assert!(text.starts_with("PRT.") && text.len() == 85, "{text}");
    let opened = bed.ask(Method::GET, PORTAL).key(text.clone()).send().await;
    assert_eq!((opened.text("/owner_id"), opened.text("/project_id")), ("acme".into(), PROJECT.into()));
    assert_eq!(opened.text("/portal_link_id"), made.text("/uid"));

    // The URL can be read again, by whoever may make one.
    let path = format!("{LINKS}/{}", made.text("/uid"));
    assert_eq!(bed.get(&path).await.text("/url"), made.text("/url"));
    assert_eq!(bed.get(LINKS).await.text("/content/0/url"), made.text("/url"));
    for path in [path.as_str(), LINKS] {
        let seen = bed.ask(Method::GET, path).key(key("viewer")).send().await;
        assert_eq!(seen.status, 200);
        assert!(!seen.body.to_string().contains("PRT.") && !seen.body.to_string().contains("/portal?"));
    }
    let stored: String =
        sqlx::query_scalar("SELECT portal_links::text FROM portal_links").fetch_one(&bed.sql).await.unwrap();
    assert!(!stored.contains(&text));

    let revoked = bed.put(&format!("{path}/revoke"), json!({})).await;
    assert_eq!((revoked.status, &revoked.body["data"]), (200, &Value::Null));
    assert_eq!(opens(&bed, &text).await, 401);
    assert_eq!(bed.get(&path).await.status, 404);
    assert_eq!(bed.put(&format!("{path}/revoke"), json!({})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_token_is_shown_once_and_good_for_an_hour() {
    let bed = Bed::new().await;
    let body =
        json!({"name": "Acme", "owner_id": "a&b", "auth_type": "refresh_token", "can_manage_endpoint": true});
    let made = create(&bed, body).await;

    let first = made.text("/auth_key");
    assert_eq!(made.data().get("token"), None);
    assert_eq!(made.text("/url"), format!("https://longshore.test/portal?owner_id=a%26b&auth_token={first}"));
    assert_eq!(opens(&bed, &first).await, 200);
    let path = format!("{LINKS}/{}", made.text("/uid"));
    let read = bed.get(&path).await;
    assert_eq!(read.data().get("auth_key"), None);
    assert_eq!(read.text("/url"), "https://longshore.test/portal?owner_id=a%26b");

    let refreshed = bed.get(&format!("{path}/refresh_token")).await;
    let second = refreshed.text("");
    assert_ne!(first, second);
    assert_eq!((opens(&bed, &first).await, opens(&bed, &second).await), (200, 200));
    let opened = bed.ask(Method::GET, PORTAL).key(second.clone()).send().await;
    assert_eq!(opened.data()["can_manage_endpoint"], true);
    assert!(opened.data()["expires_at"].is_string());
    bed.run("UPDATE portal_tokens SET expires_at = expires_at - interval '1 hour 1 second'").await;
    assert_eq!((opens(&bed, &first).await, opens(&bed, &second).await), (401, 401));
    // What has expired is forgotten with the next one.
    let third = bed.get(&format!("{path}/refresh_token")).await.text("");
    assert_eq!(opens(&bed, &third).await, 200);
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM portal_tokens").fetch_one(&bed.sql).await.unwrap();
    assert_eq!(left, 1);
    assert_eq!(bed.get(&format!("{LINKS}/{PROJECT}/refresh_token")).await.status, 404);
    let looks = bed.ask(Method::GET, &format!("{path}/refresh_token")).key(key("viewer")).send().await;
    assert_eq!(looks.status, 403, "who only looks makes no tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_changed_and_its_tokens_follow() {
    let bed = Bed::new().await;
    let made = create(&bed, json!({"name": "Acme", "owner_id": "acme", "auth_type": ""})).await;
    let (path, first) = (format!("{LINKS}/{}", made.text("/uid")), made.text("/token"));
    let tag = made.headers["etag"].to_str().unwrap().to_owned();

    let renamed = bed.put(&path, json!({"name": "New", "can_manage_endpoint": true, "auth_type": ""})).await;
    assert_eq!(
        (renamed.status, renamed.text("/name"), renamed.text("/token")),
        (202, "New".into(), first.clone())
    );
    let opened = bed.ask(Method::GET, PORTAL).key(first.clone()).send().await;
    assert_eq!(opened.data()["can_manage_endpoint"], true);
    let late = bed.ask(Method::PUT, &path).header("if-match", tag).body(json!({"name": "x"})).send().await;
    assert_eq!(late.status, 412);

    let moved = bed.put(&path, json!({"owner_id": "else"})).await;
    let second = moved.text("/token");
    assert_eq!((opens(&bed, &first).await, opens(&bed, &second).await), (401, 200));
    let brief = bed.get(&format!("{path}/refresh_token")).await.text("");
    let refreshing = bed.put(&path, json!({"auth_type": "refresh_token"})).await;
    assert_eq!(refreshing.data().get("token"), None);
    assert_eq!((opens(&bed, &second).await, opens(&bed, &brief).await), (401, 200));
    bed.put(&path, json!({"owner_id": "acme"})).await;
    assert_eq!(opens(&bed, &brief).await, 401, "a token of an owner is none of another's");
    // What was read may be sent back.
    let read = bed.get(&path).await.data().clone();
    assert_eq!(bed.put(&path, read).await.status, 202);
    let audit = bed.get("/audit-log?perPage=50").await;
    let of_links = |line: &&Value| line["action"].as_str().unwrap().starts_with("portal_link.");
    let actions = audit.data()["content"].as_array().unwrap().iter().filter(of_links).count();
    assert_eq!(actions, 7, "{audit:?}");
    assert!(!audit.body.to_string().contains("PRT."));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let bed = Bed::new().await;
    for (name, owner) in [("North", "a"), ("South", "b"), ("Northwest", "a")] {
        create(&bed, json!({"name": name, "owner_id": owner})).await;
    }
    let names = async |query: &str| -> Vec<String> {
        let list = bed.get(&format!("{LINKS}?{query}")).await;
        let content = list.data()["content"].as_array().unwrap().clone();
        content.iter().map(|link| link["name"].as_str().unwrap().to_owned()).collect()
    };

    assert_eq!(names("").await, ["Northwest", "South", "North"]);
    assert_eq!(names("ownerId=a&sort=ASC").await, ["North", "Northwest"]);
    assert_eq!(names("q=north&ownerId=").await, ["Northwest", "North"]);
    assert_eq!(names("q=%25").await, Vec::<String>::new());
    let first = bed.get(&format!("{LINKS}?perPage=2")).await;
    let cursor = first.text("/pagination/next_page_cursor");
    assert_eq!(names(&format!("perPage=2&next_page_cursor={cursor}")).await, ["North"]);
    assert_eq!(bed.get(&format!("{LINKS}?perPage=0")).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_token_opens_its_own_link_and_no_other() {
    let bed = Bed::new().await;
    bed.endpoint("own", Some("acme")).await;
    let link = |name: &'static str, owner: &'static str| {
        create(&bed, json!({"name": name, "owner_id": owner, "can_manage_endpoint": name == "strong"}))
    };
    let (weak, strong) = (link("weak", "acme").await, link("strong", "acme").await);
    let other = link("other", "else").await;
    let look = async |path: String| bed.ask(Method::GET, &path).key(weak.text("/token")).send().await;

    let own = look(format!("{LINKS}/{}", weak.text("/uid"))).await;
    assert_eq!(own.text("/endpoints_metadata/0/name"), "own");
    assert!(!own.body.to_string().contains("PRT."));
    for link in [&strong, &other] {
        assert_eq!(look(format!("{LINKS}/{}", link.text("/uid"))).await.status, 404);
    }
    assert_eq!(look(LINKS.to_owned()).await.status, 403);
    assert_eq!(look(format!("{LINKS}/{}/refresh_token", weak.text("/uid"))).await.status, 403);
    assert_eq!(look(format!("/api/v1/projects/{FOREIGN}{LINKS}/{}", weak.text("/uid"))).await.status, 403);
    assert_eq!(look("/api/v1/features".to_owned()).await.status, 403);
    assert_eq!(opens(&bed, &key("admin")).await, 403, "a key is no portal link");
    assert_eq!(opens(&bed, &token("nobody")).await, 401);
    assert_eq!(opens(&bed, &weak.text("/token").to_lowercase()).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_link_is_named() {
    let bed = Bed::new().await;
    let other = bed.endpoint("other", Some("else")).await;
    let made = create(&bed, json!({"name": "Acme", "owner_id": "acme"})).await;
    let path = format!("{LINKS}/{}", made.text("/uid"));
    for (body, field) in [
        (json!({"name": "x"}), "`owner_id`"),
        (json!({"owner_id": "x"}), "`name`"),
        (json!({"name": "x", "owner_id": "x", "auth_type": "none"}), "`auth_type`"),
        (json!({"name": "x", "owner_id": "x", "can_manage_endpoint": "yes"}), "`can_manage_endpoint`"),
        (json!({"name": "x", "owner_id": "x", "endpoints": ["nonsense"]}), "`endpoints[0]`"),
        (json!({"name": "x", "owner_id": "x", "endpoints": [other]}), "`endpoints`"),
    ] {
        let refused = create(&bed, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.message().starts_with(field), "{refused:?}");
    }
    for (body, field) in [
        (json!({"name": " "}), "`name`"),
        (json!({"auth_type": "none"}), "`auth_type`"),
        (json!({"endpoints": [other]}), "`endpoints`"),
    ] {
        let refused = bed.put(&path, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.message().starts_with(field), "{refused:?}");
    }
    assert_eq!(bed.get(&path).await.data(), made.data());
    for nowhere in [format!("{LINKS}/nonsense"), format!("{LINKS}/{PROJECT}")] {
        assert_eq!(bed.get(&nowhere).await.status, 404);
        assert_eq!(bed.put(&nowhere, json!({})).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_token_sees_subscriptions_of_its_owners_endpoints_alone() {
    let bed = Bed::new().await;
    let source = json!({"name": "in", "type": "http", "verifier": {"type": "noop"}});
    let source = bed.post("/sources", source).await.text("/uid");
    let subscribe = async |name: &str, owner: Option<&str>| -> String {
        let endpoint = bed.endpoint(name, owner).await;
        let filter = json!({"event_types": ["*"], "filter": {"body": {"of": name}}});
        let body =
            json!({"name": name, "endpoint_id": endpoint, "filter_config": filter, "source_id": source});
        bed.post("/subscriptions", body).await.text("/uid")
    };
    let own = subscribe("own", Some("acme")).await;
    let others = [subscribe("other", Some("else")).await, subscribe("nobody's", None).await];
    for can_manage in [false, true] {
        let body = json!({"name": "Acme", "owner_id": "acme", "can_manage_endpoint": can_manage});
        let token = create(&bed, body).await.text("/token");
        let ask = |method: Method, path: &str| bed.ask(method, path).key(token.clone()).body(json!({}));

        for query in ["", "?name=o", "?endpointId="] {
            let list = ask(Method::GET, &format!("/subscriptions{query}")).send().await;
            let content = list.data()["content"].as_array().unwrap();
            assert_eq!(content.len(), 1, "{query}: {list:?}");
            assert_eq!(content[0]["uid"], own.as_str());
            assert_eq!(content[0].get("source_metadata"), None, "where events come in is not its holder's");
        }
        let path = format!("/subscriptions/{own}");
        let seen = ask(Method::GET, &path).send().await;
        assert_eq!((seen.text("/name"), seen.data().get("source_metadata")), ("own".into(), None));
        let filters = ask(Method::GET, &format!("{path}/filters")).send().await;
        assert_eq!(filters.text("/0/body/of"), "own");
        let filter = format!("{path}/filters/{}", filters.text("/0/uid"));
        assert_eq!(ask(Method::GET, &filter).send().await.status, 200);
        for (method, path) in [
            (Method::DELETE, path.clone()),
            (Method::PUT, path.clone()),
            (Method::DELETE, filter.clone()),
            (Method::POST, "/subscriptions".to_owned()),
        ] {
            assert_eq!(ask(method, &path).send().await.status, 403, "{path}");
        }
        for other in &others {
            let there = bed.get(&format!("/subscriptions/{other}/filters")).await.text("/0/uid");
            for path in ["".to_owned(), "/filters".to_owned(), format!("/filters/{there}")] {
                let hidden = ask(Method::GET, &format!("/subscriptions/{other}{path}")).send().await;
                assert_eq!(hidden.status, 404, "{path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_token_sees_and_manages_its_owners_endpoints_alone() {
    let bed = Bed::new().await;
    let endpoint = async |name: &str, owner: &str| -> String {
        let body = json!({"name": name, "url": "https://a.example/", "owner_id": owner, "support_email": "ops@a.example"});
        bed.post("/endpoints", body).await.text("/uid")
    };
    let (own, other) = (endpoint("own", "acme").await, endpoint("other", "else").await);
    let nobodys = endpoint("nobody's", "").await;
    let link = async |can_manage: bool| {
        let body = json!({"name": "Acme", "owner_id": "acme", "can_manage_endpoint": can_manage});
        create(&bed, body).await.text("/token")
    };
    let (looks, manages) = (link(false).await, link(true).await);
    let ask = |token: &str, method: Method, path: &str, body: Value| {
        bed.ask(method, path).key(token.to_owned()).body(body).send()
    };
    let names = async |token: &str, query: &str| -> Vec<String> {
        let list = ask(token, Method::GET, &format!("/endpoints{query}"), json!({})).await;
        let content = list.data()["content"].as_array().unwrap().clone();
        content.iter().map(|endpoint| endpoint["name"].as_str().unwrap().to_owned()).collect()
    };
    for token in [&looks, &manages] {
        assert_eq!(names(token, "").await, ["own"]);
        assert_eq!(names(token, "?ownerId=acme").await, ["own"]);
        assert_eq!(names(token, "?ownerId=else").await, Vec::<String>::new());
        assert_eq!(
            ask(token, Method::GET, &format!("/endpoints/{own}/breaker"), json!({})).await.status,
            200
        );
        let rates = ask(token, Method::GET, "/endpoints/period-failure-rates", json!({})).await;
        assert_eq!(rates.status, 403);
        for id in [&other, &nobodys] {
            for path in [format!("/endpoints/{id}"), format!("/endpoints/{id}/breaker")] {
                assert_eq!(ask(token, Method::GET, &path, json!({})).await.status, 404);
            }
        }
    }
    let path = format!("/endpoints/{own}");
    let seen = ask(&looks, Method::GET, &path, json!({})).await;
    assert_eq!((&seen.data()["secrets"], &seen.data()["support_email"]), (&json!([]), &json!("")));
    assert_eq!(
        ask(&manages, Method::GET, &path, json!({})).await.data()["secrets"].as_array().unwrap().len(),
        1
    );

    for id in [&own, &other, &nobodys] {
        for (method, path, body, done) in [
            (Method::PUT, format!("/endpoints/{id}"), json!({"name": "new"}), 202),
            (Method::PUT, format!("/endpoints/{id}/pause"), json!({}), 202),
            (Method::POST, format!("/endpoints/{id}/activate"), json!({}), 202),
            (Method::PUT, format!("/endpoints/{id}/expire_secret"), json!({}), 200),
            (Method::DELETE, format!("/endpoints/{id}"), json!({}), 200),
        ] {
            assert_eq!(ask(&looks, method.clone(), &path, body.clone()).await.status, 403, "{method} {path}");
            // Nothing of the owner's goes to another, or to nobody.
            if method == Method::PUT && done == 202 && id == &own && path == format!("/endpoints/{own}") {
                for owner in ["else", ""] {
                    let given = ask(&manages, Method::PUT, &path, json!({"owner_id": owner})).await;
                    assert!(given.status == 400 && given.message().starts_with("`owner_id`"), "{given:?}");
                }
            }
            let expected = if id == &own { done } else { 404 };
            let answer = ask(&manages, method.clone(), &path, body).await;
            assert_eq!(answer.status, expected, "{method} {path}: {answer:?}");
        }
    }
    let audit = bed.get("/audit-log?action=endpoint.deleted").await;
    assert_eq!(
        (audit.text("/content/0/actor/type"), audit.text("/content/0/resource_id")),
        ("portal_link".into(), own)
    );
    let body = json!({"name": "mine", "url": "https://b.example/"});
    let made = ask(&manages, Method::POST, "/endpoints", body.clone()).await;
    assert_eq!((made.status, made.text("/owner_id")), (201, "acme".into()));
    let mut theirs = body.clone();
    theirs["owner_id"] = json!("else");
    assert_eq!(ask(&manages, Method::POST, "/endpoints", theirs).await.status, 400);
    assert_eq!(ask(&looks, Method::POST, "/endpoints", body).await.status, 403);
    assert_eq!(bed.get(&format!("/endpoints/{other}")).await.text("/name"), "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_token_sees_the_traffic_of_its_owners_endpoints_alone() {
    let bed = Bed::new().await;
    resources(&bed).await;
    bed.run(&format!("UPDATE endpoints SET owner_id = 'else' WHERE id = '{}'", uuid(OTHER))).await;
    let source = format!("'{}'", uuid(SOURCE));
    // One to both, one to the other, one to nobody.
    let (both, others, nobodys) = (id(3, 1), id(2, 2), id(1, 3));
    for event_id in [&both, &others, &nobodys] {
        event(&bed, PROJECT, event_id, &[("source_id", &source)]).await;
    }
    let (own, theirs) = (id(3, 4), id(3, 5));
    delivery(&bed, PROJECT, &own, &both, ENDPOINT, "Success").await;
    delivery(&bed, PROJECT, &theirs, &both, OTHER, "Failure").await;
    delivery(&bed, PROJECT, &id(2, 6), &others, OTHER, "Success").await;
    let body = json!({"name": "Acme", "owner_id": "owner-1", "can_manage_endpoint": true});
    let token = create(&bed, body).await.text("/token");
    let ask = |method: Method, path: &str| bed.ask(method, path).key(token.clone()).body(json!({})).send();

    for query in [
        "".to_owned(),
        format!("?endpointId={ENDPOINT}"),
        format!("?endpointId={ENDPOINT}&endpointId={OTHER}"),
    ] {
        let events = ask(Method::GET, &format!("/events{query}")).await;
        let content = events.data()["content"].as_array().unwrap();
        assert_eq!((content.len(), &content[0]["uid"]), (1, &json!(both)), "{query}");
        assert_eq!(content[0]["endpoints"], json!([ENDPOINT]));
        assert_eq!(content[0].get("source_metadata"), None);
        let deliveries = ask(Method::GET, &format!("/eventdeliveries{query}")).await;
        let content = deliveries.data()["content"].as_array().unwrap();
        assert_eq!((content.len(), &content[0]["uid"]), (1, &json!(own)), "{query}");
        assert_eq!(content[0].get("source_metadata"), None);
    }
    for list in ["events", "eventdeliveries"] {
        let none = ask(Method::GET, &format!("/{list}?endpointId={OTHER}")).await;
        assert_eq!(none.data()["content"], json!([]), "{list}");
    }
    let seen = ask(Method::GET, &format!("/events/{both}")).await;
    assert_eq!(seen.data()["endpoints"], json!([ENDPOINT]));
    assert_eq!(seen.data()["endpoint_metadata"].as_array().unwrap().len(), 1);
    for path in ["", "/deliveryattempts"] {
        assert_eq!(ask(Method::GET, &format!("/eventdeliveries/{own}{path}")).await.status, 200);
        assert_eq!(ask(Method::GET, &format!("/eventdeliveries/{theirs}{path}")).await.status, 404);
    }
    for hidden in [&others, &nobodys] {
        assert_eq!(ask(Method::GET, &format!("/events/{hidden}")).await.status, 404);
    }
    for (method, path) in [
        (Method::PUT, format!("/events/{both}/replay")),
        (Method::PUT, format!("/eventdeliveries/{own}/resend")),
        (Method::POST, "/eventdeliveries/batchretry".to_owned()),
    ] {
        assert_eq!(ask(method, &path).await.status, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_client_names_endpoints_of_one_owner_in_place_of_the_owner() {
    let bed = Bed::new().await;
    let (one, two) = (bed.endpoint("one", Some("acme")).await, bed.endpoint("two", Some("acme")).await);
    let (other, nobodys) = (bed.endpoint("other", Some("else")).await, bed.endpoint("nobody's", None).await);

    let made = create(&bed, json!({"name": "Acme", "endpoints": [one, two]})).await;
    assert_eq!((made.status, made.text("/owner_id")), (201, "acme".to_owned()));
    for (endpoints, field) in
        [(json!([one, other]), "`endpoints`"), (json!([PROJECT]), "`owner_id`"), (json!([]), "`owner_id`")]
    {
        let refused = create(&bed, json!({"name": "Acme", "endpoints": endpoints})).await;
        assert_eq!(refused.status, 400, "{endpoints}");
        assert!(refused.message().starts_with(field), "{refused:?}");
    }

    // Where none has an owner, the link is over these.
    let mixed = create(&bed, json!({"name": "Nobody", "endpoints": [nobodys, other]})).await;
    assert!(mixed.message().starts_with("`endpoints`"), "{mixed:?}");
    assert!(bed.get(&format!("/endpoints/{nobodys}")).await.text("/owner_id").is_empty());
    let third = bed.endpoint("third", None).await;
    let left = bed.endpoint("left", None).await;
    let made = create(&bed, json!({"name": "Nobody", "endpoints": [nobodys, third]})).await;
    assert_eq!((made.status, &made.data()["endpoint_count"]), (201, &json!(2)));
    let mut of_it = [nobodys.clone(), third];
    of_it.sort_unstable();
    assert_eq!(made.data()["endpoints"], json!(of_it));
    assert!(bed.get(&format!("/endpoints/{left}")).await.text("/owner_id").is_empty());
    let again = create(&bed, json!({"name": "Again", "endpoints": [nobodys]})).await;
    assert_eq!(again.text("/owner_id"), made.text("/owner_id"));
}
