//! Asking another instance: a request that it can answer is sent on to it, and so is its answer
//! sent back.
//!
//! The token goes along, so all instances of an application have the same one. A request carries
//! how often it was sent on: two instances that take each other for the owner, as may happen for a
//! moment while tasks move, say so instead of asking each other for ever.
//!
//! Instances that serve TLS ask each other by TLS, if `http.tls.ca` says whom to trust. Without it
//! nothing is sent on: the answer is 503, names who has the task, and says why.
//!
//! A request that accepts a copy (`max_lag`) goes to those who keep one when the owner cannot answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use hyper::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::response::{self, Failure, Response};
use super::route::Call;
use super::tls::Peers;
use crate::status::{Owner, Query, QueryError};

/// How often a request was sent on.
const HOPS: HeaderName = HeaderName::from_static("tidemill-hops");
/// How often it may be: once, and once more when a task moves meanwhile.
const HOPS_MAX: u32 = 2;
/// How long the other instance may take, to be reached and to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// The largest answer that is sent back.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What another instance answered.
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// The answer to a query, by this instance or one that can.
///
/// # Errors
/// When none can.
pub fn answer(call: &Call<'_>, query: &Query) -> Result<Response, Failure> {
    let error = match call.instance.query(query) {
        Ok(answer) => return Ok(response::json(&answer)),
        Err(error) => error,
    };
    let owner = match &error {
        QueryError::Elsewhere { owner, .. } | QueryError::Behind { owner, .. } => owner.clone(),
        QueryError::Moving { .. } => None,
        _ => return Err(error.into()),
    };
    let owner = owner.filter(|owner| owner.host.is_some());
    let copies = match query {
        Query::Store(question) if question.max_lag.is_some() => {
            let parts = call.instance.holders(question)?;
            parts.into_iter().flat_map(|part| part.copies).collect()
        }
        _ => Vec::new(),
    };
    if hops(call) >= HOPS_MAX || (owner.is_none() && copies.is_empty()) {
        return Err(error.into());
    }
    ask_any(call, owner.as_ref(), &copies, call.request.address())
        .unwrap_or_else(|| Err(error.into()))
        .map(Response::from)
}

/// The answer of a partition's owner, or where that cannot answer at present, of an instance that
/// keeps a copy; if none of those can either, what the owner said. `None` when nobody was asked.
pub fn ask_any(
    call: &Call<'_>,
    owner: Option<&Owner>,
    copies: &[Owner],
    address: &str,
) -> Option<Result<Answer, Failure>> {
    let mut first = None;
    let next = hops(call) + 1;
    // Whoever keeps a copy is to answer from it, and not to look for the owner once more.
    let last = next.max(HOPS_MAX);
    let owner = owner.map(|owner| (owner, next)).into_iter();
    for (instance, hops) in owner.chain(copies.iter().map(|copy| (copy, last))) {
        let answer = send_on(call, instance, address, hops);
        match &answer {
            Ok(answer) if answer.status != StatusCode::SERVICE_UNAVAILABLE => {}
            _ => {
                first.get_or_insert(answer);
                continue;
            }
        }
        return Some(answer);
    }
    first
}

fn hops(call: &Call<'_>) -> u32 {
    call.request.header(&HOPS).and_then(|hops| hops.parse().ok()).unwrap_or(0)
}

/// Sends the request on, with `address` for its path and query. It waits for the answer.
fn send_on(call: &Call<'_>, instance: &Owner, address: &str, hops: u32) -> Result<Answer, Failure> {
    let Some(host) = instance.host.as_deref() else {
        return Err(Failure::unavailable_at("it serves no HTTP", instance));
    };
    if hops > HOPS_MAX {
        return Err(Failure::unavailable_at("the task moves between instances", instance));
    }
    let mut request = hyper::Request::get(address).header(HOST, host).header(HOPS, hops);
    if let Some(token) = call.request.header(&AUTHORIZATION) {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request
        .body(Full::<Bytes>::default())
        .map_err(|error| Failure::internal(format!("cannot send the request on: {error}")))?;
    let answer =
        Handle::current().block_on(timeout(ANSWER_WITHIN, exchange(call.peers, host, request)));
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::unavailable_at(&format!("no answer: {error}"), instance)),
        Err(_) => {
            let detail = format!("no answer within {} s", ANSWER_WITHIN.as_secs());
            Err(Failure::unavailable_at(&detail, instance))
        }
    }
}

async fn exchange(
    peers: &Peers,
    host: &str,
    request: hyper::Request<Full<Bytes>>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let stream = peers.connect(host).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer, or when this call is given up and drops its half.
    let connection = tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    connection.abort();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

impl From<Answer> for Response {
    /// The same answer, as this instance's.
    fn from(answer: Answer) -> Self {
        let mut response =
            response::with_body(answer.status, "application/json", answer.body.into());
        for name in [CONTENT_TYPE, hyper::header::RETRY_AFTER, response::OWNER] {
            if let Some(value) = answer.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}
