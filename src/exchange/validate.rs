//! The checks that need no book: an order by itself, and against its asset's reference data.
//!
//! | reason | NEW | REPLACE | CANCEL |
//! |---|---|---|---|
//! | NON_POSITIVE_SHARES | checked | checked | |
//! | NON_POSITIVE_PRICE | of LIMIT orders | checked | |
//! | INSUFFICIENT_SHARES | of SELL orders | of SELL orders that give `order_type` and `current_shares` | |
//! | UNLISTED | checked | checked | |
//! | HALTED | checked | checked | |
//! | OFF_TICK | of LIMIT orders | checked | |
//! | OFF_LOT | checked | checked | |
//!
//! The first in this order is the one reported. A CANCEL passes always: whoever wants out of a
//! halted or delisted asset gets out. The price of a MARKET order is ignored. A REPLACE is judged
//! as the LIMIT order that it leaves behind, whatever kind it names.

use super::asset::{Asset, AssetStatus};
use super::order::{Action, Kind, Order, Side};
use super::price::Price;
use super::update::Reason;

/// Checks an order by itself.
///
/// # Errors
/// The reason to reject it for.
pub fn validate_order(order: &Order) -> Result<(), Reason> {
    if order.action == Action::Cancel {
        return Ok(());
    }
    if order.shares <= 0 {
        return Err(Reason::NonPositiveShares);
    }
    if has_limit(order) && !order.price.is_some_and(Price::is_positive) {
        return Err(Reason::NonPositivePrice);
    }
    if order.side == Some(Side::Sell)
        && order.current_shares.is_some_and(|owned| order.shares > owned)
    {
        return Err(Reason::InsufficientShares);
    }
    Ok(())
}

/// Checks an order that passed [`validate_order`] against its asset's record, if there is one.
/// Without a record an asset trades as [`Asset::without_record`] says, unless `require_listed`.
///
/// # Errors
/// The reason to reject it for.
pub fn validate_asset(
    order: &Order,
    asset: Option<&Asset>,
    require_listed: bool,
) -> Result<(), Reason> {
    if order.action == Action::Cancel {
        return Ok(());
    }
    let (tick_size, lot_size) = match asset {
        None if require_listed => return Err(Reason::Unlisted),
        None => (Asset::DEFAULT_TICK_SIZE, Asset::DEFAULT_LOT_SIZE),
        Some(asset) if asset.status == AssetStatus::Halted => return Err(Reason::Halted),
        Some(asset) => (asset.tick_size, asset.lot_size),
    };
    if has_limit(order) && !order.price.is_some_and(|price| price.is_multiple_of(tick_size)) {
        return Err(Reason::OffTick);
    }
    if order.shares.checked_rem(lot_size) != Some(0) {
        return Err(Reason::OffLot);
    }
    Ok(())
}

fn has_limit(order: &Order) -> bool {
    order.kind == Kind::Limit || order.action == Action::Replace
}

#[cfg(test)]
mod tests {
    use super::super::order::TimeInForce;
    use super::*;

    fn order(action: Action) -> Order {
        Order {
            order_id: Some("1".into()),
            investor_id: Some("Mari".into()),
            asset_id: "asset1".into(),
            current_shares: Some(10),
            shares: 5,
            price: Some(price("5.0")),
            side: Some(Side::Sell),
            action,
            kind: Kind::Limit,
            time_in_force: TimeInForce::Gtc,
        }
    }

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    fn asset(tick_size: &str, lot_size: i64, status: AssetStatus) -> Asset {
        Asset { asset_id: "asset1".into(), tick_size: price(tick_size), lot_size, status }
    }

    const ENTERING: [Action; 2] = [Action::New, Action::Replace];

    #[test]
    fn a_sound_order_passes() {
        for &action in Action::ALL {
            assert_eq!(validate_order(&order(action)), Ok(()));
            assert_eq!(validate_asset(&order(action), None, false), Ok(()));
            let asset = asset("0.5", 5, AssetStatus::Open);
            assert_eq!(validate_asset(&order(action), Some(&asset), true), Ok(()));
        }
    }

    #[test]
    fn shares_must_be_above_zero() {
        for action in ENTERING {
            for shares in [0, -1, i64::MIN] {
                let order = Order { shares, ..order(action) };
                assert_eq!(validate_order(&order), Err(Reason::NonPositiveShares));
            }
        }
    }

    #[test]
    fn a_limit_must_be_above_zero() {
        for action in ENTERING {
            for price in [None, Some(Price::ZERO), Some(price("-5.0"))] {
                let order = Order { price, ..order(action) };
                assert_eq!(validate_order(&order), Err(Reason::NonPositivePrice));
            }
        }
    }

    #[test]
    fn the_price_of_a_market_order_is_ignored_but_not_that_of_a_replace() {
        let market = |action, price| Order { kind: Kind::Market, price, ..order(action) };
        for ignored in [None, Some(Price::ZERO), Some(price("5.00000001"))] {
            let order = market(Action::New, ignored);
            assert_eq!(validate_order(&order), Ok(()));
            assert_eq!(validate_asset(&order, None, false), Ok(()));
        }
        assert_eq!(validate_order(&market(Action::Replace, None)), Err(Reason::NonPositivePrice));
    }

    #[test]
    fn nobody_sells_more_than_they_own() {
        for action in ENTERING {
            let order = |shares, side| Order { shares, side, ..order(action) };
            assert_eq!(validate_order(&order(10, Some(Side::Sell))), Ok(()));
            assert_eq!(
                validate_order(&order(11, Some(Side::Sell))),
                Err(Reason::InsufficientShares)
            );
            assert_eq!(validate_order(&order(11, Some(Side::Buy))), Ok(()));
        }
        let silent = Order { shares: 11, current_shares: None, ..order(Action::Replace) };
        assert_eq!(validate_order(&silent), Ok(()));
    }

    #[test]
    fn a_missing_asset_is_refused_only_where_listing_is_required() {
        for action in ENTERING {
            assert_eq!(validate_asset(&order(action), None, true), Err(Reason::Unlisted));
        }
    }

    #[test]
    fn a_halted_asset_takes_no_orders() {
        let asset = asset("0.01", 1, AssetStatus::Halted);
        for action in ENTERING {
            assert_eq!(validate_asset(&order(action), Some(&asset), false), Err(Reason::Halted));
        }
    }

    #[test]
    fn prices_and_quantities_keep_to_the_steps_of_their_asset() {
        for action in ENTERING {
            let ticks = asset("0.3", 1, AssetStatus::Open);
            assert_eq!(validate_asset(&order(action), Some(&ticks), false), Err(Reason::OffTick));
            let lots = asset("0.01", 2, AssetStatus::Open);
            assert_eq!(validate_asset(&order(action), Some(&lots), false), Err(Reason::OffLot));
            let fine = Order { price: Some(price("5.00001")), ..order(action) };
            assert_eq!(validate_asset(&fine, None, false), Err(Reason::OffTick));
        }
    }

    #[test]
    fn a_cancel_passes_whatever_else_it_says() {
        let cancel =
            Order { shares: -1, price: None, current_shares: Some(0), ..order(Action::Cancel) };
        assert_eq!(validate_order(&cancel), Ok(()));
        assert_eq!(validate_asset(&cancel, None, true), Ok(()));
        let halted = asset("0.3", 7, AssetStatus::Halted);
        assert_eq!(validate_asset(&cancel, Some(&halted), true), Ok(()));
    }
}
