//! From `--config`, the environment and flags to a configuration.

use tidemill::config::{Config, ConfigError, Layers, Settings, Surroundings};

use super::args::{RunArgs, SourceArgs};

/// Where the configuration of this process comes from.
pub struct Sources {
    args: SourceArgs,
    surroundings: Surroundings,
    /// What a command presets and what its own flags set; a `--set` of the same key wins.
    layers: Layers,
}

impl Sources {
    /// The sources that these arguments and this process's environment name.
    pub fn new(args: &SourceArgs) -> Self {
        let surroundings = Surroundings::of_process();
        Self { args: args.clone(), surroundings, layers: Layers::new() }
    }

    /// Adds the flags of `run`.
    #[must_use]
    pub fn with_run_flags(&self, args: &RunArgs) -> Self {
        self.with_flags(&[
            ("--bootstrap-servers", "bootstrap.servers", &args.bootstrap_servers),
            ("--application-id", "application.id", &args.application_id),
            ("--instance-id", "instance.id", &args.instance_id),
            ("--state-dir", "state.dir", &args.state_dir),
            ("--threads", "threads", &args.threads),
            ("--http", "http.listen", &args.http),
        ])
    }

    /// Adds a command's own flags: each with the key that it sets, and its value where it is given.
    #[must_use]
    pub fn with_flags(&self, flags: &[(&str, &str, &Option<String>)]) -> Self {
        let given =
            flags.iter().filter_map(|(flag, key, value)| Some((flag, key, value.as_deref()?)));
        self.with_layers(
            given.fold(self.layers.clone(), |layers, (flag, key, value)| {
                layers.flag(flag, key, value)
            }),
        )
    }

    /// Other defaults, for a command that needs them; the user's settings still win.
    #[must_use]
    pub fn with_presets(&self, command: &'static str, presets: &[(&str, &str)]) -> Self {
        self.with_layers(
            presets.iter().fold(self.layers.clone(), |layers, (key, value)| {
                layers.preset(command, key, value)
            }),
        )
    }

    fn with_layers(&self, layers: Layers) -> Self {
        Self { args: self.args.clone(), surroundings: self.surroundings.clone(), layers }
    }

    /// The effective settings.
    ///
    /// # Errors
    /// Every problem found in the sources.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let mut layers = self.layers.clone().environment(&self.surroundings);
        if let Some(path) = &self.args.config {
            layers = layers.read_file(path, &self.surroundings)?;
        }
        for (key, value) in &self.args.set {
            layers = layers.flag(&format!("--set {key}"), key, value);
        }
        Settings::merge(&layers, &self.surroundings)
    }

    /// The effective configuration.
    ///
    /// # Errors
    /// Every problem found in the sources.
    pub fn config(&self) -> Result<Config, ConfigError> {
        Config::from_settings(&self.settings()?)
    }
}
