//! What can go wrong in a command, and the exit code it gives.

use std::io::{self, Write as _};
use std::process::ExitCode;

use tidemill::config::ConfigError;
use tidemill::runtime::RuntimeError;

/// A command that did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration cannot be used: exit code 2.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting is legal by its form and still wrong: exit code 2.
    #[error("`{key}` is {value:?}: {reason}")]
    Setting {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// Reading or writing failed: exit code 1, or 0 when the reader of our output went away.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being done, with the file's name.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// An upgrade would lose something, as was printed: exit code 3.
    #[error(
        "the upgrade breaks what stands above; name what was renamed, or reset the application"
    )]
    Breaks,
    /// Instances of the application run, and the command wants none to: exit code 4.
    #[error("{0}")]
    Active(String),
    /// Another process has taken the instance's place, so it is not to be started again: exit code 5.
    #[error("{0}")]
    Replaced(String),
    /// Anything else, already said in full: exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// Wraps an error of the file system; `what` completes "cannot ...".
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Wraps an error whose text says what happened and what to do.
    pub fn failed(error: impl std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            // Many errors repeat their cause in their own words.
            if !text.contains(&inner_text) {
                text.push_str(": ");
                text.push_str(&inner_text);
            }
            cause = inner.source();
        }
        Self::Failed(text)
    }

    /// Wraps what ended an instance.
    pub fn of_instance(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Replaced { .. } => Self::Replaced(error.to_string()),
            other => Self::failed(other),
        }
    }

    /// Tells the user and gives the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            // `tidemill config keys | head` is no failure.
            Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            // Standard error may be closed as well; the exit code still says that it failed.
            other => drop(writeln!(io::stderr(), "tidemill: {other}")),
        }
        match self {
            Self::Config(_) | Self::Setting { .. } => ExitCode::from(2),
            Self::Breaks => ExitCode::from(3),
            Self::Active(_) => ExitCode::from(4),
            Self::Replaced(_) => ExitCode::from(5),
            Self::Io { .. } | Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}
