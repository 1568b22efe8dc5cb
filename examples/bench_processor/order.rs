//! What `passthrough` and `join` make of an order.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use tidemill::exchange::{Amount, Order, Price};
use tidemill::prelude::{Serde, SerdeResult};

use crate::json_object::JsonObject;

/// A value of the `assets` topic.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Asset {
    /// What people call it.
    pub name: CompactString,
    /// The step of its prices.
    pub tick: Price,
}

/// An order and what it is worth.
pub struct WithNotional {
    order: Order,
    notional: Amount,
}

impl WithNotional {
    /// Adds price times shares.
    pub fn new(order: &Order) -> Self {
        let price = order.price.unwrap_or(Price::ZERO);
        Self { notional: price.times(order.shares), order: order.clone() }
    }
}

/// An order and its asset's data.
pub struct WithAsset {
    order: Order,
    asset: Asset,
}

impl WithAsset {
    /// Puts both together.
    pub fn new(order: &Order, asset: &Asset) -> Self {
        Self { order: order.clone(), asset: asset.clone() }
    }
}

/// Writes the results as JSON, the order's defaults filled in; they are never read back.
pub struct ResultJson;

impl Serde<WithNotional> for ResultJson {
    fn serialize(&self, value: &WithNotional, out: &mut Vec<u8>) -> SerdeResult {
        order_fields(&value.order, out)?.amount("notional", value.notional).close()
    }

    fn deserialize(&self, _: &[u8]) -> SerdeResult<WithNotional> {
        Err("results are written only".into())
    }
}

impl Serde<WithAsset> for ResultJson {
    fn serialize(&self, value: &WithAsset, out: &mut Vec<u8>) -> SerdeResult {
        let asset = &value.asset;
        order_fields(&value.order, out)?
            .text("name", &asset.name)?
            .price("tick", asset.tick)
            .close()
    }

    fn deserialize(&self, _: &[u8]) -> SerdeResult<WithAsset> {
        Err("results are written only".into())
    }
}

fn order_fields<'o>(order: &Order, out: &'o mut Vec<u8>) -> SerdeResult<JsonObject<'o>> {
    let mut json = JsonObject::open(out);
    json.text("order_id", order.id())?
        .text("investor_id", order.investor_id.as_deref().unwrap_or_default())?
        .text("asset_id", &order.asset_id)?
        .number("current_shares", order.current_shares.unwrap_or_default())
        .number("shares", order.shares)
        .price("price", order.price.unwrap_or(Price::ZERO))
        .word("order_type", order.side.map_or("", |side| side.as_str()))
        .word("action", order.action.as_str())
        .word("kind", order.kind.as_str())
        .word("time_in_force", order.time_in_force.as_str());
    Ok(json)
}
