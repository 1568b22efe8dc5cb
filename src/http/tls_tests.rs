//! TLS on real sockets, with certificates made for the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tests::Instance;
use super::tls::Peers;
use super::{HttpError, Server};
use crate::config::{Config, HttpConfig, TlsFiles};
use crate::status::{
    InstanceStatus, Introspect, Owner, Query, QueryError, StorePart, StoreQuestion, TopologyFormat,
    Totals,
};

/// An authority, and a certificate that it vouches for.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn of(host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("ca.pem", authority.pem());
        write("certificate.pem", certificate.pem());
        write("key.pem", key.serialize_pem());
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The keys of the configuration that name them.
    fn keys(&self, with_authority: bool) -> String {
        let key = |key: &str, name: &str| format!("tls.{key} = '{}'\n", self.file(name).display());
        let mut keys = key("certificate", "certificate.pem") + &key("key", "key.pem");
        if with_authority {
            keys += &key("ca", "ca.pem");
        }
        keys
    }

    fn trusted(&self) -> Peers {
        let files = TlsFiles {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            authorities: Some(self.file("ca.pem")),
        };
        Peers::new(Some(&files)).unwrap()
    }
}

fn config(keys: &str) -> HttpConfig {
    let text = format!("application.id = 'a'\nbootstrap.servers = 'b:1'\n[http]\n{keys}");
    Config::from_toml("test.toml", &text).unwrap().http
}

async fn serve(keys: &str, instance: Arc<dyn Introspect>) -> Result<Server, HttpError> {
    let any_port: SocketAddr = ([127, 0, 0, 1], 0).into();
    Server::start(&config(keys), any_port, instance, Vec::new()).await
}

fn quick() -> Arc<Instance> {
    Arc::new(Instance { ready: true, delay: Duration::ZERO })
}

async fn get(
    peers: &Peers,
    server: &Server,
    path: &str,
) -> Result<(StatusCode, HeaderMap, String), Box<dyn std::error::Error + Send + Sync>> {
    let stream = peers.connect(&server.address().to_string()).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header("host", "x").body(Full::<Bytes>::default())?;
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    connection.abort();
    Ok((parts.status, parts.headers, String::from_utf8(body)?))
}

#[tokio::test]
async fn clients_that_trust_the_authority_are_served_and_others_turn_away() {
    let certificates = Certificates::of("127.0.0.1");
    let server = serve(&certificates.keys(false), quick()).await.unwrap();
    let (status, _, body) = get(&certificates.trusted(), &server, "/books/a%2Fb").await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("\"a/b\""), "{body}");
    let stranger = Certificates::of("127.0.0.1");
    let error = get(&stranger.trusted(), &server, "/books/a%2Fb").await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_not_taken() {
    let certificates = Certificates::of("tidemill.example");
    let server = serve(&certificates.keys(false), quick()).await.unwrap();
    let error = get(&certificates.trusted(), &server, "/healthz").await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn nothing_is_answered_in_the_clear_nor_waited_for_without_end() {
    let certificates = Certificates::of("127.0.0.1");
    let keys = certificates.keys(false) + "header.timeout.ms = 100";
    let server = serve(&keys, quick()).await.unwrap();
    // Neither one who speaks plainly, nor one who says nothing, is given a word of an answer.
    for said in [&b"GET /tasks HTTP/1.1\r\nhost: x\r\n\r\n"[..], b""] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut heard = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut heard));
        // The connection may be reset, with what was sent unread.
        let _ = reading.await.expect("the server keeps the connection");
        assert!(!heard.windows(4).any(|bytes| bytes == b"HTTP"), "{heard:?}");
    }
}

#[tokio::test]
async fn a_long_path_a_long_query_and_a_long_body_are_refused() {
    let certificates = Certificates::of("127.0.0.1");
    let server = serve(&certificates.keys(false), quick()).await.unwrap();
    let long = "x".repeat(20_000);
    for path in [format!("/{long}"), format!("/books/a?depth={long}")] {
        let (status, _, _) = get(&certificates.trusted(), &server, &path).await.unwrap();
        assert!(
            [StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, StatusCode::URI_TOO_LONG]
                .contains(&status),
            "{status}"
        );
    }
}

/// An instance whose books another has.
struct Pointing(String);

impl Introspect for Pointing {
    fn status(&self) -> InstanceStatus {
        quick().status()
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn metrics(&self, accept: &str) -> (&'static str, String) {
        quick().metrics(accept)
    }

    fn topology(&self, format: TopologyFormat) -> String {
        quick().topology(format)
    }

    fn holders(&self, question: &StoreQuestion) -> Result<Vec<StorePart>, QueryError> {
        quick().holders(question)
    }

    fn query(&self, _: &Query) -> Result<Value, QueryError> {
        Err(QueryError::Elsewhere {
            what: "the book".into(),
            task: "0_1".into(),
            owner: Some(Owner { instance: "two".into(), host: Some(self.0.clone()) }),
        })
    }
}

#[tokio::test]
async fn a_request_is_sent_on_by_tls_to_an_instance_that_the_authority_vouches_for() {
    let certificates = Certificates::of("127.0.0.1");
    let owner = serve(&certificates.keys(true), quick()).await.unwrap();
    let asked = Arc::new(Pointing(owner.address().to_string()));
    let server = serve(&certificates.keys(true), asked).await.unwrap();
    let (status, _, body) = get(&certificates.trusted(), &server, "/books/a%2Fb").await.unwrap();
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body.contains("\"a/b\""), "{body}");
}

#[tokio::test]
async fn without_an_authority_nothing_is_sent_on_and_the_answer_says_why_and_who_has_it() {
    let certificates = Certificates::of("127.0.0.1");
    let owner = serve(&certificates.keys(false), quick()).await.unwrap();
    let asked = Arc::new(Pointing(owner.address().to_string()));
    let server = serve(&certificates.keys(false), asked).await.unwrap();
    let answer = get(&certificates.trusted(), &server, "/books/a%2Fb").await.unwrap();
    let (status, headers, body) = answer;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("http.tls.ca is not set"), "{body}");
    assert_eq!(headers["tidemill-owner"], owner.address().to_string());
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let (one, other) = (Certificates::of("127.0.0.1"), Certificates::of("127.0.0.1"));
    let keys = |certificate: &Path, key: &Path| {
        format!("tls.certificate = '{}'\ntls.key = '{}'", certificate.display(), key.display())
    };
    let (certificate, key) = (one.file("certificate.pem"), one.file("key.pem"));
    for (files, named) in [
        (keys(&one.file("none.pem"), &key), "none.pem"),
        (keys(&key, &key), "no certificate"),
        (keys(&certificate, &certificate), "certificate.pem"),
        (keys(&certificate, &other.file("key.pem")), "certificate.pem"),
    ] {
        let error = serve(&files, quick()).await.err().unwrap();
        assert!(matches!(error, HttpError::Tls { .. }), "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
}
