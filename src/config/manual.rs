//! The table of keys as a page of documentation: `docs/configuration.md`.

use std::fmt::Write as _;

use super::kafka::RESERVED;
use super::key::{Default, Key, Kind};
use super::table::{SECTIONS, Section};

/// The whole page, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    for section in SECTIONS {
        write_section(&mut page, section);
    }
    page.push_str(PASS_THROUGH);
    for (property, instead) in RESERVED {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{property}` | {instead} |");
    }
    page
}

/// One key for a terminal: name, value range, default and meaning.
#[must_use]
pub fn plain(key: &Key) -> String {
    format!(
        "{}\n  {}\n  default: {}\n  expects: {}\n  environment: {}\n",
        key.name,
        key.meaning,
        default_text(key),
        key.kind.expected(),
        key.variable()
    )
}

/// One key for a program: what [`plain`] says, by field.
#[must_use]
pub fn json(key: &Key) -> serde_json::Value {
    serde_json::json!({
        "key": key.name,
        "meaning": key.meaning,
        "default": default_text(key),
        "expects": key.kind.expected(),
        "environment": key.variable(),
        "secret": key.secret,
    })
}

fn write_section(page: &mut String, section: &Section) {
    let _ = write!(page, "\n## {}\n\n{}\n", section.title, section.about);
    for key in section.keys {
        let _ = write!(
            page,
            "\n### `{}`\n\n{}\n\n- Default: {}\n- Expects: {}{}\n- Environment: `{}`\n",
            key.name,
            key.meaning,
            default_text(key),
            key.kind.expected(),
            if key.secret {
                "; never shown; `@file:PATH` and `@env:NAME` are followed"
            } else {
                ""
            },
            key.variable(),
        );
    }
}

fn default_text(key: &Key) -> String {
    match (key.default, key.kind) {
        (Default::Required, _) => "none, it must be set".to_owned(),
        (Default::Absent(words), _) => words.to_owned(),
        (Default::Value(text), Kind::Millis(..)) => format!("`{text}` ms"),
        (Default::Value(text), _) => format!("`{text}`"),
    }
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from the table in src/config/table.rs; a test compares them. -->

One TOML file (`--config FILE` or `TIDEMILL_CONFIG`), the environment, and flags
(`--set key=value`). Flags win over the environment, the environment over the file, the file
over the defaults. `[http] listen = ...` and `http.listen = ...` are the same key.

```toml
application.id = \"exchange\"
bootstrap.servers = \"kafka-1:9092,kafka-2:9092\"
state.dir = \"/var/lib/tidemill\"
threads = 2

[kafka]
security.protocol = \"sasl_ssl\"
sasl.mechanism = \"SCRAM-SHA-512\"
sasl.username = \"exchange\"
sasl.password = \"@file:/run/secrets/kafka\"
```

An unknown key, a value out of range or two values that contradict each other stop the start
with exit code 2; the message names file and line, what was expected and, for an unknown key,
the nearest known one. All problems are reported together. `tidemill config check` prints the
effective values and where each came from.
";

const PASS_THROUGH: &str = "
## Any librdkafka property

What stands under `[kafka]` goes to every Kafka client as it is, in librdkafka's spelling;
`TIDEMILL_KAFKA_SECURITY_PROTOCOL` sets `security.protocol`. Passwords, `sasl.*` and `ssl.key*`
are never shown, and may be kept elsewhere: `\"@file:/run/secrets/kafka\"` reads a file (one line
break at its end is dropped), `\"@env:NAME\"` a variable. A secret as a literal on the command
line is refused. These properties belong to Tidemill:

| property | instead |
|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_DOCS=1 cargo test` writes the page.
    #[test]
    fn the_page_in_docs_says_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == markdown(), "{path} is stale: run the tests once with UPDATE_DOCS=1");
    }

    #[test]
    fn every_key_is_on_the_page_with_its_variable() {
        let page = markdown();
        for key in super::super::table::keys() {
            assert!(page.contains(&format!("### `{}`", key.name)));
            assert!(page.contains(&key.variable()));
        }
    }
}
