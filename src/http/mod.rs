//! HTTP: metrics, health, tasks, topology and books of a running instance.
//!
//! Read in this order:
//!
//! 1. [`server`]: listening, the bounds on connections and requests, stopping.
//! 2. [`routes`]: the table of routes and what each answers.
//! 3. [`request`]: a request taken apart: path segments, query, headers.
//! 4. [`response`]: answers, and errors as JSON that say what to do next.
//!
//! The server knows the instance only through [`Introspect`](crate::status::Introspect).
//! This is the only place that knows hyper.

pub mod request;
pub mod response;
pub mod routes;
pub mod server;

#[cfg(test)]
mod tests;

pub use server::{HttpError, Server};
