//! What can be wrong with a configuration. All problems are reported together.

use std::path::PathBuf;

use super::layers::Origin;

/// A configuration that cannot be used, with every problem found in it.
#[derive(Debug, thiserror::Error)]
#[error("{}", describe(problems))]
pub struct ConfigError {
    /// At least one problem, in the order of their origin.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration file: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: not valid TOML: {message}")]
    Syntax {
        /// File and line.
        origin: Origin,
        /// What the parser expected.
        message: String,
    },
    /// No such key.
    #[error("{origin}: unknown key `{key}`{}", hint(nearest.as_deref()))]
    UnknownKey {
        /// As it was written.
        key: String,
        /// Where.
        origin: Origin,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// The key is known, its value is not one it takes.
    #[error("{origin}: `{key}` is {value}: expected {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// What was given, quoted, or hidden when it is a secret.
        value: String,
        /// Where.
        origin: Origin,
        /// What it takes.
        expected: String,
    },
    /// The same key twice in one source.
    #[error("{origin}: `{key}` was already set in {first}: remove one of them")]
    Twice {
        /// The key.
        key: String,
        /// The second place.
        origin: Origin,
        /// The first place.
        first: Origin,
    },
    /// A key without which nothing can start.
    #[error(
        "`{key}` is not set: put it into the configuration file, set {variable}, or pass \
         --set {key}=VALUE"
    )]
    Missing {
        /// The key.
        key: &'static str,
        /// Its environment variable.
        variable: String,
    },
    /// A librdkafka property that Tidemill sets itself.
    #[error("{origin}: `kafka.{property}` is not yours to set: {instead}")]
    Reserved {
        /// The property, without `kafka.`.
        property: String,
        /// Where.
        origin: Origin,
        /// What to do instead.
        instead: &'static str,
    },
    /// A secret that could not be fetched, or must not be given this way.
    #[error("{origin}: `{key}`: {message}")]
    Secret {
        /// The key.
        key: String,
        /// Where.
        origin: Origin,
        /// What went wrong; never the secret.
        message: String,
    },
    /// Two values that contradict each other.
    #[error("{origin}: `{key}` is {value}, but {rule}")]
    Contradiction {
        /// The key to change.
        key: &'static str,
        /// Its value.
        value: String,
        /// Where it was set.
        origin: Origin,
        /// The rule that is broken.
        rule: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `tidemill config keys` lists all keys".to_owned(),
        |name| format!("; did you mean `{name}`?"),
    )
}

fn describe(problems: &[Problem]) -> String {
    match problems {
        [only] => only.to_string(),
        many => {
            let mut text = format!("{} problems in the configuration:", many.len());
            for problem in many {
                text.push_str("\n  ");
                text.push_str(&problem.to_string());
            }
            text
        }
    }
}
