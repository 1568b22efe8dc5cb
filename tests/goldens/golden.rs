//! A golden file: a scenario's parameters, its steps, and what Kafka Streams made of them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A file.
#[derive(Deserialize)]
pub struct Golden {
    pub scenario: String,
    pub seed: u64,
    pub params: Params,
    pub steps: Vec<Step>,
    pub stores: BTreeMap<String, Vec<Value>>,
    pub dropped_records_total: u64,
}

/// The parameters of a scenario's variant.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Params(BTreeMap<String, Value>);

impl Params {
    /// A number, where it is given.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    /// A number that every variant of the scenario gives.
    pub fn ms(&self, name: &str) -> i64 {
        self.number(name).unwrap_or_else(|| panic!("the file's params have no number {name}"))
    }

    /// A number of ms that every variant of the scenario gives, as a length of time.
    pub fn duration(&self, name: &str) -> std::time::Duration {
        std::time::Duration::from_millis(self.ms(name).unsigned_abs())
    }

    /// A text; empty where it is not given.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A switch; off where it is not given.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// One step, and what came out in it.
#[derive(Deserialize)]
pub struct Step {
    pub pipe: Option<Pipe>,
    pub advance_wall_clock_ms: Option<u64>,
    pub emits: Vec<Emit>,
    #[serde(default)]
    pub dropped: u64,
}

/// A record that is piped in.
#[derive(Deserialize)]
pub struct Pipe {
    pub topic: String,
    pub key: Option<String>,
    pub value: Option<String>,
    pub value_hex: Option<String>,
    pub timestamp: i64,
    #[serde(default)]
    pub headers: Vec<(String, Option<String>)>,
}

/// A record that comes out. Text or hex, a missing one reads as null.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Emit {
    pub topic: String,
    pub key: Value,
    #[serde(default)]
    pub value: Value,
    /// `None` where the value is given as text.
    #[serde(default, deserialize_with = "present")]
    pub value_hex: Option<Value>,
    pub timestamp: i64,
    #[serde(default)]
    pub headers: Vec<(String, Value)>,
}

/// Tells a null that is there from a field that is not.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The bytes of hexadecimal digits.
pub fn from_hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| (digit as char).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Bytes as hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
