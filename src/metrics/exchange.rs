//! What the exchange counts: orders by action and outcome, trades, traded shares, and the depth of
//! its largest books.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use prometheus::GaugeVec;

use super::family::{About, Counter, Family, FloatGauge, Gauge, Registrar, clamp};
use super::registry::{CounterFamily, GaugeFamily, MetricsError};

/// Books shown one by one: those with the most resting orders. The others are in the sums.
const SHOWN_BOOKS: usize = 10;

/// Metrics of the exchange.
pub struct ExchangeMetrics {
    trades: Counter,
    shares: Counter,
    resting: Gauge,
    orders: CounterFamily,
    /// Series by action and outcome, made when the pair first occurs.
    by_outcome: Mutex<HashMap<(String, String), Counter>>,
    books: BookFamilies,
    /// The largest books of each source, and those that are shown.
    largest: Mutex<Largest>,
}

#[derive(Default)]
struct Largest {
    by_source: HashMap<u64, Vec<BookSize>>,
    shown: HashMap<String, BookSeries>,
}

struct BookFamilies {
    orders: GaugeFamily,
    depth: GaugeFamily,
    best: Family<GaugeVec>,
}

/// The series of one book.
struct BookSeries {
    orders: Gauge,
    depth: [Gauge; SIDES.len()],
    best: [FloatGauge; SIDES.len()],
}

const SIDES: [&str; 2] = ["buy", "sell"];

/// How large the book of one asset is. Sides are buyers, then sellers.
#[derive(Debug, Clone, PartialEq)]
pub struct BookSize {
    /// The asset.
    pub asset: String,
    /// Resting orders of both sides.
    pub orders: u64,
    /// Open shares at the best prices of each side.
    pub depth_shares: [u64; SIDES.len()],
    /// The best price of each side; 0 where nobody waits.
    pub best_price: [f64; SIDES.len()],
}

impl BookFamilies {
    fn series(&self, asset: &str) -> BookSeries {
        BookSeries {
            orders: self.orders.series(&[asset]),
            depth: SIDES.map(|side| self.depth.series(&[asset, side])),
            best: SIDES.map(|side| self.best.series(&[asset, side])),
        }
    }
}

impl BookSeries {
    fn set(&self, size: &BookSize) {
        self.orders.set(clamp(size.orders));
        for side in 0..SIDES.len() {
            self.depth[side].set(clamp(size.depth_shares[side]));
            self.best[side].set(size.best_price[side]);
        }
    }
}

impl ExchangeMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, MetricsError> {
        registrar.level("Exchange", "What the exchange does; published once a second.");
        let about = |name, help| About { name, help, labels: &[], streams: "" };
        let trades = registrar.counters(about("exchange_trades_total", "Trades made."))?;
        let shares = registrar
            .counters(about("exchange_traded_shares_total", "Shares that changed hands."))?;
        let resting = registrar.gauges(about(
            "exchange_resting_orders",
            "Orders open in the books of this instance.",
        ))?;
        let orders = registrar.counters(About {
            labels: &["action", "outcome"],
            ..about(
                "exchange_orders_total",
                "Orders by action (new, cancel, replace) and outcome (a status, or the reason of \
                 a rejection).",
            )
        })?;
        let books = BookFamilies {
            orders: registrar.gauges(About {
                labels: &["asset"],
                ..about(
                    "exchange_book_orders",
                    "Resting orders of an asset; the 10 largest books of this instance.",
                )
            })?,
            depth: registrar.gauges(About {
                labels: &["asset", "side"],
                ..about(
                    "exchange_book_depth_shares",
                    "Open shares at the 10 best prices of a side; the 10 largest books.",
                )
            })?,
            best: registrar.float_gauges(About {
                labels: &["asset", "side"],
                ..about(
                    "exchange_book_best_price",
                    "Best price of a side, 0 where nobody waits; the 10 largest books.",
                )
            })?,
        };
        Ok(Self {
            trades: trades.series(&[]),
            shares: shares.series(&[]),
            resting: resting.series(&[]),
            orders,
            by_outcome: Mutex::default(),
            books,
            largest: Mutex::default(),
        })
    }

    /// The largest books of a source, in place of what it said before; none when it ends. An asset
    /// has one source.
    pub fn set_books(&self, source: u64, books: Vec<BookSize>) {
        let mut largest = self.largest.lock().unwrap_or_else(PoisonError::into_inner);
        let Largest { by_source, shown } = &mut *largest;
        if books.is_empty() {
            by_source.remove(&source);
        } else {
            by_source.insert(source, books);
        }
        let mut all: Vec<&BookSize> = by_source.values().flatten().collect();
        all.sort_by(|one, other| {
            other.orders.cmp(&one.orders).then_with(|| one.asset.cmp(&other.asset))
        });
        all.truncate(SHOWN_BOOKS);
        shown.retain(|asset, _| all.iter().any(|size| size.asset == *asset));
        for size in all {
            let series = shown.entry(size.asset.clone());
            series.or_insert_with(|| self.books.series(&size.asset)).set(size);
        }
    }

    /// Orders of this action that had this outcome.
    pub fn orders(&self, action: &str, outcome: &str, orders: u64) {
        let mut series = self.by_outcome.lock().unwrap_or_else(PoisonError::into_inner);
        series
            .entry((action.to_owned(), outcome.to_owned()))
            .or_insert_with(|| self.orders.series(&[action, outcome]))
            .inc_by(orders);
    }

    /// Trades made so far.
    #[must_use]
    pub fn trades(&self) -> u64 {
        self.trades.get()
    }

    /// Orders carried out or refused so far, by outcome.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<String, u64> {
        let series = self.by_outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcomes = BTreeMap::new();
        for ((_, outcome), counter) in &*series {
            *outcomes.entry(outcome.clone()).or_default() += counter.get();
        }
        outcomes
    }

    /// Orders open in the books of this instance.
    #[must_use]
    pub fn resting(&self) -> i64 {
        self.resting.get()
    }

    /// So many orders more, or fewer, are open in the books of one task of this instance.
    pub fn add_resting(&self, orders: i64) {
        self.resting.add(orders);
    }
}

/// What matching counts between two publications, in plain integers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LocalTrading {
    /// Trades made.
    pub trades: u64,
    /// Shares that changed hands.
    pub shares: u64,
}

impl LocalTrading {
    /// Adds the counts to the exchange's metrics and starts anew.
    pub fn publish(&mut self, metrics: &ExchangeMetrics) {
        let Self { trades, shares } = std::mem::take(self);
        metrics.trades.inc_by(trades);
        metrics.shares.inc_by(shares);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Metrics};
    use super::*;

    #[test]
    fn only_the_largest_books_are_shown_whoever_has_them() {
        let metrics = Metrics::new("app", "one").unwrap();
        let exchange = metrics.exchange().unwrap();
        let book = |asset: &str, orders| BookSize {
            asset: asset.to_owned(),
            orders,
            depth_shares: [7, 0],
            best_price: [1.5, 0.0],
        };
        let shown = || {
            let text = metrics.encode(Format::Text);
            text.lines().filter(|line| line.starts_with("tidemill_exchange_book_orders{")).count()
        };
        exchange.set_books(1, (0..8).map(|n| book(&format!("a{n}"), 10 + n)).collect());
        exchange.set_books(2, (0..8).map(|n| book(&format!("b{n}"), n)).collect());
        assert_eq!(shown(), SHOWN_BOOKS);
        let text = metrics.encode(Format::Text);
        assert!(text.contains("tidemill_exchange_book_orders{asset=\"a7\"} 17\n"), "{text}");
        assert!(text.contains("book_best_price{asset=\"b7\",side=\"buy\"} 1.5\n"), "{text}");
        assert!(!text.contains("asset=\"b0\""), "{text}");
        exchange.set_books(1, Vec::new());
        assert_eq!(shown(), 8);
    }
}
