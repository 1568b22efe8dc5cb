//! The layers merged and checked: for every key its effective text and where it came from.

use std::collections::{BTreeMap, btree_map};

use super::error::{ConfigError, Problem};
use super::kafka;
use super::key::{Default, Key, Kind, VARIABLE_PREFIX};
use super::layers::{Entry, Layers, Origin, Surroundings};
use super::secret::{self, HIDDEN};
use super::table;

const KAFKA_PREFIX: &str = "kafka.";
const KAFKA_VARIABLE_PREFIX: &str = "TIDEMILL_KAFKA_";

/// The effective value of one key.
#[derive(Clone)]
pub struct Setting {
    /// Value as text; of a secret, the secret itself.
    text: String,
    /// What may be shown of it.
    shown: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Setting {
    /// The value as it may be shown: a secret is `[hidden]`, or where it is kept.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// Every key that has a value, `kafka.` properties included, each legal by itself.
#[derive(Clone)]
pub struct Settings {
    values: BTreeMap<String, Setting>,
}

impl Settings {
    /// Merges the layers, strongest last, and checks each value by itself.
    ///
    /// # Errors
    /// All problems found: unknown keys, illegal values, missing keys, secrets that cannot
    /// be had. A value that a stronger layer replaces is checked all the same.
    pub fn merge(layers: &Layers, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        let mut merge = Merge { surroundings, values: BTreeMap::new(), problems: Vec::new() };
        merge.defaults();
        for layer in [&layers.preset, &layers.file, &layers.environment, &layers.flags] {
            merge.layer(layer);
        }
        merge.require();
        if merge.problems.is_empty() {
            Ok(Self { values: merge.values })
        } else {
            Err(ConfigError { problems: merge.problems })
        }
    }

    /// Every setting in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.values.iter().map(|(name, setting)| (name.as_str(), setting))
    }

    /// The setting of that name, if it has a value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.values.get(name)
    }

    /// The text of a key; secrets included.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|setting| setting.text.as_str())
    }

    /// The librdkafka properties, without their prefix.
    pub(super) fn kafka(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().filter_map(|(name, setting)| {
            Some((name.strip_prefix(KAFKA_PREFIX)?, setting.text.as_str()))
        })
    }
}

struct Merge<'a> {
    surroundings: &'a Surroundings,
    values: BTreeMap<String, Setting>,
    problems: Vec<Problem>,
}

/// What an entry turned out to name.
enum Named {
    Key(&'static Key),
    Property(String),
}

impl Merge<'_> {
    fn defaults(&mut self) {
        for key in table::keys() {
            if let Default::Value(text) = key.default {
                let (text, shown) = (text.to_owned(), text.to_owned());
                let setting = Setting { text, shown, origin: Origin::Default };
                self.values.insert(key.name.to_owned(), setting);
            }
        }
    }

    fn layer(&mut self, entries: &[Entry]) {
        let mut seen: BTreeMap<String, Origin> = BTreeMap::new();
        for entry in entries {
            let Some(named) = self.identify(entry) else {
                continue;
            };
            let name = match &named {
                Named::Key(key) => key.name.to_owned(),
                Named::Property(property) => format!("{KAFKA_PREFIX}{property}"),
            };
            match seen.entry(name.clone()) {
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(entry.origin.clone());
                }
                // Later flags override earlier ones, as everywhere on a command line.
                btree_map::Entry::Occupied(_) if matches!(entry.origin, Origin::Flag(_)) => {}
                btree_map::Entry::Occupied(first) => {
                    let (origin, first) = (entry.origin.clone(), first.get().clone());
                    self.problems.push(Problem::Twice { key: name, origin, first });
                    continue;
                }
            }
            if let Some(setting) = self.check(&named, &name, entry) {
                self.values.insert(name, setting);
            }
        }
    }

    /// Finds the key or property an entry names, or reports that there is none.
    fn identify(&mut self, entry: &Entry) -> Option<Named> {
        let property = if matches!(entry.origin, Origin::Variable(_)) {
            if let Some(key) = table::keys().find(|key| key.variable() == entry.key) {
                return Some(Named::Key(key));
            }
            // No librdkafka property has an underscore in its name.
            let property = entry.key.strip_prefix(KAFKA_VARIABLE_PREFIX);
            property.map(|name| name.to_ascii_lowercase().replace('_', "."))
        } else {
            if let Some(key) = table::find(&entry.key) {
                return Some(Named::Key(key));
            }
            entry.key.strip_prefix(KAFKA_PREFIX).map(str::to_owned)
        };
        let Some(property) = property else {
            self.problems.push(unknown(entry));
            return None;
        };
        if let Some(instead) = kafka::reserved(&property) {
            let origin = entry.origin.clone();
            self.problems.push(Problem::Reserved { property, origin, instead });
            return None;
        }
        Some(Named::Property(property))
    }

    /// Checks a value by itself and fetches it when it is a secret kept elsewhere.
    fn check(&mut self, named: &Named, name: &str, entry: &Entry) -> Option<Setting> {
        let (secret, kind) = match named {
            Named::Key(key) => (key.secret, key.kind),
            Named::Property(property) => (kafka::is_secret(property), Kind::Text),
        };
        let origin = entry.origin.clone();
        if !secret {
            if let Err(expected) = kind.check(&entry.text) {
                let (key, value) = (name.to_owned(), format!("{:?}", entry.text));
                self.problems.push(Problem::BadValue { key, value, origin, expected });
                return None;
            }
            return Some(Setting { text: entry.text.clone(), shown: entry.text.clone(), origin });
        }
        let reference = secret::is_reference(&entry.text);
        let fetched = if !reference && matches!(origin, Origin::Flag(_)) {
            Err("a secret on the command line can be read by every user of the machine: use \
                 @file:PATH, @env:NAME, the configuration file or the environment"
                .to_owned())
        } else {
            secret::resolve(&entry.text, self.surroundings)
        };
        match fetched {
            Ok(text) => {
                let shown = if reference { entry.text.clone() } else { HIDDEN.to_owned() };
                Some(Setting { text, shown, origin })
            }
            Err(message) => {
                self.problems.push(Problem::Secret { key: name.to_owned(), origin, message });
                None
            }
        }
    }

    fn require(&mut self) {
        for key in table::keys() {
            let named = |problem: &Problem| match problem {
                Problem::BadValue { key: bad, .. } => bad == key.name,
                _ => false,
            };
            let missing = key.default == Default::Required && !self.values.contains_key(key.name);
            // A value that was given but refused is one problem, not two.
            if missing && !self.problems.iter().any(named) {
                self.problems.push(Problem::Missing { key: key.name, variable: key.variable() });
            }
        }
    }
}

fn unknown(entry: &Entry) -> Problem {
    let nearest = if matches!(entry.origin, Origin::Variable(_)) {
        let variables: Vec<_> = table::keys().map(Key::variable).collect();
        // The shared prefix would make every variable look alike.
        let plain = |name: &str| name.trim_start_matches(VARIABLE_PREFIX).to_owned();
        let plains: Vec<_> = variables.iter().map(|name| plain(name)).collect();
        table::nearest_of(&plain(&entry.key), plains.iter().map(String::as_str))
            .map(|name| format!("{VARIABLE_PREFIX}{name}"))
    } else {
        table::nearest(&entry.key).map(str::to_owned)
    };
    Problem::UnknownKey { key: entry.key.clone(), origin: entry.origin.clone(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const NEEDED: &str = "application.id = 'a'\nbootstrap.servers = 'b:1'\n";

    fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
        let owned = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Surroundings::new(owned, |_| Ok("from the file\n".to_owned()))
    }

    fn merge(
        file: &str,
        variables: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Settings, ConfigError> {
        let surroundings = surroundings(variables);
        let mut layers = Layers::new()
            .file(Path::new("t.toml"), &format!("{NEEDED}{file}"))?
            .environment(&surroundings);
        for (key, value) in flags {
            layers = layers.flag(&format!("--set {key}"), key, value);
        }
        Settings::merge(&layers, &surroundings)
    }

    fn failure(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
        match merge(file, variables, flags) {
            Ok(_) => panic!("was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file_which_beats_the_default() {
        let env = [("TIDEMILL_THREADS", "3")];
        let threads = |settings: Settings| settings.text("threads").unwrap().to_owned();
        assert_eq!(threads(merge("", &[], &[]).unwrap()), "1");
        assert_eq!(threads(merge("threads = 2", &[], &[]).unwrap()), "2");
        assert_eq!(threads(merge("threads = 2", &env, &[]).unwrap()), "3");
        assert_eq!(threads(merge("threads = 2", &env, &[("threads", "4")]).unwrap()), "4");
    }

    #[test]
    fn several_problems_are_reported_together_with_line_and_nearest_key() {
        let error =
            failure("comit.interval.ms = 5\nthreads = 0\n", &[("TIDEMILL_THREDS", "1")], &[]);
        assert_eq!(
            error,
            "3 problems in the configuration:\n  \
             t.toml:3: unknown key `comit.interval.ms`; did you mean `commit.interval.ms`?\n  \
             t.toml:4: `threads` is \"0\": expected a whole number from 1 to 1024\n  \
             TIDEMILL_THREDS: unknown key `TIDEMILL_THREDS`; did you mean `TIDEMILL_THREADS`?"
        );
    }

    #[test]
    fn a_missing_required_key_says_how_to_set_it() {
        let nothing = surroundings(&[]);
        let error = Settings::merge(&Layers::new(), &nothing).err().unwrap().to_string();
        assert!(error.contains("`application.id` is not set"), "{error}");
        assert!(error.contains("TIDEMILL_BOOTSTRAP_SERVERS"), "{error}");
    }

    #[test]
    fn librdkafka_properties_pass_through_from_every_source() {
        let settings = merge(
            "[kafka]\nlinger.ms = 20\nenable.gapless.guarantee = false\n",
            &[("TIDEMILL_KAFKA_SECURITY_PROTOCOL", "ssl")],
            &[("kafka.debug", "broker")],
        )
        .unwrap();
        let all: Vec<_> = settings.kafka().collect();
        let expected = [
            ("debug", "broker"),
            ("enable.gapless.guarantee", "false"),
            ("linger.ms", "20"),
            ("security.protocol", "ssl"),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn properties_the_protocols_depend_on_are_refused_with_the_key_to_use() {
        let error = failure("[kafka]\ngroup.id = 'x'\n", &[], &[]);
        assert_eq!(error, "t.toml:4: `kafka.group.id` is not yours to set: it is `application.id`");
    }

    #[test]
    fn a_secret_is_fetched_and_only_its_place_is_shown() {
        let file = "[kafka]\nsasl.password = '@file:/run/p'\n[http]\ntoken = 'hunter2'\n";
        let settings = merge(file, &[], &[]).unwrap();
        assert_eq!(settings.text("kafka.sasl.password"), Some("from the file"));
        assert_eq!(settings.get("kafka.sasl.password").unwrap().shown(), "@file:/run/p");
        assert_eq!(settings.get("http.token").unwrap().shown(), HIDDEN);
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused_without_being_repeated() {
        let error = failure("", &[], &[("http.token", "hunter2")]);
        assert!(error.contains("every user of the machine"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(merge("", &[("T", "x")], &[("http.token", "@env:T")]).is_ok());
    }

    #[test]
    fn the_same_key_twice_in_a_file_is_refused_and_of_two_flags_the_last_wins() {
        let error = failure("http.listen = 'off'\n\"http.listen\" = 'off'\n", &[], &[]);
        assert_eq!(
            error,
            "t.toml:4: `http.listen` was already set in t.toml:3: remove one of them"
        );
        let twice = [("threads", "2"), ("threads", "5")];
        assert_eq!(merge("", &[], &twice).unwrap().text("threads"), Some("5"));
    }
}
