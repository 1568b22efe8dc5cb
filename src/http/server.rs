//! Listening, the bounds on connections and requests, and stopping in an orderly way.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_rustls::TlsAcceptor;

use super::request::Request;
use super::resources;
use super::resources::events::{self, Events};
use super::response::{Failure, Response};
use super::route::{Route, Routes};
use super::timed_stream::TimedStream;
use super::tls::{self, Peers};
use crate::config::{HttpConfig, Secret};
use crate::status::Introspect;

/// How long a stopping server waits for answers that are under way.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Pause after a failed `accept`, which fails again at once when descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The HTTP server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Another program listens there.
    #[error(
        "cannot serve HTTP on {0}: another program listens there; stop it, or set http.listen \
         to another port (port 0 takes a free one)"
    )]
    InUse(SocketAddr),
    /// The address cannot be used for another reason.
    #[error(
        "cannot serve HTTP on {address}: {source}; set http.listen to an address of this machine"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The address is not the loopback's.
    #[error("refusing to serve HTTP on {0}, which others can reach: set http.allow.remote = true")]
    Remote(SocketAddr),
    /// A file for TLS cannot be used.
    #[error(
        "cannot use {} for TLS: {cause}; http.tls.certificate is a chain of certificates, the \
         server's own first, http.tls.key its private key, http.tls.ca the authorities, each in PEM",
        path.display()
    )]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A running server. Dropping it stops it as well; [`Server::stop`] waits until it has.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts serving on `address`, within the bounds of `config`: the routes that every instance
    /// has, and those of the application's own. Call it on a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on, or may not be, or a file for TLS cannot be used.
    pub async fn start(
        config: &HttpConfig,
        address: SocketAddr,
        instance: Arc<dyn Introspect>,
        own: Vec<Route>,
    ) -> Result<Self, HttpError> {
        let remote = !address.ip().is_loopback();
        if remote && !config.allow_remote {
            return Err(HttpError::Remote(address));
        }
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let peers = Peers::new(config.tls.as_ref())?;
        let listener = TcpListener::bind(address).await.map_err(|source| bind(address, source))?;
        let address = listener.local_addr().map_err(|source| bind(address, source))?;
        if remote && tls.is_none() && config.token.is_some() {
            tracing::warn!(%address, "tokens cross the network in the clear: set http.tls.certificate");
        }
        if remote && config.token.is_none() {
            tracing::warn!(%address, "HTTP is open to everyone on the network: set http.token");
        }
        tracing::info!(%address, tls = tls.is_some(), "serving HTTP");
        let (stop, stopped) = watch::channel(false);
        let events = Events::new();
        let mut routes = resources::routes(&events);
        routes.extend(own);
        let (config, routes) = (config.clone(), Routes::new(routes));
        let shared = Arc::new(Shared { config, tls, peers, instance, routes });
        tokio::spawn(tell(events, Arc::clone(&shared), stopped.clone()));
        let task = tokio::spawn(accept(listener, shared, stopped));
        Ok(Self { address, stop, task })
    }

    /// Where it listens; with the real port when port 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets answers under way finish for a short time, and closes.
    pub async fn stop(self) {
        // Fails only when the server is gone already.
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

fn bind(address: SocketAddr, source: io::Error) -> HttpError {
    match source.kind() {
        io::ErrorKind::AddrInUse => HttpError::InUse(address),
        _ => HttpError::Bind { address, source },
    }
}

struct Shared {
    config: HttpConfig,
    /// Set where connections have to speak TLS.
    tls: Option<TlsAcceptor>,
    /// How other instances are asked.
    peers: Peers,
    instance: Arc<dyn Introspect>,
    routes: Routes,
}

/// Tells the clients of `/events` what changes, until the server stops.
async fn tell(events: Arc<Events>, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(events::PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // An error means that the server was dropped.
            _ = stopped.changed() => return,
        }
        if events.needed() {
            let (events, shared) = (Arc::clone(&events), Arc::clone(&shared));
            let look = move || events.tell(shared.instance.as_ref());
            if let Err(error) = tokio::task::spawn_blocking(look).await {
                tracing::error!(%error, "looking at the instance for /events failed");
            }
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(shared.config.max_connections));
    let mut connections = JoinSet::new();
    loop {
        // A place first: clients beyond the cap wait in the listener's backlog.
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            _ = stopped.changed() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        // Forget those that ended, or the set would grow for ever.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (shared, stopped) = (shared.clone(), stopped.clone());
                connections.spawn(async move {
                    let _place = place;
                    take(stream, shared, stopped).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_GRACE, finished).await.is_err() {
        tracing::debug!("closing HTTP connections that did not finish in time");
    }
}

/// Takes a connection, once it speaks TLS where it has to.
async fn take(stream: TcpStream, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let stream = TimedStream::new(stream, shared.config.request_timeout);
    let Some(tls) = shared.tls.clone() else { return serve(stream, shared, stopped).await };
    // A handshake is as long as a request head may take to come.
    let shaken = tokio::select! {
        shaken = timeout(shared.config.header_timeout, tls.accept(stream)) => shaken,
        _ = stopped.changed() => return,
    };
    match shaken {
        Ok(Ok(stream)) => serve(stream, shared, stopped).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let config = &shared.config;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(config.max_header_bytes);
    let ending = stopped.clone();
    let service = service_fn(|request| {
        let (shared, ending) = (shared.clone(), ending.clone());
        async move {
            let mut response = respond(shared, request).await;
            response.body_mut().end_with(ending);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        // A client that hung up or sent nonsense is its own business.
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// Answers one request within its time.
async fn respond(shared: Arc<Shared>, request: hyper::Request<Incoming>) -> Response {
    let limit = shared.config.request_timeout;
    let answered = timeout(limit, read_and_answer(shared, request)).await;
    answered.unwrap_or_else(|_| {
        let detail = format!("the answer took longer than {} ms", limit.as_millis());
        Failure::unavailable(detail).into()
    })
}

async fn read_and_answer(shared: Arc<Shared>, request: hyper::Request<Incoming>) -> Response {
    let (parts, body) = request.into_parts();
    let max_body_bytes = shared.config.max_body_bytes;
    // A body is read even where none is expected, up to its limit, so that the connection can be
    // used again.
    let body = match Limited::new(body, max_body_bytes).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            return if error.is::<http_body_util::LengthLimitError>() {
                Failure::too_large(max_body_bytes).into()
            } else {
                Failure::bad_request("the body ended early".to_owned()).into()
            };
        }
    };
    let request = match Request::new(parts, body) {
        Ok(request) => request,
        Err(failure) => return failure.into(),
    };
    // An answer may wait for a stream thread, which must not hold up other connections.
    let answer = move || answer(&shared, &request).unwrap_or_else(Response::from);
    tokio::task::spawn_blocking(answer).await.unwrap_or_else(|error| {
        tracing::error!(%error, "answering an HTTP request failed");
        Failure::internal("answering the request failed".to_owned()).into()
    })
}

/// Answers a request. May wait for the instance.
fn answer(shared: &Shared, request: &Request) -> Result<Response, Failure> {
    // Without the token nobody learns which addresses there are.
    let route = shared.routes.find(request);
    let open = route.as_ref().is_ok_and(|route| route.is_open());
    if !open && !authorized(shared.config.token.as_ref(), request) {
        return Err(Failure::unauthorized());
    }
    route?.answer(shared.instance.as_ref(), &shared.peers, request)
}

/// Compares in a time that does not tell how much of the token was right.
fn authorized(token: Option<&Secret>, request: &Request) -> bool {
    token.is_none_or(|token| {
        let given = request.bearer().unwrap_or_default();
        given.as_bytes().ct_eq(token.reveal().as_bytes()).into()
    })
}
