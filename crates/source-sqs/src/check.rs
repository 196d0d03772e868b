//! Says what is wrong before a source is started, without taking a message.

use longshore_source::SourceError;

use crate::attributes::Known;
use crate::client::Queue;
use crate::config::SqsConfig;
use crate::error::explain;
use crate::leases::change_visibility;

pub(crate) async fn check(config: &SqsConfig) -> Result<Vec<String>, SourceError> {
    let queue = Queue::find(config).await?;
    let known = Known::read(&queue, config).await?;
    may_receive(&queue).await?;
    may_settle(&queue).await?;
    Ok(known.warnings)
}

/// A call that asks for no message: SQS refuses it, as a mistake when we may receive, and as denied when not. A real
/// one would count as a delivery of what it brings.
async fn may_receive(queue: &Queue) -> Result<(), SourceError> {
    let call = queue.calls.receive_message().queue_url(&queue.url).max_number_of_messages(0);
    match call.send().await {
        Ok(_) => Ok(()),
        Err(error) => permitted(explain(&error, &format!("receiving from `{}`", queue.name))),
    }
}

/// Calls about a message that does not exist.
async fn may_settle(queue: &Queue) -> Result<(), SourceError> {
    let receipt = "none";
    match change_visibility(queue, [(receipt, 0)]).await {
        Ok(_) => {}
        Err(error) => permitted(error)?,
    }
    let call = queue.calls.delete_message().queue_url(&queue.url).receipt_handle(receipt);
    match call.send().await {
        Ok(_) => Ok(()),
        Err(error) => permitted(explain(&error, &format!("deleting from `{}`", queue.name))),
    }
}

/// Only a refusal of rights is a finding: these calls are mistakes on purpose.
fn permitted(error: SourceError) -> Result<(), SourceError> {
    match error {
        SourceError::Denied(_) => Err(error),
        _ => Ok(()),
    }
}
