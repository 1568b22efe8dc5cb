//! A [`Route`]: a path, the method it takes, and what answers; the server's own and those that an
//! application adds.

use hyper::Method;

use super::request::Request;
use super::response::{Failure, Response};
use super::tls::Peers;
use crate::status::Introspect;

/// What answers a [`Call`]. It may wait: every call runs where waiting is allowed.
pub type Answer = Box<dyn Fn(&Call<'_>) -> Result<Response, Failure> + Send + Sync>;

/// A request that found its route.
pub struct Call<'c> {
    /// The instance behind the server.
    pub instance: &'c dyn Introspect,
    /// The request.
    pub request: &'c Request,
    /// How other instances are asked.
    pub(super) peers: &'c Peers,
    /// The segments that stand for the pattern's braces, in order.
    variables: Vec<&'c str>,
}

impl Call<'_> {
    /// The segment that stands for the `at`-th brace of the pattern, from 0.
    #[must_use]
    pub fn variable(&self, at: usize) -> &str {
        self.variables.get(at).copied().unwrap_or_default()
    }
}

/// A path and a method, and what answers there.
///
/// An application adds its own to [`Server::start`](super::Server::start):
///
/// ```
/// use tidemill::http::{Route, response};
///
/// let route = Route::get("greetings/{name}", |call| {
///     Ok(response::json(&format!("hello {}", call.variable(0))))
/// });
/// assert_eq!(route.pattern(), "greetings/{name}");
/// ```
pub struct Route {
    pattern: &'static str,
    method: Method,
    /// Whether it answers without a token.
    open: bool,
    answer: Answer,
}

impl Route {
    /// Answers GET and HEAD. A pattern is a path without its first slash; segments in braces match
    /// anything.
    pub fn get(
        pattern: &'static str,
        answer: impl Fn(&Call<'_>) -> Result<Response, Failure> + Send + Sync + 'static,
    ) -> Self {
        Self { pattern, method: Method::GET, open: false, answer: Box::new(answer) }
    }

    /// Answers POST. A body must be declared as JSON, which no page of another site can do without
    /// asking first; see [`Request::json_body`].
    pub fn post(
        pattern: &'static str,
        answer: impl Fn(&Call<'_>) -> Result<Response, Failure> + Send + Sync + 'static,
    ) -> Self {
        Self { pattern, method: Method::POST, open: false, answer: Box::new(answer) }
    }

    /// Answers without a token, as probes and the page's own files do. Nothing that tells of the
    /// data may.
    #[must_use]
    pub fn without_token(mut self) -> Self {
        self.open = true;
        self
    }

    /// Its path, without the first slash.
    #[must_use]
    pub fn pattern(&self) -> &'static str {
        self.pattern
    }

    /// Whether it answers without a token.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it takes the method. HEAD is a GET whose body hyper leaves out.
    fn takes(&self, method: &Method) -> bool {
        self.method == *method || (self.method == Method::GET && method == Method::HEAD)
    }

    pub(super) fn answer(
        &self,
        instance: &dyn Introspect,
        peers: &Peers,
        request: &Request,
    ) -> Result<Response, Failure> {
        let variables = variables(self.pattern, request).unwrap_or_default();
        (self.answer)(&Call { instance, request, peers, variables })
    }
}

/// All routes of a server.
pub struct Routes(Vec<Route>);

impl Routes {
    /// A table of these.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        Self(routes)
    }

    /// The route of a request's path and method.
    ///
    /// # Errors
    /// Status 404 or 405.
    pub(super) fn find(&self, request: &Request) -> Result<&Route, Failure> {
        let here = || self.0.iter().filter(|route| variables(route.pattern, request).is_some());
        if here().next().is_none() {
            let known: Vec<_> = self.0.iter().map(|route| format!("/{}", route.pattern)).collect();
            let next = format!("try {}", known.join(" "));
            return Err(Failure::not_found("there is nothing at this address", &next));
        }
        here().find(|route| route.takes(&request.method)).ok_or_else(|| {
            let takes = |method: &Method| here().any(|route| route.takes(method));
            let allowed: Vec<_> = [Method::GET, Method::HEAD, Method::POST]
                .into_iter()
                .filter(takes)
                .map(|method| method.to_string())
                .collect();
            Failure::method_not_allowed(request.method.as_str(), &allowed.join(", "))
        })
    }
}

/// The segments that stand for the pattern's braces; `None` when the path does not match.
fn variables<'r>(pattern: &str, request: &'r Request) -> Option<Vec<&'r str>> {
    let wanted: Vec<&str> = pattern.split('/').filter(|segment| !segment.is_empty()).collect();
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
