//! The processor that the side-by-side benchmark runs: each workload, written with the public DSL.
//!
//! The harness's contract (`benches/side_by_side/README.md`) says which environment variables there
//! are and what each workload must produce.

use std::env;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use tidemill::config::Config;
use tidemill::prelude::*;
use tidemill::runtime::Streams;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Failure = Box<dyn std::error::Error>;

/// An order with the benchmark's defaults.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Order {
    order_id: CompactString,
    investor_id: CompactString,
    asset_id: CompactString,
    current_shares: i64,
    shares: i64,
    #[serde(default)]
    price: f64,
    order_type: CompactString,
    #[serde(default = "new")]
    action: CompactString,
    #[serde(default = "limit")]
    kind: CompactString,
    #[serde(default = "good_till_cancelled")]
    time_in_force: CompactString,
}

fn new() -> CompactString {
    CompactString::const_new("NEW")
}

fn limit() -> CompactString {
    CompactString::const_new("LIMIT")
}

fn good_till_cancelled() -> CompactString {
    CompactString::const_new("GTC")
}

/// `passthrough`'s output.
#[derive(Deserialize, Serialize)]
struct WithNotional {
    #[serde(flatten)]
    order: Order,
    notional: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Asset {
    name: String,
    tick: f64,
}

/// `join`'s output.
#[derive(Deserialize, Serialize)]
struct WithAsset {
    #[serde(flatten)]
    order: Order,
    name: String,
    tick: f64,
}

struct Settings {
    orders: String,
    assets: String,
    out: String,
    workload: String,
}

fn main() -> Result<(), Failure> {
    let started = Instant::now();
    tracing_subscriber::fmt()
        .with_env_filter(env::var("LOG_LEVEL").unwrap_or("warn".into()))
        .with_writer(std::io::stderr)
        .init();
    let or = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let settings = Settings {
        orders: or("ORDERS_TOPIC", "orders"),
        assets: or("ASSETS_TOPIC", "assets"),
        out: or("OUT_TOPIC", "out"),
        workload: env::var("WORKLOAD")?,
    };
    let guarantee = match &*or("GUARANTEE", "exactly_once_v2") {
        "exactly_once_v2" => "exactly_once",
        other => other,
    }
    .to_owned();
    let config = Config::from_toml(
        "environment",
        &format!(
            "application.id = {:?}\nbootstrap.servers = {:?}\nstate.dir = {:?}\nthreads = {}\n\
             processing.guarantee = {guarantee:?}\ncommit.interval.ms = {}\n{}",
            env::var("APP_ID")?,
            env::var("BOOTSTRAP")?,
            env::var("STATE_DIR")?,
            or("THREADS", "1"),
            or("COMMIT_MS", "100"),
            or("EXTRA_CONFIG", ""),
        ),
    )?;
    let builder = StreamsBuilder::new();
    declare(&builder, &settings)?;
    let streams = Streams::start(builder.build()?, &config)?;
    let handle = streams.handle();
    let watched = handle.clone();
    std::thread::spawn(move || {
        while !watched.introspect().status().ready {
            std::thread::sleep(Duration::from_millis(2));
        }
        println!("RESTORED {}", started.elapsed().as_millis());
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            if let Ok(mut terminate) = signal(SignalKind::terminate()) {
                terminate.recv().await;
            }
            handle.stop();
        });
    });
    Ok(streams.join()?)
}

fn declare(builder: &StreamsBuilder, settings: &Settings) -> Result<(), Failure> {
    let orders = || builder.stream(&settings.orders, Consumed::with(Utf8, Json::<Order>::new()));
    match &*settings.workload {
        "passthrough" => orders()
            .filter(|_, order| order.shares > 0)
            .map_values(|order| WithNotional { notional: order.price * order.shares as f64, order: order.clone() })
            .to(&settings.out, Produced::with(Utf8, Json::new())),
        workload @ ("count" | "count_nocache") => orders()
            .map(|_, order| (order.investor_id.to_string(), Vec::new()))
            .group_by_key(Grouped::with(Utf8, Bytes).named("by-investor"))
            .count(Materialized::named("count-by-investor", I64).caching(workload == "count"))
            .to_stream()
            .to(&settings.out, Produced::with(Utf8, Nullable(I64))),
        "join" => {
            let assets = Materialized::named("assets", Json::new());
            let assets = builder.table(&settings.assets, Consumed::with(Utf8, Json::<Asset>::new()), assets);
            orders()
                .join(
                    &assets,
                    |_, order, asset| WithAsset { order: order.clone(), name: asset.name.clone(), tick: asset.tick },
                    Joined::new(),
                )
                .to(&settings.out, Produced::with(Utf8, Json::new()));
        }
        "window" => {
            let second = Duration::from_secs(1);
            orders()
                .group_by_key(Grouped::with(Utf8, Json::new()))
                .windowed_by(TimeWindows::of(second))
                .count(Materialized::named("count-by-second", I64).caching(true))
                .to_stream()
                .to(&settings.out, Produced::with(TimeWindowed::new(Utf8, 1_000), Nullable(I64)));
        }
        other => return Err(format!("unknown WORKLOAD: {other}").into()),
    }
    Ok(())
}
