//! HTTP: metrics, health, tasks, topology and books of a running instance.
//!
//! Read in this order:
//!
//! 1. [`server`]: listening, the bounds on connections and requests, stopping; `tls`.
//! 2. [`route`]: a path and what answers there; [`resources`]: the routes that every instance has.
//! 3. [`request`]: a request taken apart: path segments, query, headers, body.
//! 4. [`response`]: answers, and errors as JSON that say what to do next; [`event_stream`]: answers
//!    that go on, as server-sent events; [`body`] carries either.
//! 5. `watch`: the instance as one document with rates, which `/events` sends as it changes.
//!
//! What another instance has, [`forward`] fetches from it.
//! An application adds routes of its own: see [`Route`].
//! The server knows the instance only through [`Introspect`](crate::status::Introspect).
//! This is the only place that knows hyper.

pub mod body;
pub mod event_stream;
pub mod forward;
mod merge_patch;
pub mod request;
pub mod resources;
pub mod response;
pub mod route;
pub mod server;
mod timed_stream;
mod tls;
mod watch;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use event_stream::{Event, EventSink, NotTaken};
pub use response::{Failure, Response};
pub use route::{Call, Route};
pub use server::{HttpError, Server};
