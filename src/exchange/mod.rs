//! The exchange: orders in, trades out. Its domain, in the order to read it.
//!
//! - What comes in: `price`, `order` and how it is read (`order_scan` if it is plain, `order_json` if
//!   not, `order_layout` from the repartition topic), `asset`, and the checks of `validate`.
//! - What it is matched against: `book` keeps one asset's resting orders, `matching` decides which
//!   of them trade, `books` holds those of a task, `store_format` brings them back after a restart.
//! - What comes out: `trade`, `update`, `candle`, `position`.
//!
//! None of these knows of streams, stores or Kafka: `matching` tells two traits what happened. The
//! rest puts the domain to work:
//!
//! - `topology` is the whole journey of an order; its nodes are `identify`, `judge` and
//!   `match_orders`, which matches through the `engine`, and `refuse_resent` where ids are remembered; `serdes` and `tally` are their tools.
//! - `depth` answers what a book looks like, from the entries of its store.

mod asset;
mod book;
mod books;
mod byte_reader;
mod candle;
mod decimal_text;
mod depth;
mod engine;
mod identify;
mod judge;
mod match_orders;
mod matching;
mod order;
mod order_json;
mod order_layout;
mod order_scan;
mod position;
mod price;
mod refuse_resent;
mod serdes;
pub mod store_format;
mod tally;
mod topology;
mod trade;
mod update;
mod validate;
mod wire_enum;

#[cfg(test)]
mod matching_properties;
#[cfg(test)]
mod matching_tests;
#[cfg(test)]
mod recorder;

pub use asset::{Asset, AssetStatus};
pub use book::{Book, DepthLevel, Header, RestingOrder};
pub use books::{Books, RestoreBooksError};
pub use candle::{Candle, Ohlcv};
pub use decimal_text::{DecimalBuffer, LONGEST_DECIMAL};
pub use depth::{AssetDepth, Level, books_csv};
pub use engine::{MatchEngine, MatchEvents};
pub use identify::{IdentifyOrders, MisplacedOrder};
pub use judge::{JudgedOrder, RefuseOrders};
pub use match_orders::{MatchEvent, MatchOrders};
pub use matching::{
    BookLog, CancelOrder, Command, MatchOutput, NewOrder, ReplaceKeepsPlace, ReplaceOrder, Rules,
    SelfTrade,
};
pub use order::{Action, DecodeError, Kind, MAX_TEXT_BYTES, Order, Side, TimeInForce};
pub use order_layout::{decode_order, encode_order};
pub use position::{Holding, Position, PositionChange, Turnover};
pub use price::{Amount, Price, PriceError};
pub use refuse_resent::{ORDER_IDS, RefuseResent};
pub use serdes::{OrderJson, OrderLayout, Text};
pub use tally::{BookSummary, ExchangeCounts, MetricsSlot};
pub use topology::{BOOKS, exchange_handlers, exchange_topology};
pub use trade::{Fill, Party, Trade};
pub use update::{OrderUpdate, Outcome, Reason, Status};
pub use validate::{validate_asset, validate_order};
