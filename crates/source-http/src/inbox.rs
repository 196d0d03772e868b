//! Webhooks that others send to us: `POST /ingest/{mask_id}`, and a provider's challenge by `GET`.
//!
//! Not here: who is believed and what an event is read from; the [`Inbox`] says both, from memory. Invariant: nothing is
//! said about a source but whether it is there, before the request is verified.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use longshore_source::{Headers, Inbound, Route, Settled};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::answer::{Answer, reason};
use crate::body;
use crate::gate::{Admission, Denied};
use crate::ingest::Ingest;
use crate::media;
use crate::rejection::Rejection;
use crate::source::{Queued, Reply};

/// The kind of an event that a source of webhooks makes.
const INCOMING: &str = "incoming";
const RECEIVED: &str = "Event received";
const DUPLICATE: &str = "Duplicate event received, but will not be sent";

/// The sources that receive webhooks.
pub trait Inbox: Send + Sync {
    /// The source at that end of a URL, called on the runtime for each request: it must answer from memory.
    ///
    /// # Errors
    /// [`Denied`]: there is none, it is switched off, or its project has sent its limit.
    fn open(&self, mask: &str) -> Result<Opened, Denied>;

    /// Only to answer a challenge, which is not counted as an event.
    ///
    /// # Errors
    /// As [`Self::open`].
    fn find(&self, mask: &str) -> Result<Arc<dyn Letterbox>, Denied>;
}

/// A source that may receive now.
pub struct Opened {
    /// What its project admits.
    pub admission: Admission,
    /// The source.
    pub source: Arc<dyn Letterbox>,
}

/// One source that receives webhooks.
pub trait Letterbox: Send + Sync {
    /// Verifies a request and reads the parts of an event from it. Header names are in lower case.
    ///
    /// # Errors
    /// A sentence for the one who sent it, without a secret.
    fn receive(&self, headers: &[(String, String)], query: &str, body: &Bytes) -> Result<Letter, String>;

    /// What is answered instead of the contract's envelope: media type and body.
    fn answer(&self) -> Option<(&str, &str)>;

    /// What a challenge is answered with: a JSON text; `None` when this source answers none.
    fn challenge(&self, query: &str) -> Option<String>;
}

/// What a webhook becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The payload.
    pub body: Bytes,
    /// What is kept and sent on.
    pub headers: Headers,
    /// What the pipeline is told.
    pub inbound: Inbound,
}

impl Ingest {
    /// Takes one webhook.
    pub(crate) async fn webhook(&self, mask: &str, head: &Parts, body: Body) -> Result<Answer, Rejection> {
        let deadline = Instant::now() + self.config.deadline;
        let Opened { admission, source } = self.inbox.open(mask)?;
        let is_encoded = |encoding: &HeaderValue| !encoding.as_bytes().eq_ignore_ascii_case(b"identity");
        if head.headers.get(CONTENT_ENCODING).is_some_and(is_encoded) {
            return Err(Rejection::Encoding);
        }
        let headers = texts(&head.headers);
        let beside = media::bytes(&headers);
        let limit = admission.max_body_bytes.min(self.intake.slots.max_bytes().saturating_sub(beside));
        let (sent, held) = body::read(&self.intake, body, limit, beside, deadline).await?;
        let length = sent.len();
        let query = head.uri.query().unwrap_or_default();
        let letter = source.receive(&headers, query, &sent).map_err(Rejection::Unbelieved)?;
        drop(headers);

        let (reply, settled) = oneshot::channel();
        let Letter { body, headers, inbound } = letter;
        let route = Route { project: admission.project, kind: INCOMING, inbound: Some(Arc::new(inbound)) };
        if let Some(slot) = held.into_slots().next() {
            self.intake.put(Queued { body, headers, key: None, route, reply: Reply::One(reply), slot });
        }
        let settled = tokio::select! {
            // A settlement that is there wins over a deadline that passed meanwhile.
            biased;
            settled = settled => settled.unwrap_or(Settled::Retry(None)),
            () = sleep_until(deadline) => return Err(Rejection::Unknown),
            () = self.intake.abandoned() => return Err(Rejection::Unknown),
        };
        match settled {
            Settled::Ack(receipt) => Ok(match source.answer() {
                Some((media_type, body)) => Answer::verbatim(media_type, body),
                None => {
                    let message = if receipt.duplicate { DUPLICATE } else { RECEIVED };
                    Answer::with_data(StatusCode::OK, true, message, length)
                }
            }),
            Settled::Refuse(refusal) => Err(Rejection::Unbelieved(reason(refusal))),
            Settled::Retry(after) => Err(Rejection::NotStored(after)),
        }
    }

    /// Answers a provider who asks whether we know the secret.
    pub(crate) fn challenge(&self, mask: &str, head: &Parts) -> Result<Answer, Rejection> {
        let source = self.inbox.find(mask)?;
        let answer = source.challenge(head.uri.query().unwrap_or_default()).ok_or(Rejection::NoChallenge)?;
        Ok(Answer::verbatim("application/json", &answer))
    }
}

/// The headers as texts; what is no UTF-8 is shown as good as it can be, since it is nothing that we asked for.
fn texts(headers: &HeaderMap) -> Headers {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
