//! The benchmark's records, written as any user of the library would: plain types with serde.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// A value of the `orders` topic, with the benchmark's defaults.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Order {
    /// Names the order.
    pub order_id: CompactString,
    /// Who sends it.
    pub investor_id: CompactString,
    /// What it trades.
    pub asset_id: CompactString,
    /// How many shares the investor owns.
    pub current_shares: i64,
    /// How many shares to trade.
    pub shares: i64,
    /// For how much each; none for a market order.
    #[serde(default)]
    pub price: f64,
    /// Which way.
    #[serde(rename = "order_type")]
    pub side: Side,
    /// What is asked for.
    #[serde(default)]
    pub action: Action,
    /// Whether there is a worst price.
    #[serde(default)]
    pub kind: Kind,
    /// What becomes of shares that do not trade.
    #[serde(default)]
    pub time_in_force: TimeInForce,
}

/// Which way an order trades.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Side {
    /// Wants shares.
    Buy,
    /// Wants money.
    Sell,
}

/// What an order asks for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Enter the book.
    #[default]
    New,
    /// Leave it.
    Cancel,
    /// Change what rests there.
    Replace,
}

/// Whether an order has a worst price.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Kind {
    /// It has.
    #[default]
    Limit,
    /// It has not.
    Market,
}

/// What becomes of shares that find nobody to trade with.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TimeInForce {
    /// They rest.
    #[default]
    Gtc,
    /// They are given up.
    Ioc,
    /// Nothing trades unless everything does.
    Fok,
}

/// A value of the `assets` topic.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Asset {
    /// What people call it.
    pub name: CompactString,
    /// The step of its prices.
    pub tick: f64,
}

/// What `passthrough` writes: an order, all defaults filled in, and what it is worth.
#[derive(Deserialize, Serialize)]
pub struct WithNotional {
    order_id: CompactString,
    investor_id: CompactString,
    asset_id: CompactString,
    current_shares: i64,
    shares: i64,
    price: f64,
    order_type: Side,
    action: Action,
    kind: Kind,
    time_in_force: TimeInForce,
    notional: f64,
}

impl WithNotional {
    /// Adds price times shares.
    pub fn new(order: &Order) -> Self {
        let order = order.clone();
        Self {
            // The benchmark's share counts are far below 2^53.
            notional: order.price * order.shares as f64,
            order_id: order.order_id,
            investor_id: order.investor_id,
            asset_id: order.asset_id,
            current_shares: order.current_shares,
            shares: order.shares,
            price: order.price,
            order_type: order.side,
            action: order.action,
            kind: order.kind,
            time_in_force: order.time_in_force,
        }
    }
}

/// What `join` writes: an order, all defaults filled in, and its asset's data.
#[derive(Deserialize, Serialize)]
pub struct WithAsset {
    order_id: CompactString,
    investor_id: CompactString,
    asset_id: CompactString,
    current_shares: i64,
    shares: i64,
    price: f64,
    order_type: Side,
    action: Action,
    kind: Kind,
    time_in_force: TimeInForce,
    name: CompactString,
    tick: f64,
}

impl WithAsset {
    /// Puts both together.
    pub fn new(order: &Order, asset: &Asset) -> Self {
        let (order, asset) = (order.clone(), asset.clone());
        Self {
            order_id: order.order_id,
            investor_id: order.investor_id,
            asset_id: order.asset_id,
            current_shares: order.current_shares,
            shares: order.shares,
            price: order.price,
            order_type: order.side,
            action: order.action,
            kind: order.kind,
            time_in_force: order.time_in_force,
            name: asset.name,
            tick: asset.tick,
        }
    }
}
