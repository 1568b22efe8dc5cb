//! One asset's order book, kept so that cancels name live orders and resting orders do rest.

use std::collections::{BTreeMap, HashMap};

use crate::rng::Rng;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    pub fn opposite(self) -> Side {
        match self {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }
}

#[derive(Clone, Copy)]
pub struct Resting {
    pub side: Side,
    /// In ticks.
    pub price: i64,
    pub shares: u64,
    pub investor: u64,
    priority: u64,
    /// Where this order stands in `Book::live`.
    slot: usize,
}

#[derive(Default)]
pub struct Book {
    bids: BTreeMap<(i64, u64), u64>,
    asks: BTreeMap<(i64, u64), u64>,
    orders: HashMap<u64, Resting>,
    live: Vec<u64>,
    priority: u64,
}

impl Book {
    pub fn len(&self) -> u64 {
        self.live.len() as u64
    }

    pub fn best(&self, side: Side) -> Option<i64> {
        match side {
            Side::Buy => self.bids.keys().next().map(|&(price, _)| -price),
            Side::Sell => self.asks.keys().next().map(|&(price, _)| price),
        }
    }

    /// A live order, each with the same chance.
    pub fn pick(&self, rng: &mut Rng) -> Option<(u64, Resting)> {
        if self.live.is_empty() {
            return None;
        }
        let id = self.live[rng.below(self.len()) as usize];
        Some((id, self.orders[&id]))
    }

    pub fn rest(&mut self, id: u64, side: Side, price: i64, shares: u64, investor: u64) {
        let priority = self.priority;
        self.priority += 1;
        let slot = self.live.len();
        self.live.push(id);
        self.orders.insert(
            id,
            Resting {
                side,
                price,
                shares,
                investor,
                priority,
                slot,
            },
        );
        self.side(side).insert(Self::key(side, price, priority), id);
    }

    pub fn remove(&mut self, id: u64) {
        let order = self.orders.remove(&id).expect("a live order");
        self.side(order.side)
            .remove(&Self::key(order.side, order.price, order.priority));
        self.live.swap_remove(order.slot);
        if let Some(moved) = self.live.get(order.slot) {
            self.orders.get_mut(moved).expect("a live order").slot = order.slot;
        }
    }

    pub fn set_shares(&mut self, id: u64, shares: u64) {
        self.orders.get_mut(&id).expect("a live order").shares = shares;
    }

    /// Trades an incoming order down to `limit` and returns what is left of it. `all_or_none` leaves
    /// the book alone if not all of it would trade.
    pub fn take(&mut self, side: Side, limit: Option<i64>, shares: u64, all_or_none: bool) -> u64 {
        let makers = side.opposite();
        let mut left = shares;
        let mut fills = Vec::new();
        let levels = match makers {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        };
        for (&(key_price, _), &id) in levels {
            let price = if makers == Side::Buy {
                -key_price
            } else {
                key_price
            };
            let crosses = match (side, limit) {
                (_, None) => true,
                (Side::Buy, Some(limit)) => price <= limit,
                (Side::Sell, Some(limit)) => price >= limit,
            };
            if left == 0 || !crosses {
                break;
            }
            let filled = left.min(self.orders[&id].shares);
            left -= filled;
            fills.push((id, filled));
        }
        if all_or_none && left > 0 {
            return shares;
        }
        for (id, filled) in fills {
            match self.orders[&id].shares - filled {
                0 => self.remove(id),
                rest => self.set_shares(id, rest),
            }
        }
        left
    }

    fn side(&mut self, side: Side) -> &mut BTreeMap<(i64, u64), u64> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    /// Best first in either map: bids are kept under their negated price.
    fn key(side: Side, price: i64, priority: u64) -> (i64, u64) {
        (if side == Side::Buy { -price } else { price }, priority)
    }
}
