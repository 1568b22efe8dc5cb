//! What the exchange counts: orders by action and outcome, trades, traded shares.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::family::{Counter, Gauge, Registrar};
use super::registry::{CounterFamily, MetricsError};

/// Metrics of the exchange.
pub struct ExchangeMetrics {
    trades: Counter,
    shares: Counter,
    resting: Gauge,
    orders: CounterFamily,
    /// Series by action and outcome, made when the pair first occurs.
    by_outcome: Mutex<HashMap<(String, String), Counter>>,
}

impl ExchangeMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            trades: registrar.counters("exchange_trades_total", "Trades made.", &[])?.series(&[]),
            shares: registrar
                .counters("exchange_traded_shares_total", "Shares that changed hands.", &[])?
                .series(&[]),
            resting: registrar
                .gauges(
                    "exchange_resting_orders",
                    "Orders open in the books of this instance.",
                    &[],
                )?
                .series(&[]),
            orders: registrar.counters(
                "exchange_orders_total",
                "Orders by action (new, cancel, replace) and outcome (a status, or the reason of \
                 a rejection).",
                &["action", "outcome"],
            )?,
            by_outcome: Mutex::default(),
        })
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
