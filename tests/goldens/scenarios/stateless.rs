//! Streams without windows, tables and joins.

use tidemill::prelude::*;

use super::notation::{TEXT, Text, consumed, copies, even, n, produced, s};
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "filter" => filter,
        "filter_not" => filter_not,
        "map" => map,
        "map_values" => map_values,
        "flat_map" => flat_map,
        "flat_map_values" => flat_map_values,
        "select_key" => select_key,
        "merge" => merge,
        "fan_out" => fan_out,
        "split_branch" => split_branch,
        "peek_process" => peek_process,
        "process_values" => process_values,
        "repartition" => repartition,
        "to_dynamic" => to_dynamic,
        "values_to_table" => values_to_table,
        "headers_stateless" => headers_stateless,
        _ => return None,
    })
}

fn filter(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder.stream("in", consumed()).filter(|_, v| even(v)).to("out", produced());
    Shown::text()
}

fn filter_not(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder.stream("in", consumed()).filter_not(|_, v| even(v)).to("out", produced());
    Shown::text()
}

fn map(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .map(|k, v| (Some(s(v).to_owned()), Some(format!("{}:{}", s(k), s(v)))))
        .to("out", produced());
    Shown::text()
}

fn map_values(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .map_values_with_key(|k, v| v.as_ref().map(|v| format!("{}={v}", s(k))))
        .to("out", produced());
    Shown::text()
}

fn flat_map(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .flat_map(|k, v| {
            let pair = |copy| (Some(format!("{}-{copy}", s(k))), v.clone());
            copies(v).into_iter().map(pair).collect::<Vec<_>>()
        })
        .to("out", produced());
    Shown::text()
}

fn flat_map_values(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .flat_map_values(|v| copies(v).into_iter().map(Some).collect::<Vec<_>>())
        .to("out", produced());
    Shown::text()
}

/// `v == null ? null : "K" + n(v) % 3`
fn third(v: &Text) -> Text {
    v.as_ref().map(|_| format!("K{}", n(v) % 3))
}

fn select_key(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder.stream("in", consumed()).select_key(|_, v| third(v)).to("out", produced());
    Shown::text()
}

fn marked(mark: &'static str) -> impl Fn(&Text) -> Text + Send + Sync + 'static {
    move |v| Some(format!("{mark}{}", s(v)))
}

fn merge(builder: &StreamsBuilder, _: &Params) -> Shown {
    let left = builder.stream("left", consumed());
    let right = builder.stream("right", consumed());
    left.map_values(marked("l")).merge(&right.map_values(marked("r"))).to("out", produced());
    Shown::text()
}

fn fan_out(builder: &StreamsBuilder, _: &Params) -> Shown {
    let x = builder.stream("in", consumed());
    let a = x.map_values(marked("a"));
    let b = x.filter(|_, v| even(v));
    a.to("out-a", produced());
    b.to("out-b", produced());
    x.to("out-x", produced());
    a.merge(&b).merge(&x).to("out-all", produced());
    Shown::text()
}

fn split_branch(builder: &StreamsBuilder, params: &Params) -> Shown {
    let split = builder
        .stream("in", consumed())
        .split_named("b-")
        .branch("even", |_, v| even(v))
        .branch("three", |_, v| v.is_some() && n(v) % 3 == 0)
        .branch("big", |_, v| v.is_some() && n(v) > 50);
    let (branches, names) = match params.flag("default_branch") {
        true => (split.default_branch("default"), &["even", "three", "big", "default"][..]),
        false => (split.no_default_branch(), &["even", "three", "big"][..]),
    };
    for name in names {
        branches[*name].to(format!("out-{name}"), produced());
    }
    Shown::text()
}

/// Counts each key's records.
#[derive(Default)]
struct Counter {
    counts: Option<KeyValueHandle<String, i64>>,
}

impl Processor<Text, Text> for Counter {
    type KeyOut = Text;
    type ValueOut = Text;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, Text, Text>) -> Result {
        self.counts = Some(ctx.key_value("counts")?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, Text, Text>,
        ctx: &mut ProcessorContext<'_, '_, Text, Text>,
    ) -> Result {
        let handle = self.counts.as_ref().expect("init came first");
        let Some(key) = record.key else {
            return ctx.forward(record.with_value(&Some("nokey".to_owned())));
        };
        let mut counts = ctx.store(handle, record.timestamp);
        let Some(value) = record.value else { return counts.delete(key) };
        let count = counts.get(key)?.unwrap_or(0) + 1;
        counts.put(key, &count)?;
        ctx.forward(record.with_value(&Some(format!("{count}:{value}"))))?;
        if count % 3 == 0 {
            let (key, value) = (Some(format!("{key}!")), Some("three".to_owned()));
            ctx.forward(Record::new(&key, &value, record.timestamp + 1))?;
        }
        if count % 5 == 0 {
            let time = Some(ctx.stream_time().to_string());
            ctx.forward(record.with_timestamp(Timestamp::new(0)).with_value(&time))?;
        }
        Ok(())
    }
}

fn peek_process(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder.add_state_store(Stores::key_value("counts", Utf8, I64));
    builder
        .stream("in", consumed())
        .peek(|_, _| {})
        .process(Counter::default, &["counts"])
        .to("out", produced());
    Shown::text().store::<String, i64>("counts")
}

/// Puts each key's previous value in front.
#[derive(Default)]
struct Previous {
    last: Option<KeyValueHandle<String, Text>>,
}

impl Processor<Text, Text> for Previous {
    type KeyOut = Text;
    type ValueOut = Text;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, Text, Text>) -> Result {
        self.last = Some(ctx.key_value("last")?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, Text, Text>,
        ctx: &mut ProcessorContext<'_, '_, Text, Text>,
    ) -> Result {
        let handle = self.last.as_ref().expect("init came first");
        let key = s(record.key).to_owned();
        let last = ctx.store(handle, record.timestamp).get(&key)?.flatten();
        ctx.forward(record.with_value(&Some(format!("{}>{}", s(&last), s(record.value)))))?;
        ctx.store(handle, record.timestamp).put(&key, record.value)
    }
}

fn process_values(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder.add_state_store(Stores::key_value("last", Utf8, TEXT));
    builder
        .stream("in", consumed())
        .process_values(Previous::default, &["last"])
        .to("out", produced());
    Shown::text().store::<String, Text>("last")
}

fn repartition(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .select_key(|_, v| third(v))
        .repartition(Repartitioned::with(TEXT, TEXT).named("rp"))
        .map_values_with_key(|k, v| Some(format!("{}/{}", s(k), s(v))))
        .to("out", produced());
    Shown::text()
}

fn to_dynamic(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder.stream("in", consumed()).to_chosen(
        |_, v, _| if v.is_none() { "out-none".to_owned() } else { format!("out-{}", n(v) % 3) },
        produced(),
    );
    Shown::text()
}

fn values_to_table(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .to_table(Materialized::named("tbl", Utf8))
        .to_stream()
        .to("out", produced());
    Shown::text().store::<Text, String>("tbl")
}

/// Adds a header with the record's value.
struct AddHeader;

impl Processor<Text, Text> for AddHeader {
    type KeyOut = Text;
    type ValueOut = Text;

    fn process(
        &mut self,
        record: Record<'_, Text, Text>,
        ctx: &mut ProcessorContext<'_, '_, Text, Text>,
    ) -> Result {
        let mut headers = record.headers.clone();
        headers.push("n", record.value.as_ref().map(|value| value.clone().into_bytes()));
        ctx.forward(record.with_headers(&headers))
    }
}

fn headers_stateless(builder: &StreamsBuilder, _: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .map(|k, v| (Some(format!("x{}", s(k))), v.clone()))
        .filter(|_, v| v.is_some())
        .process(|| AddHeader, &[])
        .select_key(|_, v| v.clone())
        .repartition(Repartitioned::with(TEXT, TEXT).named("rp"))
        .to("out", produced());
    Shown::text()
}
