//! The processor that the side-by-side benchmark runs: each workload, written with the public DSL.
//!
//! `benches/side_by_side/README.md` says which environment variables there are and what each
//! workload must produce. Beyond those: `COMMIT_MS` (100), `LOG_LEVEL` (warn) and `EXTRA_CONFIG`,
//! lines of TOML that are added to the configuration.

mod json_object;
mod matching;
mod order;
mod workloads;

use std::env;
use std::time::{Duration, Instant};

use tidemill::config::Config;
use tidemill::runtime::Streams;

use crate::workloads::{Topics, topology};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let started = Instant::now();
    tracing_subscriber::fmt()
        .with_env_filter(or("LOG_LEVEL", "warn"))
        .with_writer(std::io::stderr)
        .init();
    let topics = Topics {
        orders: or("ORDERS_TOPIC", "orders"),
        assets: or("ASSETS_TOPIC", "assets"),
        out: or("OUT_TOPIC", "out"),
        trades: or("TRADES_TOPIC", "trades"),
        updates: or("UPDATES_TOPIC", "order-updates"),
    };
    let workload = env::var("WORKLOAD")?;
    let topology =
        topology(&workload, &topics).ok_or_else(|| format!("unknown WORKLOAD: {workload}"))??;
    let streams = Streams::start(topology, &config()?)?;

    let handle = streams.handle();
    std::thread::spawn(move || {
        while !handle.introspect().status().ready {
            std::thread::sleep(Duration::from_millis(2));
        }
        #[allow(clippy::print_stdout, reason = "the harness reads this line")]
        {
            println!("RESTORED {}", started.elapsed().as_millis());
        }
    });
    stop_on_sigterm(&streams)?;
    Ok(streams.join()?)
}

/// What a variable says, or a default.
fn or(variable: &str, default: &str) -> String {
    env::var(variable).unwrap_or_else(|_| default.to_owned())
}

fn config() -> Result<Config, Failure> {
    let guarantee = match &*or("GUARANTEE", "exactly_once_v2") {
        "exactly_once_v2" => "exactly_once".to_owned(),
        other => other.to_owned(),
    };
    let lines = format!(
        "application.id = {:?}\n\
         bootstrap.servers = {:?}\n\
         state.dir = {:?}\n\
         threads = {}\n\
         processing.guarantee = {guarantee:?}\n\
         commit.interval.ms = {}\n\
         {}",
        env::var("APP_ID")?,
        env::var("BOOTSTRAP")?,
        env::var("STATE_DIR")?,
        or("THREADS", "1"),
        or("COMMIT_MS", "100"),
        or("EXTRA_CONFIG", ""),
    );
    Ok(Config::from_toml("environment", &lines)?)
}

fn stop_on_sigterm(streams: &Streams) -> Result<(), Failure> {
    let handle = streams.handle();
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
    Ok(())
}
