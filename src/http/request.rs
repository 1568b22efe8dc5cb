//! A request taken apart: decoded path segments, query parameters, the headers that matter.

use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::{Method, Uri};

use super::response::Failure;

/// A request whose path and query are decoded.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path segments, percent-decoded: `/books/a%2Fb` has two, `books` and `a/b`.
    pub segments: Vec<String>,
    query: Vec<(String, String)>,
    headers: HeaderMap,
}

impl Request {
    /// Takes the head of a request apart.
    ///
    /// # Errors
    /// Status 400, when path or query is not percent-encoded UTF-8.
    pub fn new(parts: Parts) -> Result<Self, Failure> {
        let (segments, query) = decode(&parts.uri)?;
        Ok(Self { method: parts.method, segments, query, headers: parts.headers })
    }

    /// The last value of a query parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let last = self.query.iter().rev().find(|(known, _)| known == name);
        last.map(|(_, value)| value.as_str())
    }

    /// A query parameter as a number from `low` to `high`, or `default` when it is not there.
    ///
    /// # Errors
    /// Status 400, when it is something else.
    pub fn number(
        &self,
        name: &str,
        low: usize,
        high: usize,
        default: usize,
    ) -> Result<usize, Failure> {
        let Some(text) = self.parameter(name) else {
            return Ok(default);
        };
        text.parse().ok().filter(|number| (low..=high).contains(number)).ok_or_else(|| {
            Failure::bad_request(format!(
                "`{name}` is {text:?}: expected a whole number from {low} to {high}"
            ))
        })
    }

    /// The `Accept` header; empty when there is none.
    #[must_use]
    pub fn accept(&self) -> &str {
        self.header(&ACCEPT).unwrap_or_default()
    }

    /// The token of an `Authorization: Bearer` header.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(&AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Segments of a path, and names and values of a query, in order.
type Decoded = (Vec<String>, Vec<(String, String)>);

fn decode(uri: &Uri) -> Result<Decoded, Failure> {
    let path = uri.path().strip_prefix('/').unwrap_or(uri.path());
    let path = path.strip_suffix('/').unwrap_or(path);
    let malformed = || Failure::bad_request("the address is not percent-encoded UTF-8".to_owned());
    // Segments are split before they are decoded, so that %2F is part of a name.
    let segments = if path.is_empty() {
        Vec::new()
    } else {
        path.split('/').map(percent_decode).collect::<Option<_>>().ok_or_else(malformed)?
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| percent_decode(&text.replace('+', " "));
        Some((plain(name)?, plain(value)?))
    };
    let query = uri.query().unwrap_or_default().split('&').filter(|text| !text.is_empty());
    let query = query.map(pair).collect::<Option<_>>().ok_or_else(malformed)?;
    Ok((segments, query))
}

/// Undoes percent-encoding; `None` when it is malformed or not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Result<Request, Failure> {
        let (parts, ()) = hyper::Request::get(uri).body(()).unwrap().into_parts();
        Request::new(parts)
    }

    #[test]
    fn a_decoded_slash_does_not_split_a_segment() {
        assert_eq!(request("/books/a%2Fb%20c/").unwrap().segments, ["books", "a/b c"]);
        assert!(request("/").unwrap().segments.is_empty());
    }

    #[test]
    fn malformed_escapes_and_bad_utf8_are_refused() {
        for uri in ["/a%", "/a%2", "/a%zz", "/a%ff", "/a?x=%c3"] {
            assert!(request(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn numbers_of_a_query_keep_to_their_range() {
        let request = request("/x?depth=5&depth=7&big=1001&word=a+b%2B").unwrap();
        assert_eq!(request.number("depth", 1, 1000, 10).ok(), Some(7));
        assert_eq!(request.number("none", 1, 1000, 10).ok(), Some(10));
        assert!(request.number("big", 1, 1000, 10).is_err());
        assert_eq!(request.parameter("word"), Some("a b+"));
    }
}
