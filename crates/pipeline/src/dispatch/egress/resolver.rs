//! Names to addresses, remembered as long as their records say, within bounds.
//!
//! Not the C library's resolver: that one hides how long an answer holds, and blocks a thread. `/etc/resolv.conf` and
//! `/etc/hosts` are honoured as they are when the process starts. What it does not do: judge addresses; whoever
//! connects does, each time, remembered or not. Invariant: at most one query for a name is under way.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::cache::Cache;

/// Names remembered at most.
const REMEMBERED: usize = 8_192;
/// How long one server may take for one answer; there is a second try.
const PATIENCE: Duration = Duration::from_secs(2);

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Servers to ask; empty for the system's.
    pub servers: Vec<SocketAddr>,
    /// Records that live shorter are kept this long.
    pub min_ttl: Duration,
    /// Records that live longer are kept this long.
    pub max_ttl: Duration,
    /// How long it is remembered that a name does not resolve.
    pub negative_ttl: Duration,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(300),
            negative_ttl: Duration::from_secs(5),
        }
    }
}

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the name `{name}` does not resolve: {problem}")]
pub(super) struct Unresolved {
    pub(super) name: Arc<str>,
    problem: Arc<str>,
}

type Addresses = Result<Arc<[IpAddr]>, Unresolved>;

/// Resolves names.
pub(super) struct Resolver {
    system: TokioResolver,
    cache: Cache<String, Addresses>,
    settings: DnsSettings,
    prefers_v6: bool,
}

impl Resolver {
    /// # Errors
    /// What is wrong with the system's configuration.
    pub(super) fn new(settings: DnsSettings) -> Result<Self, String> {
        let builder = if settings.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| {
                format!("the system's resolver: {error}; name servers in `dispatch.dns_servers` instead")
            })?
        } else {
            let servers = settings.servers.iter().map(|server| {
                let mut config = NameServerConfig::udp_and_tcp(server.ip());
                config.connections.iter_mut().for_each(|connection| connection.port = server.port());
                config
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let mut builder = builder;
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = PATIENCE;
        // What is remembered, and for how long, is decided here.
        options.cache_size = 0;
        let system = builder.build().map_err(|error| format!("the resolver: {error}"))?;
        Ok(Self { system, cache: Cache::new(REMEMBERED), settings, prefers_v6: has_v6_route() })
    }

    /// Every address of a name, those of the preferred family first; never empty.
    pub(super) async fn resolve(&self, name: &str) -> Addresses {
        // On the heap: the resolver's futures are large.
        self.cache.get(name, |_| true, Box::pin(self.ask(name))).await
    }

    async fn ask(&self, name: &str) -> (Addresses, Duration) {
        let asked = std::time::Instant::now();
        let answer = self.system.lookup_ip(name).await;
        metrics::histogram!("dispatch_dns_seconds").record(asked.elapsed().as_secs_f64());
        let unresolved = |problem: &str| {
            metrics::counter!("dispatch_dns_failures_total").increment(1);
            (Err(Unresolved { name: name.into(), problem: problem.into() }), self.settings.negative_ttl)
        };
        let found = match answer {
            Ok(found) => found,
            Err(error) if error.is_nx_domain() => return unresolved("there is no such name"),
            Err(error) if error.is_no_records_found() => return unresolved("it has no address"),
            Err(error) => return unresolved(&error.to_string()),
        };
        let mut addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() {
            return unresolved("it has no address");
        }
        addresses.sort_by_key(|address| address.is_ipv6() != self.prefers_v6);
        let lives = found.valid_until().saturating_duration_since(std::time::Instant::now());
        let kept = lives.clamp(self.settings.min_ttl, self.settings.max_ttl.max(self.settings.min_ttl));
        (Ok(addresses.into()), kept)
    }
}

/// Whether IPv6 leads anywhere from here. Sends nothing: connecting a datagram socket only looks for a route.
fn has_v6_route() -> bool {
    let anywhere: SocketAddr = ([0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888], 53).into();
    UdpSocket::bind("[::]:0").and_then(|socket| socket.connect(anywhere)).is_ok()
}
