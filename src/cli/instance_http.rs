//! Asks a running instance over HTTP what it says of itself.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;
use tidemill::config::Secret;

/// How long an instance may take to answer.
const WITHIN: Duration = Duration::from_secs(3);
/// Most bytes of an answer.
const MOST_BYTES: u64 = 64 << 20;

/// `GET path` as JSON.
///
/// # Errors
/// What is in the way, in words.
pub fn get_json(address: &str, path: &str, token: Option<&Secret>) -> Result<Value, String> {
    let words = |error: std::io::Error| error.to_string();
    let found = address.to_socket_addrs().map_err(words)?.next();
    let found = found.ok_or_else(|| "the name has no address".to_owned())?;
    let mut stream = TcpStream::connect_timeout(&found, WITHIN).map_err(words)?;
    stream.set_read_timeout(Some(WITHIN)).map_err(words)?;
    stream.set_write_timeout(Some(WITHIN)).map_err(words)?;
    let token = token
        .map_or_else(String::new, |token| format!("Authorization: Bearer {}\r\n", token.reveal()));
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{token}\r\n");
    stream.write_all(request.as_bytes()).map_err(words)?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer).map_err(words)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is not HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("it answers {status}"));
    }
    serde_json::from_str(body).map_err(|error| format!("its answer is no JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn answered(answer: &'static str) -> Result<Value, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let found = get_json(&address, "/tasks", Some(&Secret::new("sesame")));
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /tasks HTTP/1.0\r\n"), "{request}");
        assert!(request.contains("Authorization: Bearer sesame\r\n"), "{request}");
        found
    }

    #[test]
    fn an_answer_is_json_or_says_what_is_wrong() {
        assert_eq!(answered("HTTP/1.1 200 OK\r\n\r\n{\"a\":1}").unwrap()["a"], 1);
        assert!(answered("HTTP/1.1 401 Unauthorized\r\n\r\n").unwrap_err().contains("401"));
        assert!(answered("HTTP/1.1 200 OK\r\n\r\nhello").unwrap_err().contains("no JSON"));
        assert!(answered("hello").unwrap_err().contains("not HTTP"));
    }
}
