//! A gateway with one project, and events for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_testkit::gateway::{Gateway, Setup};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{API_KEY, Database, file, longshore};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const PROJECT: &str = "01JD0000000000000000000SHP";
/// The id of the endpoint of [`subscribe`].
pub(crate) const ENDPOINT: &str = "01JD0000000000000000000RCV";
/// How often one thread of traffic posts.
const PACE: Duration = Duration::from_millis(10);

/// Applies one endpoint that takes everything, with the secret `s-one`.
pub(crate) fn subscribe(database: &Database, url: &str) {
    apply(database, &format!("{{name: receiver, id: {ENDPOINT}, url: '{url}', secret: s-one}}"));
}

/// Applies one endpoint that takes everything.
pub(crate) fn apply(database: &Database, endpoint: &str) {
    let resources = format!(
        "
projects:
  - name: shop
    id: {PROJECT}
    endpoints: [{endpoint}]
    subscriptions: [{{name: all, endpoint: receiver}}]
    api_keys: [{{name: k, key: {API_KEY}}}]
"
    );
    let file = file(&resources);
    let applied = longshore(database, &["apply", "-f", file.path().to_str().unwrap()]);
    assert_eq!(applied.code, 0, "{applied:?}");
}

pub(crate) fn setup(database: &Database) -> Setup {
    database
        .environment()
        .into_iter()
        .fold(Setup::new(env!("CARGO_BIN_EXE_longshore")), |setup, (name, value)| setup.env(name, value))
}

/// Asks the public listener; gives status, head and body.
pub(crate) async fn ask(address: &str, request: &str) -> (u16, String, String) {
    let host = address.trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

/// Posts one event and gives the status.
pub(crate) async fn post(address: &str, body: &str) -> u16 {
    let request = format!(
        "POST /api/v1/projects/{PROJECT}/events/broadcast HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {API_KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    ask(address, &request).await.0
}

/// GETs a path of the public listener; gives status, head and body.
pub(crate) async fn get(gateway: &Gateway, path: &str) -> (u16, String, Value) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let (status, head, body) = ask(&gateway.url("/"), &request).await;
    (status, head, serde_json::from_str(&body).unwrap_or_default())
}

/// Events posted to some addresses in turn until told to stop.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    addresses: Arc<Mutex<Vec<String>>>,
    posting: JoinHandle<usize>,
}

impl Traffic {
    pub(crate) fn start(gateways: &[&Gateway]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let addresses: Vec<String> = gateways.iter().map(|gateway| gateway.url("/")).collect();
        let addresses = Arc::new(Mutex::new(addresses));
        let (told, targets) = (Arc::clone(&stop), Arc::clone(&addresses));
        let posting = tokio::spawn(async move {
            let mut accepted = 0;
            while !told.load(Ordering::Relaxed) {
                let target = {
                    let targets = targets.lock().unwrap();
                    targets[accepted % targets.len()].clone()
                };
                let body = format!(r#"{{"event_type": "order.paid", "data": {{"n": {accepted}}}}}"#);
                assert_eq!(post(&target, &body).await, 201);
                accepted += 1;
                tokio::time::sleep(PACE).await; // the pace of the traffic
            }
            accepted
        });
        Self { stop, addresses, posting }
    }

    /// From now on only there, as a load balancer does that takes an instance out.
    pub(crate) async fn only(&self, gateways: &[&Gateway]) {
        *self.addresses.lock().unwrap() = gateways.iter().map(|gateway| gateway.url("/")).collect();
        tokio::time::sleep(10 * PACE).await; // what was on its way there has arrived
    }

    /// Stops, and gives how many events were accepted.
    pub(crate) async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.posting.await.unwrap()
    }
}
