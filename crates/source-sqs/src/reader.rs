//! From what SQS hands out to what the pipeline decodes: envelopes and encodings undone as the settings say.
//!
//! What cannot be undone is handed on as it came: decoding then fails further on, where the raw bytes are kept and
//! shown with the reason. It is counted here by `source_undecoded_total`.

use longshore_source::Status;
use metrics::{Label, counter};

use crate::config::{BodyEncoding, Envelope, SqsConfig};
use crate::encoding::decode;
use crate::envelopes::{S3, is_s3_pointer, open_event_bridge, open_s3, open_sns};
use crate::message::Incoming;

/// How bodies are read.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    unwrap: Vec<Envelope>,
    encoding: BodyEncoding,
    most: u64,
    status: Status,
    name: String,
}

impl Reader {
    pub(crate) fn new(config: &SqsConfig, status: Status, name: &str) -> Self {
        Self {
            unwrap: config.unwrap.clone(),
            encoding: config.body_encoding,
            most: config.max_decompressed_bytes,
            status,
            name: name.to_owned(),
        }
    }

    /// Outside in: SNS carries what producers encoded, and what they encoded may be an event of another service.
    /// False when the message is none that anybody waits for.
    pub(crate) fn read(&self, message: &mut Incoming) -> bool {
        if self.unwrap.contains(&Envelope::Sns) {
            open_sns(message);
        }
        self.undo_encoding(message);
        if is_s3_pointer(&message.body) {
            self.count("s3_pointer");
            tracing::warn!(
                source.name = self.name,
                message.id = message.position.message_id,
                "the payload lies in S3 (extended client), from where it is not fetched; let the producer send it whole"
            );
        }
        if self.unwrap.contains(&Envelope::EventBridge) && open_event_bridge(message) {
            return true;
        }
        if self.unwrap.contains(&Envelope::S3) && open_s3(message) == S3::Test {
            tracing::info!(source.name = self.name, "S3 has set up its notifications");
            return false;
        }
        true
    }

    fn undo_encoding(&self, message: &mut Incoming) {
        match decode(&message.body, self.encoding, self.most) {
            Ok(None) => {}
            Ok(Some(body)) => {
                message.body = body;
                // It told of what is undone.
                message.remove_header("content-encoding");
            }
            Err(why) => {
                self.count(why.as_str());
                tracing::debug!(source.name = self.name, why = why.as_str(), "a body could not be decoded");
            }
        }
    }

    fn count(&self, why: &'static str) {
        let mut labels = self.status.labels();
        labels.push(Label::from_static_parts("why", why));
        counter!("source_undecoded_total", labels).increment(1);
    }
}
