//! What arrived against what must arrive.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use longshore_testkit::receiver::Request;

use super::plan;
use crate::payload;

/// The count so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// Expected webhooks that arrived.
    pub delivered: usize,
    /// Webhooks beyond the first of an event at an endpoint.
    pub repeated: usize,
    /// Webhooks that should not have been sent: a filter or a subscription did not hold.
    pub unexpected: usize,
    /// Webhooks on which both signatures hold.
    pub verified: usize,
    /// Why the first other one did not.
    pub fault: Option<String>,
    /// From just before an event was published to its webhook, by number.
    pub latencies: Vec<(u32, Duration)>,
    seen: HashMap<(String, u32), usize>,
}

impl Tally {
    /// All webhooks.
    #[must_use]
    pub fn webhooks(&self) -> usize {
        self.delivered + self.repeated + self.unexpected
    }

    /// Counts one.
    pub fn take(&mut self, request: &Request, sent: &[Option<Instant>]) {
        match verify(request) {
            Ok(()) => self.verified += 1,
            Err(fault) => self.fault = self.fault.take().or(Some(fault)),
        }
        let path = request.path();
        let n = payload::number(&request.body).filter(|n| plan::expected(*n).contains(&path));
        let Some((n, sent)) = n.and_then(|n| Some((n, sent.get(n as usize).copied().flatten()?))) else {
            self.unexpected += 1;
            return;
        };
        let times = self.seen.entry((path.to_owned(), n)).or_default();
        *times += 1;
        if *times > 1 {
            self.repeated += 1;
        } else {
            self.delivered += 1;
            self.latencies.push((n, request.at.into_std().saturating_duration_since(sent)));
        }
    }
}

/// Whether both of a webhook's signatures hold.
///
/// # Errors
/// Why not.
pub fn verify(request: &Request) -> Result<(), String> {
    let secret = plan::secret(request.path()).ok_or("nobody expects webhooks there")?;
    request.verify_standard(secret).map_err(|error| format!("webhook-signature: {}", error.0))?;
    request.verify_contract(secret.as_bytes()).map_err(|error| error.0)
}
