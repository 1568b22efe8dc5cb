//! `tidemill run`: the exchange on a Kafka cluster, until told to stop.

use tidemill::config::Config;
use tokio::runtime::Handle;

use super::args::RunArgs;
use super::failure::Failure;
use super::logging;
use super::services;
use super::signals::Shutdown;
use super::sources::Sources;

/// Runs the exchange until SIGTERM or SIGINT.
///
/// # Errors
/// A configuration that cannot be used, or an error of the runtime that is not retried.
pub fn run(sources: &Sources, args: &RunArgs) -> Result<(), Failure> {
    let config = sources.with_run_flags(args).config()?;
    logging::start(&config.log)?;
    let runtime = services::start()?;
    let shutdown = Shutdown::on_signals(runtime.handle())?;
    run_exchange(&config, runtime.handle(), shutdown)
}

/// Runs the exchange on the cluster of `config` until `shutdown`.
fn run_exchange(config: &Config, runtime: &Handle, mut shutdown: Shutdown) -> Result<(), Failure> {
    tracing::info!(application = config.application_id, "starting");
    runtime.block_on(shutdown.wait());
    Err(Failure::Failed(
        "the streams runtime is not part of this build".to_owned(),
    ))
}
