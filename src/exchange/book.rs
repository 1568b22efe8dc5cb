//! The [`Book`] of one asset: its resting orders, by price, by time and by id.
//!
//! Resting orders lie in one vector of slots. Each side maps its prices, best first, to a queue,
//! which is a list through the slots, oldest first; a hash table finds the slot of an order id.
//! So to enter, to leave and to trade cost the logarithm of the number of prices at most, and
//! nothing is allocated once the vector has grown.
//!
//! This file keeps orders; `matching.rs` decides which enter and leave. What a store needs to
//! bring a book back is in `store_format.rs`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::BuildHasher;

use compact_str::CompactString;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::order::Side;
use super::price::Price;

/// An order that waits in a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestingOrder {
    /// Its id, unique in its book.
    pub order_id: CompactString,
    /// Whose it is.
    pub investor_id: CompactString,
    /// Which way it trades.
    pub side: Side,
    /// Its limit, and the price of its trades; above zero.
    pub price: Price,
    /// Its place among the orders of its price, which also makes its store key unique.
    pub sequence: u64,
    /// Shares it waits for; above zero.
    pub open_shares: i64,
    /// Shares that traded since the order came in, replacements included.
    pub filled_shares: i64,
}

/// What a book must remember beside its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Sequence of the next order to rest.
    pub next_sequence: u64,
    /// Trades so far; the next one has this number plus one.
    pub trades: u64,
}

/// The orders of one price, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthLevel {
    /// Their price.
    pub price: Price,
    /// Their open shares. Two orders alone can exceed 64 bits.
    pub shares: i128,
    /// How many they are.
    pub orders: usize,
}

/// A position in a side's sort order: the lower, the better the price.
pub(super) type Rank = i64;

/// The resting orders of one asset. See the module page for how it is built, and
/// `Book::place`, `Book::cancel` and `Book::replace` for what it does.
#[derive(Debug)]
pub struct Book {
    pub(super) asset_id: CompactString,
    pub(super) header: Header,
    pub(super) slots: Vec<Slot>,
    /// First vacant slot; the others follow through [`Slot::next`].
    vacant: SlotIndex,
    /// The queues of each side by [`rank`], indexed by [`Side`].
    sides: [BTreeMap<Rank, Queue>; 2],
    index: HashTable<SlotIndex>,
    hasher: DefaultHashBuilder,
}

/// Where an order lies in [`Book::slots`].
pub(super) type SlotIndex = u32;

/// The end of a list of slots.
const NONE: SlotIndex = SlotIndex::MAX;

/// One order and its neighbours in its queue; or a vacancy, whose order is stale.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) order: RestingOrder,
    previous: SlotIndex,
    next: SlotIndex,
}

/// The orders of one price, oldest first. Never empty while it is in a map.
#[derive(Debug, Clone, Copy)]
struct Queue {
    first: SlotIndex,
    last: SlotIndex,
}

/// Where `price` stands among the prices of `side`. Prices are above zero, so the sign can turn.
pub(super) fn rank(side: Side, price: Price) -> Rank {
    match side {
        Side::Buy => -price.units(),
        Side::Sell => price.units(),
    }
}

impl Book {
    /// An empty book.
    #[must_use]
    pub fn new(asset_id: &str) -> Self {
        Self {
            asset_id: asset_id.into(),
            header: Header::default(),
            slots: Vec::new(),
            vacant: NONE,
            sides: [BTreeMap::new(), BTreeMap::new()],
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// What is traded here.
    #[must_use]
    pub fn asset_id(&self) -> &str {
        &self.asset_id
    }

    /// The counters of this book.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// How many orders rest.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no order rests.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The resting order of this id.
    #[must_use]
    pub fn order(&self, order_id: &str) -> Option<&RestingOrder> {
        self.find(order_id).map(|slot| &self.slot(slot).order)
    }

    /// The resting orders of a side: best price first, then oldest first.
    pub fn orders(&self, side: Side) -> impl Iterator<Item = &RestingOrder> {
        self.sides[side as usize].values().flat_map(|queue| self.queued(*queue))
    }

    /// The prices of a side with what rests there, best first.
    pub fn depth(&self, side: Side) -> impl Iterator<Item = DepthLevel> {
        self.sides[side as usize].values().map(|queue| {
            let price = self.slot(queue.first).order.price;
            self.queued(*queue).fold(DepthLevel { price, shares: 0, orders: 0 }, |level, order| {
                DepthLevel {
                    shares: level.shares + i128::from(order.open_shares),
                    orders: level.orders + 1,
                    ..level
                }
            })
        })
    }

    /// Puts back the counters that a store kept.
    pub fn restore_header(&mut self, header: Header) {
        self.header = header;
    }

    /// Puts back an order that a store kept. A price's orders must come by rising sequence, as a
    /// scan of the store yields them.
    ///
    /// Returns false, and leaves the book as it was, for an order that cannot rest here: of an id
    /// that already does, or without a positive price and quantity.
    pub fn restore_order(&mut self, order: RestingOrder) -> bool {
        let sound = order.price.is_positive()
            && order.open_shares > 0
            && self.find(&order.order_id).is_none();
        if sound {
            // Headers are written after orders, so a sequence beyond the header is never reused.
            self.header.next_sequence =
                self.header.next_sequence.max(order.sequence.saturating_add(1));
            self.insert(order);
        }
        sound
    }

    pub(super) fn slot(&self, slot: SlotIndex) -> &Slot {
        &self.slots[slot as usize]
    }

    pub(super) fn slot_mut(&mut self, slot: SlotIndex) -> &mut Slot {
        &mut self.slots[slot as usize]
    }

    /// Where the order of this id lies.
    pub(super) fn find(&self, order_id: &str) -> Option<SlotIndex> {
        self.index
            .find(self.hasher.hash_one(order_id), |slot| {
                self.slot(*slot).order.order_id == order_id
            })
            .copied()
    }

    /// The best price of a side, as a rank, and its oldest order.
    pub(super) fn best(&self, side: Side) -> Option<(Rank, SlotIndex)> {
        self.sides[side as usize].first_key_value().map(|(rank, queue)| (*rank, queue.first))
    }

    /// The resting orders of a side that `worst` and better ranks hold, best first.
    pub(super) fn orders_within(
        &self,
        side: Side,
        worst: Rank,
    ) -> impl Iterator<Item = &RestingOrder> {
        self.sides[side as usize].range(..=worst).flat_map(|(_, queue)| self.queued(*queue))
    }

    fn queued(&self, queue: Queue) -> impl Iterator<Item = &RestingOrder> {
        std::iter::successors(Some(self.slot(queue.first)), |slot| {
            self.slots.get(slot.next as usize)
        })
        .map(|slot| &slot.order)
    }

    /// Gives `order` a slot, its place in the index, and the last place in its queue.
    pub(super) fn insert(&mut self, order: RestingOrder) -> SlotIndex {
        let hash = self.hasher.hash_one(order.order_id.as_str());
        let vacancy = Slot { order, previous: NONE, next: NONE };
        let slot = match self.vacant {
            NONE => {
                self.slots.push(vacancy);
                // 2^32 orders would take 400 GB; the index cannot wrap before memory ends.
                (self.slots.len() - 1) as SlotIndex
            }
            slot => {
                self.vacant = self.slot(slot).next;
                *self.slot_mut(slot) = vacancy;
                slot
            }
        };
        let Self { index, slots, hasher, .. } = self;
        index.insert_unique(hash, slot, |slot| {
            hasher.hash_one(slots[*slot as usize].order.order_id.as_str())
        });
        self.enqueue(slot);
        slot
    }

    /// Takes an order that is in no queue out of the index, and vacates its slot.
    pub(super) fn vacate(&mut self, slot: SlotIndex) {
        let hash = self.hasher.hash_one(self.slot(slot).order.order_id.as_str());
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
        self.slot_mut(slot).next = self.vacant;
        self.vacant = slot;
    }

    /// Puts a slot's order at the end of the queue of its side and price.
    pub(super) fn enqueue(&mut self, slot: SlotIndex) {
        let RestingOrder { side, price, .. } = self.slot(slot).order;
        let previous = match self.sides[side as usize].entry(rank(side, price)) {
            Entry::Vacant(place) => {
                place.insert(Queue { first: slot, last: slot });
                NONE
            }
            Entry::Occupied(mut queue) => std::mem::replace(&mut queue.get_mut().last, slot),
        };
        if previous != NONE {
            self.slot_mut(previous).next = slot;
        }
        let entry = self.slot_mut(slot);
        entry.previous = previous;
        entry.next = NONE;
    }

    /// Takes a slot's order out of its queue; it keeps its slot and its place in the index.
    pub(super) fn dequeue(&mut self, slot: SlotIndex) {
        let Slot { previous, next, order: RestingOrder { side, price, .. } } = *self.slot(slot);
        if previous != NONE {
            self.slot_mut(previous).next = next;
        }
        if next != NONE {
            self.slot_mut(next).previous = previous;
        }
        if previous != NONE && next != NONE {
            return;
        }
        if let Entry::Occupied(mut queue) = self.sides[side as usize].entry(rank(side, price)) {
            match (previous, next) {
                (NONE, NONE) => {
                    queue.remove();
                }
                (NONE, next) => queue.get_mut().first = next,
                (previous, _) => queue.get_mut().last = previous,
            }
        }
    }
}
