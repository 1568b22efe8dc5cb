//! librdkafka properties under `[kafka]`: passed through, but for those Tidemill owns.

use std::collections::BTreeMap;
use std::fmt;

use super::secret::HIDDEN;

/// Properties for librdkafka, in its own spelling. `Debug` hides the secret ones.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaProperties(BTreeMap<String, String>);

impl KafkaProperties {
    /// Sets a property; the last value wins.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of a property, secrets included.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All properties in the order of their names, secrets included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for KafkaProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &str, value| if is_secret(name) { HIDDEN } else { value };
        f.debug_map().entries(self.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}

/// Whether the value of this property is never shown.
///
/// All of SASL but the mechanism's name, every password, and everything about private keys.
#[must_use]
pub fn is_secret(property: &str) -> bool {
    match property {
        "sasl.mechanism" | "sasl.mechanisms" => false,
        _ => {
            property.starts_with("sasl.")
                || property.starts_with("ssl.key")
                || property.ends_with("password")
                || property.ends_with("secret")
                || property.ends_with("token")
        }
    }
}

/// Why a property may not be passed through, if it may not.
#[must_use]
pub fn reserved(property: &str) -> Option<&'static str> {
    RESERVED.iter().find(|(name, _)| *name == property).map(|(_, instead)| *instead)
}

/// Properties that the protocols of commit and rebalance depend on.
pub static RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set `bootstrap.servers` at the top level"),
    ("metadata.broker.list", "set `bootstrap.servers` at the top level"),
    ("group.id", "it is `application.id`"),
    ("group.instance.id", "it follows from `instance.id`"),
    ("group.protocol", "tasks are assigned by the classic protocol"),
    ("transactional.id", "it follows from `application.id` and `instance.id`"),
    ("transaction.timeout.ms", "set `transaction.timeout.ms` at the top level"),
    ("session.timeout.ms", "set `session.timeout.ms` at the top level"),
    ("heartbeat.interval.ms", "set `heartbeat.interval.ms` at the top level"),
    ("max.poll.interval.ms", "set `max.poll.interval.ms` at the top level"),
    ("retry.backoff.ms", "set `retry.backoff.ms` at the top level"),
    ("retry.backoff.max.ms", "set `retry.backoff.max.ms` at the top level"),
    ("auto.offset.reset", "set `auto.offset.reset` at the top level"),
    ("partition.assignment.strategy", "tasks are placed cooperatively, by `cooperative-sticky`"),
    ("enable.auto.commit", "positions are committed with the results they belong to"),
    ("enable.auto.offset.store", "positions are committed with the results they belong to"),
    ("enable.idempotence", "it follows from `processing.guarantee`"),
    ("isolation.level", "it follows from `processing.guarantee`"),
    ("enable.partition.eof", "restore depends on it"),
    ("partitioner", "keys must land where the Java clients put them"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_sasl_and_private_keys_are_secret_and_the_mechanism_is_not() {
        for name in ["sasl.password", "sasl.username", "ssl.key.pem", "ssl.keystore.password"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["sasl.mechanism", "security.protocol", "ssl.ca.location", "linger.ms"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn debug_hides_secrets_and_shows_the_rest() {
        let mut properties = KafkaProperties::default();
        properties.set("sasl.password", "hunter2");
        properties.set("linger.ms", "20");
        let shown = format!("{properties:?}");
        assert!(!shown.contains("hunter2") && shown.contains("20"), "{shown}");
    }
}
