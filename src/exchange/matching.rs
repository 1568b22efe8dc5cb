//! Price-time-priority matching: what a NEW, a CANCEL and a REPLACE do to a [`Book`].
//!
//! The better price trades first, and at one price the older order; a trade happens at the
//! resting order's price. A REPLACE that keeps the price and does not grow keeps its place;
//! any other re-enters as a new GTC limit order of the same id, side and investor.
//!
//! A command tells its [`MatchOutput`] what happened, in this order: for each trade the trade and
//! the resting order's update, at the end the update of the command's own order. It tells its
//! [`BookLog`] of every resting order that it touched, once, and of the header, if that changed;
//! so a command writes a number of store entries that does not depend on the book's depth.

use compact_str::CompactString;

use super::book::{Book, Header, Rank, RestingOrder, SlotIndex, rank};
use super::order::{Action, DecodeError, Kind, Order, Side, TimeInForce};
use super::price::Price;
use super::trade::{Fill, Party};
use super::update::{Outcome, Reason, Status};

/// Takes what a command makes of the world outside the book.
pub trait MatchOutput {
    /// Shares changed hands.
    fn trade(&mut self, trade: Fill<'_>);
    /// Something became of an order.
    fn update(&mut self, outcome: Outcome<'_>);
}

/// Takes what a store must keep to bring the book back.
///
/// A changed price or place is a `remove` of the order as it was and an `insert` of it as it is:
/// price and sequence are part of its key.
pub trait BookLog {
    /// `order` came to rest in a place that no order had before it: its key is new to the store.
    fn insert(&mut self, asset_id: &str, order: &RestingOrder);
    /// `order`, which rests already, is so now.
    fn put(&mut self, asset_id: &str, order: &RestingOrder);
    /// `order`, as it was written last, rests no more. Its quantities may have changed since.
    fn remove(&mut self, asset_id: &str, order: &RestingOrder);
    /// The book's counters are these now.
    fn header(&mut self, asset_id: &str, header: Header);
}

/// What an exchange may decide for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Whether an investor may trade with itself.
    pub self_trade: SelfTrade,
    /// Which replacements keep their place in the queue.
    pub replace_keeps_place: ReplaceKeepsPlace,
}

/// What happens when an order meets one of its own investor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SelfTrade {
    /// They trade.
    #[default]
    Allow,
    /// The incoming order gives up what it has left; trades it made before stand. For a FOK order
    /// the meeting counts as quantity that would not trade.
    CancelNewest,
}

/// Which REPLACE at an unchanged price keeps the order's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplaceKeepsPlace {
    /// One that asks for at most the open quantity.
    #[default]
    UnlessGrown,
    /// One that asks for less than the open quantity.
    OnlyWhenShrunk,
}

/// A NEW order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewOrder<'a> {
    /// Its id.
    pub order_id: &'a str,
    /// Whose it is.
    pub investor_id: &'a str,
    /// Which way it trades.
    pub side: Side,
    /// How many shares.
    pub shares: i64,
    /// The worst price it trades at; `None` is a MARKET order, which never rests.
    pub limit: Option<Price>,
    /// What becomes of the quantity that does not trade.
    pub time_in_force: TimeInForce,
}

/// A CANCEL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelOrder<'a> {
    /// The resting order.
    pub order_id: &'a str,
    /// If given, the order must be this investor's.
    pub investor_id: Option<&'a str>,
}

/// A REPLACE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaceOrder<'a> {
    /// The resting order.
    pub order_id: &'a str,
    /// If given, the order must be this investor's.
    pub investor_id: Option<&'a str>,
    /// If given, the order must be of this side.
    pub side: Option<Side>,
    /// Its new open quantity.
    pub shares: i64,
    /// Its new price.
    pub price: Price,
}

/// What an [`Order`] asks of its book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Enter.
    New(NewOrder<'a>),
    /// Leave.
    Cancel(CancelOrder<'a>),
    /// Change.
    Replace(ReplaceOrder<'a>),
}

impl<'a> Command<'a> {
    /// The command that `order` spells. A limit that is missing becomes 0, which the book rejects.
    ///
    /// # Errors
    /// [`DecodeError::Missing`] for a NEW order without investor or side. Decoders let none pass.
    pub fn of(order: &'a Order) -> Result<Self, DecodeError> {
        let missing = |field| DecodeError::Missing { field, action: order.action };
        let order_id = order.id();
        let investor_id = order.investor_id.as_deref();
        let price = order.price.unwrap_or(Price::ZERO);
        Ok(match order.action {
            Action::New => Self::New(NewOrder {
                order_id,
                investor_id: investor_id.ok_or_else(|| missing("investor_id"))?,
                side: order.side.ok_or_else(|| missing("order_type"))?,
                shares: order.shares,
                limit: (order.kind == Kind::Limit).then_some(price),
                time_in_force: order.time_in_force,
            }),
            Action::Cancel => Self::Cancel(CancelOrder { order_id, investor_id }),
            Action::Replace => Self::Replace(ReplaceOrder {
                order_id,
                investor_id,
                side: order.side,
                shares: order.shares,
                price,
            }),
        })
    }
}

/// An order on its way into the book.
struct Taker<'a> {
    party: Party<&'a str>,
    side: Side,
    /// `None` trades at any price.
    limit: Option<Price>,
    time_in_force: TimeInForce,
    open_shares: i64,
    filled_shares: i64,
    timestamp: i64,
}

impl Taker<'_> {
    /// The worst rank of the other side that this order trades with.
    fn worst_rank(&self) -> Rank {
        self.limit.map_or(Rank::MAX, |limit| rank(self.side.opposite(), limit))
    }
}

impl Book {
    /// Carries a command out. `timestamp` (milliseconds since the epoch) is that of its trades.
    pub fn execute<O: MatchOutput + BookLog>(
        &mut self,
        command: Command<'_>,
        timestamp: i64,
        rules: Rules,
        out: &mut O,
    ) {
        match command {
            Command::New(order) => self.place(order, timestamp, rules, out),
            Command::Cancel(order) => self.cancel(order, out),
            Command::Replace(order) => self.replace(order, timestamp, rules, out),
        }
    }

    /// Lets a new order trade, and rest or give up what is left.
    ///
    /// Rejects DUPLICATE_ORDER_ID; also NON_POSITIVE_SHARES and NON_POSITIVE_PRICE, so that no
    /// caller can bring a book out of order.
    pub fn place<O: MatchOutput + BookLog>(
        &mut self,
        order: NewOrder<'_>,
        timestamp: i64,
        rules: Rules,
        out: &mut O,
    ) {
        let refused = if self.find(order.order_id).is_some() {
            Some(Reason::DuplicateOrderId)
        } else {
            unsound(order.shares, order.limit)
        };
        if let Some(reason) = refused {
            return out.update(Outcome::rejected(
                &self.asset_id,
                order.order_id,
                Some(order.investor_id),
                reason,
            ));
        }
        let mut taker = Taker {
            party: Party { order_id: order.order_id, investor_id: order.investor_id },
            side: order.side,
            limit: order.limit,
            time_in_force: order.time_in_force,
            open_shares: order.shares,
            filled_shares: 0,
            timestamp,
        };
        let before = self.header;
        let gives_up = self.match_taker(&mut taker, rules, out);
        match (gives_up, taker.limit) {
            (None, Some(price)) if taker.open_shares > 0 => {
                let slot = self.insert(RestingOrder {
                    order_id: CompactString::new(order.order_id),
                    investor_id: CompactString::new(order.investor_id),
                    side: order.side,
                    price,
                    sequence: self.header.next_sequence,
                    open_shares: taker.open_shares,
                    filled_shares: taker.filled_shares,
                });
                self.header.next_sequence += 1;
                out.insert(&self.asset_id, &self.slot(slot).order);
                let status = if taker.filled_shares > 0 {
                    Status::PartiallyFilled
                } else {
                    Status::Accepted
                };
                self.report(&taker, status, None, out);
            }
            (reason, _) => self.report_gone(&taker, reason, out),
        }
        self.log_header(before, out);
    }

    /// Takes a resting order out. Rejects UNKNOWN_ORDER and NOT_OWNER.
    pub fn cancel<O: MatchOutput + BookLog>(&mut self, cancel: CancelOrder<'_>, out: &mut O) {
        let slot = match self.owned(cancel.order_id, cancel.investor_id) {
            Ok(slot) => slot,
            Err(reason) => {
                return out.update(Outcome::rejected(
                    &self.asset_id,
                    cancel.order_id,
                    cancel.investor_id,
                    reason,
                ));
            }
        };
        self.dequeue(slot);
        self.vacate(slot);
        // The slot is vacant but still holds the order until the next one moves in.
        let order = &self.slot(slot).order;
        out.remove(&self.asset_id, order);
        out.update(Outcome {
            order_id: &order.order_id,
            investor_id: Some(&order.investor_id),
            asset_id: &self.asset_id,
            status: Status::Cancelled,
            open_shares: 0,
            filled_shares: order.filled_shares,
            cancelled_shares: order.open_shares,
            reason: None,
        });
    }

    /// Changes open quantity and price of a resting order, or enters it anew.
    ///
    /// Rejects UNKNOWN_ORDER, NOT_OWNER, SIDE_MISMATCH, NON_POSITIVE_SHARES and
    /// NON_POSITIVE_PRICE; the order then rests as before.
    pub fn replace<O: MatchOutput + BookLog>(
        &mut self,
        replace: ReplaceOrder<'_>,
        timestamp: i64,
        rules: Rules,
        out: &mut O,
    ) {
        let slot = match self.replaceable(&replace) {
            Ok(slot) => slot,
            Err(reason) => {
                return out.update(Outcome::rejected(
                    &self.asset_id,
                    replace.order_id,
                    replace.investor_id,
                    reason,
                ));
            }
        };
        let order = &mut self.slots[slot as usize].order;
        let keeps_place = order.price == replace.price
            && match rules.replace_keeps_place {
                ReplaceKeepsPlace::UnlessGrown => replace.shares <= order.open_shares,
                ReplaceKeepsPlace::OnlyWhenShrunk => replace.shares < order.open_shares,
            };
        if keeps_place {
            order.open_shares = replace.shares;
            out.put(&self.asset_id, order);
            out.update(Outcome {
                order_id: &order.order_id,
                investor_id: Some(&order.investor_id),
                asset_id: &self.asset_id,
                status: Status::Replaced,
                open_shares: order.open_shares,
                filled_shares: order.filled_shares,
                cancelled_shares: 0,
                reason: None,
            });
        } else {
            self.re_enter(slot, replace, timestamp, rules, out);
        }
    }

    /// Moves a resting order to its new price, trading on the way.
    fn re_enter<O: MatchOutput + BookLog>(
        &mut self,
        slot: SlotIndex,
        replace: ReplaceOrder<'_>,
        timestamp: i64,
        rules: Rules,
        out: &mut O,
    ) {
        let before = self.header;
        out.remove(&self.asset_id, &self.slot(slot).order);
        self.dequeue(slot);
        // The order keeps slot and index entry while it trades, in case it comes to rest again;
        // its investor's id is set aside, as the slots change under it.
        let order = &mut self.slots[slot as usize].order;
        let investor_id = std::mem::take(&mut order.investor_id);
        let mut taker = Taker {
            party: Party { order_id: replace.order_id, investor_id: &investor_id },
            side: order.side,
            limit: Some(replace.price),
            time_in_force: TimeInForce::Gtc,
            open_shares: replace.shares,
            filled_shares: order.filled_shares,
            timestamp,
        };
        let filled_before = taker.filled_shares;
        let gives_up = self.match_taker(&mut taker, rules, out);
        if gives_up.is_none() && taker.open_shares > 0 {
            let sequence = self.header.next_sequence;
            self.header.next_sequence += 1;
            let order = &mut self.slots[slot as usize].order;
            order.price = replace.price;
            order.sequence = sequence;
            order.open_shares = taker.open_shares;
            order.filled_shares = taker.filled_shares;
            self.enqueue(slot);
            let status = if taker.filled_shares > filled_before {
                Status::PartiallyFilled
            } else {
                Status::Replaced
            };
            self.report(&taker, status, None, out);
            let order = &mut self.slots[slot as usize].order;
            order.investor_id = investor_id;
            out.insert(&self.asset_id, order);
        } else {
            self.vacate(slot);
            self.report_gone(&taker, gives_up, out);
        }
        self.log_header(before, out);
    }

    /// The slot of a resting order that `investor_id`, if given, owns.
    fn owned(&self, order_id: &str, investor_id: Option<&str>) -> Result<SlotIndex, Reason> {
        let slot = self.find(order_id).ok_or(Reason::UnknownOrder)?;
        match investor_id {
            Some(investor_id) if self.slot(slot).order.investor_id != investor_id => {
                Err(Reason::NotOwner)
            }
            _ => Ok(slot),
        }
    }

    fn replaceable(&self, replace: &ReplaceOrder<'_>) -> Result<SlotIndex, Reason> {
        let slot = self.owned(replace.order_id, replace.investor_id)?;
        if replace.side.is_some_and(|side| side != self.slot(slot).order.side) {
            return Err(Reason::SideMismatch);
        }
        unsound(replace.shares, Some(replace.price)).map_or(Ok(slot), Err)
    }

    /// Trades as far as the order may. Returns why it gives up what is left, if it does.
    fn match_taker<O: MatchOutput + BookLog>(
        &mut self,
        taker: &mut Taker<'_>,
        rules: Rules,
        out: &mut O,
    ) -> Option<Reason> {
        if taker.time_in_force == TimeInForce::Fok && !self.can_fill(taker, rules) {
            return Some(Reason::FokUnfilled);
        }
        let worst = taker.worst_rank();
        while taker.open_shares > 0
            && let Some((rank, slot)) = self.best(taker.side.opposite())
            && rank <= worst
        {
            if rules.self_trade == SelfTrade::CancelNewest
                && self.slot(slot).order.investor_id == taker.party.investor_id
            {
                return Some(Reason::SelfTrade);
            }
            self.trade(slot, taker, out);
        }
        match (taker.open_shares, taker.limit, taker.time_in_force) {
            (0, ..) | (_, Some(_), TimeInForce::Gtc) => None,
            (_, None, _) => Some(Reason::NoLiquidity),
            (_, Some(_), _) => Some(Reason::IocRemainder),
        }
    }

    /// Whether the orders in reach hold enough for all of `taker`.
    fn can_fill(&self, taker: &Taker<'_>, rules: Rules) -> bool {
        let mut wanted = taker.open_shares;
        for maker in self.orders_within(taker.side.opposite(), taker.worst_rank()) {
            if rules.self_trade == SelfTrade::CancelNewest
                && maker.investor_id == taker.party.investor_id
            {
                return false;
            }
            if maker.open_shares >= wanted {
                return true;
            }
            wanted -= maker.open_shares;
        }
        false
    }

    /// One trade between `taker` and the order in `slot`, the first of its queue.
    fn trade<O: MatchOutput + BookLog>(
        &mut self,
        slot: SlotIndex,
        taker: &mut Taker<'_>,
        out: &mut O,
    ) {
        self.header.trades += 1;
        let maker = &mut self.slots[slot as usize].order;
        let shares = taker.open_shares.min(maker.open_shares);
        taker.open_shares -= shares;
        maker.open_shares -= shares;
        // An order replaced again and again can trade more than 64 bits count; its sum stops there.
        taker.filled_shares = taker.filled_shares.saturating_add(shares);
        maker.filled_shares = maker.filled_shares.saturating_add(shares);
        out.trade(Fill {
            asset_id: &self.asset_id,
            number: self.header.trades,
            price: maker.price,
            shares,
            maker: Party { order_id: &maker.order_id, investor_id: &maker.investor_id },
            taker: taker.party,
            taker_side: taker.side,
            timestamp: taker.timestamp,
        });
        let gone = maker.open_shares == 0;
        out.update(Outcome {
            order_id: &maker.order_id,
            investor_id: Some(&maker.investor_id),
            asset_id: &self.asset_id,
            status: if gone { Status::Filled } else { Status::PartiallyFilled },
            open_shares: maker.open_shares,
            filled_shares: maker.filled_shares,
            cancelled_shares: 0,
            reason: None,
        });
        if gone {
            out.remove(&self.asset_id, maker);
            self.dequeue(slot);
            self.vacate(slot);
        } else {
            out.put(&self.asset_id, maker);
        }
    }

    /// Reports a taker that rests, with what it has open.
    fn report(
        &self,
        taker: &Taker<'_>,
        status: Status,
        reason: Option<Reason>,
        out: &mut impl MatchOutput,
    ) {
        out.update(Outcome {
            order_id: taker.party.order_id,
            investor_id: Some(taker.party.investor_id),
            asset_id: &self.asset_id,
            status,
            open_shares: taker.open_shares,
            filled_shares: taker.filled_shares,
            cancelled_shares: 0,
            reason,
        });
    }

    /// Reports a taker that is filled, or gives up what is left for `reason`.
    fn report_gone(&self, taker: &Taker<'_>, reason: Option<Reason>, out: &mut impl MatchOutput) {
        out.update(Outcome {
            order_id: taker.party.order_id,
            investor_id: Some(taker.party.investor_id),
            asset_id: &self.asset_id,
            status: if reason.is_some() { Status::Cancelled } else { Status::Filled },
            open_shares: 0,
            filled_shares: taker.filled_shares,
            cancelled_shares: taker.open_shares,
            reason,
        });
    }

    fn log_header(&self, before: Header, out: &mut impl BookLog) {
        if self.header != before {
            out.header(&self.asset_id, self.header);
        }
    }
}

/// Why a book cannot take such an order, whatever else rests there.
fn unsound(shares: i64, limit: Option<Price>) -> Option<Reason> {
    if shares <= 0 {
        Some(Reason::NonPositiveShares)
    } else if limit.is_some_and(|limit| !limit.is_positive()) {
        Some(Reason::NonPositivePrice)
    } else {
        None
    }
}
