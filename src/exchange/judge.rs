//! [`JudgedOrder`]: an order with the verdict of the checks that need no book.

use compact_str::CompactString;
use tidemill_topology::prelude::*;

use super::asset::Asset;
use super::order::{Action, Order};
use super::tally::{MetricsSlot, PUBLISH_INTERVAL_MS, Tally};
use super::update::{OrderUpdate, Outcome, Reason, Status};
use super::validate::{validate_asset, validate_order};

/// An order and what its checks said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedOrder {
    /// The order.
    pub order: Order,
    /// Why it goes no further, if it does not.
    pub refused: Option<Reason>,
}

impl JudgedOrder {
    /// Judges an order by itself and against its asset's record, if there is one.
    #[must_use]
    pub fn new(order: &Order, asset: Option<&Asset>, require_listed: bool) -> Self {
        let verdict =
            validate_order(order).and_then(|()| validate_asset(order, asset, require_listed));
        Self { order: order.clone(), refused: verdict.err() }
    }

    /// Whether the order passed its checks and asks for `action`.
    #[must_use]
    pub fn is_sound(&self, action: Action) -> bool {
        self.refused.is_none() && self.order.action == action
    }
}

/// Tells the senders of refused orders why. Keeps nothing.
pub struct RefuseOrders {
    tally: Tally,
}

impl RefuseOrders {
    /// Counts into `metrics`.
    #[must_use]
    pub fn new(metrics: MetricsSlot) -> Self {
        Self { tally: Tally::new(metrics) }
    }
}

impl Processor<CompactString, JudgedOrder> for RefuseOrders {
    type KeyOut = CompactString;
    type ValueOut = OrderUpdate;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, CompactString, OrderUpdate>) -> Result {
        ctx.schedule(PUBLISH_INTERVAL_MS, PunctuationType::WallClockTime);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, CompactString, JudgedOrder>,
        ctx: &mut ProcessorContext<'_, '_, CompactString, OrderUpdate>,
    ) -> Result {
        let JudgedOrder { order, refused } = record.value;
        let Some(reason) = *refused else {
            return Ok(());
        };
        self.tally.order(order.action, Status::Rejected, Some(reason));
        let investor_id = order.investor_id.as_deref();
        let outcome = Outcome::rejected(&order.asset_id, order.id(), investor_id, reason);
        ctx.forward(record.with_value(&outcome.into()))
    }

    fn punctuate(
        &mut self,
        _: ScheduleId,
        _: Timestamp,
        _: &mut ProcessorContext<'_, '_, CompactString, OrderUpdate>,
    ) -> Result {
        self.tally.publish(0);
        Ok(())
    }

    fn close(&mut self) {
        self.tally.publish(0);
    }
}
