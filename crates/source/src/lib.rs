//! The plug-in contract: how messages come into Longshore and how their life at the broker ends.
//!
//! What it is for: anyone can write a source against this crate alone. What it does not do: decode, store or
//! match; it knows nothing of events. Invariant: a message that was handed out is settled exactly once, and
//! the default is redelivery.
//!
//! # How to write a source
//!
//! A source is one consumer of one queue. It has two halves that meet in [`in_flight()`]: the receiving half
//! reserves slots and hands out messages, and a task drains the settlements and speaks to the broker. That task is
//! what keeps acknowledgements flowing while nobody calls `recv`.
//!
//! Here is one for an imaginary broker that is a channel of lines, with a channel back for what is done:
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::time::Duration;
//!
//! use longshore_source::{
//!     Features, Message, Position, Receipt, Settled, Source, SourceError, Tracker, in_flight,
//! };
//! use tokio::sync::mpsc;
//! use tokio::task::JoinHandle;
//!
//! /// What the broker calls a delivery. Hold whatever settling needs: a tag, a receipt handle, an offset.
//! type Handle = u64;
//!
//! struct Lines {
//!     lines: mpsc::Receiver<(Handle, String)>,
//!     tracker: Tracker<Handle>,
//!     settler: JoinHandle<()>,
//! }
//!
//! fn connect(lines: mpsc::Receiver<(Handle, String)>, done: mpsc::UnboundedSender<(Handle, bool)>) -> Lines {
//!     // 1. As many slots as the broker's window: no more messages than that are ever out.
//!     let (tracker, mut settlements) = in_flight(NonZeroUsize::MIN.saturating_add(99));
//!     // 2. The settling half. It ends when the tracker and every token are gone.
//!     let settler = tokio::spawn(async move {
//!         let mut round = Vec::new();
//!         while settlements.next_many(&mut round, 100).await > 0 {
//!             // A settlement gives its slot back when it is dropped, hence only after the broker knows.
//!             for settlement in round.drain(..) {
//!                 let acknowledged = matches!(settlement.how, Settled::Ack(_));
//!                 let _ = done.send((settlement.handle, acknowledged));
//!             }
//!         }
//!     });
//!     Lines { lines, tracker, settler }
//! }
//!
//! impl Source for Lines {
//!     fn features(&self) -> Features {
//!         Features { ordered: true, ..Features::default() }
//!     }
//!
//!     async fn recv(&mut self, max: NonZeroUsize) -> Result<Vec<Message>, SourceError> {
//!         // 3. Reserve first, then fetch at most that many. Fetching first would wait, with messages in hand, for
//!         //    slots that only these messages can free.
//!         let mut slots = self.tracker.reserve(max).await;
//!         let mut fetched = Vec::new();
//!         // 4. Wait for one, and take what else is there. Both steps are cancel-safe: dropping `recv` here loses
//!         //    nothing, and there is no await after them.
//!         if self.lines.recv_many(&mut fetched, slots.len()).await == 0 {
//!             return Err(SourceError::Disconnected("the lines have ended".to_owned()));
//!         }
//!         // 5. Fill the slots. The token settles the message, and dropping it means "deliver it again".
//!         let message = |(handle, line): (Handle, String)| {
//!             Some(Message {
//!                 body: line.into(),
//!                 headers: Vec::new(),
//!                 position: Position { message_id: Some(handle.to_string()), ..Position::default() },
//!                 route: None,
//!                 redelivered: false,
//!                 attempt: None,
//!                 tombstone: false,
//!                 ack: slots.fill(handle)?,
//!             })
//!         };
//!         Ok(fetched.into_iter().filter_map(message).collect())
//!     }
//!
//!     async fn close(self, deadline: Duration) -> Result<(), SourceError> {
//!         // 6. Stop reading, and wait for the tokens that are out.
//!         let Self { tracker, settler, .. } = self;
//!         drop(tracker);
//!         let _ = tokio::time::timeout(deadline, settler).await;
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), SourceError> {
//! let (broker, lines) = mpsc::channel(10);
//! let (done, mut outcomes) = mpsc::unbounded_channel();
//! let mut source = connect(lines, done);
//! for (number, line) in ["first", "second"].into_iter().enumerate() {
//!     let _ = broker.send((number as u64, line.to_owned())).await;
//! }
//!
//! let mut messages = source.recv(NonZeroUsize::MIN.saturating_add(9)).await?;
//! drop(messages.pop());
//! for message in messages {
//!     message.ack.ack(Receipt::default()); // after its bytes are durable
//! }
//! source.close(Duration::from_secs(1)).await?;
//!
//! assert_eq!(outcomes.recv().await, Some((1, false)));
//! assert_eq!(outcomes.recv().await, Some((0, true)));
//! # Ok(())
//! # }
//! ```
//!
//! What a real broker adds has its place here too: [`offsets`] for logs that commit a position, [`lease`] for
//! brokers that redeliver by time, [`context`] for what the source is told and [`status`] for what it tells. [`memory`] is the reference, with leases and faults. A source is finished when it
//! passes `conformance::run` (feature `testing`) against a real broker.
pub mod ack;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod context;
pub mod error;
pub mod in_flight;
pub mod lease;
pub mod memory;
pub mod message;
pub mod offsets;
pub mod secret;
pub mod source;
pub mod status;

pub use ack::{AckToken, Settled};
pub use context::{Context, NextOffsets, NoWatermarks, Watermarks};
pub use error::{ConfigError, SourceError};
pub use in_flight::{Ages, Settlement, Settlements, Slots, Tracker, in_flight, in_flight_bytes};
pub use message::{Headers, Inbound, LogOffset, Message, Position, Receipt, Refusal, Route};
pub use secret::Secret;
pub use source::{Features, Source};
pub use status::{Report, State, Status};
