//! Which deliveries a request means.

use longshore_core::delivery::DeliveryState;
use longshore_core::{DeliveryId, Timestamp};
use longshore_store::control::DeliveryFilter;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::v1::body::Body;
use crate::v1::filters::Pairs;
use crate::v1::problem::Problem;

/// Deliveries that one request may name.
const MOST_IDS: usize = 10_000;

/// Which deliveries a list has.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, style = Form)]
#[expect(dead_code, reason = "stands in the document alone: names may be repeated, so that pairs are read")]
pub(crate) struct DeliveriesQuery {
    /// To these endpoints; may be repeated.
    #[param(rename = "endpointId")]
    endpoint_id: Option<Vec<String>>,
    /// Of this event.
    #[param(rename = "eventId")]
    event_id: Option<String>,
    /// By this subscription.
    #[param(rename = "subscriptionId")]
    subscription_id: Option<String>,
    /// `Scheduled`, `Processing`, `Retry`, `Success`, `Failure`, `Discarded`; may be repeated.
    status: Option<Vec<String>>,
    /// Of events of this type.
    event_type: Option<String>,
    /// Of events with this idempotency key.
    #[param(rename = "idempotencyKey")]
    idempotency_key: Option<String>,
    /// Made at this time or later.
    #[param(rename = "startDate")]
    start_date: Option<String>,
    /// Made before this time.
    #[param(rename = "endDate")]
    end_date: Option<String>,
}

/// Deliveries by their ids.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct IdsBody {
    /// 1 to 10,000 of them.
    ids: Option<Vec<String>>,
}

impl Body for IdsBody {}

impl IdsBody {
    /// The ids, and how many are none.
    ///
    /// # Errors
    /// `400`: there are none, or too many.
    pub(super) fn parse(self) -> Result<(Vec<DeliveryId>, u64), Problem> {
        let ids = self.ids.unwrap_or_default();
        if ids.is_empty() || ids.len() > MOST_IDS {
            return Err(Problem::invalid("ids", format!("name 1 to {MOST_IDS} deliveries")));
        }
        let mut known: Vec<DeliveryId> = ids.iter().filter_map(|text| text.parse().ok()).collect();
        let wrong = ids.len() - known.len();
        known.sort_unstable();
        known.dedup();
        Ok((known, u64::try_from(wrong).unwrap_or(u64::MAX)))
    }
}

/// Understands it.
///
/// # Errors
/// `400` names the field.
pub(super) fn filter(pairs: &Pairs) -> Result<DeliveryFilter, Problem> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let states: Vec<DeliveryState> = pairs.parsed(&["status"])?;
    let single = |names: &[&str]| pairs.one(names).map(drop);
    single(&["eventId", "event_id"])?;
    single(&["subscriptionId", "subscription_id"])?;
    Ok(DeliveryFilter {
        endpoints: pairs.parsed(&["endpointId", "endpoint_id"])?,
        event: pairs.parsed(&["eventId", "event_id"])?.pop(),
        subscription: pairs.parsed(&["subscriptionId", "subscription_id"])?.pop(),
        states: states.into_iter().map(|state| state.as_str().to_owned()).collect(),
        event_type: owned(pairs.one(&["event_type", "eventType"])?),
        idempotency_key: owned(pairs.one(&["idempotencyKey", "idempotency_key"])?),
        from_us: pairs.time(&["startDate", "start_date"])?.map(Timestamp::as_micros),
        until_us: pairs.time(&["endDate", "end_date"])?.map(Timestamp::as_micros),
    })
}
