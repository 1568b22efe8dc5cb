//! [`OrderFlow`]: generated orders for the demo, that trade with each other.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill::exchange::{Action, Asset, Kind, Order, Price, Side, TimeInForce};

/// Investors who trade.
const INVESTORS: u32 = 200;
/// Prices are whole cents.
const CENT: i64 = 1_000_000;
/// How far from the middle orders are placed, in cents.
const SPREAD_CENTS: i64 = 20;
/// Orders remembered for cancels, at most.
const REMEMBERED: usize = 4_096;

/// An endless flow of orders; the same seed gives the same orders.
///
/// Of a hundred, about 70 are placed around the middle of their asset, where some of them trade;
/// 15 cross the middle by far and trade at once; 15 cancel an earlier order. The middles walk.
pub struct OrderFlow {
    random: StdRng,
    /// Middle prices in cents, by asset.
    middles: Vec<i64>,
    placed: Vec<Placed>,
    next_id: u64,
}

/// What a cancel must know of an order.
struct Placed {
    order_id: u64,
    investor: u32,
    asset: usize,
}

impl OrderFlow {
    /// A flow over so many assets.
    pub fn new(assets: u32, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let middles = (0..assets).map(|_| random.random_range(1_000..50_000)).collect();
        Self { random, middles, placed: Vec::new(), next_id: 1 }
    }

    /// The reference data of the assets that it trades.
    pub fn assets(&self) -> impl Iterator<Item = Asset> {
        (0..self.middles.len()).map(|asset| Asset {
            tick_size: Price::from_units(CENT),
            ..Asset::without_record(&asset_name(asset))
        })
    }

    /// The next order.
    pub fn next_order(&mut self) -> Order {
        let kind = self.random.random_range(0..100);
        if kind < 15 && !self.placed.is_empty() {
            let at = self.random.random_range(0..self.placed.len());
            return cancel(&self.placed.swap_remove(at));
        }
        self.place(kind < 30)
    }

    /// A new order; a crossing one is priced to trade at once.
    fn place(&mut self, crosses: bool) -> Order {
        let random = &mut self.random;
        let asset = random.random_range(0..self.middles.len());
        let middle = &mut self.middles[asset];
        *middle = (*middle + random.random_range(-2..=2)).max(2 * SPREAD_CENTS);
        let buys = random.random_bool(0.5);
        let away = if crosses { -SPREAD_CENTS } else { random.random_range(-2..SPREAD_CENTS) };
        let cents = if buys { *middle - away } else { *middle + away };
        let shares = random.random_range(1..=100);
        let order =
            Placed { order_id: self.next_id, investor: random.random_range(0..INVESTORS), asset };
        self.next_id += 1;
        let sent = Order {
            order_id: Some(order_name(order.order_id).into()),
            investor_id: Some(investor_name(order.investor).into()),
            asset_id: asset_name(asset).into(),
            current_shares: Some(if buys { 0 } else { shares }),
            shares,
            price: Some(Price::from_units(cents * CENT)),
            side: Some(if buys { Side::Buy } else { Side::Sell }),
            action: Action::New,
            kind: Kind::Limit,
            time_in_force: if crosses { TimeInForce::Ioc } else { TimeInForce::Gtc },
        };
        if !crosses && self.placed.len() < REMEMBERED {
            self.placed.push(order);
        }
        sent
    }
}

fn cancel(order: &Placed) -> Order {
    Order {
        order_id: Some(order_name(order.order_id).into()),
        investor_id: Some(investor_name(order.investor).into()),
        asset_id: asset_name(order.asset).into(),
        current_shares: None,
        shares: 0,
        price: None,
        side: None,
        action: Action::Cancel,
        kind: Kind::Limit,
        time_in_force: TimeInForce::Gtc,
    }
}

fn asset_name(asset: usize) -> String {
    format!("asset{}", asset + 1)
}

fn order_name(order: u64) -> String {
    format!("demo-{order}")
}

fn investor_name(investor: u32) -> String {
    format!("investor{}", investor + 1)
}

#[cfg(test)]
mod tests {
    use tidemill::exchange::{validate_asset, validate_order};

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_orders() {
        let flow = |seed| {
            let mut flow = OrderFlow::new(4, seed);
            (0..100).map(|_| flow.next_order()).collect::<Vec<_>>()
        };
        assert_eq!(flow(7), flow(7));
        assert_ne!(flow(7), flow(8));
    }

    #[test]
    fn its_orders_pass_the_checks_of_their_assets() {
        let mut flow = OrderFlow::new(3, 1);
        let assets: Vec<Asset> = flow.assets().collect();
        for _ in 0..10_000 {
            let order = flow.next_order();
            let asset = assets.iter().find(|asset| asset.asset_id == order.asset_id);
            assert_eq!(validate_order(&order), Ok(()));
            assert_eq!(validate_asset(&order, asset, true), Ok(()));
        }
    }
}
