//! The sources of a configuration, collected with their origin but not yet judged.
//!
//! From the strongest to the weakest: flags, environment, file, what a command presets.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};
use super::key::VARIABLE_PREFIX;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The table of keys.
    Default,
    /// A command that needs another default, such as `demo`.
    Command(&'static str),
    /// Line (from 1) of a file.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Command(name) => write!(f, "preset of `{name}`"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A key, its value as text, and where it was set.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Dotted name; of a variable, the variable's own name.
    pub key: String,
    /// Value as text, whatever its TOML type.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

/// What a configuration may ask of the outside world, taken once so that all else is pure.
#[derive(Debug, Clone)]
pub struct Surroundings {
    variables: BTreeMap<String, String>,
    read: fn(&Path) -> io::Result<String>,
}

impl Surroundings {
    /// The environment and the file system of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables = std::env::vars_os().filter_map(unicode).collect();
        Self { variables, read: |path| std::fs::read_to_string(path) }
    }

    /// Surroundings made of these variables and this way of reading a file.
    pub fn new(
        variables: impl IntoIterator<Item = (String, String)>,
        read: fn(&Path) -> io::Result<String>,
    ) -> Self {
        Self { variables: variables.into_iter().collect(), read }
    }

    /// An environment variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(&self, path: &Path) -> io::Result<String> {
        (self.read)(path)
    }
}

/// The layers of a configuration. Later calls on the same layer add to it.
#[derive(Debug, Default, Clone)]
pub struct Layers {
    pub(super) preset: Vec<Entry>,
    pub(super) file: Vec<Entry>,
    pub(super) environment: Vec<Entry>,
    pub(super) flags: Vec<Entry>,
}

impl Layers {
    /// No layers: every key at its default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another default, for the command of that name.
    #[must_use]
    pub fn preset(mut self, command: &'static str, key: &str, value: &str) -> Self {
        let origin = Origin::Command(command);
        self.preset.push(Entry { key: key.to_owned(), text: value.to_owned(), origin });
        self
    }

    /// A flag, shown as `flag` in errors: `--set threads=4` or `--threads`.
    #[must_use]
    pub fn flag(mut self, flag: &str, key: &str, value: &str) -> Self {
        let origin = Origin::Flag(flag.to_owned());
        self.flags.push(Entry { key: key.to_owned(), text: value.to_owned(), origin });
        self
    }

    /// All variables that start with `TIDEMILL_`, but for those that are not settings.
    #[must_use]
    pub fn environment(mut self, surroundings: &Surroundings) -> Self {
        for (name, value) in &surroundings.variables {
            if is_setting(name) {
                let origin = Origin::Variable(name.clone());
                self.environment.push(Entry { key: name.clone(), text: value.clone(), origin });
            }
        }
        self
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// When it cannot be read or is not TOML.
    pub fn read_file(self, path: &Path, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        match surroundings.read(path) {
            Ok(text) => self.file(path, &text),
            Err(source) => Err(ConfigError {
                problems: vec![Problem::Unreadable { path: path.to_owned(), source }],
            }),
        }
    }

    /// Takes the text of a TOML file; `path` names it in errors.
    ///
    /// Tables and dotted keys are the same thing: `[http] listen = ..`, `http.listen = ..`
    /// and `"http.listen" = ..` set one key.
    ///
    /// # Errors
    /// When it is not TOML.
    pub fn file(mut self, path: &Path, text: &str) -> Result<Self, ConfigError> {
        let lines = Lines { path, text };
        match DeTable::parse(text) {
            Ok(table) => {
                flatten(table.get_ref(), "", &lines, &mut self.file);
                Ok(self)
            }
            Err(error) => Err(ConfigError {
                problems: vec![Problem::Syntax {
                    origin: lines.origin(error.span().unwrap_or(0..0)),
                    message: error.message().to_owned(),
                }],
            }),
        }
    }
}

/// Whether a variable is meant as a setting.
///
/// Kubernetes gives every pod variables named after the services beside it; for a service
/// called `tidemill` they start as settings do (`TIDEMILL_PORT=tcp://..`).
fn is_setting(variable: &str) -> bool {
    let Some(name) = variable.strip_prefix(VARIABLE_PREFIX) else {
        return false;
    };
    let of_kubernetes = name == "PORT"
        || name.starts_with("PORT_")
        || name.starts_with("SERVICE_HOST")
        || name.starts_with("SERVICE_PORT");
    !of_kubernetes && !NOT_SETTINGS.contains(&name)
}

/// `TIDEMILL_CONFIG` names the file; the others belong to the scripts and tests.
const NOT_SETTINGS: [&str; 8] =
    ["CACHE", "CONFIG", "DATA", "GOLDENS", "GOLDENS_ONLY", "GOLDENS_OUT", "GOLDENS_PASSES", "ROOT"];

struct Lines<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Lines<'_> {
    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Origin::File(self.path.to_owned(), before.matches('\n').count() + 1)
    }
}

fn flatten(table: &DeTable<'_>, prefix: &str, lines: &Lines<'_>, entries: &mut Vec<Entry>) {
    let mut inner: Vec<_> = table.iter().collect();
    inner.sort_by_key(|(key, _)| key.span().start);
    for (name, value) in inner {
        let key = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(table) => flatten(table, &format!("{key}."), lines, entries),
            scalar => {
                let origin = lines.origin(name.span());
                entries.push(Entry { key, text: text_of(scalar), origin });
            }
        }
    }
}

/// A TOML value as the text it would be in the environment. Lists are comma separated, as
/// Kafka's own are.
fn text_of(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.as_str().to_owned(), |whole| whole.to_string()),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(values) => {
            let texts: Vec<_> = values.iter().map(|value| text_of(value.get_ref())).collect();
            texts.join(",")
        }
        DeValue::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String, usize)> {
        let layers = Layers::new().file(Path::new("x.toml"), text).unwrap();
        let line = |origin: &Origin| match origin {
            Origin::File(_, line) => *line,
            other => panic!("{other}"),
        };
        layers.file.iter().map(|e| (e.key.clone(), e.text.clone(), line(&e.origin))).collect()
    }

    #[test]
    fn tables_dotted_and_quoted_keys_are_the_same() {
        let found = entries("a.b = 1\n\"c.d\" = true\n[http]\nlisten = 'off'\n");
        let expected = [("a.b", "1", 1), ("c.d", "true", 2), ("http.listen", "off", 4)];
        let expected = expected.map(|(k, v, l)| (k.to_owned(), v.to_owned(), l));
        assert_eq!(found, expected);
    }

    #[test]
    fn numbers_keep_their_value_and_lists_become_comma_separated() {
        let found = entries("a = 1_000\nb = 0x10\nc = ['x:1', 'y:2']\nd = 1.5");
        let texts: Vec<_> = found.iter().map(|(_, text, _)| text.as_str()).collect();
        assert_eq!(texts, ["1000", "16", "x:1,y:2", "1.5"]);
    }

    #[test]
    fn broken_toml_is_reported_with_its_line() {
        let error = Layers::new().file(Path::new("x.toml"), "a = 1\nb = = 2\n").unwrap_err();
        assert!(error.to_string().starts_with("x.toml:2: not valid TOML: "), "{error}");
    }

    #[test]
    fn kubernetes_service_variables_are_not_settings() {
        assert!(is_setting("TIDEMILL_THREADS"));
        for name in ["TIDEMILL_PORT", "TIDEMILL_PORT_9464_TCP", "TIDEMILL_SERVICE_HOST", "HOME"] {
            assert!(!is_setting(name), "{name}");
        }
    }
}
