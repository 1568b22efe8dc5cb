//! Logs on standard error, as text for people or JSON for machines.

use std::io::{self, IsTerminal};

use tidemill::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use super::failure::Failure;

/// Starts logging, for the rest of the process.
///
/// # Errors
/// When `log.level` is not understood, or logging was started before.
pub fn start(config: &LogConfig) -> Result<(), Failure> {
    let builder = fmt().with_env_filter(filter(config)?).with_writer(io::stderr);
    let started = match config.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::Failed(format!("cannot start logging: {error}")))
}

/// What `log.level` lets through.
///
/// # Errors
/// When it is neither a level nor directives by module.
pub fn filter(config: &LogConfig) -> Result<EnvFilter, Failure> {
    EnvFilter::builder().parse(&config.level).map_err(|error| Failure::Setting {
        key: "log.level",
        value: config.level.clone(),
        reason: format!("expected a level such as info, or info,tidemill::kafka=debug ({error})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(level: &str) -> LogConfig {
        LogConfig { format: LogFormat::Text, level: level.to_owned() }
    }

    #[test]
    fn levels_and_directives_are_understood_and_nonsense_is_not() {
        assert!(filter(&at("warn")).is_ok());
        assert!(filter(&at("info,tidemill::kafka=debug")).is_ok());
        assert!(filter(&at("info,tidemill=loud")).is_err());
    }
}
