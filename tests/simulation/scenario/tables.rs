//! A join of two tables, whose stores take their source topics for changelogs.
//!
//! What comes out in between depends on which table was ahead; the last result of each key is the
//! join of what both tables hold in the end.

use std::collections::BTreeMap;

use tidemill_topology::prelude::*;

use super::{Input, Outputs, Scenario, shown};
use crate::random::Random;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "tables",
    about: "a join of two tables that are their own changelogs, and an aggregate of its updates",
    topology,
    topics: &["owners", "prices", "offers"],
    input,
    check,
};

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let owners =
        builder.table("owners", Consumed::with(Utf8, Utf8), Materialized::named("owners", Utf8));
    let prices =
        builder.table("prices", Consumed::with(Utf8, Utf8), Materialized::named("prices", Utf8));
    owners
        .join(&prices, |_, owner, price| format!("{owner} {price}"), TableJoined::new())
        .to_stream()
        .to("offers", Produced::with(Utf8, Nullable(Utf8)));
    builder.build_optimized(Optimization::ALL).expect("a sound topology")
}

fn input(random: &mut Random, number: u64) -> Input {
    let topic = if random.chance(500) { "owners" } else { "prices" };
    let key = format!("k{}", random.below(15));
    let value = (!random.chance(150)).then(|| format!("v{number}"));
    Input { topic, key, value, at_ms: number.cast_signed() * 10 }
}

fn check(outputs: &Outputs<'_>) -> Result<(), String> {
    let last = |topic: &str| -> BTreeMap<Vec<u8>, Option<String>> {
        let by_key = outputs.by_key(topic).into_iter();
        by_key.filter_map(|(key, mut values)| Some((key, values.pop()?))).collect()
    };
    let (owners, prices, offers) = (last("owners"), last("prices"), last("offers"));
    for key in owners.keys().chain(prices.keys()).chain(offers.keys()) {
        let owner = owners.get(key).and_then(Option::as_ref);
        let price = prices.get(key).and_then(Option::as_ref);
        let want = owner.zip(price).map(|(owner, price)| format!("{owner} {price}"));
        let got = offers.get(key).cloned().flatten();
        if got != want {
            return Err(format!("offers: key {} ends as {got:?}, not {want:?}", shown(key)));
        }
    }
    Ok(())
}
