//! Streams: read on where the stored events end.

use std::collections::BTreeMap;
use std::future::Future;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use longshore_source::{Context, NextOffsets, Source, Watermarks};
use longshore_source_rabbitmq::{Argument, RabbitMqConfig};

use crate::support::{Broker, Wire, config, connect, unique};
use crate::{SOON, ack, bodies, take, take_from, texts};

#[tokio::test]
async fn a_stream_is_read_on_after_a_reconnect_and_again_after_a_retry() {
    let (broker, queue) = (Broker::connect().await, unique("stream"));
    broker.declare(&queue, "stream").await;
    broker.publish(&queue, bodies(20)).await;
    let wire = Wire::start().await;
    let first = BTreeMap::from([("x-stream-offset".to_owned(), Argument::Text("first".to_owned()))]);
    let stream = RabbitMqConfig { prefetch: 10, consumer_arguments: first, ..wire.config(&queue) };
    let mut source = connect(stream).await.unwrap();
    assert!(source.features().ordered);

    let mut messages = take(&mut source, 10).await;
    assert_eq!(messages[3].position.message_id, Some(format!("stream:{queue}:3")));
    // 0, 1 and 2 are settled, 3 is open, 4 and above are settled: reading goes on at 3.
    let open = messages.remove(3);
    ack(messages);
    let after = take(&mut source, 1).await;
    assert_eq!(texts(&after), ["body 10"]);
    wire.cut();
    let again = take_from(&mut source, "body 3", 8).await;
    assert_eq!(texts(&again), bodies(11).skip(3).collect::<Vec<_>>());
    drop((open, after));

    // A stream takes nothing back: the reader goes back to the lowest unsettled offset.
    ack(again);
    let mut messages = take(&mut source, 5).await;
    let dropped = messages.remove(1);
    ack(messages);
    drop(dropped);
    let again = take_from(&mut source, "body 12", 8).await;
    assert_eq!(texts(&again), bodies(20).skip(12).collect::<Vec<_>>());
    ack(again);
    source.close(SOON).await.unwrap();
    broker.delete(&queue).await;
}

/// What an earlier process stored: everything below an offset.
#[derive(Debug)]
struct Stored(String, u64);

impl Watermarks for Stored {
    fn load(&self) -> Pin<Box<dyn Future<Output = Result<NextOffsets, String>> + Send + '_>> {
        Box::pin(ready(Ok(NextOffsets::from([(self.0.clone(), self.1)]))))
    }
}

#[tokio::test]
async fn a_new_process_reads_a_stream_on_where_the_stored_events_end() {
    let (broker, queue) = (Broker::connect().await, unique("resumed"));
    broker.declare(&queue, "stream").await;
    broker.publish(&queue, bodies(20)).await;
    let watermarks = Arc::new(Stored(format!("stream:{queue}"), 7));
    let context = Context { watermarks, ..Context::new("rabbitmq", &queue) };

    // Without a watermark this source would start behind the last message.
    let mut source = longshore_source_rabbitmq::connect(config(&queue), context).await.unwrap();

    let messages = take(&mut source, 13).await;
    assert_eq!(texts(&messages), bodies(20).skip(7).collect::<Vec<_>>());
    ack(messages);
    source.close(SOON).await.unwrap();
    broker.delete(&queue).await;
}
