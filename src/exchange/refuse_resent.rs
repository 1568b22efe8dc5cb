//! [`RefuseResent`]: an order that was sent again is refused, also after the first one closed.
//!
//! A sender who got no answer cannot know whether its order arrived, and sends it once more. While
//! the first one rests, the book refuses the second. Once it has traded or was cancelled, only the
//! id tells. So ids of NEW orders that passed their checks are remembered for a while; an order
//! that was refused for another reason may be corrected and sent again under its id.
//!
//! Keeps: a window store, by asset and order id, of the windows in which an id first came; the
//! entry's timestamp says when exactly. An id that came within the last window is in this window
//! or in the one before, so two look-ups find it. Changelog: compacted, and deleted with time.
//! Time is the task's stream time: it decides alike when a record is read again after a crash.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use tidemill_topology::graph::Store;
use tidemill_topology::prelude::*;

use super::judge::JudgedOrder;
use super::order::Action;
use super::serdes::Text;
use super::update::Reason;

/// The store of the ids that came lately.
pub const ORDER_IDS: &str = "order-ids";

/// Marks orders whose id came before as refused; passes everything on.
pub struct RefuseResent {
    window_ms: i64,
    ids: Option<WindowHandle<CompactString, i64>>,
}

fn millis(window: Duration) -> i64 {
    i64::try_from(window.as_millis()).unwrap_or(i64::MAX)
}

impl RefuseResent {
    /// Refuses what comes again within this time.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { window_ms: millis(window).max(1), ids: None }
    }

    /// Declares the store that it needs.
    #[must_use]
    pub fn store(window: Duration) -> Store {
        Stores::window(ORDER_IDS, Text, I64, window, window.saturating_mul(2))
    }

    /// Whether the id came within the last window; remembers it if it did not.
    fn came_before(
        &mut self,
        id: &CompactString,
        ctx: &mut ProcessorContext<'_, '_, CompactString, JudgedOrder>,
    ) -> Result<bool> {
        let Some(ids) = &mut self.ids else { return Ok(false) };
        let now = ctx.stream_time();
        let window = Timestamp::new(now.millis().div_euclid(self.window_ms) * self.window_ms);
        let mut ids = ctx.windows(ids);
        for start in [window, window - self.window_ms] {
            let seen = ids.get(id, start)?;
            if seen.is_some_and(|seen| seen.timestamp > now - self.window_ms) {
                return Ok(true);
            }
        }
        ids.put(id, window, Some(&now.millis()), now)?;
        Ok(false)
    }
}

impl Processor<CompactString, JudgedOrder> for RefuseResent {
    type KeyOut = CompactString;
    type ValueOut = JudgedOrder;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, '_, CompactString, JudgedOrder>) -> Result {
        self.ids = Some(ctx.window(ORDER_IDS)?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<'_, CompactString, JudgedOrder>,
        ctx: &mut ProcessorContext<'_, '_, CompactString, JudgedOrder>,
    ) -> Result {
        let judged = record.value;
        if !judged.is_sound(Action::New) {
            return ctx.forward(record);
        }
        let order = &judged.order;
        // Ids are unique within their asset alone. The asset's length keeps the two apart.
        let id = format_compact!("{}:{}{}", order.asset_id.len(), order.asset_id, order.id());
        if !self.came_before(&id, ctx)? {
            return ctx.forward(record);
        }
        let refused = JudgedOrder { order: order.clone(), refused: Some(Reason::DuplicateOrderId) };
        ctx.forward(record.with_value(&refused))
    }
}
