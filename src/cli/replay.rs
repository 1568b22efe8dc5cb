//! `tidemill replay`: the exchange's topology over a file of orders, without Kafka.

use tidemill::config::Config;

use super::args::ReplayArgs;
use super::failure::Failure;
use super::logging;
use super::sources::Sources;

/// Runs the file's records through the topology and sums up.
///
/// # Errors
/// A configuration that cannot be used, a file that cannot be read or written.
pub fn replay(sources: &Sources, args: &ReplayArgs) -> Result<(), Failure> {
    let presets = [
        ("application.id", "tidemill-replay"),
        // No broker is ever asked.
        ("bootstrap.servers", "none"),
        ("log.level", "warn"),
    ];
    let config = sources.with_presets("replay", &presets).config()?;
    logging::start(&config.log)?;
    replay_file(&config, args)
}

/// Replays `args.file` under `config`.
fn replay_file(config: &Config, args: &ReplayArgs) -> Result<(), Failure> {
    tracing::info!(file = %args.file.display(), application = config.application_id, "replaying");
    Err(Failure::Failed(
        "the streams runtime is not part of this build".to_owned(),
    ))
}
