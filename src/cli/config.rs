//! `tidemill config`: check the configuration, list its keys.

use std::fmt::Write as _;

use tidemill::config::key::Key;
use tidemill::config::{Config, Origin, Settings, manual, table};

use super::args::{ConfigArgs, ConfigCommand};
use super::failure::Failure;
use super::output;
use super::sources::Sources;

/// Runs a command on the configuration.
///
/// # Errors
/// Every problem of the configuration.
pub fn config(sources: &Sources, args: &ConfigArgs) -> Result<(), Failure> {
    match &args.command {
        ConfigCommand::Check { json, changed } => check(sources, *json, *changed),
        ConfigCommand::Keys { filter, json } => keys(filter.as_deref().unwrap_or_default(), *json),
    }
}

fn check(sources: &Sources, json: bool, changed: bool) -> Result<(), Failure> {
    let settings = sources.settings()?;
    // Finds the values that contradict each other.
    let config = Config::from_settings(&settings)?;
    super::logging::filter(&config.log)?;
    let wanted = |origin: &Origin| !changed || *origin != Origin::Default;
    output::write(&if json { as_json(&settings, wanted) } else { as_lines(&settings, wanted) })
}

/// `key = "value"  # origin`, aligned; the part before `#` is TOML.
fn as_lines(settings: &Settings, wanted: impl Fn(&Origin) -> bool) -> String {
    let lines: Vec<_> = settings
        .iter()
        .filter(|(_, setting)| wanted(&setting.origin))
        .map(|(name, setting)| (format!("{name} = {:?}", setting.shown()), &setting.origin))
        .collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (line, origin) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line:width$}  # {origin}");
    }
    text
}

fn as_json(settings: &Settings, wanted: impl Fn(&Origin) -> bool) -> String {
    let values: serde_json::Map<_, _> = settings
        .iter()
        .filter(|(_, setting)| wanted(&setting.origin))
        .map(|(name, setting)| {
            let origin = setting.origin.to_string();
            let value = serde_json::json!({ "value": setting.shown(), "origin": origin });
            (name.to_owned(), value)
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Object(values))
}

fn keys(filter: &str, json: bool) -> Result<(), Failure> {
    let wanted: Vec<&Key> = table::keys().filter(|key| key.name.contains(filter)).collect();
    if wanted.is_empty() {
        return Err(Failure::Failed(format!(
            "no key contains {filter:?}; `tidemill config keys` lists all"
        )));
    }
    if json {
        let keys: Vec<_> = wanted.into_iter().map(manual::json).collect();
        return output::json(&keys);
    }
    let text: Vec<String> = wanted.into_iter().map(manual::plain).collect();
    output::write(&text.join("\n"))
}
