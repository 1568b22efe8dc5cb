//! [`Application`]: the exchange on its cluster, as the commands see it that look after it.

use std::time::Duration;

use tidemill::config::Config;
use tidemill::exchange::{MetricsSlot, exchange_topology};
use tidemill::kafka::{Admin, Cluster, Librdkafka};
use tidemill::operations::{Footprint, OperationError};
use tidemill::runtime::optimized;
use tidemill::runtime::streams::properties;

use super::failure::Failure;
use super::logging;
use super::operation_args::ApplicationArgs;
use super::sources::Sources;

/// How long a broker may take to answer at all.
const REACHED_WITHIN: Duration = Duration::from_secs(10);

/// An application whose cluster answers.
pub struct Application {
    /// Its configuration.
    pub config: Config,
    /// Its cluster.
    pub cluster: Librdkafka,
    /// For its topics and its group.
    pub admin: <Librdkafka as Cluster>::Admin,
}

impl Application {
    /// Reads the configuration and asks the cluster whether it is there. `more` are properties of
    /// the client that the command needs.
    ///
    /// # Errors
    /// A configuration that cannot be used, or brokers that do not answer.
    pub fn open(
        sources: &Sources,
        command: &'static str,
        args: &ApplicationArgs,
        more: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let config = configuration(sources, command, args)?;
        let mut properties = properties(&config);
        for (name, value) in more {
            properties.insert((*name).to_owned(), (*value).to_owned());
        }
        let cluster = Librdkafka::new(properties).map_err(Failure::failed)?;
        let admin = cluster.admin().map_err(Failure::failed)?;
        admin.cluster_id(REACHED_WITHIN).map_err(|error| {
            let servers = &config.kafka.bootstrap_servers;
            let within = REACHED_WITHIN.as_secs();
            Failure::Failed(format!(
                "no broker answers at {servers} within {within} s ({}); check bootstrap.servers, \
                 and that the brokers run and can be reached from here",
                error.code()
            ))
        })?;
        Ok(Self { config, cluster, admin })
    }

    /// Its topics and tasks.
    ///
    /// # Errors
    /// When an input is missing, or the cluster does not answer.
    pub fn footprint(&self) -> Result<Footprint, Failure> {
        let topology = exchange_topology(&self.config.exchange, &MetricsSlot::default())
            .and_then(|topology| optimized(topology, &self.config))
            .map_err(Failure::failed)?;
        Ok(Footprint::find(&self.admin, &topology, &self.config.application_id)?)
    }

    /// How many replicas a topic gets that a command creates; `None` is the broker's default.
    pub fn replication(&self) -> Option<i32> {
        Some(self.config.kafka.replication_factor).filter(|factor| *factor > 0)
    }
}

/// The configuration of a command that looks after an application; starts logging.
///
/// # Errors
/// A configuration that cannot be used.
pub fn configuration(
    sources: &Sources,
    command: &'static str,
    args: &ApplicationArgs,
) -> Result<Config, Failure> {
    // What the client library has to say is mostly said by the error that follows.
    let presets = [("log.level", "error")];
    let flags = [
        ("--bootstrap-servers", "bootstrap.servers", &args.bootstrap_servers),
        ("--application-id", "application.id", &args.application_id),
    ];
    let config = sources.with_presets(command, &presets).with_flags(&flags).config()?;
    logging::start(&config.log)?;
    Ok(config)
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::ActiveMembers { .. } => Self::Active(error.to_string()),
            other => Self::failed(other),
        }
    }
}
