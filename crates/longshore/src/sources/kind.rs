//! The kinds of brokers.

use std::fmt;

/// A kind of broker. All are known always, so that one that is not built in is told from one that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Kafka,
    PubSub,
    RabbitMq,
    Sqs,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Kafka, Self::PubSub, Self::RabbitMq, Self::Sqs];

    /// The name in configuration, database, metrics and logs; also that of the cargo feature.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::PubSub => "pubsub",
            Self::RabbitMq => "rabbitmq",
            Self::Sqs => "sqs",
        }
    }

    /// The name in the public v1 contract, where it is another.
    const fn alias(self) -> Option<&'static str> {
        match self {
            Self::PubSub => Some("google"),
            Self::RabbitMq => Some("amqp"),
            Self::Kafka | Self::Sqs => None,
        }
    }

    const fn is_built_in(self) -> bool {
        match self {
            Self::Kafka => cfg!(feature = "kafka"),
            Self::PubSub => cfg!(feature = "pubsub"),
            Self::RabbitMq => cfg!(feature = "rabbitmq"),
            Self::Sqs => cfg!(feature = "sqs"),
        }
    }

    /// The kind of that name, the contract's names included, built in or not.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name || kind.alias() == Some(name))
    }

    /// Reads a kind's name, as [`Kind::named`].
    ///
    /// # Errors
    /// A sentence: there is no such kind, or this program was built without it.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        match Self::named(name) {
            Some(kind) if kind.is_built_in() => Ok(kind),
            Some(kind) => Err(format!(
                "this program was built without `{kind}`; build it with the cargo feature `{kind}`"
            )),
            None => {
                let known = Self::ALL.map(Self::as_str).join(", ");
                Err(format!("`{name}` is not a kind of source; known: {known}"))
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_contracts_names_too() {
        for (name, kind) in [("amqp", Kind::RabbitMq), ("rabbitmq", Kind::RabbitMq), ("google", Kind::PubSub)]
        {
            let parsed = Kind::parse(name);

            assert_eq!(Kind::named(name), Some(kind));
            if kind.is_built_in() {
                assert_eq!(parsed, Ok(kind));
            } else {
                assert!(parsed.is_err_and(|problem| problem.contains("cargo feature")));
            }
        }
        assert!(
            Kind::parse("rabbit").is_err_and(|problem| problem.contains("known: kafka, pubsub, rabbitmq"))
        );
    }
}
