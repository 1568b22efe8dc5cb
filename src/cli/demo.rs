//! `tidemill demo`: broker, generated orders and the exchange in one process.

use std::time::Duration;

use tidemill::config::Config;
use tokio::runtime::Handle;

use super::args::DemoArgs;
use super::failure::Failure;
use super::logging;
use super::services;
use super::signals::Shutdown;
use super::sources::Sources;

/// Runs the demo until --seconds are over or a signal comes.
///
/// # Errors
/// A configuration that cannot be used, an error of the runtime, or no trade at all.
pub fn demo(sources: &Sources, args: &DemoArgs) -> Result<(), Failure> {
    let state = std::env::temp_dir().join(format!("tidemill-demo-{}", std::process::id()));
    let presets = [
        ("application.id", "tidemill-demo"),
        ("instance.id", "demo"),
        // The command replaces it by the address of its own broker.
        ("bootstrap.servers", "in-process"),
        ("state.dir", &*state.to_string_lossy()),
        ("log.level", "warn"),
    ];
    let config = sources.with_presets("demo", &presets).config()?;
    logging::start(&config.log)?;
    let runtime = services::start()?;
    let shutdown = Shutdown::on_signals(runtime.handle())?;
    run_demo(&config, args, runtime.handle(), shutdown)
}

/// Starts the broker, sends orders, runs the exchange on them and sums up.
fn run_demo(
    config: &Config,
    args: &DemoArgs,
    runtime: &Handle,
    mut shutdown: Shutdown,
) -> Result<(), Failure> {
    tracing::info!(
        application = config.application_id,
        rate = args.rate,
        "starting"
    );
    shutdown.wait_for(
        runtime,
        args.seconds.map_or(Duration::MAX, Duration::from_secs),
    );
    Err(Failure::Failed(
        "the streams runtime is not part of this build".to_owned(),
    ))
}
