//! What operators see: the names and labels that dashboards and alerts are built on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use longshore_source::Receipt;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::support::{config, post, serve};

#[derive(Default)]
struct Recorded(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

/// Counts what is recorded.
struct Samples(Arc<AtomicU64>);

impl HistogramFn for Samples {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recorded {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: String =
            key.labels().map(|label| format!(" {}={}", label.key(), label.value())).collect();
        let mut cells = self.0.lock().unwrap();
        Arc::clone(cells.entry(format!("{}{labels}", key.name())).or_default())
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Samples(self.cell(key))))
    }
}

// The recorder is the thread's, and server and test share theirs.
#[tokio::test(flavor = "current_thread")]
async fn every_answer_is_counted_by_route_and_status_and_timed_by_route() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;
    for _ in 0..2 {
        producer.send(&post("events", "{}")).await;
        server.one().await.ack.ack(Receipt::default());
        producer.reply().await;
    }
    for path in ["events/batch", "events/nowhere"] {
        producer.send(&post(path, "")).await;
        producer.reply().await;
    }

    let cells = recorded.0.lock().unwrap();
    let seen: Vec<_> =
        cells.iter().map(|(name, count)| (name.as_str(), count.load(Ordering::Relaxed))).collect();
    assert_eq!(
        seen,
        [
            ("ingest_http_request_seconds route=batch", 1),
            ("ingest_http_request_seconds route=none", 1),
            ("ingest_http_request_seconds route=single", 2),
            ("ingest_http_requests_total route=batch status=400", 1),
            ("ingest_http_requests_total route=none status=404", 1),
            ("ingest_http_requests_total route=single status=201", 2),
        ]
    );
}
