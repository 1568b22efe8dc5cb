//! `tidemill topology`: the exchange's topology as text, JSON or Mermaid, and what an upgrade to it
//! would break.

use std::fs;
use std::path::Path;

use tidemill::config::Config;
use tidemill::exchange::{MetricsSlot, exchange_topology};
use tidemill::prelude::{Description, Topology};
use tidemill::runtime::optimized;

use super::args::{TopologyArgs, TopologyForm};
use super::failure::Failure;
use super::output;
use super::sources::Sources;

/// Prints the topology that the configuration gives, or its differences from a saved one.
///
/// # Errors
/// A configuration that cannot be used, a saved description that cannot be read or that the
/// topology breaks, and standard output that cannot be written.
pub fn topology(sources: &Sources, args: &TopologyArgs) -> Result<(), Failure> {
    // The topology does not depend on a cluster, so none need be named.
    let presets = [("application.id", "tidemill"), ("bootstrap.servers", "none")];
    let config = sources.with_presets("topology", &presets).config()?;
    let topology = built(&config)?;
    match &args.against {
        Some(saved) => compare(&topology, saved, args.format),
        None => output::write(&described(&topology.describe(), args.format)),
    }
}

/// The topology that `run` runs with this configuration.
fn built(config: &Config) -> Result<Topology, Failure> {
    exchange_topology(&config.exchange, &MetricsSlot::default())
        .and_then(|topology| optimized(topology, config))
        .map_err(Failure::failed)
}

/// The description in the given form, with a line break at its end.
fn described(description: &Description, form: TopologyForm) -> String {
    let text = match form {
        TopologyForm::Text => description.to_string(),
        TopologyForm::Json => format!("{:#}", description.to_json()),
        TopologyForm::Mermaid => description.to_mermaid(),
    };
    format!("{}\n", text.trim_end())
}

/// Prints what differs from the saved description; fails if something breaks.
fn compare(topology: &Topology, path: &Path, form: TopologyForm) -> Result<(), Failure> {
    let text = fs::read_to_string(path)
        .map_err(Failure::io(format!("read the saved topology {}", path.display())))?;
    let saved: Description =
        text.parse().map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    let comparison = topology.compare(&saved);
    let shown = match form {
        TopologyForm::Json => format!("{:#}\n", comparison.to_json()),
        TopologyForm::Text | TopologyForm::Mermaid => comparison.to_string(),
    };
    output::write(&shown)?;
    if comparison.breaks() { Err(Failure::Breaks) } else { Ok(()) }
}
