//! Calls to the service: one HTTP/2 connection, credentials on every call.
//!
//! The connection is made when it is first used and again whenever it is lost; a token is renewed by the library before
//! it runs out. Google's own Pub/Sub client is not used: it keeps the outcome of acknowledgements and the state of its
//! streams to itself, and pauses up to a minute between attempts to open one.

use std::time::Duration;

use google_cloud_auth::credentials::service_account::{AccessSpecifier, Builder as AccountBuilder};
use google_cloud_auth::credentials::{Builder as MachineBuilder, CacheableResource, Credentials};
use http::uri::PathAndQuery;
use longshore_source::SourceError;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::config::{Place, PubSubConfig};
use crate::wire::{
    AcknowledgeRequest, Empty, GetSubscriptionRequest, ModifyAckDeadlineRequest, StreamingPullRequest,
    StreamingPullResponse, Subscription,
};

const SCOPE: &str = "https://www.googleapis.com/auth/pubsub";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How often an idle connection is tried, and how long its answer may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// A response holds several messages of up to 10 MB.
const MAX_RESPONSE: usize = 256 * 1024 * 1024;
/// What may be on its way before we have read it, per stream and together.
const WINDOW: u32 = 4 * 1024 * 1024;
/// How many acknowledgement ids one call may hold: a request is limited to 512 KiB.
pub(crate) const MOST_IDS: usize = 1000;

/// The service, for one subscription. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    channel: Channel,
    credentials: Option<Credentials>,
    subscription: String,
    /// Tells the service which subscription a call is about before it has read the call.
    params: MetadataValue<Ascii>,
    pub(crate) place: Place,
}

impl Api {
    /// Reads settings and environment; connects to nothing yet.
    pub(crate) fn new(config: &PubSubConfig) -> Result<Self, SourceError> {
        config.validate()?;
        let place = config.place(std::env::var("PUBSUB_EMULATOR_HOST").ok().as_deref())?;
        let wrong = |error: &dyn std::fmt::Display| {
            SourceError::Misconfigured(format!("`endpoint` `{}`: {error}", place.host))
        };
        let mut endpoint = Endpoint::from(place.uri.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| wrong(&error))?;
        let mut credentials = None;
        if !place.is_emulator {
            let tls = ClientTlsConfig::new().with_enabled_roots();
            endpoint = endpoint.tls_config(tls).map_err(|error| wrong(&error))?;
            credentials = Some(self::credentials(config)?);
        }
        let subscription = config.subscription();
        let params = format!("subscription={subscription}").parse().map_err(|error| wrong(&error))?;
        Ok(Self { channel: endpoint.connect_lazy(), credentials, subscription, params, place })
    }

    /// The subscription's full name.
    pub(crate) fn subscription(&self) -> &str {
        &self.subscription
    }

    pub(crate) async fn get_subscription(&self) -> Result<Subscription, Status> {
        let request = GetSubscriptionRequest { subscription: self.subscription.clone() };
        self.call("/google.pubsub.v1.Subscriber/GetSubscription", request).await
    }

    pub(crate) async fn acknowledge(&self, ack_ids: Vec<String>) -> Result<(), Status> {
        let request = AcknowledgeRequest { subscription: self.subscription.clone(), ack_ids };
        self.call::<_, Empty>("/google.pubsub.v1.Subscriber/Acknowledge", request).await.map(|_| ())
    }

    /// Sets when the leases end, from now on; 0 gives the messages back at once.
    pub(crate) async fn modify_ack_deadline(&self, ack_ids: Vec<String>, seconds: u16) -> Result<(), Status> {
        let request = ModifyAckDeadlineRequest {
            subscription: self.subscription.clone(),
            ack_deadline_seconds: seconds.into(),
            ack_ids,
        };
        self.call::<_, Empty>("/google.pubsub.v1.Subscriber/ModifyAckDeadline", request).await.map(|_| ())
    }

    /// Opens a stream. Returns with the service's first sign of life on it.
    pub(crate) async fn streaming_pull(
        &self,
        requests: impl futures_util::Stream<Item = StreamingPullRequest> + Send + 'static,
    ) -> Result<Streaming<StreamingPullResponse>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE);
        let mut request = Request::new(requests);
        *request.metadata_mut() = self.metadata().await?;
        ready(&mut grpc).await?;
        let path = PathAndQuery::from_static("/google.pubsub.v1.Subscriber/StreamingPull");
        grpc.streaming(request, path, ProstCodec::default()).await.map(tonic::Response::into_inner)
    }

    async fn call<Q, A>(&self, path: &'static str, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let calling = async {
            let mut grpc = Grpc::new(self.channel.clone());
            let mut request = Request::new(message);
            *request.metadata_mut() = self.metadata().await?;
            ready(&mut grpc).await?;
            let path = PathAndQuery::from_static(path);
            grpc.unary(request, path, ProstCodec::<Q, A>::default()).await.map(tonic::Response::into_inner)
        };
        let called = tokio::time::timeout(CALL_TIMEOUT, calling).await;
        called.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
    }

    async fn metadata(&self) -> Result<MetadataMap, Status> {
        let mut metadata = MetadataMap::new();
        if let Some(credentials) = &self.credentials {
            let headers = credentials.headers(http::Extensions::new()).await.map_err(|error| {
                let text = format!("no token: {error}");
                if error.is_transient() { Status::unavailable(text) } else { Status::unauthenticated(text) }
            })?;
            if let CacheableResource::New { data, .. } = headers {
                metadata = MetadataMap::from_headers(data);
            }
        }
        metadata.insert("x-goog-request-params", self.params.clone());
        Ok(metadata)
    }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))
}

fn credentials(config: &PubSubConfig) -> Result<Credentials, SourceError> {
    let Some(account) = &config.service_account else {
        return MachineBuilder::default().with_scopes([SCOPE]).build().map_err(|error| {
            SourceError::Denied(format!(
                "no `service_account` is given and the machine has no credentials of its own: {error}"
            ))
        });
    };
    // The builder's own error may quote the key.
    AccountBuilder::new(account.reveal().clone())
        .with_access_specifier(AccessSpecifier::from_scopes([SCOPE]))
        .build()
        .map_err(|_| SourceError::Misconfigured("`service_account` cannot be read as a key".to_owned()))
}
