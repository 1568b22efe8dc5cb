//! Each layer of a record's journey alone, so that a regression names its layer.
//!
//! `records`, `matching` and `metrics` are pure, `operators` and `state` write to a temporary folder, `kafka` starts a real
//! broker. `cargo bench --bench layers -- <part of a name>` runs some of them.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]
#![allow(missing_docs, reason = "criterion's macro makes a public function")]

mod kafka;
mod matching;
mod metrics;
mod operators;
mod records;
mod state;

use criterion::{criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

criterion_group!(
    layers,
    records::deserialize,
    records::dispatch,
    matching::book,
    operators::operators,
    state::get_and_put,
    state::commit,
    state::restore,
    metrics::scrape,
    metrics::count,
    kafka::consume_and_produce
);
criterion_main!(layers);
