//! Timestamps, punctuations, and versions.

use tidemill::prelude::*;

use super::notation::{TEXT, Text, consumed, produced, s};
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "punctuate_stream_time" | "punctuate_wall_clock" | "punctuate_both" => punctuate,
        "timestamp_extractor" => timestamp_extractor,
        "versioned_store" => versioned_store,
        _ => return None,
    })
}

/// Counts records, and forwards how many there were when its schedules fire.
struct Punctuated {
    schedules: Vec<Scheduled>,
    seen: Option<KeyValueHandle<String, i64>>,
    /// How often each schedule has fired: in a store, so that a crash does not forget it.
    calls: Option<KeyValueHandle<String, i64>>,
    cancel_after: Option<i64>,
}

#[derive(Clone)]
struct Scheduled {
    name: &'static str,
    interval_ms: i64,
    kind: PunctuationType,
    id: Option<ScheduleId>,
}

impl Processor<Text, Text> for Punctuated {
    type KeyOut = Text;
    type ValueOut = Text;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, Text, Text>) -> Result {
        self.seen = Some(ctx.key_value("seen")?);
        let calls = self.calls.insert(ctx.key_value("calls")?);
        for schedule in &mut self.schedules {
            let called =
                ctx.store(calls, Timestamp::new(0)).get(&schedule.name.to_owned())?.unwrap_or(0);
            if self.cancel_after.is_none_or(|after| called < after) {
                schedule.id = Some(ctx.schedule(schedule.interval_ms, schedule.kind));
            }
        }
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, Text, Text>,
        ctx: &mut ProcessorContext<'_, '_, Text, Text>,
    ) -> Result {
        let key = "n".to_owned();
        let mut seen = ctx.store(self.seen.as_ref().expect("init came first"), record.timestamp);
        let count = seen.get(&key)?.unwrap_or(0) + 1;
        seen.put(&key, &count)?;
        if record.value.is_some() { ctx.forward(record) } else { Ok(()) }
    }

    fn punctuate(
        &mut self,
        id: ScheduleId,
        at: Timestamp,
        ctx: &mut ProcessorContext<'_, '_, Text, Text>,
    ) -> Result {
        let schedule = self
            .schedules
            .iter()
            .find(|schedule| schedule.id == Some(id))
            .expect("its own schedule");
        let name = schedule.name.to_owned();
        let mut calls = ctx.store(self.calls.as_ref().expect("init came first"), at);
        let called = calls.get(&name)?.unwrap_or(0) + 1;
        calls.put(&name, &called)?;
        let seen = self.seen.as_ref().expect("init came first");
        let seen = ctx.store(seen, at).get(&"n".to_owned())?.unwrap_or(0);
        ctx.forward(Record::new(&Some(name), &Some(format!("{seen}#{called}")), at))?;
        if self.cancel_after == Some(called) {
            ctx.cancel(id);
        }
        Ok(())
    }
}

fn punctuate(builder: &StreamsBuilder, params: &Params) -> Shown {
    builder.add_state_store(Stores::key_value("seen", Utf8, I64));
    builder.add_state_store(Stores::key_value("calls", Utf8, I64));
    let kinds = [("stream", PunctuationType::StreamTime), ("wall", PunctuationType::WallClockTime)];
    let schedules: Vec<Scheduled> = kinds
        .into_iter()
        .filter_map(|(name, kind)| {
            let interval_ms = params.number(&format!("{name}_ms"))?;
            Some(Scheduled { name, interval_ms, kind, id: None })
        })
        .collect();
    let cancel_after = params.number("cancel_after");
    let punctuated =
        move || Punctuated { schedules: schedules.clone(), seen: None, calls: None, cancel_after };
    builder.stream("in", consumed()).process(punctuated, &["seen", "calls"]).to("out", produced());
    let shown = Shown::text().store::<String, i64>("seen");
    match params.number("wall_ms") {
        Some(interval_ms) => shown.wall_clock_interval_ms(interval_ms),
        None => shown,
    }
}

fn timestamp_extractor(builder: &StreamsBuilder, params: &Params) -> Shown {
    let consumed = match params.text("extractor") {
        "embedded" => consumed().timestamp_extractor(|record, partition_time| {
            Ok(match record.value {
                None => partition_time,
                Some(value) => {
                    let embedded = value.split_once('|').and_then(|(at, _)| at.parse().ok());
                    embedded.map_or(record.timestamp, Timestamp::new)
                }
            })
        }),
        "log_and_skip" => consumed().timestamp_extractor(skip_invalid_timestamp),
        "use_partition_time" => consumed().timestamp_extractor(partition_time_if_invalid),
        other => panic!("unknown extractor {other}"),
    };
    builder.stream("in", consumed).map_values(|v| Some(s(v).to_owned())).to("out", produced());
    Shown::text()
}

/// Does to the versioned store what its records say.
#[derive(Default)]
struct Versioned {
    versions: Option<VersionedHandle<String, String>>,
}

impl Processor<Text, Text> for Versioned {
    type KeyOut = Text;
    type ValueOut = Text;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, Text, Text>) -> Result {
        self.versions = Some(ctx.versioned("v")?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, Text, Text>,
        ctx: &mut ProcessorContext<'_, '_, Text, Text>,
    ) -> Result {
        let key = record.key.as_ref().expect("no null key is piped");
        let mut store = ctx.versions(self.versions.as_mut().expect("init came first"));
        let answer = match record.value.as_deref() {
            Some("get") => show(store.get(key)?),
            Some("del") => format!("del {}", show(store.delete(key, record.timestamp)?)),
            Some(as_of) if as_of.starts_with('@') => {
                let at = as_of[1..].parse().expect("a time");
                show(store.get_as_of(key, Timestamp::new(at))?)
            }
            _ => match store.put(key, record.value.as_ref(), record.timestamp)? {
                VersionPut::Latest => "put -1".to_owned(),
                VersionPut::ValidTo(at) => format!("put {at}"),
                VersionPut::TooOld => format!("put {}", i64::MIN),
            },
        };
        ctx.forward(record.with_value(&Some(answer)))
    }
}

fn show(version: Option<Version<String>>) -> String {
    let Some(Version { value, timestamp }) = version else { return "none".to_owned() };
    // Kafka Streams' processors never see until when a version was valid: it is always left out.
    format!("{value}@{timestamp}..")
}

fn versioned_store(builder: &StreamsBuilder, params: &Params) -> Shown {
    builder.add_state_store(Stores::versioned("v", Utf8, Utf8, params.duration("history_ms")));
    builder
        .stream("in", Consumed::with(TEXT, TEXT))
        .process(Versioned::default, &["v"])
        .to("out", produced());
    Shown::text().store::<String, String>("v")
}
