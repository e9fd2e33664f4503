//! Messages between a front end and a container, by the fastest way that both have.
//!
//! A session always has its [`crate::transport`], which carries every message. Where both ends
//! prove that they share a host, predicts and replies move to shared memory:
//!
//! ```text
//!   front end                                            container
//!     hello (host) ◄──────────── transport ────────────────
//!     ─────────────────────────► welcome (socket, nonce)
//!     control socket ◄────────── nonce ────────────────────
//!     regions, bells ──────────► (descriptors, challenge)
//!     ◄───────────────────────── the challenge's answer, in the results region; "ready"
//!     ◄──────────── transport ── path (shared)
//!     request ring ════════════► predict      rows lie in the row log, which both map
//!     ◄════════════ reply ring   reply        results lie in the batch's result slot
//! ```
//!
//! Anything that fails on the way leaves the session on its transport, with the reason. Once
//! shared memory is in use, whatever does not fit it (a result larger than its slot, a batch
//! whose rows found no place in the log) still goes by the transport, message by message.
//!
//! | module | holds |
//! |---|---|
//! | [`FrontendChannel`] | the front end's side: a listener, and the shared paths of its peers |
//! | [`ContainerChannel`] | the container's side: a link, and its shared path |
//! | `frontend`, `container` | the two ends of one shared path |
//! | `descriptor` | what stands in a ring |
//! | `setup` | what passes over the control socket, and the form of the regions |
//! | `relay` | a waker that remembers whether it was woken |
//! | `rings` | the shared paths of all of a front end's peers |
//! | `visits` | the front end's control socket |
//! | [`park`] | spinning before a runtime sleeps |
//!
//! # Invariants
//! - Messages of one peer on one path arrive in order; what came by the ring is delivered
//!   before a later message of the transport, and before the news that the peer is gone.
//! - Rows and result slots of a batch stay as they are until it is answered or the container has
//!   hung up, whoever has lost patience meanwhile.
//! - Nothing that a container writes is looked at twice.
//!
//! # Cost
//! A predict of rows in the log: one descriptor, no copy, no allocation. A reply: its results
//! are copied once, into a block that is used again. No system call while the other end is awake.

mod container;
mod container_channel;
mod descriptor;
mod frontend;
mod frontend_channel;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod park;
mod relay;
mod rings;
mod setup;
mod visits;

#[cfg(test)]
mod tests;

pub use container_channel::{ContainerChannel, Received, RecvError};
#[cfg(any(test, feature = "fuzzing"))]
pub use frontend_channel::Holdings;
pub use frontend_channel::{FrontendChannel, Heard, SharedLog, Sharing};
pub use setup::{SESSION_BYTES_MAX, host};
pub use skysail_memory::region::Room;
pub use visits::socket_beside;
