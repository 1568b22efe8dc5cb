//! `match`: the exchange's matching engine and book store, behind the benchmark's output format.
//!
//! The benchmark differs from the exchange in three things, all settled here: a command may come
//! from anyone, a REPLACE that asks for what is open already loses its place, and an update says
//! what remains rather than what is open and what is filled.

use compact_str::CompactString;
use tidemill::exchange::{
    Action, CancelOrder, Command, Fill, Kind, MatchEngine, MatchEvents, Order, Outcome, Price,
    ReplaceKeepsPlace, ReplaceOrder, Rules, Status, Trade,
};
use tidemill::prelude::*;

use crate::json_object::JsonObject;

/// The store of resting orders.
pub const BOOKS: &str = "books";

/// What becomes of an order, under the key of its asset.
pub enum Event {
    /// Shares changed hands.
    Trade(Trade),
    /// An order stands differently.
    Update(Update),
}

/// A value of the `order-updates` topic.
pub struct Update {
    order_id: CompactString,
    asset_id: CompactString,
    /// One of OPEN, PARTIALLY_FILLED, FILLED, CANCELLED, REJECTED.
    status: &'static str,
    remaining: i64,
}

/// Writes events as JSON; they are never read back.
pub struct EventJson;

impl Serde<Event> for EventJson {
    fn serialize(&self, event: &Event, out: &mut Vec<u8>) -> SerdeResult {
        match event {
            Event::Trade(trade) => write_trade(&trade.as_fill(), JsonObject::open(out)),
            Event::Update(update) => JsonObject::open(out)
                .text("order_id", &update.order_id)?
                .text("asset_id", &update.asset_id)?
                .word("status", update.status)
                .number("remaining", update.remaining)
                .close(),
        }
    }

    fn deserialize(&self, _: &[u8]) -> SerdeResult<Event> {
        Err("events are written only".into())
    }
}

fn write_trade(fill: &Fill<'_>, mut json: JsonObject<'_>) -> SerdeResult {
    let (buyer, seller) = (fill.buyer(), fill.seller());
    json.text("trade_id", &compact_str::format_compact!("{}", fill.trade_id()))?
        .text("asset_id", fill.asset_id)?
        .price("price", fill.price)
        .number("shares", fill.shares)
        .text("buyer_id", buyer.investor_id)?
        .text("seller_id", seller.investor_id)?
        .text("buy_order_id", buyer.order_id)?
        .text("sell_order_id", seller.order_id)?
        .text("maker_order_id", fill.maker.order_id)?
        .text("taker_order_id", fill.taker.order_id)?
        .close()
}

/// Matches orders against the books of its task.
pub struct Match {
    engine: MatchEngine,
}

type Context<'c, 't> = ProcessorContext<'c, 't, CompactString, Event>;

impl Match {
    /// Without books, until it starts.
    pub fn new() -> Self {
        let replace_keeps_place = ReplaceKeepsPlace::OnlyWhenShrunk;
        Self { engine: MatchEngine::new(Rules { replace_keeps_place, ..Rules::default() }) }
    }
}

impl Processor<CompactString, Order> for Match {
    type KeyOut = CompactString;
    type ValueOut = Event;

    fn init(&mut self, ctx: &mut Context<'_, '_>) -> Result {
        self.engine.init(BOOKS, ctx)
    }

    fn process(
        &mut self,
        record: Record<'_, CompactString, Order>,
        ctx: &mut Context<'_, '_>,
    ) -> Result {
        let order = record.value;
        let own_id = order.id();
        if order.action == Action::New && !is_sound(order) {
            let update = Update {
                order_id: own_id.into(),
                asset_id: order.asset_id.clone(),
                status: "REJECTED",
                remaining: order.shares.max(0),
            };
            return ctx.forward(record.with_value(&Event::Update(update)));
        }
        let command = match Command::of(order).map_err(Error::processing)? {
            Command::Cancel(cancel) => Command::Cancel(CancelOrder { investor_id: None, ..cancel }),
            Command::Replace(replace) => {
                Command::Replace(ReplaceOrder { investor_id: None, side: None, ..replace })
            }
            new @ Command::New(_) => new,
        };
        let mut events = Forward { record: record.with_value(&()), own_id };
        self.engine.execute(&order.asset_id, command, record.timestamp, &mut events, ctx)
    }
}

/// Whether a NEW order may enter; the benchmark does not ask what its investor owns.
fn is_sound(order: &Order) -> bool {
    let priced = order.kind == Kind::Market || order.price.is_some_and(Price::is_positive);
    order.shares > 0 && priced
}

/// Forwards what the engine says, with the key, time and headers of the command.
struct Forward<'r> {
    record: Record<'r, CompactString, ()>,
    own_id: &'r str,
}

impl MatchEvents<CompactString, Event> for Forward<'_> {
    fn trade(&mut self, fill: &Fill<'_>, ctx: &mut Context<'_, '_>) -> Result {
        ctx.forward(self.record.with_value(&Event::Trade((*fill).into())))
    }

    fn update(&mut self, outcome: &Outcome<'_>, ctx: &mut Context<'_, '_>) -> Result {
        let status = match outcome.status {
            Status::Accepted | Status::Replaced => "OPEN",
            // Of its own order the benchmark says whether it rests, of others that they traded.
            Status::PartiallyFilled if outcome.order_id == self.own_id => "OPEN",
            other => other.as_str(),
        };
        let update = Update {
            order_id: outcome.order_id.into(),
            asset_id: outcome.asset_id.into(),
            status,
            remaining: outcome.open_shares + outcome.cancelled_shares,
        };
        ctx.forward(self.record.with_value(&Event::Update(update)))
    }
}
