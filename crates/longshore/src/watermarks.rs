//! Where the stored events of a source end, for sources that read logs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use longshore_core::SourceId;
use longshore_source::{NextOffsets, Watermarks};
use longshore_store::Store;

/// The watermarks of one source, as ingest stored them with its events.
#[derive(Debug)]
pub(crate) struct StoredWatermarks {
    pub(crate) store: Arc<Store>,
    pub(crate) source: SourceId,
}

impl Watermarks for StoredWatermarks {
    fn load(&self) -> Pin<Box<dyn Future<Output = Result<NextOffsets, String>> + Send + '_>> {
        Box::pin(async { self.store.source_offsets(self.source).await.map_err(|error| error.to_string()) })
    }
}
