//! Which queue is meant: by name, URL or ARN. Pure; finding its URL is the client's business.

use crate::config::SqsConfig;
use crate::error::ConfigError;

/// A queue as the settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueRef {
    pub(crate) name: String,
    /// The account that owns it, where it is said.
    pub(crate) owner: Option<String>,
    /// Its URL, where it is said; otherwise it is looked up.
    pub(crate) url: Option<String>,
    /// Its region, where the URL or the ARN says it.
    pub(crate) region: Option<String>,
    /// Where requests go, when the URL is not one of the public endpoints.
    pub(crate) endpoint: Option<String>,
}

impl QueueRef {
    pub(crate) fn of(config: &SqsConfig) -> Result<Self, ConfigError> {
        if config.queue_owner.is_some() && config.queue_name.is_none() {
            return Err(ConfigError::new("queue_owner", "is given without `queue_name`"));
        }
        match (&config.queue_name, &config.queue_url, &config.queue_arn) {
            (Some(name), None, None) => Self::by_name(name, config.queue_owner.clone()),
            (None, Some(url), None) => Self::by_url(url),
            (None, None, Some(arn)) => Self::by_arn(arn),
            (None, None, None) => {
                Err(ConfigError::new("queue_name", "is missing; give it, or `queue_url`, or `queue_arn`"))
            }
            _ => Err(ConfigError::new(
                "queue_name",
                "`queue_url` and `queue_arn` exclude each other; give one",
            )),
        }
    }

    fn by_name(name: &str, owner: Option<String>) -> Result<Self, ConfigError> {
        check_name("queue_name", name)?;
        if owner.as_ref().is_some_and(|owner| owner.len() != 12 || !all_digits(owner)) {
            return Err(ConfigError::new("queue_owner", "is not an account id, which has 12 digits"));
        }
        Ok(Self { name: name.to_owned(), owner, url: None, region: None, endpoint: None })
    }

    fn by_url(url: &str) -> Result<Self, ConfigError> {
        let bad = || {
            let problem =
                "is not a queue's URL, e.g. `https://sqs.eu-west-1.amazonaws.com/123456789012/orders`";
            ConfigError::new("queue_url", problem)
        };
        let origin = origin(url).ok_or_else(bad)?;
        let name = url[origin.len()..].rsplit('/').next().unwrap_or_default();
        check_name("queue_url", name).map_err(|_| bad())?;
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let region = region_of(host);
        let endpoint = region.is_none().then(|| origin.to_owned());
        Ok(Self {
            name: name.to_owned(),
            owner: None,
            url: Some(url.to_owned()),
            region: region.map(str::to_owned),
            endpoint,
        })
    }

    fn by_arn(arn: &str) -> Result<Self, ConfigError> {
        let parts = arn.split(':').collect::<Vec<_>>();
        let &["arn", _, "sqs", region, account, name] = parts.as_slice() else {
            let problem = "is not a queue's ARN, e.g. `arn:aws:sqs:eu-west-1:123456789012:orders`";
            return Err(ConfigError::new("queue_arn", problem));
        };
        check_name("queue_arn", name)?;
        Ok(Self {
            name: name.to_owned(),
            owner: (!account.is_empty()).then(|| account.to_owned()),
            url: None,
            region: (!region.is_empty()).then(|| region.to_owned()),
            endpoint: None,
        })
    }

    /// FIFO queues are known by their name (Amazon SQS Developer Guide, "FIFO queue names").
    pub(crate) fn is_fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }
}

/// `scheme://host:port` of an HTTP URL.
pub(crate) fn origin(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end]);
    let known = matches!(scheme, "http" | "https");
    let plain = !host.is_empty() && !host.contains(['@', ' ']);
    (known && plain).then(|| &url[..scheme.len() + 3 + host.len()])
}

/// The region in a public endpoint's host name: `sqs.REGION.amazonaws.com`, with `sqs-fips`, `.api.aws`
/// (dual stack), and `.amazonaws.com.cn` as variants.
fn region_of(host: &str) -> Option<&str> {
    let rest = host.strip_prefix("sqs.").or_else(|| host.strip_prefix("sqs-fips."))?;
    let (region, domain) = rest.split_once('.')?;
    matches!(domain, "amazonaws.com" | "amazonaws.com.cn" | "api.aws").then_some(region)
}

fn check_name(field: &'static str, name: &str) -> Result<(), ConfigError> {
    let base = name.strip_suffix(".fifo").unwrap_or(name);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if base.is_empty() || name.len() > 80 || !base.chars().all(allowed) {
        let problem = "has no queue name that SQS allows: up to 80 letters, digits, `-` and `_`, and `.fifo` at the end";
        return Err(ConfigError::new(field, problem));
    }
    Ok(())
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config: &SqsConfig) -> QueueRef {
        QueueRef::of(config).unwrap()
    }

    #[test]
    fn an_arn_names_region_account_and_queue() {
        let arn = Some("arn:aws-us-gov:sqs:us-gov-west-1:123456789012:orders.fifo".to_owned());
        let queue = of(&SqsConfig { queue_arn: arn, ..SqsConfig::default() });

        assert_eq!((queue.name.as_str(), queue.is_fifo()), ("orders.fifo", true));
        assert_eq!(queue.owner.as_deref(), Some("123456789012"));
        assert_eq!(queue.region.as_deref(), Some("us-gov-west-1"));
    }

    #[test]
    fn a_url_names_the_region_or_the_endpoint() {
        let by_url = |url: &str| of(&SqsConfig { queue_url: Some(url.to_owned()), ..SqsConfig::default() });
        for (url, region, endpoint) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/orders", Some("eu-west-1"), None),
            ("https://sqs-fips.us-east-1.amazonaws.com/123456789012/orders", Some("us-east-1"), None),
            ("https://sqs.eu-west-1.api.aws/123456789012/orders", Some("eu-west-1"), None),
            ("http://127.0.0.1:9324/000000000000/orders", None, Some("http://127.0.0.1:9324")),
        ] {
            let queue = by_url(url);
            assert_eq!(queue.name, "orders", "{url}");
            assert_eq!(queue.region.as_deref(), region, "{url}");
            assert_eq!(queue.endpoint.as_deref(), endpoint, "{url}");
        }
    }
}
