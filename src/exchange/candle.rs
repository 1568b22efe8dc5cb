//! A [`Candle`]: the trades of one asset in one window of time, summed up for a chart.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::price::Price;
use super::trade::Trade;

/// What a window adds up: opening, highest, lowest and closing price, volume and count.
///
/// An asset's trades are folded in the order they were made, so the first and last to come are
/// the opening and the close, also where timestamps go back a little.
///
/// ```
/// # use tidemill::exchange::{Ohlcv, Party, Price, Side, Trade};
/// # let party = || Party { order_id: "1".into(), investor_id: "Mari".into() };
/// # let trade = |units| Trade {
/// #     asset_id: "asset1".into(), number: 1, price: Price::from_units(units), shares: 5,
/// #     maker: party(), taker: party(), taker_side: Side::Buy, timestamp: 0,
/// # };
/// let mut window = Ohlcv::default();
/// window.add(&trade(500_000_000));
/// window.add(&trade(400_000_000));
/// assert_eq!(window.open.to_string(), "5.0");
/// assert_eq!(window.close.to_string(), "4.0");
/// assert_eq!((window.volume, window.trades), (10, 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ohlcv {
    /// Price of the first trade.
    pub open: Price,
    /// The highest price.
    pub high: Price,
    /// The lowest price.
    pub low: Price,
    /// Price of the last trade.
    pub close: Price,
    /// Shares traded. Two trades alone can exceed 64 bits.
    pub volume: i128,
    /// How many trades; 0 before the first, when the prices mean nothing.
    pub trades: u64,
}

impl Ohlcv {
    /// Takes the next trade in.
    pub fn add(&mut self, trade: &Trade) {
        let price = trade.price;
        if self.trades == 0 {
            *self = Self { open: price, high: price, low: price, ..*self };
        }
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.close = price;
        self.volume += i128::from(trade.shares);
        self.trades += 1;
    }
}

/// One record of the `candles` topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candle {
    /// The asset.
    pub asset_id: CompactString,
    /// First millisecond of the window, since the epoch.
    pub window_start: i64,
    /// First millisecond after the window.
    pub window_end: i64,
    /// Price of the first trade.
    pub open: Price,
    /// The highest price.
    pub high: Price,
    /// The lowest price.
    pub low: Price,
    /// Price of the last trade.
    pub close: Price,
    /// Shares traded.
    pub volume: i128,
    /// How many trades.
    pub trades: u64,
}

impl Candle {
    /// The candle of a window, from its first millisecond to before `window_end`.
    #[must_use]
    pub fn new(asset_id: &str, window_start: i64, window_end: i64, sums: &Ohlcv) -> Self {
        let Ohlcv { open, high, low, close, volume, trades } = *sums;
        Self {
            asset_id: asset_id.into(),
            window_start,
            window_end,
            open,
            high,
            low,
            close,
            volume,
            trades,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::Side;
    use super::super::trade::Party;
    use super::*;

    fn trade(price: &str, shares: i64) -> Trade {
        let party = || Party { order_id: "1".into(), investor_id: "Mari".into() };
        Trade {
            asset_id: "asset1".into(),
            number: 1,
            price: price.parse().unwrap(),
            shares,
            maker: party(),
            taker: party(),
            taker_side: Side::Buy,
            timestamp: 0,
        }
    }

    #[test]
    fn a_candle_sums_its_trades_up() {
        let mut sums = Ohlcv::default();
        for (price, shares) in [("5.0", 1), ("7.5", 2), ("4.25", 3), ("6.0", 4)] {
            sums.add(&trade(price, shares));
        }
        let candle = Candle::new("asset1", 60_000, 120_000, &sums);
        let json = r#"{"asset_id":"asset1","window_start":60000,"window_end":120000,"open":5.0,"high":7.5,"low":4.25,"close":6.0,"volume":10,"trades":4}"#;
        assert_eq!(serde_json::to_string(&candle).unwrap(), json);
        assert_eq!(serde_json::from_str::<Candle>(json).unwrap(), candle);
    }

    #[test]
    fn sums_come_back_from_json_equal_beyond_64_bits() {
        let mut sums = Ohlcv::default();
        sums.add(&trade("92233720368.54775807", i64::MAX));
        sums.add(&trade("0.00000001", i64::MAX));
        let json = serde_json::to_string(&sums).unwrap();
        assert!(json.contains("\"volume\":18446744073709551614"), "{json}");
        assert_eq!(serde_json::from_str::<Ohlcv>(&json).unwrap(), sums);
    }
}
