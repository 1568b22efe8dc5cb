//! Answers, and errors as JSON: `{"error", "detail", "next"}`, with `"errors": [{"index",
//! "detail"}]` where the request has several items.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::json;

use super::body::Body;
use crate::status::{Owner, QueryError};

/// What goes back to the client.
pub type Response = hyper::Response<Body>;

/// An answer that is an error: what went wrong, and what the client can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    status: StatusCode,
    detail: String,
    next: String,
    /// Names, in lower case, and values of the headers that belong to the error.
    headers: Vec<(&'static str, String)>,
    /// What is wrong with single items of the request, by their index.
    errors: Vec<(usize, String)>,
}

/// Names the instance that a client may ask instead, `host:port`.
pub(super) const OWNER: HeaderName = HeaderName::from_static("tidemill-owner");

/// JSON text with status 200.
#[must_use]
pub fn json(value: &impl Serialize) -> Response {
    json_with(StatusCode::OK, value)
}

/// JSON text.
#[must_use]
pub fn json_with(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => respond(status, "application/json", body.into()),
        Err(error) => Failure::internal(format!("cannot write JSON: {error}")).into(),
    }
}

/// Text of the given content type with status 200.
#[must_use]
pub fn text(content_type: &'static str, body: String) -> Response {
    respond(StatusCode::OK, content_type, body.into())
}

/// Text of the given status, for probes.
#[must_use]
pub fn plain(status: StatusCode, body: String) -> Response {
    respond(status, "text/plain; charset=utf-8", body.into())
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    with_body(status, content_type, body.into())
}

/// An answer with this body.
pub(super) fn with_body(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Everything here is about this moment.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Failure {
    fn new(status: StatusCode, detail: impl Into<String>, next: &str) -> Self {
        Self {
            status,
            detail: detail.into(),
            next: next.to_owned(),
            headers: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Says what is wrong with single items of the request: by index, from 0.
    #[must_use]
    pub fn with_errors(mut self, errors: impl IntoIterator<Item = (usize, String)>) -> Self {
        self.errors.extend(errors);
        self
    }

    /// 400: the request cannot be understood.
    #[must_use]
    pub fn bad_request(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail, "correct the request and send it again")
    }

    /// 401: the token is missing or wrong.
    #[must_use]
    pub fn unauthorized() -> Self {
        let next = "send the header `Authorization: Bearer <token>` with the token of http.token";
        Self::new(StatusCode::UNAUTHORIZED, "a valid token is required", next)
            .with_header("www-authenticate", "Bearer")
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(detail: impl Into<String>, next: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail, next)
    }

    /// 403: the request may not be made from there.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>, next: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail, next)
    }

    /// 405: the route does not take this method, but those that are named, separated by commas.
    #[must_use]
    pub fn method_not_allowed(method: &str, allowed: &str) -> Self {
        let detail = format!("{method} is not possible here");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail, &format!("use {allowed}"))
            .with_header("allow", allowed)
    }

    /// 415: the body is not declared as JSON.
    #[must_use]
    pub fn not_json() -> Self {
        let next = "send JSON with the header `Content-Type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not declared as JSON", next)
    }

    /// 429: the client is to send less at a time.
    #[must_use]
    pub fn too_many(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail, "send the same again in a second")
            .with_header("retry-after", "1")
    }

    /// 413: the body is too large.
    #[must_use]
    pub fn too_large(limit_bytes: usize) -> Self {
        let detail = format!("the body is larger than {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail, "send less, or raise http.max.body.bytes")
    }

    /// 500: a defect.
    #[must_use]
    pub fn internal(detail: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail, "see the log of the instance")
    }

    /// 503: not now.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let next = "ask again in a second; /readyz says when the instance is ready";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail, next).with_header("retry-after", "1")
    }

    /// 503: not now, and not here: the instance that is named may know more.
    #[must_use]
    pub fn unavailable_at(detail: &str, owner: &Owner) -> Self {
        Self::unavailable(format!("instance {}: {detail}", owner.instance)).naming(Some(owner))
    }

    fn naming(self, owner: Option<&Owner>) -> Self {
        match owner.and_then(|owner| owner.host.as_ref()) {
            Some(host) => self.with_header("tidemill-owner", host.clone()),
            None => self,
        }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let detail = error.to_string();
        match error {
            QueryError::NotFound(_) => Self::not_found(detail, "check the name"),
            QueryError::UnknownStore { .. } => Self::not_found(detail, "/stores names all stores"),
            QueryError::Misfit(_) => Self::bad_request(detail),
            QueryError::Elsewhere { owner, .. }
            | QueryError::Moving { owner, .. }
            | QueryError::Behind { owner, .. } => Self::unavailable(detail).naming(owner.as_ref()),
            QueryError::Unsupported(_) => {
                Self::not_found(detail, "/topology says what this application does")
            }
            QueryError::Unavailable { .. } => Self::unavailable(detail),
            QueryError::Failed { .. } => Self::internal(detail),
        }
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        let word = failure.status.canonical_reason().unwrap_or("error");
        let mut body = json!({
            "error": word, "detail": failure.detail, "next": failure.next,
        });
        if !failure.errors.is_empty() {
            let errors = failure.errors.iter();
            let errors = errors.map(|(index, detail)| json!({ "index": index, "detail": detail }));
            body["errors"] = errors.collect();
        }
        let mut response = respond(failure.status, "application/json", body.to_string().into());
        for (name, value) in failure.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
