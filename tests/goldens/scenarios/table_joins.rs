//! Joins of tables: by their own key, and by a foreign one.

use tidemill::prelude::*;

use super::notation::{TEXT, Text};
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "table_table_join_inner" => inner,
        "table_table_join_left" => left,
        "table_table_join_outer" => outer,
        "foreign_key_join_inner" => inner_by_foreign_key,
        "foreign_key_join_left" => left_by_foreign_key,
        _ => return None,
    })
}

/// A source table, with history where the variant has one.
fn table(
    builder: &StreamsBuilder,
    params: &Params,
    topic: &str,
    store: &str,
) -> KTable<Text, String> {
    let store = Materialized::named(store, Utf8);
    let store = match params.number("history_ms") {
        Some(_) => store.versioned(params.duration("history_ms")),
        None => store,
    };
    builder.table(topic, Consumed::with(TEXT, Utf8), store)
}

fn tables(builder: &StreamsBuilder, params: &Params) -> [KTable<Text, String>; 2] {
    [table(builder, params, "left", "lt"), table(builder, params, "right", "rt")]
}

fn pair(left: Option<&String>, right: Option<&String>) -> String {
    let text = |side: Option<&String>| side.map_or("null".to_owned(), Clone::clone);
    format!("{}/{}", text(left), text(right))
}

fn out(table: KTable<Text, String>, params: &Params) -> Shown {
    let shown = Shown::text().store::<Text, String>("lt").store::<Text, String>("rt");
    let (table, shown) = match params.flag("materialized") {
        true => {
            (table.materialized(Materialized::named("j", Utf8)), shown.store::<Text, String>("j"))
        }
        false => (table, shown),
    };
    table.to_stream().to("out", Produced::with(TEXT, Nullable(Utf8)));
    shown
}

fn inner(builder: &StreamsBuilder, params: &Params) -> Shown {
    let [left, right] = tables(builder, params);
    out(left.join(&right, |_, l, r| pair(Some(l), Some(r)), TableJoined::new()), params)
}

fn left(builder: &StreamsBuilder, params: &Params) -> Shown {
    let [left, right] = tables(builder, params);
    out(left.left_join(&right, |_, l, r| pair(Some(l), r), TableJoined::new()), params)
}

fn outer(builder: &StreamsBuilder, params: &Params) -> Shown {
    let [left, right] = tables(builder, params);
    out(left.outer_join(&right, |_, l, r| pair(l, r), TableJoined::new()), params)
}

/// The foreign key in a left row's value; none where it is "-".
#[allow(clippy::ptr_arg)] // The DSL hands the value out as it is.
fn foreign_key(_: &Text, value: &String) -> Option<Text> {
    (!value.starts_with('-')).then(|| Some(value[..1].to_owned()))
}

fn out_of_rows(table: KTable<Text, String>) -> Shown {
    let result = table.materialized(Materialized::named("fkj", Utf8));
    result.to_stream().to("out", Produced::with(TEXT, Nullable(Utf8)));
    ["lt", "rt", "fkj"]
        .iter()
        .fold(Shown::text(), |shown, store| shown.store::<Text, String>(store))
}

fn inner_by_foreign_key(builder: &StreamsBuilder, params: &Params) -> Shown {
    let [left, right] = tables(builder, params);
    let joined = TableJoined::new().named("fk");
    out_of_rows(left.join_by_foreign_key(
        &right,
        foreign_key,
        |_, l, r| pair(Some(l), Some(r)),
        joined,
    ))
}

fn left_by_foreign_key(builder: &StreamsBuilder, params: &Params) -> Shown {
    let [left, right] = tables(builder, params);
    let joined = TableJoined::new().named("fk");
    out_of_rows(left.left_join_by_foreign_key(
        &right,
        foreign_key,
        |_, l, r| pair(Some(l), r),
        joined,
    ))
}
