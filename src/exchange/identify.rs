//! [`IdentifyOrders`]: every order gets an id, and its asset for a key. Stateless.

use compact_str::CompactString;
use tidemill_topology::prelude::*;

use super::order::Order;

/// Names orders that came without an id after their record, and keys each by its asset.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdentifyOrders;

/// The key of an order is not the asset that it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record's key is {key:?} but its order is for asset {asset_id:?}; key orders by asset_id, or set exchange.orders.keyed = false"
)]
pub struct MisplacedOrder {
    key: CompactString,
    asset_id: CompactString,
}

type Forward<'f, 'c, 't> = &'f mut ProcessorContext<'c, 't, CompactString, Order>;

/// Forwards the order with an id. The id is given before anything else sees the order: a record
/// read again after a crash gets the same one.
fn identified(
    key: &CompactString,
    record: Record<'_, (), Order>,
    ctx: Forward<'_, '_, '_>,
) -> Result {
    let record = record.with_key(key);
    if record.value.order_id.is_some() {
        return ctx.forward(record);
    }
    let mut order = record.value.clone();
    let source = ctx.source();
    order.identify(source.topic, source.partition, source.offset);
    ctx.forward(record.with_value(&order))
}

/// Orders under any key.
impl Processor<(), Order> for IdentifyOrders {
    type KeyOut = CompactString;
    type ValueOut = Order;

    fn process(&mut self, record: Record<'_, (), Order>, ctx: Forward<'_, '_, '_>) -> Result {
        identified(&record.value.asset_id, record, ctx)
    }
}

/// Orders whose sender keyed them by asset. One under another key would meet another book than
/// the orders of its asset do: it fails.
impl Processor<CompactString, Order> for IdentifyOrders {
    type KeyOut = CompactString;
    type ValueOut = Order;

    fn process(
        &mut self,
        record: Record<'_, CompactString, Order>,
        ctx: Forward<'_, '_, '_>,
    ) -> Result {
        let asset_id = &record.value.asset_id;
        if record.key != asset_id {
            return Err(Error::processing(MisplacedOrder {
                key: record.key.clone(),
                asset_id: asset_id.clone(),
            }));
        }
        identified(record.key, record.with_key(&()), ctx)
    }
}
