//! `tidemill run`: the exchange on a Kafka cluster, until told to stop.

use tidemill::kafka::Librdkafka;
use tidemill::runtime::streams::properties;

use super::args::RunArgs;
use super::failure::Failure;
use super::instance::Instance;
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
    let mut shutdown = Shutdown::on_signals(runtime.handle())?;
    tracing::info!(
        application = config.application_id,
        servers = config.kafka.bootstrap_servers,
        "starting"
    );
    let cluster = Librdkafka::new(properties(&config)).map_err(Failure::failed)?;
    let instance = Instance::start(cluster, &config, runtime.handle())?;
    instance.run_until(shutdown.wait(), runtime.handle())?;
    tracing::info!("stopped");
    Ok(())
}
