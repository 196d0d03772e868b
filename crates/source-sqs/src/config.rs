//! The settings of an SQS source. Parsing and validation are pure; nothing here talks to a broker.
//!
//! `access_key_id`, `secret_key`, `default_region`, `queue_name` and `endpoint` are the fields of the public v1
//! contract, whose names are kept as they are there.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::ConfigError;
use crate::queue::QueueRef;
use longshore_source::Secret;

/// The longest that SQS keeps a received message away from others, counted from its receipt: 12 hours, in seconds
/// (Amazon SQS Developer Guide, "visibility timeout").
pub(crate) const LONGEST_LEASE_SECS: u32 = 12 * 60 * 60;

/// The settings of an SQS source. Everything but the queue is optional.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqsConfig {
    /// The queue's name; it is looked up in our account, or in `queue_owner`'s.
    pub queue_name: Option<String>,
    /// With `queue_name`: the 12-digit id of the account that owns the queue.
    pub queue_owner: Option<String>,
    /// The queue's URL, instead of `queue_name`.
    pub queue_url: Option<String>,
    /// The queue's ARN, instead of `queue_name`; its region and account are used.
    pub queue_arn: Option<String>,
    /// The region; by default that of the ARN or URL, then what the environment or the profile says.
    #[serde(alias = "region")]
    pub default_region: Option<String>,
    /// A fixed access key, with `secret_key`.
    pub access_key_id: Option<String>,
    /// The secret of `access_key_id`.
    pub secret_key: Option<Secret>,
    /// The session token of temporary fixed credentials.
    pub session_token: Option<Secret>,
    /// A profile of the shared configuration files, instead of a fixed key.
    pub profile: Option<String>,
    /// With `profile`: the credentials file to read in place of the usual ones.
    pub profile_file: Option<PathBuf>,
    /// A role to take with the credentials found.
    pub assume_role: Option<AssumeRole>,
    /// Another endpoint: a VPC endpoint, or a server that speaks the same protocol.
    pub endpoint: Option<String>,
    /// Uses the region's FIPS endpoint.
    pub use_fips: bool,
    /// Uses the region's dual-stack (IPv6) endpoint.
    pub use_dual_stack: bool,
    /// Receive calls that are open at once, 1 to 10; each brings up to `max_messages` per round trip.
    pub pollers: u8,
    /// Seconds that a receive call waits for a message, 1 to 20.
    pub wait_time: u8,
    /// Messages asked for by one receive call, 1 to 10.
    pub max_messages: u8,
    /// Seconds until an unsettled message would come back were it not extended; by default what the queue says. At
    /// least 1, at most 43200.
    pub visibility_timeout: Option<u32>,
    /// How many messages may be unsettled at once.
    pub max_in_flight: u32,
    /// How many bytes of bodies may be unsettled before no more are asked for.
    pub max_in_flight_bytes: u64,
    /// Seconds for which an unsettled message is kept away from other consumers, at most 43200 (12 hours).
    pub max_extension: u32,
    /// Envelopes to open when a body is one.
    pub unwrap: Vec<Envelope>,
    /// How producers encode bodies.
    pub body_encoding: BodyEncoding,
    /// Bytes that a compressed body may have once decompressed.
    pub max_decompressed_bytes: u64,
}

/// A role to assume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssumeRole {
    /// The role.
    pub role_arn: String,
    /// What the role's owner asks for beside the credentials.
    pub external_id: Option<Secret>,
    /// How the session is called in the owner's logs; by default a name of its own.
    pub session_name: Option<String>,
    /// Seconds until the session's credentials are renewed, 900 to 43200; by default what the service says.
    pub duration: Option<u32>,
    /// Another endpoint of the token service: a VPC endpoint.
    pub endpoint: Option<String>,
}

/// What a service wraps around a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Envelope {
    /// A notification of SNS without raw delivery.
    Sns,
    /// An event of EventBridge.
    EventBridge,
    /// A notification of S3.
    S3,
}

/// How producers encode bodies, which SQS carries only as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyEncoding {
    /// As they are.
    #[default]
    None,
    /// Base64.
    Base64,
    /// Gzip inside base64; SQS carries it in no other way.
    #[serde(rename = "base64+gzip", alias = "gzip")]
    Base64Gzip,
    /// Gzip inside base64 where a body is that, and as it is otherwise.
    Auto,
}

impl Default for SqsConfig {
    fn default() -> Self {
        Self {
            queue_name: None,
            queue_owner: None,
            queue_url: None,
            queue_arn: None,
            default_region: None,
            access_key_id: None,
            secret_key: None,
            session_token: None,
            profile: None,
            profile_file: None,
            assume_role: None,
            endpoint: None,
            use_fips: false,
            use_dual_stack: false,
            pollers: 2,
            wait_time: 20,
            max_messages: 10,
            visibility_timeout: None,
            max_in_flight: 1000,
            max_in_flight_bytes: 64 << 20,
            max_extension: LONGEST_LEASE_SECS,
            unwrap: Vec::new(),
            body_encoding: BodyEncoding::None,
            max_decompressed_bytes: 10 << 20,
        }
    }
}

impl SqsConfig {
    /// Whether the settings can work, without asking the broker.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting at fault.
    pub fn validate(&self) -> Result<(), ConfigError> {
        QueueRef::of(self)?;
        self.validate_credentials()?;
        self.validate_endpoint()?;
        within("pollers", self.pollers, 1, 10)?;
        within("wait_time", self.wait_time, 1, 20)?;
        within("max_messages", self.max_messages, 1, 10)?;
        if let Some(seconds) = self.visibility_timeout {
            within("visibility_timeout", seconds, 1, LONGEST_LEASE_SECS)?;
        }
        // 120,000 is what SQS lets be in flight in one queue.
        within("max_in_flight", self.max_in_flight, 1, 120_000)?;
        within("max_in_flight_bytes", self.max_in_flight_bytes, 1, u64::MAX)?;
        within("max_extension", self.max_extension, 1, LONGEST_LEASE_SECS)?;
        within("max_decompressed_bytes", self.max_decompressed_bytes, 1, 1 << 30)
    }

    fn validate_credentials(&self) -> Result<(), ConfigError> {
        let error = |field, problem: &str| Err(ConfigError::new(field, problem));
        if self.access_key_id.is_some() != self.secret_key.is_some() {
            return error("secret_key", "and `access_key_id` belong together; give both, or neither");
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            return error("session_token", "is given without `access_key_id` and `secret_key`");
        }
        if self.profile.is_some() && self.access_key_id.is_some() {
            return error("profile", "is given beside `access_key_id`; give one");
        }
        if self.profile_file.is_some() && self.profile.is_none() {
            return error("profile_file", "is given without `profile`");
        }
        let Some(role) = &self.assume_role else { return Ok(()) };
        if !role.role_arn.starts_with("arn:") {
            return error("assume_role.role_arn", "is not an ARN; it begins with `arn:`");
        }
        role.duration
            .map_or(Ok(()), |seconds| within("assume_role.duration", seconds, 900, LONGEST_LEASE_SECS))
    }

    fn validate_endpoint(&self) -> Result<(), ConfigError> {
        let endpoints = [
            ("endpoint", self.endpoint.as_ref()),
            ("assume_role.endpoint", self.assume_role.as_ref().and_then(|role| role.endpoint.as_ref())),
        ];
        for (field, endpoint) in endpoints {
            if endpoint.is_some_and(|url| crate::queue::origin(url).is_none()) {
                return Err(ConfigError::new(field, "is not a URL such as `https://host:port`"));
            }
        }
        if self.endpoint.is_some() && (self.use_fips || self.use_dual_stack) {
            return Err(ConfigError::new(
                "endpoint",
                "is given beside `use_fips` or `use_dual_stack`, which choose another one; give one",
            ));
        }
        Ok(())
    }
}

fn within<N: Copy + PartialOrd + std::fmt::Display>(
    field: &'static str,
    value: N,
    least: N,
    most: N,
) -> Result<(), ConfigError> {
    if value < least || value > most {
        return Err(ConfigError::new(field, format!("is {value}; use {least} to {most}")));
    }
    Ok(())
}
