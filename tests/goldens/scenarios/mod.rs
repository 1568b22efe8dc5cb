//! The topologies of the golden files, by scenario; `README.md` beside the files writes them in the
//! same words. A scenario is a function that declares its topology and says how to show its results.

mod aggregates;
mod cogroup;
mod errors;
mod final_results;
mod notation;
mod sessions;
mod sliding;
mod stateless;
mod stream_joins;
mod table_joins;
mod tables;
mod time;
mod windows;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidemill::driver::{Result as DriverResult, TopologyTestDriver};
use tidemill::prelude::*;

use super::golden::{Params, to_hex};

/// Declares a scenario's topology.
pub type Declare = fn(&StreamsBuilder, &Params) -> Shown;

/// A scenario, ready to run.
pub struct Scenario {
    pub topology: Topology,
    pub handlers: Handlers,
    pub stores: BTreeMap<String, Rows>,
    /// Wall-clock schedules start anew with their task: a crash goes unnoticed only at a multiple
    /// of their interval.
    pub wall_clock_interval_ms: Option<u64>,
    formats: BTreeMap<String, Format>,
}

/// Lists a store's rows as the files show them.
pub type Rows = fn(&TopologyTestDriver, &str) -> DriverResult<Vec<Value>>;

/// Shows bytes.
type Show = dyn Fn(&[u8]) -> Value;

/// How a topic's records are shown.
pub struct Format {
    pub key: Box<Show>,
    pub value: fn(&[u8]) -> Value,
    /// Whether values are shown as hexadecimal digits.
    pub hex: bool,
}

/// How a scenario's results are shown, and what it runs with besides its topology.
pub struct Shown {
    formats: BTreeMap<String, Format>,
    stores: BTreeMap<String, Rows>,
    handlers: Handlers,
    wall_clock_interval_ms: Option<u64>,
}

/// The scenarios, by the files they are declared in.
const GROUPS: [fn(&str) -> Option<Declare>; 12] = [
    stateless::find,
    tables::find,
    aggregates::find,
    cogroup::find,
    windows::find,
    sliding::find,
    sessions::find,
    final_results::find,
    stream_joins::find,
    table_joins::find,
    time::find,
    errors::find,
];

/// Builds the topology of a scenario from a file's parameters.
pub fn build(name: &str, params: &Params) -> Result<Scenario, String> {
    let declare = GROUPS
        .iter()
        .find_map(|find| find(name))
        .ok_or_else(|| format!("unknown scenario {name}"))?;
    let builder = StreamsBuilder::new();
    let Shown { formats, stores, handlers, wall_clock_interval_ms } = declare(&builder, params);
    let optimization = match params.text("optimization") {
        "single.store.self.join" => {
            Optimization { single_store_self_joins: true, ..Optimization::NONE }
        }
        _ => Optimization::NONE,
    };
    let topology = builder.build_optimized(optimization).map_err(|error| error.to_string())?;
    Ok(Scenario { topology, handlers, stores, wall_clock_interval_ms, formats })
}

impl Scenario {
    /// How a topic's records are shown: as text unless the scenario says otherwise.
    pub fn format(&self, topic: &str) -> &Format {
        self.formats.get(topic).unwrap_or(&self.formats[""])
    }
}

fn text(bytes: &[u8]) -> Value {
    Value::from(String::from_utf8_lossy(bytes).into_owned())
}

fn long(bytes: &[u8]) -> Value {
    Value::from(I64.deserialize(bytes).expect("a Long").to_string())
}

fn hex(bytes: &[u8]) -> Value {
    Value::from(to_hex(bytes))
}

fn windowed(serde: &impl Serde<Windowed<String>>, bytes: &[u8]) -> Value {
    let Windowed { key, window } = serde.deserialize(bytes).expect("a windowed key");
    json!({"key": key, "start": window.start.millis(), "end": window.end.millis()})
}

impl Shown {
    /// Keys and values of all topics as text.
    pub fn text() -> Self {
        let text = Format { key: Box::new(text), value: text, hex: false };
        Self {
            formats: BTreeMap::from([(String::new(), text)]),
            stores: BTreeMap::new(),
            handlers: Handlers::default(),
            wall_clock_interval_ms: None,
        }
    }

    fn topic(
        mut self,
        name: &str,
        key: impl Fn(&[u8]) -> Value + 'static,
        value: fn(&[u8]) -> Value,
    ) -> Self {
        self.formats.insert(name.to_owned(), Format { key: Box::new(key), value, hex: false });
        self
    }

    /// A topic whose values are Longs.
    pub fn longs(self, topic: &str) -> Self {
        self.topic(topic, text, long)
    }

    /// A topic whose values are shown as hexadecimal digits.
    pub fn hex(mut self, topic: &str) -> Self {
        self.formats
            .insert(topic.to_owned(), Format { key: Box::new(text), value: hex, hex: true });
        self
    }

    /// A topic whose keys are time windows of a size, sliding ones included.
    pub fn time_windows(self, topic: &str, size_ms: i64, longs: bool) -> Self {
        let serde = TimeWindowed::new(Utf8, size_ms);
        self.topic(topic, move |bytes| windowed(&serde, bytes), if longs { long } else { text })
    }

    /// A topic whose keys are sessions.
    pub fn sessions(self, topic: &str, longs: bool) -> Self {
        self.topic(
            topic,
            |bytes| windowed(&SessionWindowed(Utf8), bytes),
            if longs { long } else { text },
        )
    }

    /// A store of these types, of any kind.
    pub fn store<K: Cell + 'static, V: Cell + 'static>(mut self, name: &str) -> Self {
        self.stores.insert(name.to_owned(), rows::<K, V>);
        self
    }

    /// With error handlers.
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// With a schedule by the wall clock.
    pub fn wall_clock_interval_ms(mut self, interval_ms: i64) -> Self {
        self.wall_clock_interval_ms = Some(interval_ms.unsigned_abs());
        self
    }
}

/// A key or value in a store's row.
pub trait Cell {
    fn cell(&self) -> Value;
}

impl Cell for String {
    fn cell(&self) -> Value {
        Value::from(self.as_str())
    }
}

impl Cell for i64 {
    fn cell(&self) -> Value {
        Value::from(self.to_string())
    }
}

impl<T: Cell> Cell for Option<T> {
    fn cell(&self) -> Value {
        self.as_ref().map_or(Value::Null, Cell::cell)
    }
}

fn rows<K: Cell + 'static, V: Cell + 'static>(
    driver: &TopologyTestDriver,
    name: &str,
) -> DriverResult<Vec<Value>> {
    let row = |entry: StoreEntry<K, V>| {
        let mut row = vec![entry.key.cell(), entry.value.cell()];
        row.extend(entry.timestamp.map(|timestamp| Value::from(timestamp.millis())));
        row.extend(
            entry
                .window
                .iter()
                .flat_map(|window| [window.start, window.end])
                .map(|at| Value::from(at.millis())),
        );
        Value::from(row)
    };
    Ok(driver.entries::<K, V>(name)?.into_iter().map(row).collect())
}
