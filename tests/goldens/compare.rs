//! Compares a run with its golden file, by the same rules as `check.py compare --lenient-unmatched`.

use serde_json::Value;

use super::golden::{Emit, Golden};
use super::run::Run;

/// Where a run falls short of the file; nothing where it agrees.
pub fn differences(golden: &Golden, run: &Run) -> Vec<String> {
    let mut problems = Vec::new();
    let lenient =
        matches!(golden.scenario.as_str(), "stream_stream_join_left" | "stream_stream_join_outer");
    if lenient {
        unmatched_differences(golden, run, &mut problems);
    }
    let exact = golden.params.text("emit_order") == "exact";
    for (at, (want, got)) in golden.steps.iter().zip(&run.steps).enumerate() {
        let kept = |emits: &[Emit]| {
            let mut emits: Vec<Emit> = emits
                .iter()
                .filter(|emit| !(lenient && is_unmatched(emit)))
                .map(comparable)
                .collect();
            if !exact {
                // The records of one topic and key stay in their order; beyond that it is a set.
                emits.sort_by_cached_key(|emit| (emit.topic.clone(), text(&emit.key)));
            }
            emits
        };
        let (mut wanted, gotten) = (kept(&want.emits), kept(&got.emits));
        for (wanted, gotten) in wanted.iter_mut().zip(&gotten) {
            let is_lost =
                wanted.key.is_null() && wanted.value_hex.as_ref().is_none_or(Value::is_null);
            if wanted.topic == "dlq" && gotten.topic == "dlq" && is_lost && wanted.value.is_null() {
                // Kafka lost the raw record: either is right.
                wanted.key.clone_from(&gotten.key);
                wanted.value_hex.clone_from(&gotten.value_hex);
                wanted.value.clone_from(&gotten.value);
            }
        }
        if wanted != gotten {
            problems.push(format!("step {at}\n  want {}\n  got  {}", list(&wanted), list(&gotten)));
        }
        if want.dropped != got.dropped {
            problems.push(format!("step {at}: dropped {}, not {}", got.dropped, want.dropped));
        }
    }
    for (name, rows) in &golden.stores {
        if lenient && name.ends_with("-shared-join-store") {
            continue;
        }
        let Some(got) = run.stores.get(name) else {
            problems.push(format!("store {name} is not shown by the scenario"));
            continue;
        };
        let (want, got) = (sorted(rows), sorted(got));
        if want != got {
            problems.push(format!("store {name}\n  want {want:?}\n  got  {got:?}"));
        }
    }
    if run.dropped_records_total != golden.dropped_records_total {
        problems.push(format!(
            "dropped {} in all, not {}",
            run.dropped_records_total, golden.dropped_records_total
        ));
    }
    problems
}

/// The unmatched results alone: each of the file's in its step or an earlier one, and others only
/// of records that the file's run kept waiting or matched later.
fn unmatched_differences(golden: &Golden, run: &Run, problems: &mut Vec<String>) {
    fn listed<'e>(steps: impl Iterator<Item = &'e Vec<Emit>>) -> Vec<(String, usize, &'e Emit)> {
        steps
            .enumerate()
            .flat_map(|(at, emits)| emits.iter().map(move |emit| (at, emit)))
            .filter(|(_, emit)| is_unmatched(emit))
            .map(|(at, emit)| {
                (format!("{}|{}|{}|{}", emit.topic, emit.key, emit.value, emit.timestamp), at, emit)
            })
            .collect()
    }
    let mut got = listed(run.steps.iter().map(|step| &step.emits));
    for (what, at, _) in listed(golden.steps.iter().map(|step| &step.emits)) {
        match got.iter().position(|(found, step, _)| *found == what && *step <= at) {
            Some(hit) => {
                got.remove(hit);
            }
            None => problems.push(format!("step {at}: no {what}, in it or before")),
        }
    }
    let matched_from = |at: usize, part: &str| {
        golden.steps.iter().skip(at).flat_map(|step| &step.emits).any(|emit| {
            !is_unmatched(emit)
                && emit.value.as_str().unwrap_or_default().split('/').any(|other| other == part)
        })
    };
    let waits = |part: &str| {
        let waiting = golden.stores.iter().filter(|(name, _)| name.ends_with("-shared-join-store"));
        waiting.flat_map(|(_, rows)| rows).any(|row| row[1] == *part)
    };
    for (what, at, emit) in got {
        let part =
            emit.value.as_str().and_then(|value| value.split('/').find(|part| *part != "null"));
        if !part.is_some_and(|part| waits(part) || matched_from(at, part)) {
            problems.push(format!("step {at}: {what} is not to come out unmatched"));
        }
    }
}

fn is_unmatched(emit: &Emit) -> bool {
    let value = emit.value.as_str().unwrap_or_default();
    value.ends_with("/null") || value.starts_with("null/")
}

/// An emit without what is another engine's own: the words of its errors.
fn comparable(emit: &Emit) -> Emit {
    const OWN_WORDS: [&str; 3] =
        ["__streams.errors.exception", "__streams.errors.message", "__streams.errors.stacktrace"];
    let mut emit = emit.clone();
    for (name, value) in &mut emit.headers {
        if OWN_WORDS.contains(&name.as_str()) {
            *value = Value::from("");
        }
    }
    emit
}

fn text(value: &Value) -> String {
    match value {
        Value::Object(windowed) => {
            format!("{} {} {}", windowed["key"], windowed["start"], windowed["end"])
        }
        other => other.to_string(),
    }
}

fn list(emits: &[Emit]) -> String {
    let shown = |emit: &Emit| {
        let headers = emit
            .headers
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(",");
        let value = emit.value_hex.as_ref().unwrap_or(&emit.value);
        format!("{} {}: {value} @{} [{headers}]", emit.topic, text(&emit.key), emit.timestamp)
    };
    emits.iter().map(shown).collect::<Vec<_>>().join(" ; ")
}

fn sorted(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}
