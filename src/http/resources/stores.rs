//! `/stores`: what state there is. `/stores/{store}/{key}`: a key's value, or its windows.
//! `/stores/{store}`: a range of entries, page by page.

use tidemill_topology::store::Order;
use tidemill_topology::time::Timestamp;

use crate::http::request::Request;
use crate::http::response::{self, Failure, Response};
use crate::http::route::Call;
use crate::status::{KeyText, Query, StoreKeys, StoreQuestion};

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
    answer(call, StoreKeys::One(key))
}

/// A range of keys.
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
    answer(call, keys)
}

fn answer(call: &Call<'_>, keys: StoreKeys) -> Result<Response, Failure> {
    let request = call.request;
    let question = StoreQuestion {
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
        partition: match request.parameter("partition") {
            Some(_) => i32::try_from(request.number("partition", 0, i32::MAX as usize, 0)?).ok(),
            None => None,
        },
    };
    Ok(response::json(&call.instance.query(&Query::Store(question))?))
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

fn flag(request: &Request, name: &str) -> Result<bool, Failure> {
    match request.parameter(name) {
        None | Some("false") => Ok(false),
        Some("" | "true") => Ok(true),
        Some(other) => {
            Err(Failure::bad_request(format!("`{name}` is {other:?}: expected true or false")))
        }
    }
}
