//! Sources that receive webhooks, by the configuration this process has in memory.

use std::sync::Arc;

use bytes::Bytes;
use longshore_core::inbound::Received;
use longshore_pipeline::Intake;
use longshore_source::Inbound;
use longshore_source_http::{Denied, Inbox, Letter, Letterbox, Opened};
use longshore_store::{Config, HttpSourceRecord};
use tokio::sync::watch;

use crate::gate::admit;

/// Every source of the configuration of the moment; no query per request.
pub(crate) struct Inboxes {
    pub(crate) intake: Intake,
    pub(crate) config: watch::Receiver<Arc<Config>>,
}

/// One of them, for one request.
struct Receiving {
    record: Arc<HttpSourceRecord>,
    mask: String,
}

impl Inboxes {
    fn receiving(&self, config: &Config, mask: &str) -> Result<Receiving, Denied> {
        let record = Arc::clone(config.http_sources.get(mask).ok_or(Denied::UnknownSource)?);
        if record.is_disabled {
            return Err(Denied::Disabled);
        }
        Ok(Receiving { record, mask: mask.to_owned() })
    }
}

impl Inbox for Inboxes {
    fn open(&self, mask: &str) -> Result<Opened, Denied> {
        let config = Arc::clone(&self.config.borrow());
        let source = self.receiving(&config, mask)?;
        let admission = admit(&self.intake, &config, source.record.project)?;
        Ok(Opened { admission, source: Arc::new(source) })
    }

    fn find(&self, mask: &str) -> Result<Arc<dyn Letterbox>, Denied> {
        let config = Arc::clone(&self.config.borrow());
        Ok(Arc::new(self.receiving(&config, mask)?))
    }
}

impl Letterbox for Receiving {
    fn receive(&self, headers: &[(String, String)], query: &str, body: &Bytes) -> Result<Letter, String> {
        let HttpSourceRecord { id, http, .. } = &*self.record;
        let request = Received { headers, query, body };
        http.verify(&request).map_err(|error| error.to_string())?;
        let read = http.read(*id, &self.mask, &request).map_err(|error| error.to_string())?;
        Ok(Letter {
            body: read.body.map_or_else(|| body.clone(), Bytes::from),
            headers: read.headers,
            inbound: Inbound {
                source: id.as_u128(),
                event_type: read.event_type,
                idempotency_key: read.idempotency_key,
                content_type: read.content_type,
                query: Some(query).filter(|query| !query.is_empty()).map(str::to_owned),
            },
        })
    }

    fn answer(&self) -> Option<(&str, &str)> {
        let custom = self.record.http.custom_response.as_ref()?;
        Some((&custom.content_type, &custom.body))
    }

    fn challenge(&self, query: &str) -> Option<String> {
        let token = Received { headers: &[], query, body: &[] }.parameter("crc_token")?;
        let answer = self.record.http.answer_challenge(&token)?;
        Some(serde_json::json!({"response_token": answer}).to_string())
    }
}
