//! A request taken apart: decoded path segments, query parameters, the headers that matter.

use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, Uri};

use super::response::Failure;

/// A request whose path and query are decoded, and whose body has been read.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path segments, percent-decoded: `/books/a%2Fb` has two, `books` and `a/b`.
    pub segments: Vec<String>,
    /// Path and query as they came.
    address: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    /// Takes a request apart.
    ///
    /// # Errors
    /// Status 400, when path or query is not percent-encoded UTF-8.
    pub fn new(parts: Parts, body: Bytes) -> Result<Self, Failure> {
        let (segments, query) = decode(&parts.uri)?;
        let address = parts.uri.path_and_query().map_or("/", |address| address.as_str()).to_owned();
        Ok(Self { method: parts.method, segments, address, query, headers: parts.headers, body })
    }

    /// Path and query as they came, to be asked of another instance.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
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

    /// The id of the last event that a client of a stream has seen before it came back.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.header(&HeaderName::from_static("last-event-id"))
    }

    /// The body, declared as JSON. A browser lets pages of other sites send forms and plain text to
    /// any address, but not this without asking first, which nobody answers here.
    ///
    /// # Errors
    /// Status 415 when it is declared as something else; 403 when a browser says that a page of
    /// another site sends it.
    pub fn json_body(&self) -> Result<&Bytes, Failure> {
        let declared = self.header(&CONTENT_TYPE).unwrap_or_default();
        let essence = declared.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Failure::not_json());
        }
        let host = self.header(&HOST).unwrap_or_default();
        let from_here = |origin: &str| origin.split_once("://").is_some_and(|(_, at)| at == host);
        if self.header(&ORIGIN).is_some_and(|origin| !from_here(origin)) {
            return Err(Failure::forbidden(
                "the request comes from a page of another site",
                "use the page at / of this server, or a program that is no browser",
            ));
        }
        Ok(&self.body)
    }

    /// A header, if it is there and is text.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
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
        Request::new(parts, Bytes::new())
    }

    /// A request with a body, sent by a page of this origin if one is given.
    fn posted(content_type: &str, origin: Option<&str>) -> Request {
        let mut builder = hyper::Request::post("/orders")
            .header("host", "127.0.0.1:9464")
            .header("content-type", content_type);
        if let Some(origin) = origin {
            builder = builder.header("origin", origin);
        }
        Request::new(builder.body(()).unwrap().into_parts().0, Bytes::from_static(b"{}")).unwrap()
    }

    #[test]
    fn a_body_is_taken_as_json_from_here_and_from_no_page_of_another_site() {
        for (content_type, origin, status) in [
            ("application/json", None, None),
            ("Application/JSON; charset=utf-8", None, None),
            ("application/json", Some("http://127.0.0.1:9464"), None),
            ("text/plain", None, Some(415)),
            ("application/x-www-form-urlencoded", None, Some(415)),
            ("application/json", Some("http://evil.example"), Some(403)),
            ("application/json", Some("null"), Some(403)),
        ] {
            let refused = posted(content_type, origin).json_body().map(drop).err();
            let refused = refused.map(|failure| failure.status().as_u16());
            assert_eq!(refused, status, "{content_type} {origin:?}");
        }
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
