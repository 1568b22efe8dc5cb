//! `/stores`: what state there is. `/stores/{store}/{key}`: a key's value, or its windows.
//! `/stores/{store}`: a range of entries, page by page, or how many there are.

use hyper::StatusCode;
use serde_json::{Value, json};
use tidemill_topology::store::Order;
use tidemill_topology::store::merged_pages::{Cursor, MergedPage};
use tidemill_topology::time::Timestamp;

use crate::http::forward;
use crate::http::request::Request;
use crate::http::response::{self, Failure, Response};
use crate::http::route::Call;
use crate::status::{Holder, KeyText, Query, QueryError, StoreKeys, StorePart, StoreQuestion};

/// Entries of a page when the client does not say.
const DEFAULT_LIMIT: usize = 100;
/// Most entries of a page.
const MAX_LIMIT: usize = 10_000;
/// Longest key that is looked for, in bytes of its text.
const MAX_KEY_BYTES: usize = 16 << 10;

/// All stores.
pub fn list(call: &Call<'_>) -> Result<Response, Failure> {
    Ok(response::json(&call.instance.query(&Query::Stores)?))
}

/// One key.
pub fn key(call: &Call<'_>) -> Result<Response, Failure> {
    let key = key_text(call.request, call.variable(1))?;
    forward::answer(call, &Query::Store(question(call, StoreKeys::One(key))?))
}

/// A range of keys, of all instances.
pub fn range(call: &Call<'_>) -> Result<Response, Failure> {
    let request = call.request;
    let text = |name| request.parameter(name).map(|text| key_text(request, text)).transpose();
    let keys = match (text("prefix")?, text("from")?, text("to")?) {
        (None, from, to) => StoreKeys::Range(from, to),
        (Some(prefix), None, None) => StoreKeys::Prefix(prefix),
        _ => {
            let detail = "`prefix` and `from` or `to` exclude each other".to_owned();
            return Err(Failure::bad_request(detail));
        }
    };
    let question = question(call, keys)?;
    if flag(request, "count")? {
        return count(call, &question);
    }
    let parts = call.instance.holders(&question)?;
    if parts.iter().all(|part| part.holder == Holder::Here && part.copies.is_empty()) {
        return Ok(response::json(&call.instance.query(&Query::Store(question))?));
    }
    let mut pages = Vec::new();
    for part in &parts {
        match page_of(call, &question, part)? {
            Ok(page) => pages.push(page),
            // One that cannot answer: nothing is left out in silence.
            Err(answer) => return Ok(answer),
        }
    }
    let lag = pages.iter().filter_map(|page| page.lag).max();
    let pages = pages.into_iter().map(|page| page.entries).collect();
    let page = MergedPage::of(pages, question.order, question.limit);
    let entries = page.entries.into_iter().map(|(_, mut entry)| {
        if let Some(entry) = entry.as_object_mut().filter(|_| !question.cursors) {
            entry.remove("cursor");
        }
        entry
    });
    let mut answer = json!({
        "store": question.store,
        "entries": entries.collect::<Vec<Value>>(),
        "next": page.next.as_ref().map(Cursor::to_text),
    });
    if let Some(lag) = lag {
        answer["lag"] = lag.into();
    }
    Ok(response::json(&answer))
}

/// About how many entries the store has on all instances.
fn count(call: &Call<'_>, question: &StoreQuestion) -> Result<Response, Failure> {
    let (mut entries, mut lag) = (0, None);
    for part in &call.instance.holders(question)? {
        let counted = match of_part(call, question, part, Query::Count)? {
            Ok(counted) => counted,
            Err(answer) => return Ok(answer),
        };
        entries += counted.get("approximate_entries").and_then(Value::as_u64).ok_or_else(|| {
            Failure::internal("an instance answered with something that is no count".to_owned())
        })?;
        lag = lag.max(counted.get("lag").and_then(Value::as_u64));
    }
    let mut answer = json!({ "store": question.store, "approximate_entries": entries });
    if let Some(lag) = lag {
        answer["lag"] = lag.into();
    }
    Ok(response::json(&answer))
}

/// The page of the partitions that one instance holds, or its answer if that is none.
fn page_of(
    call: &Call<'_>,
    question: &StoreQuestion,
    part: &StorePart,
) -> Result<Result<PartPage, Response>, Failure> {
    match of_part(call, question, part, Query::Store)? {
        Ok(page) => read_page(page).map(Ok),
        Err(answer) => Ok(Err(answer)),
    }
}

/// What the instance that holds some partitions says of them, or its answer if it cannot.
fn of_part(
    call: &Call<'_>,
    question: &StoreQuestion,
    part: &StorePart,
    query: impl Fn(StoreQuestion) -> Query,
) -> Result<Result<Value, Response>, Failure> {
    let owner = match &part.holder {
        Holder::Here => {
            let partitions = Some(part.partitions.clone());
            let question = StoreQuestion { partitions, cursors: true, ..question.clone() };
            match call.instance.query(&query(question)) {
                Ok(answer) => return Ok(Ok(answer)),
                // It restores; there may be a copy elsewhere.
                Err(QueryError::Moving { .. }) if !part.copies.is_empty() => None,
                Err(error) => return Err(error.into()),
            }
        }
        Holder::Nobody => None,
        Holder::Other(owner) => Some(owner),
    };
    let partitions: Vec<_> = part.partitions.iter().map(i32::to_string).collect();
    let mut address = call.request.address().to_owned();
    address.push(if address.contains('?') { '&' } else { '?' });
    // The last of several parameters of one name counts.
    address.push_str(&format!("cursors=true&partition={}", partitions.join(",")));
    let answer = forward::ask_any(call, owner, &part.copies, &address)
        .ok_or_else(|| Failure::unavailable(part.nobody()))??;
    if answer.status != StatusCode::OK {
        return Ok(Err(answer.into()));
    }
    serde_json::from_slice(&answer.body).map(Ok).map_err(|error| {
        Failure::internal(format!("another instance's answer is no JSON: {error}"))
    })
}

/// The page of some partitions.
struct PartPage {
    entries: MergedPage<Value>,
    /// How far the copy was behind that it was read from.
    lag: Option<u64>,
}

/// A page as an instance answers with.
fn read_page(mut page: Value) -> Result<PartPage, Failure> {
    let lag = page.get("lag").and_then(Value::as_u64);
    let entries = read_entries(&mut page).ok_or_else(|| {
        Failure::internal("an instance answered with something that is no page".to_owned())
    })?;
    Ok(PartPage { entries, lag })
}

fn read_entries(page: &mut Value) -> Option<MergedPage<Value>> {
    let Value::Array(entries) = page.get_mut("entries")?.take() else { return None };
    let place = |entry: &Value| Cursor::from_text(entry.get("cursor")?.as_str()?);
    let entries = entries.into_iter().map(|entry| Some((place(&entry)?, entry)));
    let next = match page.get("next")? {
        Value::Null => None,
        next => Some(Cursor::from_text(next.as_str()?)?),
    };
    Some(MergedPage { entries: entries.collect::<Option<_>>()?, next })
}

fn question(call: &Call<'_>, keys: StoreKeys) -> Result<StoreQuestion, Failure> {
    let request = call.request;
    Ok(StoreQuestion {
        store: call.variable(0).to_owned(),
        keys,
        since: time(request, "since")?,
        until: time(request, "until")?,
        as_of: time(request, "as_of")?,
        order: match flag(request, "reverse")? {
            true => Order::Backward,
            false => Order::Forward,
        },
        limit: request.number("limit", 1, MAX_LIMIT, DEFAULT_LIMIT)?,
        after: request.parameter("after").map(str::to_owned),
        partitions: request.parameter("partition").map(partitions).transpose()?,
        cursors: flag(request, "cursors")?,
        max_lag: max_lag(request)?,
    })
}

/// Numbers separated by commas.
fn partitions(text: &str) -> Result<Vec<i32>, Failure> {
    let numbers: Result<Vec<i32>, _> = text.split(',').map(str::parse).collect();
    numbers.map_err(|_| {
        let detail = format!("`partition` is {text:?}: expected numbers separated by commas");
        Failure::bad_request(detail)
    })
}

/// A key as the client wrote it: as text, or as base64 of its bytes where `encoding` says so.
fn key_text(request: &Request, text: &str) -> Result<KeyText, Failure> {
    if text.len() > MAX_KEY_BYTES {
        let detail = format!("a key is longer than {MAX_KEY_BYTES} bytes");
        return Err(Failure::bad_request(detail));
    }
    match request.parameter("encoding") {
        None | Some("text") => Ok(KeyText::Plain(text.to_owned())),
        Some("base64") => Ok(KeyText::Base64(text.to_owned())),
        Some(other) => {
            let detail = format!("`encoding` is {other:?}: expected text or base64");
            Err(Failure::bad_request(detail))
        }
    }
}

fn time(request: &Request, name: &str) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = request.parameter(name) else { return Ok(None) };
    text.parse().map(|millis| Some(Timestamp::new(millis))).map_err(|_| {
        Failure::bad_request(format!(
            "`{name}` is {text:?}: expected a time in milliseconds since 1970"
        ))
    })
}

fn max_lag(request: &Request) -> Result<Option<u64>, Failure> {
    let Some(text) = request.parameter("max_lag") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        Failure::bad_request(format!("`max_lag` is {text:?}: expected a number of records"))
    })
}

fn flag(request: &Request, name: &str) -> Result<bool, Failure> {
    match request.parameter(name) {
        None | Some("false") => Ok(false),
        Some("" | "true") => Ok(true),
        Some(other) => {
            Err(Failure::bad_request(format!("`{name}` is {other:?}: expected true or false")))
        }
    }
}
