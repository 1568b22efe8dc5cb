//! Dead letters as JSON lines, which are written to be read, repaired and replayed.
//!
//! | field | meaning |
//! |---|---|
//! | `letter` | where it lies in the dead-letter topic: `"partition:offset"` |
//! | `timestamp` | milliseconds since 1970 |
//! | `source` | topic, partition and offset of the record |
//! | `error` | name, message and place of the error |
//! | `key`, `key_base64` | the record's key |
//! | `value`, `value_text`, `value_base64` | the record's value: JSON, text or bytes |
//! | `headers` | the record's own headers, as text |
//! | `replayed` | whether it was replayed |
//!
//! Of a line that is read, only `letter`, `timestamp`, key and value count.

use std::collections::HashMap;
use std::io::{self, Write};

use serde::Deserialize;
use tidemill::operations::OperationError;
use tidemill::operations::dead_letters::{DeadLetter, LetterPlace};
use tidemill::operations::letter_replay::LetterEdit;

use super::failure::Failure;
use super::json_bytes::{ByteFields, write_key, write_value};
use super::record_lines::LineReader;

/// A place as an operator writes it: `partition:offset`.
///
/// # Errors
/// What it should have been.
pub fn place_of(text: &str) -> Result<LetterPlace, String> {
    let numbers = text.split_once(':').and_then(|(partition, offset)| {
        Some(LetterPlace { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    });
    numbers.ok_or_else(|| format!("{text:?} is no letter: expected PARTITION:OFFSET, as in 0:17"))
}

/// A place as it is shown.
pub fn shown(place: LetterPlace) -> String {
    format!("{}:{}", place.partition, place.offset)
}

/// Writes a letter as one line.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_letter(letter: &DeadLetter, replayed: bool, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{{\"letter\":\"{}\",\"timestamp\":{}", shown(letter.place), letter.timestamp)?;
    out.write_all(b",\"source\":")?;
    serde_json::to_writer(&mut *out, &letter.source)?;
    out.write_all(b",\"error\":")?;
    serde_json::to_writer(&mut *out, &letter.error)?;
    out.write_all(b",")?;
    write_key(letter.key.as_deref(), out)?;
    out.write_all(b",")?;
    write_value(letter.value.as_deref(), out)?;
    let headers: serde_json::Map<_, _> = letter
        .headers
        .iter()
        .map(|header| {
            let text = header.value.as_deref().map(String::from_utf8_lossy);
            (header.name.clone(), serde_json::json!(text))
        })
        .collect();
    out.write_all(b",\"headers\":")?;
    serde_json::to_writer(&mut *out, &headers)?;
    writeln!(out, ",\"replayed\":{replayed}}}")
}

/// The edits of a file of letters.
///
/// # Errors
/// When it cannot be read, or a line is no letter; the line is named.
pub fn read_edits(mut lines: LineReader) -> Result<HashMap<LetterPlace, LetterEdit>, Failure> {
    let (mut edits, mut number) = (HashMap::new(), 0);
    while let Some(line) = lines.next_line()? {
        number += 1;
        let refuse = |reason| Failure::from(OperationError::Line { line: number, reason });
        let (place, edit) = edit_of(line).map_err(refuse)?;
        if edits.insert(place, edit).is_some() {
            return Err(refuse(format!("letter {} has a line already", shown(place))));
        }
    }
    Ok(edits)
}

#[derive(Deserialize)]
struct LetterLine {
    letter: String,
    #[serde(default)]
    timestamp: Option<i64>,
}

fn edit_of(line: &[u8]) -> Result<(LetterPlace, LetterEdit), String> {
    let letter: LetterLine = serde_json::from_slice(line)
        .map_err(|error| format!("not a letter as `dlq list --json` prints it: {error}"))?;
    let fields: ByteFields<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let (key, value) = (fields.key()?, fields.value()?);
    Ok((place_of(&letter.letter)?, LetterEdit { key, value, timestamp: letter.timestamp }))
}

#[cfg(test)]
mod tests {
    use tidemill::operations::dead_letters::{LetterError, LetterSource};
    use tidemill_topology::prelude::Headers;

    use super::*;

    #[test]
    fn a_letter_that_is_written_and_read_back_is_unchanged() {
        let mut headers = Headers::new();
        headers.push("sender", Some(b"a test".to_vec()));
        let letter = DeadLetter {
            place: LetterPlace { partition: 2, offset: 17 },
            timestamp: 1_000,
            key: Some(b"k".to_vec()),
            value: Some(b"{\"shares\":".to_vec()),
            headers,
            source: LetterSource {
                topic: Some("orders".to_owned()),
                partition: Some(0),
                offset: Some(5),
            },
            error: LetterError::default(),
        };
        let mut line = Vec::new();
        write_letter(&letter, true, &mut line).unwrap();
        let text = String::from_utf8_lossy(&line).into_owned();
        assert!(text.contains(r#""value_text":"{\"shares\":""#), "{text}");
        assert!(text.contains(r#""headers":{"sender":"a test"},"replayed":true}"#), "{text}");
        let (place, edit) = edit_of(&line).unwrap();
        assert_eq!(place, letter.place);
        assert_eq!(edit.key, Some(letter.key));
        assert_eq!(edit.value, Some(letter.value));
        assert_eq!(edit.timestamp, Some(1_000));
    }

    #[test]
    fn a_line_that_is_no_letter_is_refused_with_what_it_should_be() {
        assert!(edit_of(b"{}").unwrap_err().contains("dlq list --json"));
        assert!(edit_of(br#"{"letter":"17"}"#).unwrap_err().contains("PARTITION:OFFSET"));
    }
}
