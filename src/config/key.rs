//! A configuration key: its name, the values it takes, its default and its meaning.

use std::net::SocketAddr;

/// One row of the [table](super::table) of keys.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted name, as it is written in the file: `commit.interval.ms`.
    pub name: &'static str,
    /// The values it takes.
    pub kind: Kind,
    /// What holds when nobody sets it.
    pub default: Default,
    /// Whether its value is never shown.
    pub secret: bool,
    /// What it means, in sentences fit for the manual.
    pub meaning: &'static str,
}

/// What holds when a key is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// This text, as if it stood in the file.
    Value(&'static str),
    /// Nothing: the key is optional, and the words say what its absence means.
    Absent(&'static str),
    /// Nothing: the key must be set.
    Required,
}

/// The values a key takes. Ranges include both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// A name Kafka accepts for topics and groups: `[a-zA-Z0-9._-]`, at most 249 long.
    Name,
    /// A path of the file system.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Count(i64, i64),
    /// A whole number of milliseconds.
    Millis(i64, i64),
    /// A whole number of bytes; `KiB`, `MiB` and `GiB` may follow it.
    Bytes(i64, i64),
    /// `address:port`, or `off`.
    Listen,
}

impl Key {
    /// The environment variable that sets this key: `TIDEMILL_COMMIT_INTERVAL_MS`.
    #[must_use]
    pub fn variable(&self) -> String {
        let mut variable = String::from(VARIABLE_PREFIX);
        variable.extend(self.name.chars().map(|c| match c {
            '.' | '-' => '_',
            other => other.to_ascii_uppercase(),
        }));
        variable
    }

    /// The unit its value is counted in; empty for words and switches.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Millis(..) => "milliseconds",
            Kind::Bytes(..) => "bytes",
            Kind::Count(..) => "count",
            _ => "",
        }
    }
}

/// What every environment variable of Tidemill starts with.
pub const VARIABLE_PREFIX: &str = "TIDEMILL_";

impl Kind {
    /// The values it takes, in words that complete "expected ...".
    #[must_use]
    pub fn expected(&self) -> String {
        match *self {
            Self::Text => "a text that is not empty".into(),
            Self::Name => "1 to 249 of the characters a-z A-Z 0-9 . _ -".into(),
            Self::Path => "a path".into(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Switch => "true or false".into(),
            Self::Count(low, high) => format!("a whole number{}", range(low, high, "")),
            Self::Millis(low, high) => {
                format!("a whole number of milliseconds{}", range(low, high, ""))
            }
            Self::Bytes(low, high) => format!(
                "a whole number of bytes, or one with KiB, MiB or GiB{}",
                range(low, high, " bytes")
            ),
            Self::Listen => "address:port such as 127.0.0.1:9464, or off".into(),
        }
    }

    /// Checks `text` against the kind.
    ///
    /// # Errors
    /// [`Kind::expected`], when the text is not such a value.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let fits = match *self {
            Self::Text | Self::Path => !text.trim().is_empty(),
            Self::Name => is_kafka_name(text),
            Self::Choice(words) => words.contains(&text),
            Self::Switch => parse_switch(text).is_some(),
            Self::Count(low, high) | Self::Millis(low, high) => {
                text.parse().is_ok_and(|n: i64| (low..=high).contains(&n))
            }
            Self::Bytes(low, high) => parse_bytes(text).is_some_and(|n| (low..=high).contains(&n)),
            Self::Listen => parse_listen(text).is_some(),
        };
        if fits { Ok(()) } else { Err(self.expected()) }
    }
}

fn range(low: i64, high: i64, unit: &str) -> String {
    if high == i64::MAX {
        format!(", at least {low}{unit}")
    } else {
        format!(" from {low} to {high}{unit}")
    }
}

fn is_kafka_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // "." and ".." are legal characters but illegal names: brokers use topics as folders.
    (1..=249).contains(&text.len()) && text.chars().all(legal) && text != "." && text != ".."
}

/// `true` and `false`, and nothing else: `yes`, `1` and `on` are refused, for a word that
/// only some readers take for true is a trap.
#[must_use]
pub fn parse_switch(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// A number of bytes: `65536`, `64KiB`, `64 KiB`.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let text = text.trim();
    for (suffix, unit) in UNITS {
        if let Some(number) = text.strip_suffix(suffix) {
            return number.trim_end().parse::<i64>().ok()?.checked_mul(unit);
        }
    }
    text.parse().ok()
}

/// `Some(None)` is `off`, `Some(Some(address))` where to listen.
#[must_use]
#[allow(clippy::option_option)] // outer: is it legal at all; inner: is there a listener
pub fn parse_listen(text: &str) -> Option<Option<SocketAddr>> {
    if text == "off" {
        return Some(None);
    }
    let text = text
        .strip_prefix("localhost:")
        .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_binary_units_and_refuse_others() {
        assert_eq!(parse_bytes("65536"), Some(65536));
        assert_eq!(parse_bytes("64 KiB"), Some(65536));
        assert_eq!(parse_bytes("2GiB"), Some(2 << 30));
        assert_eq!(parse_bytes("64 MB"), None);
        assert_eq!(parse_bytes("9000000000 GiB"), None, "does not wrap around");
        assert_eq!(parse_bytes("1.5MiB"), None);
    }

    #[test]
    fn listen_takes_addresses_of_both_families_localhost_and_off() {
        assert_eq!(parse_listen("off"), Some(None));
        assert!(parse_listen("127.0.0.1:0").is_some());
        assert!(parse_listen("[::1]:9464").is_some());
        assert_eq!(parse_listen("localhost:80"), parse_listen("127.0.0.1:80"));
        assert_eq!(parse_listen("9464"), None);
        assert_eq!(parse_listen("example.com:80"), None, "names are not looked up");
    }

    #[test]
    fn names_are_what_a_broker_accepts() {
        assert!(Kind::Name.check("orders-dlq_2.x").is_ok());
        for bad in ["", ".", "..", "a b", "ärger", &"x".repeat(250)] {
            assert!(Kind::Name.check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_ends_of_a_range_belong_to_it() {
        let kind = Kind::Count(1, 4);
        assert!(kind.check("1").is_ok() && kind.check("4").is_ok());
        assert_eq!(kind.check("5"), Err("a whole number from 1 to 4".into()));
        assert!(kind.check("0").is_err() && kind.check("2.0").is_err());
    }
}
