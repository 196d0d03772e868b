//! Credentials that are replaced while messages flow: in good order, and at the broker first.

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::servers::OwnServers;
use longshore_testkit::sqs::{Door, Sqs};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::brokers::{on, rate};
use crate::load::{Load, broadcast};
use crate::record;
use crate::stage::{PATIENCE, Stage};

/// Whom the source is: a name and what proves it.
#[derive(Clone, Copy)]
struct Credentials(&'static str, &'static str);

const BEFORE: Credentials = Credentials("before", "p1");
const AFTER: Credentials = Credentials("after", "p2");
/// The same user with another password; on SQS another key.
const LAST: Credentials = Credentials("after", "p3");

const REFUSED: &str = "SELECT count(*) FROM source_status WHERE state = 'failing'";

on!(rotated_credentials_need_no_restart: rabbitmq, kafka, sqs, pubsub);

/// What decides who may come in.
enum Lock {
    RabbitMq(OwnServers),
    Kafka(OwnServers),
    /// The server itself checks nothing.
    Sqs(Door),
    /// Nothing does: the source is told another key, and that is all.
    PubSub,
}

impl Lock {
    async fn new(kind: BrokerKind) -> Self {
        match kind {
            BrokerKind::RabbitMq | BrokerKind::Quorum => {
                Self::RabbitMq(OwnServers::start(&[kind.server()]).await)
            }
            BrokerKind::Kafka => Self::Kafka(OwnServers::start(&[kind.server()]).await),
            BrokerKind::Sqs => Self::Sqs(Door::start(Sqs::connect().await).await),
            BrokerKind::PubSub => Self::PubSub,
        }
    }

    /// Where the stage's queue is: a server of one's own, or what the environment names.
    fn server(&self) -> Option<&str> {
        match self {
            Self::RabbitMq(own) => Some(own.amqp_url()),
            Self::Kafka(own) => Some(own.kafka_brokers()),
            Self::Sqs(_) | Self::PubSub => None,
        }
    }

    /// The source's settings as that user.
    fn settings(&self, stage: &Stage, Credentials(user, secret): Credentials) -> Value {
        let mut settings = stage.settings();
        match self {
            Self::RabbitMq(_) => {
                let text = settings.to_string();
                assert!(text.contains("guest:guest@"), "the test's own user is another one");
                return serde_json::from_str(&text.replace("guest:guest@", &format!("{user}:{secret}@")))
                    .unwrap();
            }
            Self::Kafka(own) => {
                settings["brokers"] = json!([own.kafka_sasl_brokers()]);
                settings["auth"] = json!({"type": "scram", "username": user, "password": secret});
            }
            Self::Sqs(door) => {
                settings["endpoint"] = json!(door.endpoint());
                (settings["access_key_id"], settings["secret_key"]) = (json!(secret), json!(user));
            }
            Self::PubSub => {
                settings["service_account"] = json!({
                    "type": "service_account",
                    "client_email": format!("{user}@longshore-test.iam.gserviceaccount.com"),
                    "private_key_id": secret,
                    "private_key": "none that a server would look at",
                });
            }
        }
        settings
    }

    /// From now on they let in, and no others of this user.
    async fn let_in(&self, Credentials(user, secret): Credentials) {
        match self {
            Self::RabbitMq(own) => {
                own.rabbitmqctl(&["add_user", user, secret]).await;
                own.rabbitmqctl(&["set_permissions", user, ".*", ".*", ".*"]).await;
            }
            Self::Kafka(own) => {
                scram(
                    own,
                    user,
                    &["--add-config", &format!("SCRAM-SHA-512=[iterations=4096,password={secret}]")],
                )
                .await;
            }
            Self::Sqs(door) => door.let_in(secret),
            Self::PubSub => {}
        }
    }

    /// From now on they are refused; on RabbitMQ their connections are closed at once, on Kafka when they are to prove
    /// themselves again, some seconds later.
    async fn shut_out(&self, Credentials(user, secret): Credentials) {
        match self {
            Self::RabbitMq(own) => drop(own.rabbitmqctl(&["delete_user", user]).await),
            Self::Kafka(own) => scram(own, user, &["--delete-config", "SCRAM-SHA-512"]).await,
            Self::Sqs(door) => door.shut_out(secret),
            Self::PubSub => {}
        }
    }

    /// Replaces the second by the third, of which the source does not know; false where nobody can be refused.
    async fn surprise(&self) -> bool {
        match self {
            Self::RabbitMq(own) => {
                own.rabbitmqctl(&["change_password", LAST.0, LAST.1]).await;
                own.rabbitmqctl(&["close_all_user_connections", LAST.0, "the password was changed"]).await;
            }
            Self::Kafka(_) => self.let_in(LAST).await,
            Self::Sqs(door) => {
                self.let_in(LAST).await;
                door.shut_out(AFTER.1);
            }
            Self::PubSub => return false,
        }
        true
    }
}

async fn scram(own: &OwnServers, user: &str, change: &[&str]) {
    own.kafka_configs(&[&["--alter", "--entity-type", "users", "--entity-name", user], change].concat())
        .await;
}

async fn rotated_credentials_need_no_restart(kind: BrokerKind) {
    let lock = Lock::new(kind).await;
    let stage = Stage::own(None, lock.server(), kind).await;
    for credentials in [BEFORE, AFTER] {
        lock.let_in(credentials).await;
    }
    stage.subscribe_with(&lock.settings(&stage, BEFORE)).await;
    let mut gateway = stage.setup().start().await;
    let pid = gateway.pid();
    let load = Load::start(&stage.queue, rate(kind), broadcast);
    stage.receiver.wait_for(rate(kind) as usize, PATIENCE).await;

    // In good order: the new ones are made known, and then the old ones are refused.
    stage.subscribe_with(&lock.settings(&stage, AFTER)).await;
    let changed = Instant::now();
    lock.shut_out(BEFORE).await;
    let resumed = a_seconds_worth(&stage, changed).await;

    // The other way round: nothing flows until the settings follow.
    let surprised = if lock.surprise().await {
        stage.count_reaches(REFUSED, 1).await;
        stage.subscribe_with(&lock.settings(&stage, LAST)).await;
        let changed = Instant::now();
        Some(a_seconds_worth(&stage, changed).await)
    } else {
        None
    };
    let published = load.stop().await;
    stage.settle(published.confirmed.len(), PATIENCE).await;

    assert_eq!(gateway.pid(), pid, "nothing was restarted");
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    let note = match surprised {
        Some(surprised) => format!(
            "the old ones removed under load: a second's worth delivered {resumed:.1?} after the change; others required \
             before the source knew: {surprised:.1?} after it was told{}",
            if kind == BrokerKind::Sqs {
                "; a proxy refuses keys in place of the server, which checks none"
            } else {
                ""
            },
        ),
        None => format!(
            "the key replaced in the settings under load: a second's worth delivered {resumed:.1?} after that; the test \
             server asks for no key, so that none is refused"
        ),
    };
    let verdict = tally.pass(&stage, record::CREDENTIALS, note);
    assert_eq!(tally.repeated, 0, "what was stored is recognised");
    verdict.append();
}

/// Waits until a second's worth of messages has come since then.
async fn a_seconds_worth(stage: &Stage, since: Instant) -> std::time::Duration {
    let seen = stage.receiver.count();
    stage.receiver.wait_for(seen + rate(stage.queue.kind()) as usize, PATIENCE).await;
    since.elapsed()
}
