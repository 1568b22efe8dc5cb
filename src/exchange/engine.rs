//! [`MatchEngine`]: the books of a task, matched in memory and kept in a store.
//!
//! Keeps: the entries of [`store_format`](super::store_format), one for each resting order and one
//! for each asset, without end. Changelog: compacted. One scan of the store rebuilds the books when
//! the task starts; from then on the store is only written, so an order costs a number of entries
//! that does not depend on the book's depth. What an engine tells its surroundings is up to them:
//! it speaks through [`MatchEvents`].

use std::ops::ControlFlow;

use tidemill_topology::graph::Store;
use tidemill_topology::prelude::*;
use tidemill_topology::store::bytes::KeyRange;

use super::book::{Header, RestingOrder};
use super::books::Books;
use super::matching::{BookLog, Command, MatchOutput, Rules};
use super::store_format::{put_header, put_header_key, put_order, put_order_key};
use super::trade::Fill;
use super::update::Outcome;

/// What becomes of a command, said to a processor that forwards `(K, V)` records.
///
/// For each trade come the trade and the resting order's update, at the end the update of the
/// command's own order.
pub trait MatchEvents<K, V> {
    /// Shares changed hands.
    ///
    /// # Errors
    /// Those of `ctx`.
    fn trade(&mut self, fill: &Fill<'_>, ctx: &mut ProcessorContext<'_, '_, K, V>) -> Result;

    /// Something became of an order.
    ///
    /// # Errors
    /// Those of `ctx`.
    fn update(&mut self, outcome: &Outcome<'_>, ctx: &mut ProcessorContext<'_, '_, K, V>)
    -> Result;
}

/// Books in memory, over a store that brings them back.
pub struct MatchEngine {
    rules: Rules,
    books: Books,
    store: Option<KeyValueHandle<Vec<u8>, Vec<u8>>>,
    entry: Entry,
}

/// Reused buffers of one store entry.
#[derive(Default)]
struct Entry {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl MatchEngine {
    /// An engine without books, until [`init`](Self::init).
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, books: Books::new(), store: None, entry: Entry::default() }
    }

    /// Declares the store that an engine needs.
    #[must_use]
    pub fn store(name: &str) -> Store {
        Stores::key_value(name, Bytes, Bytes)
    }

    /// The books.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Binds the store of that name and brings the books back from it.
    ///
    /// # Errors
    /// When the processor is not connected to the store, or the store does not hold books.
    pub fn init<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        ctx: &mut ProcessorContext<'_, '_, K, V>,
    ) -> Result {
        let store = ctx.key_value(name)?;
        let mut books = Books::new();
        let mut refused = None;
        ctx.bytes_store(&store).scan(
            KeyRange::ALL,
            Order::Forward,
            &mut |key, value| match books.restore_entry(key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    refused = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        if let Some(error) = refused {
            return Err(Error::store(name, error));
        }
        self.books = books;
        self.store = Some(store);
        Ok(())
    }

    /// Carries a command out on the book of `asset_id`, and writes what changed to the store.
    ///
    /// # Errors
    /// When the store cannot be written, and those of `events`. The books are then ahead of the
    /// store: the task must start anew.
    pub fn execute<K: 'static, V: 'static>(
        &mut self,
        asset_id: &str,
        command: Command<'_>,
        timestamp: Timestamp,
        events: &mut impl MatchEvents<K, V>,
        ctx: &mut ProcessorContext<'_, '_, K, V>,
    ) -> Result {
        let Some(store) = &self.store else {
            return Err(Error::wiring(
                "a match engine was used before its init; call it from Processor::init",
            ));
        };
        let mut session =
            Session { store, entry: &mut self.entry, timestamp, events, ctx, result: Ok(()) };
        let book = self.books.book_mut(asset_id);
        book.execute(command, timestamp.millis(), self.rules, &mut session);
        session.result
    }
}

/// One command on its way: hands what the book says to the events and the store.
///
/// A book cannot fail, so the first failure of the surroundings is kept until the book is done.
struct Session<'s, 'c, 't, K, V, E> {
    store: &'s KeyValueHandle<Vec<u8>, Vec<u8>>,
    entry: &'s mut Entry,
    timestamp: Timestamp,
    events: &'s mut E,
    ctx: &'s mut ProcessorContext<'c, 't, K, V>,
    result: Result,
}

impl<K: 'static, V: 'static, E: MatchEvents<K, V>> MatchOutput for Session<'_, '_, '_, K, V, E> {
    fn trade(&mut self, trade: Fill<'_>) {
        if self.result.is_ok() {
            self.result = self.events.trade(&trade, self.ctx);
        }
    }

    fn update(&mut self, outcome: Outcome<'_>) {
        if self.result.is_ok() {
            self.result = self.events.update(&outcome, self.ctx);
        }
    }
}

impl<K: 'static, V: 'static, E> Session<'_, '_, '_, K, V, E> {
    fn set_order(&mut self, asset_id: &str, order: &RestingOrder) {
        let Entry { key, value } = &mut *self.entry;
        key.clear();
        put_order_key(asset_id, order, key);
        value.clear();
        put_order(order, value);
    }
}

impl<K: 'static, V: 'static, E> BookLog for Session<'_, '_, '_, K, V, E> {
    fn insert(&mut self, asset_id: &str, order: &RestingOrder) {
        if self.result.is_ok() {
            self.set_order(asset_id, order);
            let Entry { key, value } = &*self.entry;
            let store = self.ctx.bytes_store(self.store);
            self.result = store.insert(key, value, self.timestamp);
        }
    }

    fn put(&mut self, asset_id: &str, order: &RestingOrder) {
        if self.result.is_ok() {
            self.set_order(asset_id, order);
            let Entry { key, value } = &*self.entry;
            let store = self.ctx.bytes_store(self.store);
            self.result = store.put(key, value, self.timestamp);
        }
    }

    fn remove(&mut self, asset_id: &str, order: &RestingOrder) {
        if self.result.is_ok() {
            let key = &mut self.entry.key;
            key.clear();
            put_order_key(asset_id, order, key);
            self.result = self.ctx.bytes_store(self.store).remove(key, self.timestamp);
        }
    }

    fn header(&mut self, asset_id: &str, header: Header) {
        if self.result.is_ok() {
            let Entry { key, value } = &mut *self.entry;
            key.clear();
            put_header_key(asset_id, key);
            value.clear();
            put_header(header, value);
            let store = self.ctx.bytes_store(self.store);
            self.result = store.put(key, value, self.timestamp);
        }
    }
}
