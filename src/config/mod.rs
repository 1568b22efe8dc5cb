//! Configuration: every key Tidemill knows, where its value came from, and the typed
//! [`Config`] the rest of the program reads.
//!
//! Read in this order:
//!
//! 1. [`key`]: what a key is, and how a text becomes its value.
//! 2. [`table`]: the one table of all keys.
//! 3. [`layers`]: file, environment and flags, collected but not yet judged.
//! 4. [`settings`]: the layers merged and checked against the table.
//! 5. [`tree`]: the typed structs, built from settings.
//! 6. [`kafka`]: librdkafka properties that pass through, and those that may not.
//! 7. [`secret`]: values that are never shown.
//! 8. [`manual`]: the table as a page of documentation.
//! 9. [`error`]: everything that can be wrong, reported together.
//!
//! Only [`Surroundings::of_process`] and [`Layers::read_file`] touch the outside world;
//! all else is a pure function of text.
//!
//! ```
//! use tidemill::config::Config;
//!
//! let config = Config::from_toml(
//!     "example.toml",
//!     r#"
//!     application.id = "totals"
//!     bootstrap.servers = "localhost:9092"
//!     commit.interval.ms = 50
//!
//!     [kafka]
//!     linger.ms = 20
//!     "#,
//! )?;
//! assert_eq!(config.runtime.commit_interval.as_millis(), 50);
//! # Ok::<(), tidemill::config::ConfigError>(())
//! ```

pub mod error;
pub mod kafka;
pub mod key;
pub mod layers;
pub mod manual;
pub mod secret;
pub mod settings;
pub mod table;
pub mod tree;

pub use error::{ConfigError, Problem};
pub use kafka::KafkaProperties;
pub use layers::{Layers, Origin, Surroundings};
pub use secret::Secret;
pub use settings::Settings;
pub use tree::{
    AutoOffsetReset, ChangelogOutOfRange, Config, ErrorsConfig, ExchangeConfig, ExchangeTopics,
    HandlerChoice, HttpConfig, InputOutOfRange, KafkaConfig, LogConfig, LogFormat, Optimization,
    ProcessingGuarantee, RuntimeConfig, SelfTrade, StateConfig, TlsFiles,
};
