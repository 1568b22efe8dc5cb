//! Aggregates without windows.

use tidemill::prelude::*;

use super::notation::{TEXT, Text, consumed, grouped, n, produced};
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "group_by_key_count" => group_by_key_count,
        "group_by_reduce" => group_by_reduce,
        "group_by_aggregate" => group_by_aggregate,
        _ => return None,
    })
}

fn group_by_key_count(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .group_by_key(grouped())
        .count(Materialized::named("counts", I64))
        .to_stream()
        .to("out", Produced::with(TEXT, Nullable(I64)));
    Shown::text().longs("out").store::<Text, i64>("counts")
}

fn group_by_reduce(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .group_by(
            |k, v| match v {
                None => k.clone(),
                Some(_) if n(v) % 10 == 9 => None,
                Some(_) => Some(format!("g{}", n(v) % 3)),
            },
            grouped().named("grp"),
        )
        .reduce(
            |so_far, v| {
                let sum = n(so_far) + n(v);
                (sum % 7 != 0).then(|| Some(sum.to_string()))
            },
            Materialized::named("red", TEXT),
        )
        .to_stream()
        .map_values(|v| v.clone().flatten())
        .to("out", produced());
    Shown::text().store::<Text, Text>("red")
}

fn group_by_aggregate(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .group_by_key(grouped())
        .aggregate(
            || "0".to_owned(),
            |_, v, so_far| {
                (n(v) % 10 != 9).then(|| format!("{so_far},{}", v.as_deref().unwrap_or_default()))
            },
            Materialized::named("agg", Utf8),
        )
        .to_stream()
        .to("out", produced());
    Shown::text().store::<Text, String>("agg")
}
