//! A [`MatchOutput`] and [`BookLog`] that writes down what it is told.

use std::collections::BTreeMap;

use super::book::{Header, RestingOrder};
use super::matching::{BookLog, MatchOutput};
use super::store_format::{put_header, put_header_key, put_order, put_order_key};
use super::trade::{Fill, Trade};
use super::update::{OrderUpdate, Outcome};

/// What a book said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Trade(Trade),
    Update(OrderUpdate, i64),
}

/// Everything a book said, and its store.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) said: Vec<Said>,
    pub(super) store: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Puts and removes, header included.
    pub(super) store_writes: usize,
}

impl MatchOutput for Recorder {
    fn trade(&mut self, trade: Fill<'_>) {
        self.said.push(Said::Trade(trade.into()));
    }

    fn update(&mut self, outcome: Outcome<'_>) {
        self.said.push(Said::Update(outcome.into(), outcome.cancelled_shares));
    }
}

/// An order's key and value in the store.
fn entry(asset_id: &str, order: &RestingOrder) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    put_order_key(asset_id, order, &mut key);
    put_order(order, &mut value);
    (key, value)
}

impl BookLog for Recorder {
    fn insert(&mut self, asset_id: &str, order: &RestingOrder) {
        let (key, value) = entry(asset_id, order);
        let before = self.store.insert(key, value);
        assert!(before.is_none(), "inserts an order twice: {order:?}");
        self.store_writes += 1;
    }

    fn put(&mut self, asset_id: &str, order: &RestingOrder) {
        let (key, value) = entry(asset_id, order);
        let before = self.store.insert(key, value);
        assert!(before.is_some(), "changes an order that was never inserted: {order:?}");
        self.store_writes += 1;
    }

    fn remove(&mut self, asset_id: &str, order: &RestingOrder) {
        let mut key = Vec::new();
        put_order_key(asset_id, order, &mut key);
        assert!(
            self.store.remove(&key).is_some(),
            "removes an order that was never inserted: {order:?}"
        );
        self.store_writes += 1;
    }

    fn header(&mut self, asset_id: &str, header: Header) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        put_header_key(asset_id, &mut key);
        put_header(header, &mut value);
        self.store.insert(key, value);
        self.store_writes += 1;
    }
}
