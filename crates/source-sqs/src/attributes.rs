//! What the queue says about itself: its depth, its visibility timeout, whether it has a dead-letter queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName as Name;
use longshore_source::{SourceError, Status};
use tokio::time::{Instant, interval_at};

use crate::client::Queue;
use crate::config::SqsConfig;
use crate::error::explain;
use crate::leases::Leases;

/// How often the depth is asked for.
const EACH: Duration = Duration::from_secs(15);
/// The visibility timeout to ask for when the queue's own is not known, or is none: SQS's own default.
const USUAL_SECS: u32 = 30;
/// Below this, one slow extending request loses a message to another consumer.
const SHORT_SECS: u32 = 10;

/// The attributes that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) visible: Option<u64>,
    pub(crate) visibility_secs: Option<u32>,
    pub(crate) has_redrive: bool,
}

impl Attributes {
    pub(crate) async fn read(queue: &Queue) -> Result<Self, SourceError> {
        let call = queue.calls.get_queue_attributes().queue_url(&queue.url).attribute_names(Name::All);
        let answer = call.send().await;
        let answer =
            answer.map_err(|error| explain(&error, &format!("reading attributes of `{}`", queue.name)))?;
        Ok(Self::of(&answer.attributes.unwrap_or_default()))
    }

    fn of(attributes: &HashMap<Name, String>) -> Self {
        Self {
            visible: attributes.get(&Name::ApproximateNumberOfMessages).and_then(|count| count.parse().ok()),
            visibility_secs: attributes.get(&Name::VisibilityTimeout).and_then(|secs| secs.parse().ok()),
            has_redrive: attributes.get(&Name::RedrivePolicy).is_some_and(|policy| !policy.is_empty()),
        }
    }
}

/// What is known of the queue when a source starts. Not being allowed to read attributes is no reason not to start.
pub(crate) struct Known {
    /// How long a received message stays away if nobody extends it.
    pub(crate) visibility_secs: u32,
    /// Whether each receive call has to ask for it.
    pub(crate) is_asked_for: bool,
    pub(crate) lag: Option<u64>,
    pub(crate) warnings: Vec<String>,
}

impl Known {
    pub(crate) async fn read(queue: &Queue, config: &SqsConfig) -> Result<Self, SourceError> {
        match Attributes::read(queue).await {
            Ok(attributes) => Ok(Self::of(config, &attributes)),
            Err(SourceError::Denied(problem)) => {
                tracing::debug!(queue = queue.name, problem, "attributes cannot be read");
                let problem = "the queue's attributes cannot be read, so neither its depth nor its redrive policy is \
                     known; allow sqs:GetQueueAttributes";
                Ok(Self {
                    visibility_secs: config.visibility_timeout.unwrap_or(USUAL_SECS),
                    is_asked_for: true,
                    lag: None,
                    warnings: vec![problem.to_owned()],
                })
            }
            Err(error) => Err(error),
        }
    }

    fn of(config: &SqsConfig, attributes: &Attributes) -> Self {
        let own = attributes.visibility_secs.filter(|seconds| *seconds > 0);
        let visibility_secs = config.visibility_timeout.or(own).unwrap_or(USUAL_SECS);
        Self {
            visibility_secs,
            is_asked_for: config.visibility_timeout.is_some() || own.is_none(),
            lag: attributes.visible,
            warnings: warnings(attributes, visibility_secs),
        }
    }
}

fn warnings(attributes: &Attributes, visibility_secs: u32) -> Vec<String> {
    let mut warnings = Vec::new();
    if !attributes.has_redrive {
        warnings.push(
            "the queue has no redrive policy: a message that is given back again and again is never put aside; give \
             it a dead-letter queue"
                .to_owned(),
        );
    }
    if visibility_secs < SHORT_SECS {
        warnings.push(format!(
            "the visibility timeout is {visibility_secs} s: a short stall makes messages come twice; use at least \
             {SHORT_SECS} s"
        ));
    }
    warnings
}

/// Reports the depth and follows changes of the queue's settings, until it is aborted.
pub(crate) async fn watch(
    queue: Queue,
    config: Arc<SqsConfig>,
    leases: Arc<Leases>,
    status: Status,
    reports_lag: bool,
) {
    let mut ticks = interval_at(Instant::now() + EACH, EACH);
    loop {
        ticks.tick().await;
        match Attributes::read(&queue).await {
            Ok(attributes) => {
                let known = Known::of(&config, &attributes);
                if !known.is_asked_for {
                    leases.set_visibility(Duration::from_secs(known.visibility_secs.into()));
                }
                status.warn(known.warnings);
                if reports_lag {
                    status.lag(known.lag);
                }
            }
            Err(error) => {
                tracing::debug!(queue = queue.name, %error, "the queue's depth is not known");
                if reports_lag {
                    status.lag(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(visibility: &str, redrive: Option<&str>) -> Attributes {
        let mut all = HashMap::from([
            (Name::ApproximateNumberOfMessages, "12".to_owned()),
            (Name::VisibilityTimeout, visibility.to_owned()),
        ]);
        all.extend(redrive.map(|policy| (Name::RedrivePolicy, policy.to_owned())));
        Attributes::of(&all)
    }

    #[test]
    fn a_queue_is_warned_about_for_what_it_lacks() {
        let config = SqsConfig::default();
        let good = Known::of(&config, &attributes("30", Some("{}")));
        assert_eq!((good.warnings.len(), good.visibility_secs, good.is_asked_for), (0, 30, false));
        assert_eq!(good.lag, Some(12));

        let none = Known::of(&config, &attributes("30", None));
        assert!(none.warnings.len() == 1 && none.warnings[0].contains("redrive policy"));
        let short = Known::of(&config, &attributes("9", Some("{}")));
        assert!(short.warnings.len() == 1 && short.warnings[0].contains("9 s"));
        assert!(Known::of(&config, &attributes("10", Some("{}"))).warnings.is_empty());
    }

    #[test]
    fn the_visibility_timeout_is_ours_or_the_queues_or_the_usual_one() {
        let ours = SqsConfig { visibility_timeout: Some(60), ..SqsConfig::default() };
        for (config, own, expected) in [
            (&ours, "30", (60, true)),
            (&SqsConfig::default(), "45", (45, false)),
            (&SqsConfig::default(), "0", (30, true)),
        ] {
            let known = Known::of(config, &attributes(own, None));
            assert_eq!((known.visibility_secs, known.is_asked_for), expected);
        }
    }
}
