//! From settings to the addresses of the cluster's nodes. Pure. No error text holds a URL, since it may hold a
//! password.

use lapin::uri::{AMQPAuthority, AMQPScheme, AMQPUri, AMQPUserInfo};

use crate::config::{RabbitMqConfig, Schema};
use crate::error::ConfigError;
use crate::redact::AmqpUrl;

/// The nodes in the order in which they are tried; at least one.
pub(crate) fn addresses(config: &RabbitMqConfig) -> Result<Vec<AMQPUri>, ConfigError> {
    let mut found = if config.urls.is_empty() { from_fields(config)? } else { from_urls(config)? };
    for uri in &mut found {
        uri.query.heartbeat.get_or_insert(config.heartbeat);
    }
    let tls = found.iter().any(|uri| uri.scheme == AMQPScheme::AMQPS);
    if config.tls.is_some() && !tls {
        return Err(ConfigError::new("tls", "is given, but no address uses `amqps`"));
    }
    Ok(found)
}

/// `host:port` of a node, for logs and errors.
pub(crate) fn shown(uri: &AMQPUri) -> String {
    format!("{}:{}", uri.authority.host, uri.authority.port)
}

fn from_urls(config: &RabbitMqConfig) -> Result<Vec<AMQPUri>, ConfigError> {
    let beside = [
        (config.schema.is_some(), "schema"),
        (config.host.is_some(), "host"),
        (!config.hosts.is_empty(), "hosts"),
        (config.port.is_some(), "port"),
        (config.vhost.is_some(), "vhost"),
        (config.auth.is_some(), "auth"),
    ];
    if let Some((_, field)) = beside.into_iter().find(|(given, _)| *given) {
        return Err(ConfigError::new(field, "is given beside `urls`, which say the same; give one of them"));
    }
    config.urls.iter().map(from_url).collect()
}

fn from_url(url: &AmqpUrl) -> Result<AMQPUri, ConfigError> {
    // The parser's own message may quote the URL.
    let mut uri: AMQPUri = url.reveal().parse().map_err(|_| {
        ConfigError::new(
            "urls",
            format!("holds `{url}`, which is not `amqp[s]://user:password@host:port/vhost`"),
        )
    })?;
    if uri.vhost.is_empty() {
        "/".clone_into(&mut uri.vhost);
    }
    if let Some(address) = bracketed(url.reveal()) {
        // The parser takes an IPv6 address for no host at all.
        address.clone_into(&mut uri.authority.host);
    }
    if uri.authority.host.is_empty() {
        return Err(ConfigError::new("urls", format!("holds `{url}`, which has no host")));
    }
    Ok(uri)
}

fn bracketed(url: &str) -> Option<&str> {
    let after_user = url.split_once("://")?.1.split('/').next()?.rsplit('@').next()?;
    after_user.strip_prefix('[')?.split_once(']').map(|(address, _)| address)
}

fn from_fields(config: &RabbitMqConfig) -> Result<Vec<AMQPUri>, ConfigError> {
    let scheme = match config.schema.unwrap_or_default() {
        Schema::Amqp => AMQPScheme::AMQP,
        Schema::Amqps => AMQPScheme::AMQPS,
    };
    let default_port = config.port.unwrap_or_else(|| scheme.default_port());
    let mut nodes = Vec::new();
    if let Some(host) = &config.host {
        nodes.push(("host", host));
    }
    nodes.extend(config.hosts.iter().map(|host| ("hosts", host)));
    if nodes.is_empty() {
        return Err(ConfigError::new("urls", "is empty, and so is `host`; say where the broker is"));
    }
    let userinfo = config.auth.as_ref().map_or_else(AMQPUserInfo::default, |auth| AMQPUserInfo {
        username: auth.user.clone(),
        password: auth.password.reveal().to_owned(),
    });
    let vhost = config.vhost.as_deref().filter(|vhost| !vhost.is_empty()).unwrap_or("/");
    nodes
        .into_iter()
        .map(|(field, node)| {
            let (host, port) = host_and_port(field, node, default_port)?;
            Ok(AMQPUri {
                scheme: scheme.clone(),
                authority: AMQPAuthority { userinfo: userinfo.clone(), host, port },
                vhost: vhost.to_owned(),
                ..AMQPUri::default()
            })
        })
        .collect()
}

/// Splits `host`, `host:port`, `::1`, `[::1]` and `[::1]:port`.
fn host_and_port(field: &'static str, node: &str, default: u16) -> Result<(String, u16), ConfigError> {
    let wrong = || ConfigError::new(field, format!("holds `{node}`, which is not `host` or `host:port`"));
    // A URL in this place may hold a password: refuse it without quoting it.
    if node.is_empty() || node.contains(['/', '@']) {
        return Err(ConfigError::new(field, "is not a host name or address; a URL belongs into `urls`"));
    }
    let (host, port) = if let Some(rest) = node.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
        (host, port.strip_prefix(':'))
    } else if node.matches(':').count() == 1 {
        let (host, port) = node.split_once(':').ok_or_else(wrong)?;
        (host, Some(port))
    } else {
        (node, None)
    };
    let port = port.map_or(Ok(default), str::parse).map_err(|_| wrong())?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Auth;

    fn urls(urls: &[&str]) -> Vec<AMQPUri> {
        let urls = urls.iter().map(|url| AmqpUrl::from(*url)).collect();
        addresses(&RabbitMqConfig { urls, queue: "q".to_owned(), ..RabbitMqConfig::default() }).unwrap()
    }

    #[test]
    fn a_url_says_where_as_whom_and_which_vhost() {
        let found =
            urls(&["amqps://me:p%40ss@[::1]:5679/shop%2feu?heartbeat=5", "amqp://broker", "amqp://broker/"]);

        let first = &found[0];
        assert_eq!(shown(first), "::1:5679");
        assert_eq!((first.authority.userinfo.password.as_str(), first.vhost.as_str()), ("p@ss", "shop/eu"));
        assert_eq!(first.query.heartbeat, Some(5));
        for other in &found[1..] {
            assert_eq!((other.vhost.as_str(), other.query.heartbeat), ("/", Some(15)));
            assert_eq!(shown(other), "broker:5672");
        }
    }

    #[test]
    fn fields_are_taken_literally() {
        let config = RabbitMqConfig {
            schema: Some(Schema::Amqps),
            host: Some("one".to_owned()),
            hosts: vec!["two:5673".to_owned(), "[::1]".to_owned(), "::2".to_owned()],
            vhost: Some("shop/eu".to_owned()),
            auth: Some(Auth { user: "me".to_owned(), password: "p@ss %41".into() }),
            ..RabbitMqConfig::default()
        };

        let found = addresses(&config).unwrap();

        assert_eq!(
            found.iter().map(shown).collect::<Vec<_>>(),
            ["one:5671", "two:5673", "::1:5671", "::2:5671"]
        );
        assert_eq!(
            (found[0].vhost.as_str(), found[0].authority.userinfo.password.as_str()),
            ("shop/eu", "p@ss %41")
        );
    }
}
