//! Writes entries into a store through its changelog, while no instance runs.
//!
//! An instance that starts later restores its stores to the end of their changelogs, whether it
//! kept local state or not, and so has the entries. Everything is one transaction: either all of
//! it is imported or nothing. A crash in between leaves nothing behind, and running it again is
//! safe.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tidemill_topology::record::Headers;
use tidemill_topology::store::StoreKind;
use tidemill_topology::store::spec::ChangelogEntry;
use tidemill_topology::time::Timestamp;

use super::error::OperationError;
use super::footprint::{Footprint, LoggedStore, require_idle};
use super::store_export::{export_store, require_changelog};
use super::transaction::{TransactionalWriter, WrittenRecord};
use crate::kafka::Cluster;
use tidemill_topology::partition::by_key;

/// An entry to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedEntry {
    /// The task's partition; `None` goes by the key, which only plain keys allow.
    pub partition: Option<i32>,
    /// The key, as the changelog has it.
    pub key: Vec<u8>,
    /// The value; `None` deletes the entry.
    pub value: Option<Vec<u8>>,
    /// The entry's timestamp, in milliseconds since 1970; `None` is now.
    pub timestamp: Option<i64>,
}

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Entries written.
    pub written: u64,
    /// Entries deleted.
    pub deleted: u64,
}

/// An import into one store.
#[derive(Clone, Copy, Debug)]
pub struct StoreImport<'a> {
    /// The application.
    pub footprint: &'a Footprint,
    /// The store's name.
    pub store: &'a str,
    /// Deletes what the store has and the import has not; its scratch folder.
    pub replace: Option<&'a Path>,
}

impl StoreImport<'_> {
    /// Imports the entries, if `execute`; else looks whether that would be possible.
    ///
    /// # Errors
    /// When the group has members, there is no such store, an entry is not of its layout, or the
    /// cluster refuses. Nothing is imported then.
    pub fn run<C: Cluster>(
        &self,
        cluster: &C,
        admin: &C::Admin,
        entries: impl Iterator<Item = Result<ImportedEntry, OperationError>>,
        execute: bool,
    ) -> Result<ImportReport, OperationError> {
        let store = self.footprint.store(self.store)?;
        if store.changelog.is_input {
            return Err(OperationError::LoggedElsewhere {
                store: self.store.to_owned(),
                topic: store.changelog.topic.to_string(),
            });
        }
        require_changelog(self.footprint, store)?;
        let application_id = &self.footprint.application_id;
        require_idle(admin, application_id, Duration::ZERO)?;
        let mut target = Target { store, report: ImportReport::default(), writer: None };
        if execute {
            let mut writer = TransactionalWriter::open(cluster, application_id, "import")?;
            writer.begin()?;
            target.writer = Some(writer);
        }
        let written = self
            .write(cluster, entries, &mut target)
            // An instance that started meanwhile has restored without these entries.
            .and_then(|()| require_idle(admin, application_id, Duration::ZERO));
        if let Some(writer) = &mut target.writer {
            match written {
                Ok(()) => writer.commit()?,
                Err(_) => writer.abort(),
            }
        }
        written.map(|()| target.report)
    }

    fn write<C: Cluster>(
        &self,
        cluster: &C,
        entries: impl Iterator<Item = Result<ImportedEntry, OperationError>>,
        target: &mut Target<'_, C::Producer>,
    ) -> Result<(), OperationError> {
        let mut kept = HashSet::new();
        for (line, entry) in (1..).zip(entries) {
            let entry = entry?;
            let partition = target.partition(&entry, line)?;
            target.put(partition, &entry)?;
            if self.replace.is_some() {
                kept.insert((partition, entry.key));
            }
        }
        let Some(scratch) = self.replace else { return Ok(()) };
        let silent = |_, _| {};
        export_store(cluster, self.footprint, self.store, scratch, silent, |present| {
            if present.value.is_none() || kept.contains(&(present.partition, present.key.to_vec()))
            {
                return Ok(());
            }
            let deleted = ImportedEntry {
                partition: Some(present.partition),
                key: present.key.to_vec(),
                value: None,
                timestamp: present.timestamp,
            };
            target.put(present.partition, &deleted)
        })?;
        Ok(())
    }
}

/// The changelog that is written, unless this is only a rehearsal.
struct Target<'a, P> {
    store: LoggedStore<'a>,
    report: ImportReport,
    writer: Option<TransactionalWriter<P>>,
}

impl<P: crate::kafka::Producer> Target<'_, P> {
    /// Which partition an entry belongs to.
    fn partition(&self, entry: &ImportedEntry, line: u64) -> Result<i32, OperationError> {
        let count = self.store.partitions;
        let refuse = |reason: String| Err(OperationError::Line { line, reason });
        let kind = self.store.spec.kind;
        let logged = ChangelogEntry {
            key: &entry.key,
            value: entry.value.as_deref(),
            timestamp: Timestamp::new(entry.timestamp.unwrap_or_default()),
        };
        if kind.restore(logged, &mut Vec::new(), &mut Vec::new()).is_none() {
            return refuse(format!("its key is not one of store {}", self.store.spec.name));
        }
        let is_plain = matches!(kind, StoreKind::KeyValue | StoreKind::TimestampedKeyValue);
        match entry.partition {
            Some(partition) if (0..count).contains(&partition) => Ok(partition),
            Some(partition) => refuse(format!("there is no partition {partition} of {count}")),
            None if is_plain => Ok(by_key(&entry.key, count)),
            None => refuse("it needs a partition: its key says more than the record's".to_owned()),
        }
    }

    fn put(&mut self, partition: i32, entry: &ImportedEntry) -> Result<(), OperationError> {
        match entry.value {
            Some(_) => self.report.written += 1,
            None => self.report.deleted += 1,
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(&WrittenRecord {
            topic: &self.store.changelog.topic,
            partition: Some(partition),
            key: Some(&entry.key),
            value: entry.value.as_deref(),
            timestamp: entry.timestamp.map_or(Timestamp::UNKNOWN, Timestamp::new),
            headers: Headers::none(),
        })
    }
}
