//! The table of routes, and what each answers.

use hyper::{Method, StatusCode};
use subtle::ConstantTimeEq;

use super::request::Request;
use super::response::{self, Failure, Response};
use crate::config::Secret;
use crate::status::{InstanceState, Introspect, Query, TopologyFormat};

/// Price levels a side of a book when the client does not say.
const DEFAULT_DEPTH: usize = 10;
/// Most price levels a side.
const MAX_DEPTH: usize = 1000;

/// One route. A pattern is a path whose segments in braces match anything.
struct Route {
    pattern: &'static str,
    /// Whether it answers without a token: only probes do.
    open: bool,
    answer: fn(&dyn Introspect, &Request, &[&str]) -> Result<Response, Failure>,
}

const fn route(
    pattern: &'static str,
    answer: fn(&dyn Introspect, &Request, &[&str]) -> Result<Response, Failure>,
) -> Route {
    Route { pattern, open: false, answer }
}

const fn probe(
    pattern: &'static str,
    answer: fn(&dyn Introspect, &Request, &[&str]) -> Result<Response, Failure>,
) -> Route {
    Route { pattern, open: true, answer }
}

static ROUTES: &[Route] = &[
    probe("healthz", healthz),
    probe("readyz", readyz),
    route("metrics", metrics),
    route("tasks", tasks),
    route("topology", topology),
    route("books/{asset}", book),
];

/// Answers a request. May wait for the instance.
pub fn answer(instance: &dyn Introspect, token: Option<&Secret>, request: &Request) -> Response {
    find(request)
        .and_then(|(route, variables)| {
            if !route.open && !authorized(token, request) {
                return Err(Failure::unauthorized());
            }
            if request.method != Method::GET && request.method != Method::HEAD {
                return Err(Failure::method_not_allowed(request.method.as_str()));
            }
            (route.answer)(instance, request, &variables)
        })
        .unwrap_or_else(Response::from)
}

fn find(request: &Request) -> Result<(&'static Route, Vec<&str>), Failure> {
    let matching = |route: &'static Route| Some((route, variables(route.pattern, request)?));
    ROUTES.iter().find_map(matching).ok_or_else(|| {
        let known: Vec<_> = ROUTES.iter().map(|route| format!("/{}", route.pattern)).collect();
        Failure::not_found("there is nothing at this address", &format!("try {}", known.join(" ")))
    })
}

/// The segments that stand for the pattern's braces; `None` when the path does not match.
fn variables<'r>(pattern: &str, request: &'r Request) -> Option<Vec<&'r str>> {
    let wanted: Vec<&str> = pattern.split('/').collect();
    if wanted.len() != request.segments.len() {
        return None;
    }
    let mut variables = Vec::new();
    for (wanted, segment) in wanted.iter().zip(&request.segments) {
        if wanted.starts_with('{') {
            variables.push(segment.as_str());
        } else if wanted != segment {
            return None;
        }
    }
    Some(variables)
}

/// Compares in a time that does not tell how much of the token was right.
fn authorized(token: Option<&Secret>, request: &Request) -> bool {
    token.is_none_or(|token| {
        let given = request.bearer().unwrap_or_default();
        given.as_bytes().ct_eq(token.reveal().as_bytes()).into()
    })
}

fn healthz(
    instance: &dyn Introspect,
    _request: &Request,
    _variables: &[&str],
) -> Result<Response, Failure> {
    let status = instance.status();
    Ok(if status.state == InstanceState::Failed {
        response::plain(StatusCode::SERVICE_UNAVAILABLE, format!("failed: {}\n", status.reason))
    } else {
        response::plain(StatusCode::OK, "ok\n".to_owned())
    })
}

fn readyz(
    instance: &dyn Introspect,
    _request: &Request,
    _variables: &[&str],
) -> Result<Response, Failure> {
    let status = instance.status();
    Ok(if status.ready {
        response::plain(StatusCode::OK, "ready\n".to_owned())
    } else {
        response::plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", status.reason))
    })
}

fn metrics(
    instance: &dyn Introspect,
    request: &Request,
    _variables: &[&str],
) -> Result<Response, Failure> {
    let (content_type, text) = instance.metrics(request.accept()).map_err(Failure::internal)?;
    Ok(response::text(content_type, text))
}

fn tasks(
    instance: &dyn Introspect,
    _request: &Request,
    _variables: &[&str],
) -> Result<Response, Failure> {
    Ok(response::json(&instance.status()))
}

fn topology(
    instance: &dyn Introspect,
    request: &Request,
    _variables: &[&str],
) -> Result<Response, Failure> {
    let accept = request.accept();
    let format = match request.parameter("format") {
        Some("text") => TopologyFormat::Text,
        Some("json") => TopologyFormat::Json,
        Some("mermaid") => TopologyFormat::Mermaid,
        Some(other) => {
            let detail = format!("`format` is {other:?}: expected text, json or mermaid");
            return Err(Failure::bad_request(detail));
        }
        None if accept.contains("application/json") => TopologyFormat::Json,
        None if accept.contains("text/vnd.mermaid") => TopologyFormat::Mermaid,
        None => TopologyFormat::Text,
    };
    let content_type = match format {
        TopologyFormat::Text => "text/plain; charset=utf-8",
        TopologyFormat::Json => "application/json",
        TopologyFormat::Mermaid => "text/vnd.mermaid; charset=utf-8",
    };
    Ok(response::text(content_type, instance.topology(format)))
}

fn book(
    instance: &dyn Introspect,
    request: &Request,
    variables: &[&str],
) -> Result<Response, Failure> {
    let asset = variables.first().copied().unwrap_or_default().to_owned();
    let depth = request.number("depth", 1, MAX_DEPTH, DEFAULT_DEPTH)?;
    Ok(response::json(&instance.query(&Query::Book { asset, depth })?))
}
