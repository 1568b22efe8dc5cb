//! An aggregate by key in a logged store, each update of which comes out: in one subtopology, or
//! behind a repartition topic, where records travel in packs.
//!
//! The aggregate holds how many records a key had and a hash of their values in order, so a record
//! that is lost, applied twice or out of order shows in every later result of its key.

use std::collections::BTreeMap;

use tidemill_topology::prelude::*;

use super::{Input, Outputs, Scenario, compare};
use crate::random::Random;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "counts",
    about: "an aggregate by key, with a changelog",
    topology,
    topics: &["words", "counts"],
    input,
    check,
};

/// Each key's records come from one partition and go to one, so their order stays.
pub(super) const REPARTITIONED: Scenario = Scenario {
    name: "repartitioned",
    about: "an aggregate by key behind a repartition topic",
    topology: repartitioned,
    ..SCENARIO
};

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    aggregate(&builder.stream("words", Consumed::with(Utf8, Utf8)));
    builder.build().expect("a sound topology")
}

fn repartitioned() -> Topology {
    let builder = StreamsBuilder::new();
    let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    aggregate(&words.select_key(|key, _| key.clone()));
    builder.build().expect("a sound topology")
}

fn aggregate(words: &KStream<String, String>) {
    words
        .group_by_key(Grouped::with(Utf8, Utf8))
        .aggregate(
            String::new,
            |_, value, so_far| Some(follow(&so_far, value)),
            Materialized::named("aggregates", Utf8),
        )
        .to_stream()
        .to("counts", Produced::with(Utf8, Nullable(Utf8)));
}

/// The aggregate after one more value.
fn follow(so_far: &str, value: &str) -> String {
    let (count, hash) = so_far.split_once(' ').unwrap_or(("0", "0"));
    let count = count.parse::<u64>().unwrap_or(0) + 1;
    let hash = value.bytes().fold(hash.parse::<u64>().unwrap_or(0), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{count} {hash}")
}

fn input(random: &mut Random, number: u64) -> Input {
    Input {
        topic: "words",
        key: format!("k{}", random.below(12)),
        value: Some(format!("v{number}")),
        at_ms: number.cast_signed() * 10,
    }
}

fn check(outputs: &Outputs<'_>) -> Result<(), String> {
    let got = outputs.by_key("counts");
    let mut want: BTreeMap<Vec<u8>, Vec<Option<String>>> = BTreeMap::new();
    for (key, values) in outputs.by_key("words") {
        let mut aggregate = String::new();
        let updates = values.into_iter().flatten().map(|value| {
            aggregate = follow(&aggregate, &value);
            Some(aggregate.clone())
        });
        want.insert(key, updates.collect());
    }
    if let Some(key) = got.keys().find(|key| !want.contains_key(*key)) {
        return Err(format!("counts: key {} comes from nowhere", super::shown(key)));
    }
    want.iter().try_for_each(|(key, want)| {
        compare("counts", key, got.get(key).map_or(&[], Vec::as_slice), want)
    })
}
