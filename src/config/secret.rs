//! Values that are never shown: not in logs, not in `config check`, not in a panic.

use std::fmt;
use std::path::Path;

use super::layers::Surroundings;

/// A secret text. `Debug` and `Display` show `[hidden]`; only [`Secret::reveal`] gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What stands where a secret would.
pub const HIDDEN: &str = "[hidden]";

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Follows `@file:PATH` and `@env:NAME`; any other text stands for itself.
///
/// One line break at the end of a file is dropped, for editors and `echo` add it.
///
/// # Errors
/// A sentence that says what could not be read and never contains the secret.
pub fn resolve(text: &str, surroundings: &Surroundings) -> Result<String, String> {
    let found = if let Some(path) = text.strip_prefix("@file:") {
        let text = surroundings
            .read(Path::new(path))
            .map_err(|error| format!("cannot read the secret from {path}: {error}"))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        line.strip_suffix('\r').unwrap_or(line).to_owned()
    } else if let Some(name) = text.strip_prefix("@env:") {
        surroundings
            .variable(name)
            .ok_or_else(|| format!("the environment variable {name} is not set"))?
            .to_owned()
    } else {
        text.to_owned()
    };
    if found.is_empty() { Err("the secret is empty".to_owned()) } else { Ok(found) }
}

/// Whether `text` names a place rather than being the secret.
#[must_use]
pub fn is_reference(text: &str) -> bool {
    text.starts_with("@file:") || text.starts_with("@env:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_by_any_formatter() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "[hidden] [hidden] Some([hidden])"
        );
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn a_file_loses_one_line_break_and_no_more() {
        let files = Surroundings::new([], |_| Ok("  pass word\n\n".to_owned()));
        assert_eq!(resolve("@file:/x", &files).as_deref(), Ok("  pass word\n"));
    }

    #[test]
    fn a_missing_source_is_named() {
        let nothing = Surroundings::new([], |_| Err(std::io::ErrorKind::NotFound.into()));
        let error = resolve("@file:/run/key", &nothing).unwrap_err();
        assert!(error.contains("/run/key"), "{error}");
        let error = resolve("@env:PASS", &nothing).unwrap_err();
        assert!(error.contains("PASS"), "{error}");
    }
}
