//! The suite that every source must pass, over real HTTP: one event per request, and in batches.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing set-up is a failing test")]

#[expect(dead_code, reason = "the tests of ingest use the rest")]
#[path = "ingest/support.rs"]
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_source::conformance::{self, Answer, Harness};
use longshore_source_http::{HttpIngestConfig, HttpSource};
use support::{Connection, Reply, Server, config, connect, post, request, serve};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// More producers than there is room: some are always told to come again.
const SURPLUS: usize = 8;
/// Much earlier than `Retry-After` says, so that the limit is under pressure while nothing may pass it.
const IMPATIENCE: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq)]
enum Via {
    Events,
    Batches,
}

/// What one request carries.
type Parcel = Vec<String>;

/// The producers of the current queue: each has a connection, and one request on it at a time.
struct Producers {
    via: Via,
    server: Option<(SocketAddr, NonZeroUsize)>,
    sending: JoinSet<()>,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
}

impl Producers {
    fn of(via: Via) -> Self {
        Self { via, server: None, sending: JoinSet::new(), answers: Arc::default() }
    }
}

impl Harness for Producers {
    type Source = HttpSource;

    async fn fresh_queue(&mut self) {
        *self = Self::of(self.via);
    }

    async fn connect(&mut self, max_in_flight: NonZeroUsize) -> HttpSource {
        let Server { address, source } = serve(HttpIngestConfig { max_in_flight, ..config() }).await;
        self.server = Some((address, max_in_flight));
        source
    }

    async fn publish(&mut self, bodies: Vec<String>) {
        let (address, room) = self.server.unwrap();
        // Small beside the room: a batch gets all of it at once or none, and the suite keeps up to half of it.
        let size = if self.via == Via::Batches { (room.get() / 10).max(1) } else { 1 };
        let mut parcels: VecDeque<Parcel> = bodies.chunks(size).map(<[_]>::to_vec).collect();
        let firsts: Vec<_> = parcels.drain(..parcels.len().min(room.get() + SURPLUS)).collect();
        let rest = Arc::new(Mutex::new(parcels));
        for first in firsts {
            let mut connection = connect(address).await;
            connection.send(&self.via.request(&first)).await;
            let (via, rest, answers) = (self.via, Arc::clone(&rest), Arc::clone(&self.answers));
            self.sending.spawn(async move {
                let mut parcel = first;
                loop {
                    let told = via.answers(&mut connection, &parcel, address).await;
                    answers.lock().unwrap().extend(parcel.into_iter().zip(told));
                    let Some(next) = rest.lock().unwrap().pop_front() else { break };
                    parcel = next;
                    connection.send(&via.request(&parcel)).await;
                }
            });
        }
    }

    async fn break_connections(&mut self) -> bool {
        // The producers' connections are not the source's: it has none to make again.
        false
    }

    async fn left(&mut self) -> u64 {
        let answers = self.answers().await;
        answers.values().filter(|answer| **answer != Answer::Stored).count() as u64
    }

    async fn answers(&mut self) -> BTreeMap<String, Answer> {
        let everybody = async {
            while let Some(done) = self.sending.join_next().await {
                done.unwrap();
            }
        };
        timeout(LIMIT, everybody).await.expect("a producer still waits for its answer");
        self.answers.lock().unwrap().clone()
    }
}

impl Via {
    fn request(self, parcel: &[String]) -> String {
        match self {
            Self::Events => post("events", &parcel.concat()),
            Self::Batches => request(
                "POST",
                "/api/v1/projects/acme/events/batch",
                &["authorization: Bearer good", "content-type: application/x-ndjson"],
                &parcel.join("\n"),
            ),
        }
    }

    /// One answer for each event of `parcel`, which was sent; repeats it as long as there is no room.
    async fn answers(
        self,
        connection: &mut Connection,
        parcel: &[String],
        address: SocketAddr,
    ) -> Vec<Answer> {
        loop {
            let reply = connection.reply().await;
            if reply.header("connection") == Some("close") {
                *connection = connect(address).await;
            }
            if reply.status != 503 || !reply.body.contains("too many events are in flight") {
                return self.read(&reply, parcel.len());
            }
            assert!(repeat(&reply).is_some_and(|after| !after.is_zero()), "{reply:?}");
            sleep(IMPATIENCE).await;
            connection.send(&self.request(parcel)).await;
        }
    }

    fn read(self, reply: &Reply, events: usize) -> Vec<Answer> {
        let json = reply.json();
        let answer = |status: u64, why: &serde_json::Value| match status {
            201 => Answer::Stored,
            400 => Answer::Refused(why.as_str().unwrap().to_owned()),
            503 => Answer::Repeat(repeat(reply).expect("nothing says when to repeat")),
            _ => panic!("nobody asked for this answer: {reply:?}"),
        };
        match json["data"].as_array() {
            Some(items) if self == Via::Batches => {
                items.iter().map(|item| answer(item["status"].as_u64().unwrap(), &item["error"])).collect()
            }
            _ => vec![answer(reply.status.into(), &json["message"]); events],
        }
    }
}

fn repeat(reply: &Reply) -> Option<Duration> {
    Some(Duration::from_secs(reply.header("retry-after")?.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn single_events_conform() {
    conformance::run(Producers::of(Via::Events)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_conform() {
    conformance::run(Producers::of(Via::Batches)).await;
}
