//! Tables and what is made of them.

use tidemill::prelude::*;

use super::notation::{TEXT, Text, cut, produced};
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "table_filter" => filter,
        "table_filter_not" => filter_not,
        "table_map_values" => map_values,
        "table_filter_map_chain" => filter_map_chain,
        "table_transform_values" => transform_values,
        "table_to_stream" => to_stream,
        "table_group_by_aggregate" => group_by_aggregate,
        "table_group_by_reduce" => group_by_reduce,
        "table_group_by_count" => group_by_count,
        "table_suppress_until_time_limit" => suppress,
        _ => return None,
    })
}

fn number(text: &str) -> i64 {
    text.parse().expect("a number")
}

/// The table that each scenario starts from.
fn table(builder: &StreamsBuilder, params: &Params) -> KTable<String, String> {
    let store = match params.number("history_ms") {
        Some(_) => Materialized::named("src", Utf8).versioned(params.duration("history_ms")),
        None if params.flag("bare_source") => Materialized::with(Utf8),
        None => Materialized::named("src", Utf8),
    };
    builder.table("in", Consumed::with(Utf8, Utf8), store)
}

/// Sends a table's changes out; keeps it first, where the variant says so.
fn shown(table: KTable<String, String>, params: &Params) -> Shown {
    let materialized = params.flag("materialized");
    let table =
        if materialized { table.materialized(Materialized::named("res", Utf8)) } else { table };
    table.to_stream().to("out", Produced::with(Utf8, TEXT));
    let mut shown = Shown::text();
    if !params.flag("bare_source") {
        shown = shown.store::<String, String>("src");
    }
    if materialized { shown.store::<String, String>("res") } else { shown }
}

fn filter(builder: &StreamsBuilder, params: &Params) -> Shown {
    shown(table(builder, params).filter(|_, v| number(v) % 2 == 0), params)
}

fn filter_not(builder: &StreamsBuilder, params: &Params) -> Shown {
    shown(table(builder, params).filter_not(|_, v| number(v) % 2 == 0), params)
}

fn map_values(builder: &StreamsBuilder, params: &Params) -> Shown {
    let mapped = table(builder, params)
        .filter_map_values(|k, v| if number(v) % 5 == 0 { None } else { Some(format!("{k}={v}")) });
    shown(mapped, params)
}

fn filter_map_chain(builder: &StreamsBuilder, params: &Params) -> Shown {
    let last = table(builder, params)
        .filter(|_, v| number(v) > 30)
        .map_values(|v| format!("{v}!"))
        .filter(|_, v| number(v.trim_end_matches('!')) % 2 == 0);
    shown(last, params)
}

/// Answers deletions with a value.
struct Transformer;

impl TableTransformer<String, String> for Transformer {
    type Out = String;

    fn transform(
        &mut self,
        key: &String,
        value: Option<&String>,
        _: &mut ProcessorContext<'_, '_, (), ()>,
    ) -> Result<Option<String>> {
        Ok(Some(value.map_or_else(|| format!("gone {key}"), |value| format!("{key}~{value}"))))
    }
}

fn transform_values(builder: &StreamsBuilder, params: &Params) -> Shown {
    shown(table(builder, params).transform_values(|| Transformer, &[]), params)
}

fn to_stream(builder: &StreamsBuilder, params: &Params) -> Shown {
    let table = table(builder, params);
    if params.flag("new_key") {
        let key =
            |k: &String, v: Option<&String>| format!("{k}/{}", v.map_or("null", String::as_str));
        table.to_stream_by(key).to("out", Produced::with(Utf8, TEXT));
        return Shown::text().store::<String, String>("src");
    }
    shown(table, params)
}

fn grouped(builder: &StreamsBuilder, params: &Params) -> KGroupedTable<Text, String> {
    let group = |v: &str| (number(v) % 10 != 9).then(|| format!("g{}", number(v) % 3));
    table(builder, params)
        .group_by(move |_, v| (group(v), v.clone()), Grouped::with(TEXT, Utf8).named("grp"))
}

fn group_by_aggregate(builder: &StreamsBuilder, params: &Params) -> Shown {
    grouped(builder, params)
        .aggregate(
            String::new,
            |_, v, so_far| Some(format!("{so_far}+{v}")),
            |_, v, so_far| Some(cut(&format!("{so_far}-{v}"))),
            Materialized::named("agg", Utf8),
        )
        .to_stream()
        .to("out", produced());
    Shown::text().store::<String, String>("src").store::<Text, String>("agg")
}

fn group_by_reduce(builder: &StreamsBuilder, params: &Params) -> Shown {
    grouped(builder, params)
        .reduce(
            |so_far, v| Some((number(so_far) + number(v)).to_string()),
            |so_far, v| Some((number(so_far) - number(v)).to_string()),
            Materialized::named("agg", Utf8),
        )
        .to_stream()
        .to("out", produced());
    Shown::text().store::<String, String>("src").store::<Text, String>("agg")
}

fn group_by_count(builder: &StreamsBuilder, params: &Params) -> Shown {
    grouped(builder, params)
        .count(Materialized::named("agg", I64))
        .to_stream()
        .to("out", Produced::with(TEXT, Nullable(I64)));
    Shown::text().longs("out").store::<String, String>("src").store::<Text, i64>("agg")
}

fn suppress(builder: &StreamsBuilder, params: &Params) -> Shown {
    let buffer = match params.number("max_records") {
        Some(records) => BufferConfig::max_records(records.unsigned_abs()),
        None => BufferConfig::unbounded(),
    };
    let limit = Suppressed::until_time_limit(params.duration("limit_ms"), buffer).named("sup");
    shown(table(builder, params).suppress(limit), params)
}
