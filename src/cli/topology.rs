//! `tidemill topology`: the exchange's topology as text, JSON or Mermaid.

use tidemill::config::Config;
use tidemill::exchange::{MetricsSlot, exchange_topology};

use super::args::{TopologyArgs, TopologyForm};
use super::failure::Failure;
use super::output;
use super::sources::Sources;

/// Prints the topology that the configuration gives.
///
/// # Errors
/// A configuration that cannot be used, and standard output that cannot be written.
pub fn topology(sources: &Sources, args: &TopologyArgs) -> Result<(), Failure> {
    // The topology does not depend on a cluster, so none need be named.
    let presets = [("application.id", "tidemill"), ("bootstrap.servers", "none")];
    let config = sources.with_presets("topology", &presets).config()?;
    output::write(&describe(&config, args.format)?)
}

/// The topology in the given form, with a line break at its end.
fn describe(config: &Config, form: TopologyForm) -> Result<String, Failure> {
    let topology = exchange_topology(&config.exchange, &MetricsSlot::default());
    let description = topology.map_err(Failure::failed)?.describe();
    let text = match form {
        TopologyForm::Text => description.to_string(),
        TopologyForm::Json => format!("{:#}", description.to_json()),
        TopologyForm::Mermaid => description.to_mermaid(),
    };
    Ok(format!("{}\n", text.trim_end()))
}
