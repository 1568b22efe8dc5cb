//! A TCP proxy in front of a broker, which can slow its connections, silence them or cut them.
//!
//! It forwards bytes and knows nothing of Kafka. A client stays behind it if the broker's metadata
//! names the proxy's address, as a listener of its own does
//! ([`KafkaCluster::start_behind_proxies`](crate::KafkaCluster::start_behind_proxies)).

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that are forwarded at once; a slowed connection carries so many in one delay.
const PIECE: usize = 64 << 10;

/// What the proxy does to bytes at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Forwards them.
    Clear,
    /// Forwards each piece after a delay, in both directions.
    Slow(Duration),
    /// Takes connections and forwards nothing, as if the other end had vanished without a word.
    Silent,
    /// Refuses connections.
    Cut,
    /// The proxy is gone.
    Gone,
}

/// A proxy on a loopback port of its own; dropping it closes its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    weather: Weather,
    /// Both ends of each open connection, by a running number.
    open: HashMap<u64, [TcpStream; 2]>,
    next: u64,
}

impl Proxy {
    /// A proxy before a port of this machine; nobody needs to listen there yet.
    ///
    /// # Panics
    /// When the system has no port left.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the proxy");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            target: SocketAddr::from(([127, 0, 0, 1], port)),
            state: Mutex::new(State { weather: Weather::Clear, open: HashMap::new(), next: 0 }),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards everything at once again.
    pub fn clear(&self) {
        self.shared.become_weather(Weather::Clear);
    }

    /// Delays each piece of up to 64 KiB, in both directions.
    pub fn slow(&self, delay: Duration) {
        self.shared.become_weather(Weather::Slow(delay));
    }

    /// Keeps connections open, takes new ones, and forwards nothing until told otherwise. What was
    /// sent meanwhile arrives late.
    pub fn silence(&self) {
        self.shared.become_weather(Weather::Silent);
    }

    /// Closes all connections, and each new one at once.
    pub fn cut(&self) {
        self.shared.become_weather(Weather::Cut);
        self.shared.close_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.become_weather(Weather::Gone);
        self.shared.close_all();
        // Wakes the thread that waits for connections, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn become_weather(&self, weather: Weather) {
        self.state().weather = weather;
        self.changed.notify_all();
    }

    fn close_all(&self) {
        for (_, ends) in self.state().open.drain() {
            close(&ends);
        }
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            match self.state().weather {
                Weather::Gone => return,
                Weather::Cut => continue,
                _ => {}
            }
            // A broker that is down refuses; the client's end is then closed by being dropped.
            let Ok((client, _)) = accepted else { continue };
            let Ok(broker) = TcpStream::connect(self.target) else { continue };
            self.join(client, broker);
        }
    }

    /// Starts the two pumps of a connection. One whose handles cannot be copied is dropped.
    fn join(self: &Arc<Self>, client: TcpStream, broker: TcpStream) {
        for end in [&client, &broker] {
            // Kafka's requests are small and waited for.
            let _ = end.set_nodelay(true);
        }
        let copies =
            (client.try_clone(), broker.try_clone(), client.try_clone(), broker.try_clone());
        let (Ok(kept_client), Ok(kept_broker), Ok(to_client), Ok(to_broker)) = copies else {
            return;
        };
        let number = {
            let mut state = self.state();
            state.next += 1;
            let number = state.next;
            state.open.insert(number, [kept_client, kept_broker]);
            number
        };
        for (from, to) in [(client, to_broker), (broker, to_client)] {
            let shared = Arc::clone(self);
            spawn(move || {
                shared.pump(from, to);
                if let Some(ends) = shared.state().open.remove(&number) {
                    close(&ends);
                }
            });
        }
    }

    /// Forwards one direction until an end closes.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = vec![0; PIECE];
        while let Ok(size) = from.read(&mut piece) {
            if size == 0 || !self.let_through() || to.write_all(&piece[..size]).is_err() {
                return;
            }
        }
    }

    /// Waits as the weather demands; false when the connection is to end.
    fn let_through(&self) -> bool {
        let mut state = self.state();
        loop {
            match state.weather {
                Weather::Clear => return true,
                Weather::Slow(delay) => {
                    drop(state);
                    thread::sleep(delay);
                    return true;
                }
                Weather::Silent => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Weather::Cut | Weather::Gone => return false,
            }
        }
    }
}

fn close(ends: &[TcpStream; 2]) {
    for end in ends {
        // It may have closed by itself.
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// A thread that ends by itself, with a stack for a loop and a call.
fn spawn(run: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name("proxy".to_owned()).stack_size(128 << 10);
    thread.spawn(run).expect("a thread for the proxy");
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(100);

    /// Something that sends back whatever it gets, with a proxy before it.
    fn echo() -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() {
                        let _ = stream.write_all(&byte);
                    }
                });
            }
        });
        Proxy::before(port)
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    fn exchange(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x")?;
        let mut byte = [0];
        stream.read_exact(&mut byte).map(|()| byte[0])
    }

    #[test]
    fn bytes_pass_in_both_directions() {
        assert_eq!(exchange(&mut connect(&echo())).unwrap(), b'x');
    }

    #[test]
    fn a_slow_connection_delays_both_directions() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        proxy.slow(SHORT);
        let started = Instant::now();
        assert_eq!(exchange(&mut stream).unwrap(), b'x');
        assert!(started.elapsed() >= 2 * SHORT, "{:?}", started.elapsed());
    }

    #[test]
    fn a_silent_connection_stays_open_and_delivers_late() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        proxy.silence();
        stream.set_read_timeout(Some(SHORT)).unwrap();
        let error = exchange(&mut stream).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        proxy.clear();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
    }

    #[test]
    fn a_cut_ends_connections_until_the_weather_clears() {
        let proxy = echo();
        let mut before = connect(&proxy);
        exchange(&mut before).unwrap();
        proxy.cut();
        assert!(exchange(&mut before).is_err());
        assert!(exchange(&mut connect(&proxy)).is_err());
        proxy.clear();
        assert!(exchange(&mut before).is_err());
        assert_eq!(exchange(&mut connect(&proxy)).unwrap(), b'x');
    }
}
