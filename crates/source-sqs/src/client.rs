//! Who we are and where requests go. Builds the clients and finds the queue.

use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider, StalledStreamProtectionConfig};
use longshore_source::SourceError;

use crate::config::{AssumeRole, SqsConfig};
use crate::error::explain;
use crate::queue::QueueRef;

/// How long a call may take that does not wait for messages.
const CALL: Duration = Duration::from_secs(10);
/// How much longer than its wait a receive call may take.
const POLL_MARGIN: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// Where there is an endpoint of its own, the region is only part of a signature.
const ANY_REGION: &str = "us-east-1";

/// A queue that was found, and the clients to talk to it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// For calls that answer at once.
    pub(crate) calls: Client,
    /// For receive calls, whose timeout is longer than they wait.
    pub(crate) polls: Client,
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) is_fifo: bool,
}

impl Queue {
    pub(crate) async fn find(config: &SqsConfig) -> Result<Self, SourceError> {
        config.validate()?;
        let queue = QueueRef::of(config)?;
        let sdk = sdk_config(config, &queue).await?;
        let endpoint = config.endpoint.clone().or_else(|| queue.endpoint.clone());
        let build = |longest: Duration, attempts: u32| {
            let timeouts =
                TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(longest);
            let mut builder = aws_sdk_sqs::config::Builder::from(&sdk)
                .timeout_config(timeouts.build())
                .retry_config(RetryConfig::standard().with_max_attempts(attempts))
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
            builder.set_endpoint_url(endpoint.clone());
            Client::from_conf(builder.build())
        };
        let calls = build(CALL, 2);
        // Not repeated by the client: what an unanswered call took would stay away for the visibility timeout.
        let polls = build(Duration::from_secs(config.wait_time.into()) + POLL_MARGIN, 1);
        let url = match &queue.url {
            Some(url) => url.clone(),
            None => look_up(&calls, &queue).await?,
        };
        Ok(Self { calls, polls, url, is_fifo: queue.is_fifo(), name: queue.name })
    }
}

async fn look_up(client: &Client, queue: &QueueRef) -> Result<String, SourceError> {
    let call =
        client.get_queue_url().queue_name(&queue.name).set_queue_owner_aws_account_id(queue.owner.clone());
    let doing = format!("looking up the queue `{}`", queue.name);
    let found = call.send().await.map_err(|error| explain(&error, &doing))?;
    found.queue_url.ok_or_else(|| SourceError::Disconnected(format!("{doing}: the answer has no URL")))
}

/// Region and credentials. Credentials are asked for when they are needed and renewed before they run out, all by the
/// client's own providers.
pub(crate) async fn sdk_config(config: &SqsConfig, queue: &QueueRef) -> Result<SdkConfig, SourceError> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = config.default_region.clone().or_else(|| queue.region.clone()) {
        loader = loader.region(Region::new(region));
    }
    if let Some(credentials) = fixed(config) {
        loader = loader.credentials_provider(credentials);
    }
    if let Some(profile) = &config.profile {
        let mut provider = ProfileFileCredentialsProvider::builder().profile_name(profile);
        loader = loader.profile_name(profile);
        if let Some(file) = &config.profile_file {
            let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Credentials, file).build();
            provider = provider.profile_files(files.clone());
            loader = loader.profile_files(files);
        }
        // Otherwise keys in the environment would win over the profile that was asked for.
        loader = loader.credentials_provider(provider.build());
    }
    if config.use_fips {
        loader = loader.use_fips(true);
    }
    if config.use_dual_stack {
        loader = loader.use_dual_stack(true);
    }
    let mut sdk = loader.load().await;
    if sdk.region().is_none() {
        if config.endpoint.is_none() && queue.endpoint.is_none() {
            return Err(SourceError::Misconfigured(
                "`default_region` is missing and nothing else names a region; set it, or AWS_REGION"
                    .to_owned(),
            ));
        }
        sdk = sdk.into_builder().region(Region::new(ANY_REGION)).build();
    }
    match &config.assume_role {
        Some(role) => Ok(assume(role, sdk).await),
        None => Ok(sdk),
    }
}

fn fixed(config: &SqsConfig) -> Option<Credentials> {
    let (id, key) = (config.access_key_id.as_ref()?, config.secret_key.as_ref()?);
    let token = config.session_token.as_ref().map(|token| token.reveal().to_owned());
    Some(Credentials::new(id, key.reveal(), token, None, "longshore"))
}

async fn assume(role: &AssumeRole, base: SdkConfig) -> SdkConfig {
    let asking = base.clone().into_builder().retry_config(RetryConfig::standard());
    let asking = match &role.endpoint {
        Some(endpoint) => asking.endpoint_url(endpoint),
        None => asking,
    };
    let mut provider = AssumeRoleProvider::builder(&role.role_arn).configure(&asking.build());
    if let Some(id) = &role.external_id {
        provider = provider.external_id(id.reveal());
    }
    if let Some(name) = &role.session_name {
        provider = provider.session_name(name);
    }
    if let Some(seconds) = role.duration {
        provider = provider.session_length(Duration::from_secs(seconds.into()));
    }
    let provider = SharedCredentialsProvider::new(provider.build().await);
    base.into_builder().credentials_provider(provider).build()
}

#[cfg(test)]
mod tests;
