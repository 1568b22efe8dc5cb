//! `tidemill export` and `tidemill import`: a store's contents as JSON lines.
//!
//! | field | meaning |
//! |---|---|
//! | `partition` | the task's partition; read where it is there |
//! | `key`, `key_base64` | the key, as the changelog has it |
//! | `value`, `value_text`, `value_base64` | the value: JSON, text or bytes; null deletes |
//! | `timestamp` | the entry's, in milliseconds since 1970; left out where its store keeps none |

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde::Deserialize;
use serde_json::json;
use tidemill::operations::OperationError;
use tidemill::operations::store_export::{StoreEntry, export_store};
use tidemill::operations::store_import::{ImportedEntry, StoreImport};

use super::application::Application;
use super::failure::Failure;
use super::json_bytes::{ByteFields, write_key, write_value};
use super::operation_args::{ExportArgs, ImportArgs};
use super::output;
use super::progress::Progress;
use super::record_lines::LineReader;
use super::scratch_folder::ScratchFolder;
use super::sources::Sources;

/// An import is one transaction, so it gets as long as brokers allow by default.
const TRANSACTION_TIMEOUT: (&str, &str) = ("producer.transaction.timeout.ms", "900000");

/// Writes a store's contents.
///
/// # Errors
/// A configuration that cannot be used, an unknown store, or a file that cannot be written.
pub fn export(sources: &Sources, args: &ExportArgs) -> Result<(), Failure> {
    let application = Application::open(sources, "export", &args.application, &[])?;
    let footprint = application.footprint()?;
    let scratch = ScratchFolder::new("export")?;
    let mut out: Box<dyn Write> = match &args.out {
        Some(path) => {
            let file = File::create(path);
            Box::new(file.map_err(Failure::io(format!("create {}", path.display())))?)
        }
        None => Box::new(io::stdout().lock()),
    };
    let mut out = BufWriter::new(&mut out);
    let progress = Progress::open_ended("export");
    let entries = export_store(
        &application.cluster,
        &footprint,
        &args.store,
        scratch.path(),
        |read, all| progress.say(format!("{read} of {all} changelog offsets")),
        |entry| Ok(write_entry(&entry, &mut out)?),
    );
    let entries = match entries {
        Err(OperationError::Sink(error)) => return Err(Failure::io("write the entries")(error)),
        entries => entries?,
    };
    out.flush().map_err(Failure::io("write the entries"))?;
    drop(progress);
    // Standard output may have the entries.
    let summary = match args.json {
        true => json!({ "store": args.store, "entries": entries }).to_string(),
        false => format!("{entries} entries of store {}", args.store),
    };
    writeln!(io::stderr(), "{summary}").map_err(Failure::io("write to standard error"))
}

/// Imports a file into a store.
///
/// # Errors
/// A configuration that cannot be used, instances that run, an unknown store, or a line that is no
/// entry of it.
pub fn import(sources: &Sources, args: &ImportArgs) -> Result<(), Failure> {
    let mut lines = LineReader::open(&args.file)?;
    let application =
        Application::open(sources, "import", &args.application, &[TRANSACTION_TIMEOUT])?;
    let footprint = application.footprint()?;
    let scratch = args.replace.then(|| ScratchFolder::new("import")).transpose()?;
    let progress = match lines.length() {
        Some(bytes) => Progress::towards("import", bytes),
        None => Progress::open_ended("import"),
    };
    let mut number = 0;
    let mut unread = None;
    let entries = std::iter::from_fn(|| {
        progress.set(lines.consumed());
        match lines.next_line() {
            Ok(Some(line)) => {
                number += 1;
                Some(entry_of(line, number))
            }
            Ok(None) => None,
            Err(failure) => {
                unread = Some(failure);
                Some(Err(OperationError::Sink(io::Error::other("the file cannot be read on"))))
            }
        }
    });
    let import = StoreImport {
        footprint: &footprint,
        store: &args.store,
        replace: scratch.as_ref().map(ScratchFolder::path),
    };
    let report = import.run(&application.cluster, &application.admin, entries, args.execute);
    if let Some(failure) = unread {
        return Err(failure);
    }
    let report = report?;
    drop(progress);
    if args.json {
        let mut value = serde_json::to_value(&report).map_err(Failure::failed)?;
        value["executed"] = json!(args.execute);
        return output::json(&value);
    }
    let (verb, next) = match args.execute {
        true => ("imported", ""),
        false => ("would be imported", "Nothing was written. --execute does it.\n"),
    };
    let (written, deleted) = (report.written, report.deleted);
    let store = &args.store;
    output::write(&format!(
        "{written} entries {verb} into store {store}, {deleted} deleted\n{next}"
    ))
}

fn write_entry(entry: &StoreEntry<'_>, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{{\"partition\":{},", entry.partition)?;
    write_key(Some(entry.key), out)?;
    out.write_all(b",")?;
    write_value(entry.value, out)?;
    if let Some(timestamp) = entry.timestamp {
        write!(out, ",\"timestamp\":{timestamp}")?;
    }
    out.write_all(b"}\n")
}

#[derive(Deserialize)]
struct EntryLine {
    #[serde(default)]
    partition: Option<i32>,
    #[serde(default)]
    timestamp: Option<i64>,
}

fn entry_of(line: &[u8], number: u64) -> Result<ImportedEntry, OperationError> {
    let refuse = |reason: String| OperationError::Line { line: number, reason };
    let no_json = |error: serde_json::Error| refuse(format!("not a JSON object: {error}"));
    let entry: EntryLine = serde_json::from_slice(line).map_err(no_json)?;
    let fields: ByteFields<'_> = serde_json::from_slice(line).map_err(no_json)?;
    let key = fields.key().map_err(refuse)?.flatten();
    let value = fields.value().map_err(refuse)?;
    Ok(ImportedEntry {
        partition: entry.partition,
        key: key.ok_or_else(|| refuse("it has no key".to_owned()))?,
        value: value.ok_or_else(|| refuse("it has no value; null deletes".to_owned()))?,
        timestamp: entry.timestamp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_written_and_read_back_is_unchanged() {
        for (key, value, timestamp) in [
            (&b"asset1"[..], Some(&br#"{"shares":5}"#[..]), Some(1_000)),
            (b"\xff", Some(b"\x00\x01"), None),
            (b"k", None, Some(0)),
        ] {
            let entry = StoreEntry { partition: 3, key, value, timestamp };
            let mut line = Vec::new();
            write_entry(&entry, &mut line).unwrap();
            let read = entry_of(line.trim_ascii_end(), 1).unwrap();
            assert_eq!((read.partition, &read.key[..]), (Some(3), key));
            assert_eq!((read.value.as_deref(), read.timestamp), (value, timestamp));
        }
    }

    #[test]
    fn a_line_that_is_no_entry_is_named() {
        for (line, reason) in [
            (&b"17"[..], "JSON object"),
            (br#"{"value":1}"#, "no key"),
            (br#"{"key":null,"value":1}"#, "no key"),
            (br#"{"key":"a"}"#, "null deletes"),
        ] {
            let error = entry_of(line, 7).unwrap_err().to_string();
            assert!(error.starts_with("line 7: ") && error.contains(reason), "{error}");
        }
    }
}
