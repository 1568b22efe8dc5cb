//! Stores as JSON, for those who do not know their types.
//!
//! Keys and values are shown as their serdes show them ([`Serde::to_json`]); where a serde knows no
//! such form, `key_base64` or `value_base64` takes the place of `key` or `value`.
//!
//! [`Serde::to_json`]: tidemill_topology::serde::Serde::to_json

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Map, Value, json};
use tidemill_topology::store::StoreKind;
use tidemill_topology::store::merged_pages::{Cursor, MergedPage};
use tidemill_topology::store::select::{Keys, Select, Selected};
use tidemill_topology::store::text::StoreText;
use tidemill_topology::time::Timestamp;

use super::local_store::{Found, LocalStore};
use super::readable::{ReadableStores, StorePlace};
use crate::status::{KeyText, QueryError, StoreKeys, StorePart, StoreQuestion};

/// A store of this instance, asked and answered in text.
pub struct JsonStore {
    store: LocalStore,
    text: Arc<dyn StoreText>,
}

impl JsonStore {
    /// The store of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(stores: &Arc<ReadableStores>, name: &str) -> Result<Self, QueryError> {
        Self::of(LocalStore::new(stores, name)?, stores)
    }

    /// The store that a question is about, read as it says.
    ///
    /// # Errors
    /// When there is none.
    pub fn asked(
        stores: &Arc<ReadableStores>,
        question: &StoreQuestion,
    ) -> Result<Self, QueryError> {
        Self::of(LocalStore::new(stores, &question.store)?.max_lag(question.max_lag), stores)
    }

    fn of(store: LocalStore, stores: &ReadableStores) -> Result<Self, QueryError> {
        let name = &store.place().spec.name;
        let text = stores.topology().store_text(name);
        let text = text.ok_or_else(|| QueryError::NotFound(format!("store {name}")))?;
        Ok(Self { store, text })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &LocalStore {
        &self.store
    }

    /// The question in bytes, and the partitions that it concerns.
    ///
    /// # Errors
    /// When it does not fit the store.
    pub fn read_question(
        &self,
        question: &StoreQuestion,
    ) -> Result<(Select, Vec<i32>), QueryError> {
        let keys = match &question.keys {
            StoreKeys::One(key) => Keys::One(self.key(key)?),
            StoreKeys::Range(from, to) => Keys::Range(
                from.as_ref().map_or(Ok(Vec::new()), |key| self.key(key))?,
                to.as_ref().map(|key| self.key(key)).transpose()?,
            ),
            StoreKeys::Prefix(prefix) => Keys::prefix(bytes(prefix)?),
        };
        let kind = self.place().spec.kind;
        let is_windowed = kind.retention_ms().is_some();
        let misfit = |what: &str| {
            Err(QueryError::Misfit(format!("store {} {what}", self.place().spec.name)))
        };
        if !is_windowed && (question.since.is_some() || question.until.is_some()) {
            return misfit("keeps no windows: leave `since` and `until` out");
        }
        if question.as_of.is_some() && !matches!(kind, StoreKind::Versioned { .. }) {
            return misfit("keeps no versions: leave `as_of` out");
        }
        let partitions = self.store.partitions()?;
        let wanted = match (&question.partitions, &keys) {
            (Some(wanted), _) if wanted.iter().any(|wanted| !(0..partitions).contains(wanted)) => {
                return misfit(&format!("has the partitions 0 to {}", partitions.max(1) - 1));
            }
            (Some(wanted), _) => wanted.clone(),
            (None, Keys::One(key)) => vec![self.store.partition_of(key)?],
            (None, _) => (0..partitions).collect(),
        };
        let select = Select {
            times: (
                question.since.unwrap_or(Timestamp::MIN),
                question.until.or(question.as_of).unwrap_or(Timestamp::MAX),
            ),
            order: question.order,
            ..Select::new(keys, question.limit)
        };
        Ok((select, wanted))
    }

    fn place(&self) -> &StorePlace {
        self.store.place()
    }

    fn key(&self, key: &KeyText) -> Result<Vec<u8>, QueryError> {
        match key {
            KeyText::Plain(text) => {
                self.text.key_bytes(text).map_err(|error| QueryError::Misfit(error.to_string()))
            }
            KeyText::Base64(_) => bytes(key),
        }
    }

    /// Who has the partitions that a question concerns.
    ///
    /// # Errors
    /// When it does not fit the store.
    pub fn holders(&self, question: &StoreQuestion) -> Result<Vec<StorePart>, QueryError> {
        let (_, partitions) = self.read_question(question)?;
        Ok(self.store.holders(&partitions))
    }

    /// The answer of this instance.
    ///
    /// # Errors
    /// When the question does not fit, or a partition that it concerns cannot be read here.
    pub fn answer(&self, question: &StoreQuestion) -> Result<Value, QueryError> {
        let (select, partitions) = self.read_question(question)?;
        let name = &self.place().spec.name;
        if matches!(select.keys, Keys::One(_)) && self.place().spec.kind.retention_ms().is_none() {
            let [partition] = partitions[..] else {
                return Err(QueryError::Misfit("a key has one partition".to_owned()));
            };
            let Found { found, lag } = self.store.one(partition, &select)?;
            let entry = found.ok_or_else(|| {
                let copy = lag.map_or_else(String::new, |lag| {
                    format!(", in a copy that lags {lag} records behind,")
                });
                QueryError::NotFound(format!(
                    "the key in partition {partition} of store {name}{copy}"
                ))
            })?;
            let mut answer = self.entry(partition, &entry);
            answer.insert("store".to_owned(), name.as_str().into());
            if let Some(lag) = lag {
                answer.insert("lag".to_owned(), lag.into());
            }
            return Ok(Value::Object(answer));
        }
        let after = match &question.after {
            Some(text) => Some(Cursor::from_text(text).ok_or_else(|| {
                QueryError::Misfit("`after` is not what an answer gave as `next`".to_owned())
            })?),
            None => None,
        };
        let Found { found: page, lag } = self.store.page(&partitions, &select, after.as_ref())?;
        Ok(self.page(&page, lag, question.cursors))
    }

    /// About how many entries the partitions have that a question concerns.
    ///
    /// # Errors
    /// When the question asks for less than whole partitions, or one of them cannot be read here.
    pub fn count(&self, question: &StoreQuestion) -> Result<Value, QueryError> {
        let is_whole = question.keys == StoreKeys::Range(None, None)
            && (question.since, question.until, question.as_of) == (None, None, None);
        if !is_whole {
            return Err(QueryError::Misfit(
                "`count` is of whole partitions: leave keys and times out".to_owned(),
            ));
        }
        let (_, partitions) = self.read_question(question)?;
        let Found { found, lag } = self.store.approximate_entries(&partitions)?;
        let mut answer = json!({ "store": self.place().spec.name, "approximate_entries": found });
        if let Some(lag) = lag {
            answer["lag"] = lag.into();
        }
        Ok(answer)
    }

    fn page(&self, page: &MergedPage<Selected>, lag: Option<u64>, cursors: bool) -> Value {
        let entries = page.entries.iter().map(|(cursor, found)| {
            let mut entry = self.entry(cursor.partition, found);
            if cursors {
                entry.insert("cursor".to_owned(), cursor.to_text().into());
            }
            Value::Object(entry)
        });
        let mut answer = json!({
            "store": self.place().spec.name,
            "entries": entries.collect::<Vec<_>>(),
            "next": page.next.as_ref().map(Cursor::to_text),
        });
        if let Some(lag) = lag {
            answer["lag"] = lag.into();
        }
        answer
    }

    fn entry(&self, partition: i32, entry: &Selected) -> Map<String, Value> {
        let mut shown = Map::new();
        let mut put = |name: &str, value: Value| {
            shown.insert(name.to_owned(), value);
        };
        match self.text.key_json(&entry.key) {
            Some(key) => put("key", key),
            None => put("key_base64", BASE64.encode(&entry.key).into()),
        }
        match self.text.value_json(&entry.value) {
            Some(value) => put("value", value),
            None => put("value_base64", BASE64.encode(&entry.value).into()),
        }
        if let Some(timestamp) = entry.timestamp {
            put("timestamp", timestamp.millis().into());
        }
        if let Some(window) = entry.window {
            let (start, end) = (window.start.millis(), window.end.millis());
            put("window", json!({ "start": start, "end": end }));
        }
        put("partition", partition.into());
        shown
    }
}

fn bytes(text: &KeyText) -> Result<Vec<u8>, QueryError> {
    match text {
        KeyText::Plain(text) => Ok(text.clone().into_bytes()),
        KeyText::Base64(text) => BASE64.decode(text.trim_end_matches('=')).map_err(|error| {
            QueryError::Misfit(format!("{text:?} is no URL-safe base64: {error}"))
        }),
    }
}

/// All stores: what they are, and what of them is here.
///
/// # Errors
/// When a store cannot be read.
pub fn list(stores: &Arc<ReadableStores>) -> Result<Value, QueryError> {
    let mut shown = Vec::new();
    for name in stores.names() {
        let store = LocalStore::new(stores, &name)?;
        let here = store.here();
        let place = store.place();
        shown.push(json!({
            "name": name,
            "kind": kind_word(place.spec.kind),
            "persistent": place.spec.persistent,
            "global": place.is_global,
            "subtopology": place.subtopology.0,
            "partitions": place.partitions,
            "here": here,
            "copies_here": store.copies_here().keys().collect::<Vec<_>>(),
            // An estimate that cannot be had is no error.
            "entries_here": store.approximate_entries(&here).ok().map(|count| count.found),
        }));
    }
    Ok(json!({ "stores": shown }))
}

fn kind_word(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::KeyValue => "key_value",
        StoreKind::TimestampedKeyValue => "timestamped_key_value",
        StoreKind::Window { .. } => "window",
        StoreKind::TimestampedWindow { .. } => "timestamped_window",
        StoreKind::Session { .. } => "session",
        StoreKind::Versioned { .. } => "versioned",
        _ => "other",
    }
}
