//! The part of Pub/Sub's protocol that is spoken here, written out: the messages of `google/pubsub/v1/pubsub.proto`
//! and `google/rpc/{status,error_details}.proto`, with the fields that are used. Numbers and types are Google's.
//!
//! Attributes are entries of bytes instead of a map of strings, which is the same on the wire: one that is not UTF-8
//! must not make the whole response, and with it every message behind it, unreadable.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StreamingPullRequest {
    #[prost(string, tag = "1")]
    pub(crate) subscription: String,
    #[prost(int32, tag = "5")]
    pub(crate) stream_ack_deadline_seconds: i32,
    #[prost(string, tag = "6")]
    pub(crate) client_id: String,
    #[prost(int64, tag = "7")]
    pub(crate) max_outstanding_messages: i64,
    #[prost(int64, tag = "8")]
    pub(crate) max_outstanding_bytes: i64,
    /// 1: we understand responses that are empty, which answer requests that are.
    #[prost(int64, tag = "10")]
    pub(crate) protocol_version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StreamingPullResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) received_messages: Vec<ReceivedMessage>,
    #[prost(message, optional, tag = "4")]
    pub(crate) subscription_properties: Option<SubscriptionProperties>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SubscriptionProperties {
    #[prost(bool, tag = "1")]
    pub(crate) exactly_once_delivery_enabled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReceivedMessage {
    #[prost(string, tag = "1")]
    pub(crate) ack_id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) message: Option<PubsubMessage>,
    /// 0 without a dead-letter policy.
    #[prost(int32, tag = "3")]
    pub(crate) delivery_attempt: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PubsubMessage {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) data: Bytes,
    #[prost(message, repeated, tag = "2")]
    pub(crate) attributes: Vec<Attribute>,
    #[prost(string, tag = "3")]
    pub(crate) message_id: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) publish_time: Option<Time>,
    #[prost(string, tag = "5")]
    pub(crate) ordering_key: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Attribute {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// `google.protobuf.Timestamp` and `google.protobuf.Duration`, which have the same fields.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Time {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AcknowledgeRequest {
    #[prost(string, tag = "1")]
    pub(crate) subscription: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) ack_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ModifyAckDeadlineRequest {
    #[prost(string, tag = "1")]
    pub(crate) subscription: String,
    /// 0 gives the message back at once.
    #[prost(int32, tag = "3")]
    pub(crate) ack_deadline_seconds: i32,
    #[prost(string, repeated, tag = "4")]
    pub(crate) ack_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct GetSubscriptionRequest {
    #[prost(string, tag = "1")]
    pub(crate) subscription: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Subscription {
    #[prost(string, tag = "2")]
    pub(crate) topic: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) push_config: Option<Named>,
    #[prost(bool, tag = "10")]
    pub(crate) enable_message_ordering: bool,
    #[prost(message, optional, tag = "11")]
    pub(crate) expiration_policy: Option<ExpirationPolicy>,
    #[prost(message, optional, tag = "13")]
    pub(crate) dead_letter_policy: Option<Named>,
    #[prost(message, optional, tag = "14")]
    pub(crate) retry_policy: Option<RetryPolicy>,
    #[prost(bool, tag = "15")]
    pub(crate) detached: bool,
    #[prost(bool, tag = "16")]
    pub(crate) enable_exactly_once_delivery: bool,
    #[prost(message, optional, tag = "18")]
    pub(crate) bigquery_config: Option<Named>,
    /// 1 is active, 2 an error of the resource it writes to.
    #[prost(int32, tag = "19")]
    pub(crate) state: i32,
    #[prost(message, optional, tag = "22")]
    pub(crate) cloud_storage_config: Option<Named>,
}

/// What several settings of a subscription begin with: an endpoint, a topic, a table, a bucket.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Named {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct ExpirationPolicy {
    /// None: it never expires.
    #[prost(message, optional, tag = "1")]
    pub(crate) ttl: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct RetryPolicy {
    #[prost(message, optional, tag = "1")]
    pub(crate) minimum_backoff: Option<Time>,
}

/// `google.rpc.Status`, which is what the details of a failed call are.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Detail {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ErrorInfo {
    /// Of exactly-once subscriptions: the outcome of each acknowledgement id that failed.
    #[prost(map = "string, string", tag = "3")]
    pub(crate) metadata: HashMap<String, String>,
}

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Empty {}
