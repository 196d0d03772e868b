//! A transport that answers by script, under paused time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use longshore_core::AttemptOutcome;
use longshore_core::event::Headers;
use longshore_pipeline::dispatch::{Answer, SignedRequest, Transport};
use tokio::sync::watch;
use tokio::time::Instant;

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// Answers with that status after a while.
    Status(u16, Duration),
    /// Answers 503 and asks to wait that long.
    Wait(Duration),
    /// The client itself breaks.
    Panic,
}

pub(crate) const OK: Reply = Reply::Status(200, Duration::ZERO);
pub(crate) const DOWN: Reply = Reply::Status(503, Duration::ZERO);

/// A request as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    pub(crate) host: String,
    pub(crate) body: Bytes,
    pub(crate) content_type: Option<String>,
    /// Its `webhook-sequence`.
    pub(crate) sequence: u64,
}

#[derive(Debug, Default)]
struct State {
    scripts: HashMap<String, VecDeque<Reply>>,
    calls: Vec<Call>,
    in_flight: HashMap<String, usize>,
    most: HashMap<String, usize>,
    is_down: bool,
}

/// Clones share script and record.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    state: Arc<Mutex<State>>,
    count: watch::Sender<usize>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), count: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Answers requests to that host with these replies in turn; the last one repeats for ever.
    pub(crate) fn on(&self, host: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state().scripts.insert(host.to_owned(), replies.into_iter().collect());
    }

    /// While true, everything is answered 503.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub(crate) fn calls_to(&self, host: &str) -> Vec<Call> {
        self.state().calls.iter().filter(|call| call.host == host).cloned().collect()
    }

    /// The most requests to that host at once.
    pub(crate) fn most_to(&self, host: &str) -> usize {
        self.state().most.get(host).copied().unwrap_or(0)
    }

    pub(crate) async fn wait_for(&self, count: usize) {
        let arrived = self.count.subscribe().wait_for(|so_far| *so_far >= count).await.is_ok();
        assert!(arrived);
    }
}

/// Counts a request as in flight for as long as it lives.
struct InFlight(Script, String);

impl Drop for InFlight {
    fn drop(&mut self) {
        *self.0.state().in_flight.entry(self.1.clone()).or_default() -= 1;
    }
}

impl Transport for Script {
    async fn send(&self, request: SignedRequest) -> Answer {
        let host = request.url.host_str().unwrap().to_owned();
        let (reply, _in_flight) = {
            let mut state = self.state();
            let content_type =
                request.headers.get("content-type").map(|value| value.to_str().unwrap().to_owned());
            let (at, body) = (Instant::now(), request.body);
            // A request of several events has none.
            let sequence = request.headers.get("webhook-sequence");
            let sequence = sequence.map_or(0, |value| value.to_str().unwrap().parse().unwrap());
            state.calls.push(Call { at, host: host.clone(), body, content_type, sequence });
            let now = state.in_flight.entry(host.clone()).or_default();
            *now += 1;
            let now = *now;
            let most = state.most.entry(host.clone()).or_default();
            *most = now.max(*most);
            let is_down = state.is_down;
            let reply = match state.scripts.get_mut(&host) {
                _ if is_down => DOWN,
                Some(script) if script.len() > 1 => script.pop_front().unwrap(),
                Some(script) => script.front().copied().unwrap_or(OK),
                None => OK,
            };
            (reply, InFlight(self.clone(), host))
        };
        self.count.send_modify(|count| *count += 1);
        let (status, retry_after, delay) = match reply {
            Reply::Status(status, delay) => (status, None, delay),
            Reply::Wait(delay) => (503, Some(delay), Duration::ZERO),
            Reply::Panic => panic!("the client breaks, as the script says"),
        };
        // Also a quick answer takes a moment.
        tokio::time::sleep(delay.max(Duration::from_millis(1))).await;
        let outcome = AttemptOutcome::Response { status, retry_after };
        Answer {
            outcome,
            headers: Headers::default(),
            body: Bytes::new(),
            error: String::new(),
            remote: None,
        }
    }
}
