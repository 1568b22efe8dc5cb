//! What a client of HTTP does besides asking: it posts, and follows streams of events.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// Its body as JSON.
    ///
    /// # Panics
    /// When it is something else.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// `GET path`.
///
/// # Errors
/// When nothing listens there, or the answer is not HTTP.
pub fn get(address: &str, path: &str) -> std::io::Result<Answer> {
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
}

/// `POST path` with a JSON body.
///
/// # Errors
/// When nothing listens there, or the answer is not HTTP.
pub fn post_json(address: &str, path: &str, body: &str) -> std::io::Result<Answer> {
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    ask(address, &request)
}

fn ask(address: &str, request: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let malformed = || std::io::Error::other(format!("not an answer of HTTP: {answer:.80}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its name; empty for a plain message.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// A stream of events that a client follows.
pub struct EventStream {
    lines: BufReader<TcpStream>,
}

impl EventStream {
    /// Opens the stream at `path`, as a client that has seen the event of that id, if it has.
    ///
    /// # Panics
    /// When there is no such stream.
    pub fn open(address: &str, path: &str, last_event_id: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(address).expect("a server");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a positive time");
        let came_back =
            last_event_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{came_back}\r\n")
            .expect("a server that reads");
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).expect("an answer") > 0, "{path}: {head}");
        }
        assert!(head.contains(" 200 ") && head.contains("text/event-stream"), "{path}: {head}");
        Self { lines }
    }

    /// The next event that has data.
    ///
    /// # Panics
    /// When none comes within `limit`, or the stream ends.
    pub fn next(&mut self, limit: Duration) -> Event {
        let deadline = Instant::now() + limit;
        let mut event = Event::default();
        loop {
            assert!(Instant::now() < deadline, "no event within {limit:?}");
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("a stream that goes on");
            assert!(read > 0, "the stream ended");
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("data", data)) => event.data.push_str(data),
                _ if line.trim_end().is_empty() && !event.data.is_empty() => return event,
                _ => {}
            }
        }
    }
}
