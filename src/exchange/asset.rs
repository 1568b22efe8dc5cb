//! Reference data of an [`Asset`]: in which steps it trades, and whether it does.

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::price::Price;
use super::wire_enum::wire_enum;

wire_enum! {
    /// Whether an asset trades.
    pub enum AssetStatus("the status of an asset") {
        /// Orders are taken.
        Open = "OPEN",
        /// Only cancels are taken.
        Halted = "HALTED",
    }
}

/// One record of the `assets` topic:
/// `{"asset_id":"asset1","tick_size":0.01,"lot_size":1,"status":"OPEN"}`.
///
/// All but `asset_id` may be absent and then is what an asset without a record has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Which asset.
    pub asset_id: CompactString,
    /// Prices are multiples of it. Above zero.
    #[serde(default = "default_tick_size", deserialize_with = "tick_size")]
    pub tick_size: Price,
    /// Quantities are multiples of it. Above zero.
    #[serde(default = "default_lot_size", deserialize_with = "lot_size")]
    pub lot_size: i64,
    /// Whether it trades.
    #[serde(default = "default_status")]
    pub status: AssetStatus,
}

impl Asset {
    /// Tick of an asset that has no record: 0.0001.
    pub const DEFAULT_TICK_SIZE: Price = Price::from_units(10_000);

    /// Lot of an asset that has no record.
    pub const DEFAULT_LOT_SIZE: i64 = 1;

    /// What holds for an asset that has no record.
    #[must_use]
    pub fn without_record(asset_id: &str) -> Self {
        Self {
            asset_id: asset_id.into(),
            tick_size: Self::DEFAULT_TICK_SIZE,
            lot_size: Self::DEFAULT_LOT_SIZE,
            status: AssetStatus::Open,
        }
    }
}

fn default_tick_size() -> Price {
    Asset::DEFAULT_TICK_SIZE
}

fn default_lot_size() -> i64 {
    Asset::DEFAULT_LOT_SIZE
}

fn default_status() -> AssetStatus {
    AssetStatus::Open
}

fn tick_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Price, D::Error> {
    let size = Price::deserialize(deserializer)?;
    if size.is_positive() { Ok(size) } else { Err(de::Error::custom("tick_size: not above zero")) }
}

fn lot_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let size = i64::deserialize(deserializer)?;
    if size > 0 { Ok(size) } else { Err(de::Error::custom("lot_size: not above zero")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(json: &str) -> Result<Asset, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_record_is_read_and_written_alike() {
        let json = r#"{"asset_id":"asset1","tick_size":0.01,"lot_size":100,"status":"HALTED"}"#;
        assert_eq!(serde_json::to_string(&asset(json).unwrap()).unwrap(), json);
    }

    #[test]
    fn what_a_record_leaves_out_is_as_without_a_record() {
        assert_eq!(asset(r#"{"asset_id":"a","name":"ignored"}"#), Ok(Asset::without_record("a")));
    }

    #[test]
    fn steps_must_be_above_zero() {
        for json in [
            r#"{"asset_id":"a","tick_size":0}"#,
            r#"{"asset_id":"a","tick_size":-0.01}"#,
            r#"{"asset_id":"a","lot_size":0}"#,
            r#"{"asset_id":"a","lot_size":-1}"#,
        ] {
            assert!(asset(json).unwrap_err().contains("not above zero"), "{json}");
        }
    }
}
