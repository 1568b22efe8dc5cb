//! The server on a real socket, asked by hyper's client and by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Event, EventSink, Failure, HttpError, NotTaken, Route, Server, response};
use crate::config::{Config, HttpConfig};
use crate::status::{
    Holder, InstanceState, InstanceStatus, Introspect, Query, QueryError, StorePart, StoreQuestion,
    TopologyFormat, Totals,
};

/// An instance that answers from constants.
pub(super) struct Instance {
    pub(super) ready: bool,
    /// How long a book takes.
    pub(super) delay: Duration,
}

impl Introspect for Instance {
    fn status(&self) -> InstanceStatus {
        InstanceStatus {
            application_id: "app".into(),
            instance_id: "one".into(),
            version: "1".into(),
            started_at_ms: 0,
            state: if self.ready { InstanceState::Running } else { InstanceState::Rebalancing },
            ready: self.ready,
            reason: if self.ready { String::new() } else { "task 0_1 is restoring".into() },
            threads: [("stream-1".into(), "running".into())].into(),
            standbys: Vec::new(),
            tasks: Vec::new(),
        }
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn metrics(&self, accept: &str) -> (&'static str, String) {
        ("text/plain; version=0.0.4", format!("# accept {accept}\n"))
    }

    fn topology(&self, format: TopologyFormat) -> String {
        format!("{format:?}")
    }

    fn holders(&self, _: &StoreQuestion) -> Result<Vec<StorePart>, QueryError> {
        Ok(vec![StorePart { partitions: vec![0], holder: Holder::Here, copies: Vec::new() }])
    }

    fn query(&self, query: &Query) -> Result<Value, QueryError> {
        std::thread::sleep(self.delay);
        let Query::Book { asset, depth } = query else {
            return Err(QueryError::Unsupported("stores"));
        };
        match asset.as_str() {
            "moving" => Err(QueryError::Unavailable {
                what: "the book of moving".into(),
                reason: "task 0_1 is restoring".into(),
            }),
            "a/b" => Ok(json!({ "asset_id": asset, "depth": depth })),
            _ => Err(QueryError::NotFound(format!("asset {asset}"))),
        }
    }
}

fn config(extra: &str) -> HttpConfig {
    let text = format!("application.id = 'a'\nbootstrap.servers = 'b:1'\n[http]\n{extra}");
    Config::from_toml("test.toml", &text).unwrap().http
}

async fn start(extra: &str) -> Server {
    serve(extra, Instance { ready: true, delay: Duration::ZERO }).await
}

async fn serve(extra: &str, instance: Instance) -> Server {
    serve_with(extra, instance, Vec::new()).await
}

async fn serve_with(extra: &str, instance: Instance, own: Vec<Route>) -> Server {
    let any_port: SocketAddr = ([127, 0, 0, 1], 0).into();
    Server::start(&config(extra), any_port, Arc::new(instance), own).await.unwrap()
}

/// A server with routes of an application's own.
async fn extended(extra: &str, own: Vec<Route>) -> Server {
    serve_with(extra, Instance { ready: true, delay: Duration::ZERO }, own).await
}

struct Answer {
    status: StatusCode,
    headers: hyper::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn send(server: &Server, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    connection.abort();
    let body = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::default()).unwrap()
}

async fn get(server: &Server, path: &str) -> Answer {
    send(server, request(Method::GET, path, &[])).await
}

#[tokio::test]
async fn every_route_answers() {
    let server = start("").await;
    assert_eq!(get(&server, "/healthz").await.body, "ok\n");
    assert_eq!(get(&server, "/readyz").await.status, StatusCode::OK);
    assert_eq!(get(&server, "/tasks").await.json()["instance_id"], "one");
    assert_eq!(get(&server, "/topology").await.body, "Text");
    assert_eq!(get(&server, "/topology?format=mermaid").await.body, "Mermaid");
    let accept = request(Method::GET, "/topology", &[("accept", "application/json")]);
    assert_eq!(send(&server, accept).await.body, "Json");
    let accept = request(Method::GET, "/metrics", &[("accept", "x/y")]);
    assert_eq!(send(&server, accept).await.body, "# accept x/y\n");
    let book = get(&server, "/books/a%2Fb?depth=3").await.json();
    assert_eq!(book, json!({ "asset_id": "a/b", "depth": 3 }));
    server.stop().await;
}

#[tokio::test]
async fn an_instance_that_is_not_ready_says_why_with_503() {
    let server = serve("", Instance { ready: false, delay: Duration::ZERO }).await;
    let answer = get(&server, "/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body, "not ready: task 0_1 is restoring\n");
    assert_eq!(get(&server, "/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn errors_are_json_that_says_what_to_do_next() {
    let server = start("").await;
    for (path, status) in [
        ("/nothing", 404),
        ("/books/unknown", 404),
        ("/books/a%ff", 400),
        ("/books/a%2Fb?depth=0", 400),
        ("/topology?format=xml", 400),
        ("/books/moving", 503),
    ] {
        let answer = get(&server, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
        let body = answer.json();
        for field in ["error", "detail", "next"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{path}: {body}");
        }
    }
    assert!(get(&server, "/nothing").await.body.contains("/books/{asset}"));
    assert_eq!(get(&server, "/books/moving").await.headers["retry-after"], "1");
}

#[tokio::test]
async fn other_methods_are_refused_and_head_has_no_body() {
    let server = start("").await;
    let answer = send(&server, request(Method::DELETE, "/tasks", &[])).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers["allow"], "GET, HEAD");
    let answer = send(&server, request(Method::HEAD, "/tasks", &[])).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn a_token_guards_all_but_the_probes() {
    let server = start("token = 'open sesame'").await;
    assert_eq!(get(&server, "/readyz").await.status, StatusCode::OK);
    let answer = get(&server, "/metrics").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    for (header, status) in [
        ("Bearer open sesame", 200),
        ("bearer open sesame", 200),
        ("Bearer open sesam", 401),
        ("Bearer open sesamf", 401),
        ("Bearer ", 401),
        ("Basic open sesame", 401),
    ] {
        let request = request(Method::GET, "/metrics", &[("authorization", header)]);
        assert_eq!(send(&server, request).await.status.as_u16(), status, "{header}");
    }
}

#[tokio::test]
async fn headers_and_bodies_keep_to_their_limits() {
    let server = start("max.header.bytes = 8192\nmax.body.bytes = 100").await;
    let long = "x".repeat(9000);
    let answer = send(&server, request(Method::GET, "/tasks", &[("x-long", &long)])).await;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let body = |size: usize| {
        Request::get("/tasks").body(Full::new(Bytes::from(vec![b'x'; size]))).unwrap()
    };
    assert_eq!(send(&server, body(100)).await.status, StatusCode::OK);
    assert_eq!(send(&server, body(101)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_cut_off() {
    let server = start("header.timeout.ms = 100").await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"GET /tasks HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
    read.await.expect("the server keeps the connection").unwrap();
}

#[tokio::test]
async fn a_slow_answer_becomes_503() {
    let slow = Instance { ready: true, delay: Duration::from_millis(500) };
    let server = serve("request.timeout.ms = 50", slow).await;
    let answer = get(&server, "/books/a%2Fb").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("longer than 50 ms"), "{}", answer.body);
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_a_place() {
    let server = start("max.connections = 1\nheader.timeout.ms = 300").await;
    let _idle = TcpStream::connect(server.address()).await.unwrap();
    // Let the idle one be accepted first.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    assert_eq!(get(&server, "/healthz").await.status, StatusCode::OK);
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_port_in_use_and_a_remote_address_are_refused_with_the_way_out() {
    let server = start("").await;
    let instance = || Arc::new(Instance { ready: true, delay: Duration::ZERO });
    let second = Server::start(&config(""), server.address(), instance(), Vec::new()).await;
    let error = second.err().unwrap();
    assert!(matches!(error, HttpError::InUse(_)), "{error}");
    assert!(error.to_string().contains("http.listen"), "{error}");
    let anywhere: SocketAddr = ([0, 0, 0, 0], 0).into();
    let error = Server::start(&config(""), anywhere, instance(), Vec::new()).await.err().unwrap();
    assert!(error.to_string().contains("http.allow.remote = true"), "{error}");
    let allowed = config("allow.remote = true");
    assert!(Server::start(&allowed, anywhere, instance(), Vec::new()).await.is_ok());
}

#[tokio::test]
async fn stopping_lets_an_answer_finish_and_then_frees_the_port() {
    let slow = Instance { ready: true, delay: Duration::from_millis(200) };
    let server = serve("", slow).await;
    let address = server.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /books/a%2Fb HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop().await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_application_adds_routes_which_may_take_a_body() {
    let echo = Route::post("echo/{name}", |call| {
        let body: Value = serde_json::from_slice(call.request.json_body()?)
            .map_err(|error| Failure::bad_request(error.to_string()))?;
        Ok(response::json(&json!({ call.variable(0): body })))
    });
    let server = extended("token = 'secret'", vec![echo]).await;
    let post = |body: &'static str, token: &str| {
        Request::post("/echo/it")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::from(body))
            .unwrap()
    };
    assert_eq!(send(&server, post("[1]", "secret")).await.json(), json!({ "it": [1] }));
    assert_eq!(send(&server, post("[1]", "guess")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(send(&server, post("[1", "secret")).await.status, StatusCode::BAD_REQUEST);
    let token = [("authorization", "Bearer secret")];
    let answer = send(&server, request(Method::GET, "/echo/it", &token)).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers["allow"], "POST");
}

/// Sends a request for `path` by hand, and reads the head of the answer.
async fn open(server: &Server, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

/// A route that leaves its sink for the test to write into.
fn stream_route(capacity: usize) -> (Route, std::sync::mpsc::Receiver<EventSink>) {
    let (sinks, opened) = std::sync::mpsc::channel();
    let route = Route::get("stream", move |_| {
        let (sink, answer) = EventSink::open(capacity);
        sinks.send(sink).map_err(|error| Failure::internal(error.to_string()))?;
        Ok(answer)
    });
    (route, opened)
}

#[tokio::test]
async fn a_stream_goes_on_beyond_the_time_of_a_request_and_ends_with_the_server() {
    let (route, opened) = stream_route(4);
    let server = extended("request.timeout.ms = 100", vec![route]).await;
    let mut stream = open(&server, "/stream").await;
    let sink = opened.recv().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    sink.offer(Event { id: "1", name: "tick", data: "now" }.to_bytes()).unwrap();
    let mut seen = String::new();
    while !seen.contains("id: 1\nevent: tick\ndata: now\n\n") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the stream ended: {seen}");
        seen.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    assert!(seen.contains("content-type: text/event-stream"), "{seen}");
    server.stop().await;
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 5, "the last, empty chunk");
    assert!(sink.is_closed());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go_and_gives_its_place_back() {
    let (route, opened) = stream_route(4);
    let settings = "request.timeout.ms = 100\nmax.connections = 1";
    let server = extended(settings, vec![route]).await;
    let _deaf = open(&server, "/stream").await;
    let sink = opened.recv().unwrap();
    let large = "x".repeat(1 << 20);
    let event = Event { data: &large, ..Event::default() }.to_bytes();
    // The system's own buffers take the first of them.
    let refused = loop {
        if let Err(reason) = sink.offer(event.clone()) {
            break reason;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(refused, NotTaken::Behind);
    drop(sink);
    assert_eq!(get(&server, "/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn one_who_watches_gets_a_snapshot_and_then_what_changes() {
    let server = start("").await;
    let mut stream = open(&server, "/events").await;
    let mut seen = String::new();
    while !seen.contains("event: patch") {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the stream ended: {seen}");
        seen.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    let data = |event: &str| -> Value {
        let block = seen.split("event: ").find(|block| block.starts_with(event)).unwrap();
        let line = block.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        serde_json::from_str(line).unwrap()
    };
    assert_eq!(data("snapshot")["instance"]["instance_id"], "one");
    let patch = data("patch");
    assert!(patch["time_ms"].is_u64() && patch.get("instance").is_none(), "{patch}");
    server.stop().await;
}
