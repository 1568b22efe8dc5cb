//! Queries of the stores of running instances, asked in Rust and over HTTP.
//!
//! Read first [`words`], the application that is asked; then the tests.

mod words;

mod load;
mod local;
mod routed;
