//! [`MatchOrders`]: the node that matches, and the [`MatchEvent`]s it makes.

use compact_str::CompactString;
use tidemill_topology::prelude::*;

use super::engine::{MatchEngine, MatchEvents};
use super::judge::JudgedOrder;
use super::matching::{Command, Rules};
use super::tally::{MetricsSlot, PUBLISH_INTERVAL_MS, Tally};
use super::trade::{Fill, Trade};
use super::update::{OrderUpdate, Outcome, Reason, Status};

/// Something that matching brought about, under the key of its asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchEvent {
    /// Shares changed hands.
    Trade(Trade),
    /// Something became of an order.
    Update(OrderUpdate),
}

impl MatchEvent {
    /// The trade, if it is one.
    #[must_use]
    pub fn trade(&self) -> Option<Trade> {
        match self {
            Self::Trade(trade) => Some(trade.clone()),
            Self::Update(_) => None,
        }
    }

    /// The update, if it is one.
    #[must_use]
    pub fn update(&self) -> Option<OrderUpdate> {
        match self {
            Self::Trade(_) => None,
            Self::Update(update) => Some(update.clone()),
        }
    }
}

/// Matches sound orders against the books of its task; see [`MatchEngine`] for what it keeps.
pub struct MatchOrders {
    store: &'static str,
    engine: MatchEngine,
    tally: Tally,
}

impl MatchOrders {
    /// Matches by `rules`, keeps its books in `store`, and counts into `metrics`.
    #[must_use]
    pub fn new(store: &'static str, rules: Rules, metrics: MetricsSlot) -> Self {
        Self { store, engine: MatchEngine::new(rules), tally: Tally::new(metrics) }
    }

    fn publish(&mut self) {
        let resting = self.engine.books().iter().map(super::book::Book::len).sum();
        self.tally.publish(resting);
        self.tally.publish_books(self.engine.books().iter());
    }
}

type Context<'c, 't> = ProcessorContext<'c, 't, CompactString, MatchEvent>;

impl Processor<CompactString, JudgedOrder> for MatchOrders {
    type KeyOut = CompactString;
    type ValueOut = MatchEvent;

    fn init(&mut self, ctx: &mut Context<'_, '_>) -> Result {
        ctx.schedule(PUBLISH_INTERVAL_MS, PunctuationType::WallClockTime);
        self.engine.init(self.store, ctx)
    }

    fn process(
        &mut self,
        record: Record<'_, CompactString, JudgedOrder>,
        ctx: &mut Context<'_, '_>,
    ) -> Result {
        let order = &record.value.order;
        let command = Command::of(order).map_err(Error::processing)?;
        let mut events =
            Forward { record: record.with_value(&()), tally: &mut self.tally, last: None };
        self.engine.execute(&order.asset_id, command, record.timestamp, &mut events, ctx)?;
        // The last update of a command is that of its own order.
        if let Some((status, reason)) = events.last {
            self.tally.order(order.action, status, reason);
        }
        Ok(())
    }

    fn punctuate(&mut self, _: ScheduleId, _: Timestamp, _: &mut Context<'_, '_>) -> Result {
        self.publish();
        Ok(())
    }

    fn close(&mut self) {
        self.publish();
        // The books leave this instance with their task.
        self.tally.publish(0);
        self.tally.publish_books(std::iter::empty());
    }
}

/// Forwards what a command brings about, with the key, time and headers of the command.
struct Forward<'r> {
    record: Record<'r, CompactString, ()>,
    tally: &'r mut Tally,
    last: Option<(Status, Option<Reason>)>,
}

impl MatchEvents<CompactString, MatchEvent> for Forward<'_> {
    fn trade(&mut self, fill: &Fill<'_>, ctx: &mut Context<'_, '_>) -> Result {
        self.tally.trade(fill);
        ctx.forward(self.record.with_value(&MatchEvent::Trade((*fill).into())))
    }

    fn update(&mut self, outcome: &Outcome<'_>, ctx: &mut Context<'_, '_>) -> Result {
        self.last = Some((outcome.status, outcome.reason));
        ctx.forward(self.record.with_value(&MatchEvent::Update((*outcome).into())))
    }
}
