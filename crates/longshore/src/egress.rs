//! From configuration to what webhooks may reach, and how.

use longshore_pipeline::dispatch::HttpSettings;
use longshore_pipeline::dispatch::egress::{
    ConnectionBudget, DnsSettings, EgressRules, Guard, raise_open_files,
};
use tracing::{info, warn};

use crate::config::Config;

/// What the operator lets webhooks reach: the same where endpoints are registered and where requests are sent.
pub(crate) fn rules(config: &Config) -> EgressRules {
    let security = &config.security;
    EgressRules {
        guard: Guard::new(security.allowed_networks.clone(), security.project_networks.clone()),
        allow_http: security.allow_http_endpoints,
        allowed_ports: security.allowed_ports.clone(),
    }
}

/// How the webhook client behaves. Raises the limit of open files, which what it keeps follows from.
pub(crate) fn settings(config: &Config) -> HttpSettings {
    let files = raise_open_files();
    let in_flight = config.dispatch.max_in_flight.get();
    let others = config.http.max_in_flight.get() + config.database.max_connections.get() as usize;
    let budget = ConnectionBudget::of(files, in_flight, others);
    if let Some(wanted) = budget.wanted {
        warn!(
            files,
            wanted,
            "the limit of open files is below what `dispatch.max_in_flight`, `http.max_in_flight` and \
             `database.max_connections` may need; raise it (`ulimit -n`), or lower them"
        );
    }
    info!(files, kept_connections = budget.kept, "connections to receivers");
    HttpSettings {
        rules: rules(config),
        dns: DnsSettings {
            servers: config.dispatch.dns_servers.clone(),
            min_ttl: config.dispatch.dns_min_ttl,
            max_ttl: config.dispatch.dns_max_ttl,
            negative_ttl: config.dispatch.dns_negative_ttl,
        },
        connect_timeout: config.dispatch.connect_timeout,
        response_bytes: config.dispatch.response_bytes.bytes(),
        idle_per_host: config.dispatch.idle_per_host.get(),
        kept_connections: budget.kept,
        user_agent: config.dispatch.user_agent.clone(),
    }
}
