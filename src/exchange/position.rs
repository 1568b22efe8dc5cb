//! A [`Position`]: what one investor bought and sold of one asset.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::order::Side;
use super::price::{Amount, Price};
use super::trade::Trade;

/// Whose position in what: the key of the `positions` topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holding {
    /// The investor.
    pub investor_id: CompactString,
    /// The asset.
    pub asset_id: CompactString,
}

/// One of the two sides of a trade: what it does to one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionChange {
    /// Whether the shares came or went.
    pub side: Side,
    /// How many; above 0.
    pub shares: i64,
    /// What each of them cost.
    pub price: Price,
    /// When, in milliseconds since the epoch.
    pub timestamp: i64,
}

impl PositionChange {
    /// Both sides of a trade, the buyer's first. Who trades with themselves has both.
    #[must_use]
    pub fn of(trade: &Trade) -> [(Holding, Self); 2] {
        let fill = trade.as_fill();
        [(Side::Buy, fill.buyer()), (Side::Sell, fill.seller())].map(|(side, party)| {
            let holding =
                Holding { investor_id: party.investor_id.into(), asset_id: trade.asset_id.clone() };
            let change =
                Self { side, shares: trade.shares, price: trade.price, timestamp: trade.timestamp };
            (holding, change)
        })
    }
}

/// Sums over all trades of an investor in an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Turnover {
    /// Shares bought.
    pub bought: i128,
    /// Shares sold.
    pub sold: i128,
    /// Money paid for the shares bought.
    pub cost: Amount,
    /// Money received for the shares sold.
    pub proceeds: Amount,
    /// Latest timestamp of the trades, in milliseconds since the epoch; 0 before the first.
    pub timestamp: i64,
}

impl Turnover {
    /// Takes the next change in.
    pub fn add(&mut self, change: &PositionChange) {
        let shares = i128::from(change.shares);
        let money = change.price.times(change.shares);
        match change.side {
            Side::Buy => {
                self.bought += shares;
                self.cost = self.cost.plus(money);
            }
            Side::Sell => {
                self.sold += shares;
                self.proceeds = self.proceeds.plus(money);
            }
        }
        self.timestamp = self.timestamp.max(change.timestamp);
    }
}

/// One record of the `positions` topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The investor.
    pub investor_id: CompactString,
    /// The asset.
    pub asset_id: CompactString,
    /// Shares bought less shares sold: what trading changed, not what the investor owns.
    pub shares: i128,
    /// Shares bought.
    pub bought: i128,
    /// Shares sold.
    pub sold: i128,
    /// Money paid for the shares bought.
    pub cost: Amount,
    /// Money received for the shares sold.
    pub proceeds: Amount,
    /// Latest timestamp of the trades, in milliseconds since the epoch.
    pub timestamp: i64,
}

impl Position {
    /// The position that these sums come to.
    #[must_use]
    pub fn new(holding: &Holding, sums: &Turnover) -> Self {
        let Turnover { bought, sold, cost, proceeds, timestamp } = *sums;
        Self {
            investor_id: holding.investor_id.clone(),
            asset_id: holding.asset_id.clone(),
            shares: bought - sold,
            bought,
            sold,
            cost,
            proceeds,
            timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trade::Party;
    use super::*;

    fn change(side: Side, price: &str, shares: i64, timestamp: i64) -> PositionChange {
        let price = price.parse().unwrap();
        PositionChange { side, shares, price, timestamp }
    }

    fn holding(investor_id: &str) -> Holding {
        Holding { investor_id: investor_id.into(), asset_id: "asset1".into() }
    }

    #[test]
    fn a_position_sums_both_ways_of_trading() {
        let mut sums = Turnover::default();
        sums.add(&change(Side::Buy, "5.0", 5, 20));
        sums.add(&change(Side::Buy, "0.1", 3, 30));
        sums.add(&change(Side::Sell, "6.25", 10, 10));
        let position = Position::new(&holding("Celia"), &sums);
        let json = r#"{"investor_id":"Celia","asset_id":"asset1","shares":-2,"bought":8,"sold":10,"cost":25.3,"proceeds":62.5,"timestamp":30}"#;
        assert_eq!(serde_json::to_string(&position).unwrap(), json);
        assert_eq!(serde_json::from_str::<Position>(json).unwrap(), position);
    }

    #[test]
    fn a_trade_changes_the_positions_of_its_buyer_and_its_seller() {
        let party =
            |investor_id: &str| Party { order_id: "1".into(), investor_id: investor_id.into() };
        let trade = Trade {
            asset_id: "asset1".into(),
            number: 1,
            price: "5.0".parse().unwrap(),
            shares: 5,
            maker: party("Mari"),
            taker: party("Celia"),
            taker_side: Side::Buy,
            timestamp: 7,
        };
        let bought = (holding("Celia"), change(Side::Buy, "5.0", 5, 7));
        let sold = (holding("Mari"), change(Side::Sell, "5.0", 5, 7));
        assert_eq!(PositionChange::of(&trade), [bought, sold]);
    }

    #[test]
    fn a_trade_with_oneself_leaves_the_shares_as_they_were() {
        let mut sums = Turnover::default();
        sums.add(&change(Side::Buy, "5.0", 5, 1));
        sums.add(&change(Side::Sell, "5.0", 5, 1));
        let position = Position::new(&holding("Mari"), &sums);
        assert_eq!((position.shares, position.cost), (0, position.proceeds));
    }

    #[test]
    fn the_largest_trades_neither_wrap_nor_panic() {
        let mut sums = Turnover::default();
        for _ in 0..3 {
            sums.add(&change(Side::Buy, "92233720368.54775807", i64::MAX, 1));
        }
        assert_eq!(sums.bought, 3 * i128::from(i64::MAX));
        assert_eq!(sums.cost.units(), i128::MAX);
        let json = serde_json::to_string(&sums).unwrap();
        assert_eq!(serde_json::from_str::<Turnover>(&json).unwrap(), sums);
    }
}
