use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use http::Request as HttpRequest;
use longshore_core::Secret;
use longshore_store::control::ActorKind;
use longshore_store::{ApiKeyHasher, Keys, Profile, Settings, Store, connect};
use longshore_testkit::database::{TestDatabase, count, fresh_from_template};
use tokio::sync::Notify;
use tower::ServiceExt;

use super::*;
use crate::v1::ControlSettings;
use crate::v1::access::Caller;

const MASTER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A route that counts, and says what it is told to.
struct Bed {
    database: TestDatabase,
    store: Store,
    router: Router,
    made: Arc<AtomicUsize>,
    may_end: Arc<Notify>,
}

async fn open(url: &str) -> Store {
    let settings = Settings {
        url: Secret::new(url.to_owned()),
        max_connections: 4,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
        lease: Duration::from_secs(30),
        profile: Profile::Control,
    };
    connect(&settings, Keys::parse(MASTER).unwrap()).await.unwrap()
}

impl Bed {
    async fn new() -> Self {
        let database = fresh_from_template("api", |url| async move {
            let store = open(&url).await;
            store.migrate().await.unwrap();
            store.close().await;
        })
        .await;
        let store = open(&database.url()).await;
        let control =
            Control::new(store.clone(), ApiKeyHasher::new(&[7; 32]), ControlSettings::default()).unwrap();
        let (made, may_end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counted, ends) = (made.clone(), may_end.clone());
        let make = move |body: String| async move {
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            match body.as_str() {
                "slow" => ends.notified().await,
                "wrong" => return (StatusCode::BAD_REQUEST, [("etag", "")], "no".to_owned()),
                _ => {}
            }
            (StatusCode::CREATED, [("etag", "\"1\"")], format!("secret-{number}"))
        };
        let router = Router::new().route("/{thing}", post(make)).layer(from_fn_with_state(control, repeat));
        Self { database, store, router, made, may_end }
    }

    fn request(caller: u128, path: &str, key: Option<&str>, body: &str) -> Request {
        let actor = Actor {
            kind: ActorKind::ProjectKey,
            id: Some(Uuid::from_u128(caller)),
            name: String::new(),
            request_id: None,
        };
        let mut request = HttpRequest::post(path);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.extension(Known(Ok(Caller::of(actor)))).body(Body::from(body.to_owned())).unwrap()
    }

    async fn ask(&self, caller: u128, path: &str, key: Option<&str>, body: &str) -> (u16, String, bool) {
        let request = Self::request(caller, path, key, body);
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        (head.status.as_u16(), body, head.headers.contains_key(REPLAYED))
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_does_nothing_and_is_answered_as_the_first_was() {
    let bed = Bed::new().await;

    assert_eq!(bed.ask(1, "/a", Some("k"), "x").await, (201, "secret-1".to_owned(), false));
    assert_eq!(bed.ask(1, "/a", Some("k"), "x").await, (201, "secret-1".to_owned(), true));
    assert_eq!(bed.made(), 1);
    // Another body is a mistake; another caller, path or key is another request, and so is one without a key.
    assert_eq!(bed.ask(1, "/a", Some("k"), "y").await.0, 422);
    assert_eq!(bed.ask(1, "/a?dry=1", Some("k"), "x").await.0, 422);
    assert_eq!(bed.ask(2, "/a", Some("k"), "x").await, (201, "secret-2".to_owned(), false));
    assert_eq!(bed.ask(1, "/b", Some("k"), "x").await, (201, "secret-3".to_owned(), false));
    assert_eq!(bed.ask(1, "/a", Some("l"), "x").await, (201, "secret-4".to_owned(), false));
    assert_eq!(bed.ask(1, "/a", None, "x").await, (201, "secret-5".to_owned(), false));
    assert_eq!(bed.ask(1, "/a", Some(""), "x").await.0, 400);
    assert_eq!(bed.ask(1, "/a", Some(&"k".repeat(256)), "x").await.0, 400);
    assert_eq!(bed.made(), 5);
    let open =
        "SELECT count(*) FROM idempotent_requests WHERE encode(sealed_answer, 'escape') LIKE '%secret%'";
    assert_eq!(count(&bed.database, open).await, 0, "answers are sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_nothing_may_be_put_right_under_its_key() {
    let bed = Bed::new().await;

    assert_eq!(bed.ask(1, "/a", Some("k"), "wrong").await.0, 400);
    assert_eq!(bed.ask(1, "/a", Some("k"), "right").await, (201, "secret-2".to_owned(), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_on_when_its_client_is_gone_and_a_repeat_waits_for_it() {
    let bed = Bed::new().await;
    let gone = tokio::spawn(bed.router.clone().oneshot(Bed::request(1, "/a", Some("k"), "slow")));
    while bed.made() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bed.ask(1, "/a", Some("k"), "slow").await.0, 409, "it is in progress");
    assert_eq!(bed.ask(1, "/a", Some("k"), "other").await.0, 422);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());

    bed.may_end.notify_one();

    let kept = "SELECT count(*) FROM idempotent_requests WHERE sealed_answer IS NOT NULL";
    while count(&bed.database, kept).await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bed.ask(1, "/a", Some("k"), "slow").await, (201, "secret-1".to_owned(), true));
    assert_eq!(bed.made(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_a_day_old_is_forgotten_and_what_a_dead_process_left_is_taken_over() {
    let bed = Bed::new().await;
    let sql = sqlx::PgPool::connect_with(bed.database.options()).await.unwrap();
    let age = async |interval: &str| {
        let sooner = sqlx::query("UPDATE idempotent_requests SET started_at = started_at - $1::interval");
        sooner.bind(interval).execute(&sql).await.unwrap();
    };
    bed.ask(1, "/a", Some("k"), "x").await;
    bed.ask(1, "/b", Some("k"), "x").await;
    age("23 hours").await;
    assert_eq!(bed.store.drop_requests().await.unwrap(), 0);
    assert_eq!(bed.ask(1, "/a", Some("k"), "x").await, (201, "secret-1".to_owned(), true));
    age("61 minutes").await;
    assert_eq!(
        bed.ask(1, "/a", Some("k"), "y").await,
        (201, "secret-3".to_owned(), false),
        "it is as good as new"
    );
    assert_eq!(bed.store.drop_requests().await.unwrap(), 1);

    sqlx::query("UPDATE idempotent_requests SET sealed_answer = NULL").execute(&sql).await.unwrap();
    assert_eq!(bed.ask(1, "/a", Some("k"), "y").await.0, 409);
    age("61 seconds").await;
    assert_eq!(bed.ask(1, "/a", Some("k"), "y").await, (201, "secret-4".to_owned(), false));
}
