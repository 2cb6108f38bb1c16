//! A worker on another machine takes a part of each batch: what the run and the worker say to each other.
//!
//! The unit is a part of a batch and not an operation. A request carries the whole network and the images of the part; its
//! answer carries a gradient for each parameter, the running statistics, the loss and the logits. So a worker keeps nothing
//! from step to step that could differ from the run, and what computes there is the same code as here, with the same kernels.
//!
//! | file | owns |
//! |---|---|
//! | `token.rs` | the secret that both sides have in a file, and how each proves it |
//! | `link.rs` | the connection: the handshake, messages and their limits, how long is waited |
//! | `message.rs` | what is in a message, byte by byte |
//! | `client.rs` | the run's side |
//! | `computing.rs` | the worker's side: a network, and the parts that go through it |
//!
//! The side that listens is the room `worker`.

pub(crate) mod client;
pub(crate) mod computing;
pub(crate) mod link;
mod message;
pub(crate) mod token;

pub(super) use message::Job;

#[cfg(test)]
mod tests;
