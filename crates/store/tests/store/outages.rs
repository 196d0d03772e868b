//! A server that vanishes without a word.

use std::time::Duration;

use longshore_core::Secret;
use longshore_core::ports::{EventLog, StoreError};
use longshore_store::{Keys, Profile, Settings, connect};
use longshore_testkit::chaos::ChaosProxy;

use crate::bed::{Bed, MASTER};

#[tokio::test]
async fn a_connection_that_never_answers_is_given_up_and_replaced() {
    let bed = Bed::new().await;
    let url = bed.database.url();
    let proxy = ChaosProxy::start(ChaosProxy::authority(&url)).await;
    let settings = Settings {
        url: Secret::new(proxy.url(&url)),
        // One: a connection that is waited for would leave none.
        max_connections: 1,
        connect_timeout: Duration::from_millis(500),
        statement_timeout: Duration::from_millis(500),
        lease: Duration::from_secs(30),
        profile: Profile::Hot,
    };
    let store = connect(&settings, Keys::parse(MASTER).unwrap()).await.unwrap();
    store.config_version().await.unwrap();

    proxy.stall();
    let silence = store.config_version().await;
    assert!(matches!(silence, Err(StoreError::Unavailable(_))), "{silence:?}");
    proxy.restore();

    // The dead connection holds its place while it is being closed, for some seconds at most.
    let back = async {
        while store.config_version().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), back).await.unwrap();
}
