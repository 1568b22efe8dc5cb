//! An instance of the exchange on a Kafka cluster, with HTTP beside it: what `run` and `demo` run.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tidemill::config::Config;
use tidemill::exchange::{
    AssetDepth, BOOKS, BookSummary, ExchangeCounts, MetricsSlot, Price, exchange_handlers,
    exchange_topology,
};
use tidemill::http::Server;
use tidemill::kafka::Cluster;
use tidemill::metrics::{BookSize, ExchangeMetrics, LocalTrading};
use tidemill::runtime::{RuntimeError, Streams, StreamsHandle, handlers};
use tidemill::status::{
    InstanceStatus, Introspect, Query, QueryError, StorePart, StoreQuestion, TopologyFormat, Totals,
};
use tidemill_topology::store::bytes::prefix_end;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::failure::Failure;
use super::order_entry;
use super::order_sender::OrderSender;
use super::trade_feed::TradeFeed;

/// A running exchange. Stop it with [`stop`](Self::stop), or it runs on with its process.
pub struct Instance {
    streams: StreamsHandle,
    metrics: Arc<ExchangeMetrics>,
    ended: oneshot::Receiver<Result<(), RuntimeError>>,
    serving: Option<Serving>,
}

/// HTTP, and what its clients use of the exchange.
struct Serving {
    server: Server,
    orders: Arc<OrderSender>,
    /// Ends the readers of trades.
    end_feed: Box<dyn FnOnce() + Send>,
}

impl Instance {
    /// Starts the exchange of `config` on `cluster`, and its HTTP server; both run beside the
    /// caller.
    ///
    /// # Errors
    /// When the state folder or the HTTP address cannot be used. Whatever the cluster says comes
    /// out of [`ended`](Self::ended).
    pub fn start(
        cluster: impl Cluster,
        config: &Config,
        runtime: &Handle,
    ) -> Result<Self, Failure> {
        let counts = MetricsSlot::default();
        let topology = exchange_topology(&config.exchange, &counts).map_err(Failure::failed)?;
        let on_errors = exchange_handlers(&config.exchange, &handlers(config));
        let streams = Streams::start_on(cluster.clone(), topology, config, on_errors)
            .map_err(Failure::failed)?;
        let handle = streams.handle();
        let metrics = Arc::new(handle.metrics().exchange().map_err(Failure::failed)?);
        // The slot is new and filled here alone.
        let _ = counts.set(Box::new(Published(Arc::clone(&metrics))));
        let (end, ended) = oneshot::channel();
        let waiting = move || {
            // Nobody may be left to hear of it, at the end of the process.
            let _ = end.send(streams.join());
        };
        std::thread::Builder::new()
            .name("tidemill-join".to_owned())
            .spawn(waiting)
            .map_err(Failure::io("start a thread"))?;
        let serving = config
            .http
            .listen
            .map(|address| Serving::start(cluster, config, address, &handle, runtime))
            .transpose()?;
        if let Some(serving) = &serving {
            handle.advertise(&serving.server.address().to_string());
        }
        Ok(Self { streams: handle, metrics, ended, serving })
    }

    /// Where HTTP is served, unless it is off.
    pub fn address(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|serving| serving.server.address())
    }

    /// What the exchange counts.
    pub fn metrics(&self) -> &Arc<ExchangeMetrics> {
        &self.metrics
    }

    /// Waits until `stop` is done or the instance ends by itself, which is an error. Then stops
    /// it, commits, and closes HTTP.
    ///
    /// # Errors
    /// What ended the instance.
    pub fn run_until(
        mut self,
        stop: impl Future<Output = ()>,
        runtime: &Handle,
    ) -> Result<(), Failure> {
        let ended = runtime.block_on(async {
            tokio::select! {
                () = stop => None,
                ended = &mut self.ended => Some(ended),
            }
        });
        let ended = match ended {
            Some(ended) => ended,
            None => {
                self.streams.stop();
                runtime.block_on(&mut self.ended)
            }
        };
        if let Some(serving) = self.serving {
            serving.stop(runtime);
        }
        match ended {
            Ok(result) => result.map_err(Failure::of_instance),
            Err(_) => Err(Failure::Failed(
                "the instance ended without a word; the log may say why".to_owned(),
            )),
        }
    }
}

/// The exchange's counts as metrics of the instance.
struct Published(Arc<ExchangeMetrics>);

impl ExchangeCounts for Published {
    fn trades(&self, trades: u64, shares: u64) {
        LocalTrading { trades, shares }.publish(&self.0);
    }

    fn orders(&self, action: &str, outcome: &str, orders: u64) {
        self.0.orders(action, outcome, orders);
    }

    fn resting(&self, change: i64) {
        self.0.add_resting(change);
    }

    fn books(&self, source: u64, books: &[BookSummary]) {
        let sizes = books.iter().map(|book| BookSize {
            asset: book.asset_id.to_string(),
            orders: book.orders as u64,
            depth_shares: book.depth_shares,
            best_price: book.best_price.map(|price| price.map_or(0.0, Price::to_f64)),
        });
        self.0.set_books(source, sizes.collect());
    }
}

impl Serving {
    fn start(
        cluster: impl Cluster,
        config: &Config,
        address: SocketAddr,
        handle: &StreamsHandle,
        runtime: &Handle,
    ) -> Result<Self, Failure> {
        let view: Arc<dyn Introspect> =
            Arc::new(ExchangeView { inner: handle.introspect(), streams: handle.clone() });
        let topics = &config.exchange.topics;
        // Sooner than the server gives up, whose answer could not say what became of the orders.
        let within = config.http.request_timeout * 4 / 5;
        let orders = Arc::new(OrderSender::start(cluster.clone(), &topics.orders, within)?);
        let feed = TradeFeed::new(cluster, &topics.trades);
        let own = vec![order_entry::route(Arc::clone(&orders)), feed.route()];
        let server = runtime
            .block_on(Server::start(&config.http, address, view, own))
            .map_err(Failure::failed)?;
        Ok(Self { server, orders, end_feed: Box::new(move || feed.stop()) })
    }

    fn stop(self, runtime: &Handle) {
        runtime.block_on(self.server.stop());
        self.orders.stop();
        (self.end_feed)();
    }
}

/// Most entries of one book that a query reads. A deeper book is cut at its far end of asks.
const MAX_BOOK_ENTRIES: usize = 4_000_000;

/// The instance as the runtime shows it, and the books, which only the exchange can read.
struct ExchangeView {
    inner: Arc<dyn Introspect>,
    streams: StreamsHandle,
}

impl ExchangeView {
    fn book(&self, asset: &str, depth: usize) -> Result<Value, QueryError> {
        let prefix = AssetDepth::prefix(asset);
        let end = prefix_end(&prefix);
        let entries = self.streams.scan(
            BOOKS,
            asset.as_bytes(),
            &prefix,
            end.as_deref(),
            MAX_BOOK_ENTRIES,
        )?;
        let failed =
            |reason: String| QueryError::Failed { what: format!("the book of {asset}"), reason };
        let depth = AssetDepth::read(asset, depth, entries)
            .map_err(|error| failed(error.to_string()))?
            .ok_or_else(|| QueryError::NotFound(format!("a book of asset {asset}")))?;
        serde_json::to_value(depth).map_err(|error| failed(error.to_string()))
    }
}

impl Introspect for ExchangeView {
    fn status(&self) -> InstanceStatus {
        self.inner.status()
    }

    fn totals(&self) -> Totals {
        self.inner.totals()
    }

    fn metrics(&self, accept: &str) -> (&'static str, String) {
        self.inner.metrics(accept)
    }

    fn topology(&self, format: TopologyFormat) -> String {
        self.inner.topology(format)
    }

    fn holders(&self, question: &StoreQuestion) -> Result<Vec<StorePart>, QueryError> {
        self.inner.holders(question)
    }

    fn query(&self, query: &Query) -> Result<Value, QueryError> {
        match query {
            Query::Book { asset, depth } => self.book(asset, *depth),
            other => self.inner.query(other),
        }
    }
}
