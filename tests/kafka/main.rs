//! Tests against a real Apache Kafka, one at a time (see scripts/test.sh).

mod adapter;
mod cluster;
mod exchange;
