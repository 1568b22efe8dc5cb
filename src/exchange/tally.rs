//! [`Tally`]: what a node of the exchange counts, in plain integers until it is published.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use compact_str::CompactString;

use super::book::Book;
use super::order::{Action, Side};
use super::price::Price;
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
    /// The largest books of a task, in place of those it named before; none when it ends. `source`
    /// stands for the task, and an asset's book has one.
    fn books(&self, source: u64, books: &[BookSummary]);
}

/// A book in a few numbers. Sides are buyers, then sellers.
#[derive(Debug, Clone, PartialEq)]
pub struct BookSummary {
    /// What is traded.
    pub asset_id: CompactString,
    /// Resting orders of both sides.
    pub orders: usize,
    /// Open shares at the best prices of each side.
    pub depth_shares: [u64; 2],
    /// The best price of each side; `None` where nobody waits.
    pub best_price: [Option<Price>; 2],
}

/// How many prices of a side count as its depth.
pub const DEPTH_LEVELS: usize = 10;

impl BookSummary {
    fn new(book: &Book) -> Self {
        let of = |side| book.depth(side).take(DEPTH_LEVELS);
        let shares = |side| of(side).map(|level| level.shares).sum::<i128>();
        let sides = [Side::Buy, Side::Sell];
        Self {
            asset_id: book.asset_id().into(),
            orders: book.len(),
            depth_shares: sides.map(|side| u64::try_from(shares(side)).unwrap_or(u64::MAX)),
            best_price: sides.map(|side| of(side).next().map(|level| level.price)),
        }
    }
}

/// Where the exchange publishes what it counts. It may be filled after the exchange started, as the
/// metrics of an instance are made by its start; what was counted before is published then.
pub type MetricsSlot = Arc<OnceLock<Box<dyn ExchangeCounts>>>;

/// How often a tally is published, in milliseconds.
pub(super) const PUBLISH_INTERVAL_MS: i64 = 1_000;

/// How many books a task names.
const NAMED_BOOKS: usize = 10;

/// The next task's number.
static NEXT_SOURCE: AtomicU64 = AtomicU64::new(0);

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
    source: u64,
}

impl Tally {
    pub(super) fn new(metrics: MetricsSlot) -> Self {
        let source = NEXT_SOURCE.fetch_add(1, Ordering::Relaxed);
        Self { metrics, trades: 0, shares: 0, orders: [[0; OUTCOMES]; _], resting: 0, source }
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

    /// Names the largest of this node's books.
    pub(super) fn publish_books<'b>(&self, books: impl Iterator<Item = &'b Book>) {
        let Some(metrics) = self.metrics.get() else {
            return;
        };
        let mut largest: Vec<&Book> = books.filter(|book| !book.is_empty()).collect();
        largest.sort_unstable_by(|one, other| {
            other.len().cmp(&one.len()).then_with(|| one.asset_id().cmp(other.asset_id()))
        });
        largest.truncate(NAMED_BOOKS);
        let summaries: Vec<_> = largest.into_iter().map(BookSummary::new).collect();
        metrics.books(self.source, &summaries);
    }
}
