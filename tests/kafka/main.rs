//! Tests against a real Apache Kafka, one at a time (see scripts/test.sh).

// Seeds and timings belong in a test's output.
#![allow(clippy::print_stdout)]

mod adapter;
mod cluster;
mod exchange;
mod faults;
mod instances;
mod queries;
