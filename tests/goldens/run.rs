//! Runs a golden file's steps through its topology.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill::driver::{InputRecord, OutputRecord, TopologyTestDriver};
use tidemill::prelude::*;

use super::golden::{Emit, Golden, Pipe, Step, from_hex};
use super::random::Random;
use super::scenarios::{self, Scenario};

/// On which stores, and through what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Stores in memory.
    Memory,
    /// Stores in RocksDB.
    RocksDb,
    /// Stores in RocksDB, commits and crashes at random steps.
    Crash,
}

impl Pass {
    pub fn named(name: &str) -> Self {
        match name {
            "memory" => Self::Memory,
            "rocksdb" => Self::RocksDb,
            "crash" => Self::Crash,
            _ => {
                panic!("TIDEMILL_GOLDENS_PASSES names {name}; there are memory, rocksdb and crash")
            }
        }
    }
}

/// What came out of a run.
pub struct Run {
    pub steps: Vec<StepRun>,
    pub stores: BTreeMap<String, Vec<Value>>,
    pub dropped_records_total: u64,
}

/// What came out of a step.
#[derive(Default)]
pub struct StepRun {
    pub emits: Vec<Emit>,
    pub dropped: u64,
}

impl Run {
    /// As `check.py compare` reads it.
    pub fn to_json(&self) -> Value {
        let emit = |emit: &Emit| {
            let mut shown = json!({
                "topic": emit.topic, "key": emit.key, "timestamp": emit.timestamp, "headers": emit.headers,
            });
            match &emit.value_hex {
                Some(hex) => shown["value_hex"] = hex.clone(),
                None => shown["value"] = emit.value.clone(),
            }
            shown
        };
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| json!({"emits": step.emits.iter().map(emit).collect::<Vec<_>>(), "dropped": step.dropped}))
            .collect();
        json!({"steps": steps, "stores": self.stores, "dropped_records_total": self.dropped_records_total})
    }
}

/// Runs all steps; an error is a problem of the scenario or of Tidemill.
pub fn run(golden: &Golden, pass: Pass) -> Result<Run, String> {
    let scenario = scenarios::build(&golden.scenario, &golden.params)?;
    let directory =
        tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
    let mut builder = TopologyTestDriver::builder()
        .application_id("golden")
        .wall_clock(Timestamp::new(golden.params.ms("initial_wall_clock_ms")))
        .handlers(scenario.handlers.clone());
    if pass != Pass::Memory {
        builder = builder.rocksdb(directory.path());
    }
    if pass == Pass::Crash {
        builder = builder.manual_commits();
    }
    let driver = builder.start(&scenario.topology).map_err(|error| error.to_string())?;
    let mut steps = Vec::with_capacity(golden.steps.len());
    let mut random = Random::new(golden.seed);
    let mut wall_clock_ms = 0;
    let mut committed = 0;
    for (at, step) in golden.steps.iter().enumerate() {
        steps.push(
            run_step(&driver, &scenario, step).map_err(|error| format!("step {at}: {error}"))?,
        );
        wall_clock_ms += step.advance_wall_clock_ms.unwrap_or(0);
        if pass != Pass::Crash {
            continue;
        }
        // A clock cannot be turned back, so its steps are not run again.
        if step.advance_wall_clock_ms.is_some() || random.one_in(4) {
            driver.commit().map_err(|error| format!("commit after step {at}: {error}"))?;
            committed = at + 1;
        }
        let may_crash =
            scenario.wall_clock_interval_ms.is_none_or(|ms| wall_clock_ms.is_multiple_of(ms));
        if may_crash && random.one_in(6) {
            driver.restart().map_err(|error| format!("restart after step {at}: {error}"))?;
            for (again, step) in steps.iter_mut().enumerate().take(at + 1).skip(committed) {
                *step = run_step(&driver, &scenario, &golden.steps[again])
                    .map_err(|error| format!("step {again} after a crash: {error}"))?;
            }
        }
    }
    let stores = scenario
        .stores
        .iter()
        .map(|(name, rows)| {
            Ok((name.clone(), rows(&driver, name).map_err(|error| error.to_string())?))
        })
        .collect::<Result<_, String>>()?;
    let dropped_records_total = steps.iter().map(|step| step.dropped).sum();
    Ok(Run { steps, stores, dropped_records_total })
}

fn run_step(
    driver: &TopologyTestDriver,
    scenario: &Scenario,
    step: &Step,
) -> tidemill::driver::Result<StepRun> {
    let before = driver.dropped_total();
    if let Some(pipe) = &step.pipe {
        run_pipe(driver, pipe)?;
    }
    if let Some(by_ms) = step.advance_wall_clock_ms {
        driver.advance_wall_clock(Duration::from_millis(by_ms))?;
    }
    Ok(StepRun {
        emits: driver.take_outputs().iter().map(|record| shown(scenario, record)).collect(),
        dropped: driver.dropped_total() - before,
    })
}

fn run_pipe(driver: &TopologyTestDriver, pipe: &Pipe) -> tidemill::driver::Result {
    let mut headers = Headers::new();
    for (name, value) in &pipe.headers {
        headers.push(name, value.as_ref().map(|value| value.clone().into_bytes()));
    }
    let bytes = pipe.value_hex.as_ref().map(|hex| from_hex(hex));
    driver.pipe_bytes(
        &pipe.topic,
        &InputRecord {
            key: pipe.key.as_deref().map(str::as_bytes),
            value: bytes.as_deref().or(pipe.value.as_deref().map(str::as_bytes)),
            timestamp: Timestamp::new(pipe.timestamp),
            headers: &headers,
        },
    )
}

/// A record as the files show it.
fn shown(scenario: &Scenario, record: &OutputRecord) -> Emit {
    let format = scenario.format(&record.topic);
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    let value = record.value.as_deref().map_or(Value::Null, |bytes| (format.value)(bytes));
    let (value, value_hex) = if format.hex { (Value::Null, Some(value)) } else { (value, None) };
    Emit {
        topic: record.topic.to_string(),
        key: record.key.as_deref().map_or(Value::Null, |bytes| (format.key)(bytes)),
        value,
        value_hex,
        timestamp: record.timestamp.millis(),
        headers: record
            .headers
            .iter()
            .map(|header| (header.name.clone(), header.value.as_deref().map_or(Value::Null, text)))
            .collect(),
    }
}
