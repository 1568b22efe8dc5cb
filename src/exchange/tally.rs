//! [`Tally`]: what a node of the exchange counts, in plain integers until it is published.

use std::sync::{Arc, OnceLock};

use super::order::Action;
use super::trade::Fill;
use super::update::{Reason, Status};

/// Takes what the exchange counts. Called about once a second from stream threads.
pub trait ExchangeCounts: Send + Sync {
    /// So many trades were made, and so many shares changed hands in them.
    fn trades(&self, trades: u64, shares: u64);
    /// So many orders that ask for `action` (`new`, `cancel`, `replace`) had this outcome: a status,
    /// or the reason of a rejection, in the words of the `order-updates` topic.
    fn orders(&self, action: &str, outcome: &str, orders: u64);
    /// So many orders more, or fewer, rest in the books of a task.
    fn resting(&self, change: i64);
}

/// Where the exchange publishes what it counts. It may be filled after the exchange started, as the
/// metrics of an instance are made by its start; what was counted before is published then.
pub type MetricsSlot = Arc<OnceLock<Box<dyn ExchangeCounts>>>;

/// How often a tally is published, in milliseconds.
pub(super) const PUBLISH_INTERVAL_MS: i64 = 1_000;

const OUTCOMES: usize = Status::ALL.len() + Reason::ALL.len();

/// Counts since the last publication.
pub(super) struct Tally {
    metrics: MetricsSlot,
    trades: u64,
    shares: u64,
    /// By action, then by status, rejections by their reason behind the statuses.
    orders: [[u64; OUTCOMES]; Action::ALL.len()],
    /// What this node last added to the gauge of resting orders.
    resting: i64,
}

impl Tally {
    pub(super) fn new(metrics: MetricsSlot) -> Self {
        Self { metrics, trades: 0, shares: 0, orders: [[0; OUTCOMES]; _], resting: 0 }
    }

    /// Counts a trade.
    pub(super) fn trade(&mut self, fill: &Fill<'_>) {
        self.trades += 1;
        self.shares = self.shares.saturating_add(fill.shares.unsigned_abs());
    }

    /// Counts what became of a command.
    pub(super) fn order(&mut self, action: Action, status: Status, reason: Option<Reason>) {
        let outcome = match (status, reason) {
            (Status::Rejected, Some(reason)) => Status::ALL.len() + reason as usize,
            _ => status as usize,
        };
        self.orders[action as usize][outcome] += 1;
    }

    /// Adds the counts to the metrics and starts anew; `resting` orders lie in this node's books.
    pub(super) fn publish(&mut self, resting: usize) {
        let Some(metrics) = self.metrics.get() else {
            return;
        };
        metrics.trades(std::mem::take(&mut self.trades), std::mem::take(&mut self.shares));
        for (action, counts) in Action::ALL.iter().zip(&mut self.orders) {
            let statuses = Status::ALL.iter().map(|status| status.as_str());
            let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
            for (outcome, count) in statuses.chain(reasons).zip(counts) {
                if *count > 0 {
                    metrics.orders(&action.as_str().to_ascii_lowercase(), outcome, *count);
                    *count = 0;
                }
            }
        }
        let resting = i64::try_from(resting).unwrap_or(i64::MAX);
        metrics.resting(resting - self.resting);
        self.resting = resting;
    }
}
