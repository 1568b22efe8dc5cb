//! A real Apache Kafka cluster (KRaft) of 1 or 3 brokers on loopback, started for a test.
//!
//! The jars are resolved once by `scripts/kafka-jars.sh`. Each cluster has ports and a folder of
//! its own, so that any number of test programs may run; brokers can be stopped, killed, frozen
//! and started again on the same ports with the same data.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::guardian;
use crate::patience::wait_for;
use crate::proxy::Proxy;
use crate::security::{Certificate, scram_credentials};

/// How long a broker may take to start or to stop, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often a cluster is started on other ports when one of them was taken meanwhile.
const PORT_ATTEMPTS: u32 = 3;

/// The heap of a broker in a test, where a test says nothing else.
const HEAP_MIB: u32 = 512;

/// Any fixed id will do: a cluster is alone on its ports. KRaft wants 16 bytes in base64.
const CLUSTER_ID: &str = "dGlkZW1pbGwtdGVzdHMtMQ";

const PROPERTIES: &str = include_str!("server.properties");

static SHARED: LazyLock<KafkaCluster> = LazyLock::new(|| KafkaCluster::start(1));

/// What beside the plain listener a broker listens on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Second {
    /// Nothing.
    None,
    /// A listener behind a [`Proxy`].
    Proxied,
    /// A listener that asks for TLS and a password.
    Secured,
}

/// A listener that asks for TLS and a password.
pub struct Secured {
    /// Its address.
    pub bootstrap: String,
    /// The certificate that clients have to trust, a PEM file.
    pub authority: PathBuf,
}

/// A running cluster; dropping it kills its brokers and deletes their data.
pub struct KafkaCluster {
    brokers: Vec<Broker>,
    /// One a broker, or none at all.
    proxies: Vec<Arc<Proxy>>,
    /// Where the first broker asks for TLS and a password, if it does.
    secured: Option<Secured>,
    /// Holds `broker-N/` with properties, log and data of each broker.
    folder: TempDir,
}

impl KafkaCluster {
    /// The one broker that the tests of a program share, started by the first to ask. Topic names
    /// come from [`unique`](crate::unique), so that tests do not meet.
    pub fn shared() -> &'static KafkaCluster {
        &SHARED
    }

    /// Starts a cluster of its own for a test that stops brokers or wants replication.
    ///
    /// # Panics
    /// When Java or Maven is missing (`make setup` installs them) or a broker does not start.
    pub fn start(brokers: u32) -> Self {
        Self::start_with(brokers, HEAP_MIB, &[])
    }

    /// Like [`start`](Self::start), with a heap in MiB for each broker and further broker
    /// properties, which win over those of `server.properties`.
    pub fn start_with(brokers: u32, heap_mib: u32, properties: &[(&str, &str)]) -> Self {
        Self::start_on_free_ports(brokers, heap_mib, properties, Second::None)
    }

    /// Like [`start_with`](Self::start_with), with a [`Proxy`] before each broker: clients that
    /// start from [`proxied_bootstrap`](Self::proxied_bootstrap) stay behind the proxies, all
    /// others and the brokers among themselves do not meet them.
    pub fn start_behind_proxies(brokers: u32, heap_mib: u32, properties: &[(&str, &str)]) -> Self {
        Self::start_on_free_ports(brokers, heap_mib, properties, Second::Proxied)
    }

    /// Starts one broker that has, beside the plain listener of the tests, one that lets nobody in
    /// without TLS and the password of [`security`](crate::security), by PLAIN or SCRAM-SHA-512.
    pub fn start_secured() -> Self {
        Self::start_on_free_ports(1, HEAP_MIB, &[], Second::Secured)
    }

    /// The listener that asks for TLS and a password.
    ///
    /// # Panics
    /// When the cluster was not started with [`start_secured`](Self::start_secured).
    pub fn secured(&self) -> &Secured {
        self.secured.as_ref().expect("a cluster that was started secured")
    }

    fn start_on_free_ports(
        brokers: u32,
        heap_mib: u32,
        properties: &[(&str, &str)],
        second: Second,
    ) -> Self {
        let jars = kafka_jars();
        for attempt in 1.. {
            match Self::try_start(brokers, heap_mib, properties, second, &jars) {
                Ok(cluster) => return cluster,
                // Between choosing a port and the broker's bind somebody else may take it.
                Err(log) if log.contains("Address already in use") && attempt < PORT_ATTEMPTS => {}
                Err(log) => panic!("a Kafka broker did not start; the end of its log:\n{log}"),
            }
        }
        unreachable!("the last attempt returns or panics")
    }

    fn try_start(
        count: u32,
        heap_mib: u32,
        properties: &[(&str, &str)],
        second: Second,
        jars: &Path,
    ) -> Result<Self, String> {
        let folder = TempDir::with_prefix("tidemill-kafka-").expect("a temporary folder");
        guardian::remove_at_end(folder.path());
        let ports = free_ports(2 * count as usize);
        let voters: Vec<String> = (0..count as usize)
            .map(|i| format!("{}@127.0.0.1:{}", i + 1, ports[2 * i + 1]))
            .collect();
        let brokers = (0..count as usize)
            .map(|i| Broker {
                number: i as u32 + 1,
                port: ports[2 * i],
                heap_mib,
                jars: jars.to_path_buf(),
                folder: folder.path().join(format!("broker-{}", i + 1)),
                child: None,
            })
            .collect();
        let second_ports =
            if second == Second::None { Vec::new() } else { free_ports(count as usize) };
        let mut cluster = KafkaCluster { brokers, proxies: Vec::new(), secured: None, folder };
        for (i, broker) in cluster.brokers.iter().enumerate() {
            let controller_port = ports[2 * i + 1];
            broker.write_properties(controller_port, &voters.join(","), count, properties);
            match second {
                Second::None => {}
                Second::Proxied => {
                    let proxy = Proxy::before(second_ports[i]);
                    let advertised = proxy.address().to_string();
                    let listener = Listener { name: "PROXIED", protocol: "PLAINTEXT", advertised };
                    broker.listen_on(&listener, second_ports[i], controller_port);
                    cluster.proxies.push(Arc::new(proxy));
                }
                Second::Secured => {
                    let certificate = Certificate::make(cluster.folder.path());
                    let advertised = format!("127.0.0.1:{}", second_ports[i]);
                    let bootstrap = advertised.clone();
                    let listener = Listener { name: "SECURED", protocol: "SASL_SSL", advertised };
                    broker.listen_on(&listener, second_ports[i], controller_port);
                    broker.add_properties(&certificate.listener_properties());
                    cluster.secured = Some(Secured { bootstrap, authority: certificate.authority });
                }
            }
        }
        format_storage(&cluster.brokers);
        for broker in &mut cluster.brokers {
            broker.launch();
        }
        for broker in &mut cluster.brokers {
            broker.wait_until_started()?;
        }
        Ok(cluster)
    }

    /// The value of `bootstrap.servers`: every broker, running or not.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.brokers.iter().map(Broker::address).collect();
        addresses.join(",")
    }

    /// The value of `bootstrap.servers` for clients behind the proxies.
    pub fn proxied_bootstrap(&self) -> String {
        let addresses: Vec<String> =
            self.proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        addresses.join(",")
    }

    /// The proxies, one before each broker, in the order of the brokers.
    pub fn proxies(&self) -> &[Arc<Proxy>] {
        &self.proxies
    }

    /// How many brokers the cluster has, running or not.
    pub fn size(&self) -> usize {
        self.brokers.len()
    }

    /// Asks a broker (numbered from 1) to shut down and waits until it has: its leaders move first.
    pub fn stop(&mut self, broker: u32) {
        self.broker(broker).stop();
    }

    /// Kills a broker with SIGKILL.
    pub fn kill(&mut self, broker: u32) {
        self.broker(broker).kill();
    }

    /// Starts a broker that was stopped or killed, with its data and on its port, and waits for it.
    ///
    /// # Panics
    /// When it is running already or does not come up.
    pub fn restart(&mut self, broker: u32) {
        let broker = self.broker(broker);
        broker.launch();
        if let Err(log) = broker.wait_until_started() {
            panic!("broker {} did not start again; the end of its log:\n{log}", broker.number);
        }
    }

    /// Freezes a broker with SIGSTOP: connections stay open and nothing is answered.
    pub fn pause(&mut self, broker: u32) {
        guardian::signal(self.broker(broker).running(), "STOP");
    }

    /// Lets a frozen broker go on.
    pub fn resume(&mut self, broker: u32) {
        guardian::signal(self.broker(broker).running(), "CONT");
    }

    /// Where the cluster keeps its files: `broker-N/broker.log` and `broker-N/log/`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs one of Kafka's own command line tools, given by its class, on the cluster.
    ///
    /// # Panics
    /// When it fails.
    pub fn tool(&self, main: &str, args: &[&str]) {
        let output = self.brokers[0]
            .java(&["-XX:TieredStopAtLevel=1".to_owned()], main)
            .args(["--bootstrap-server", &self.bootstrap()])
            .args(args)
            .output()
            .expect("java, which `make setup` installs");
        assert!(
            output.status.success(),
            "{main} {args:?} failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn broker(&mut self, number: u32) -> &mut Broker {
        let size = self.brokers.len();
        self.brokers
            .iter_mut()
            .find(|broker| broker.number == number)
            .unwrap_or_else(|| panic!("there is no broker {number} in a cluster of {size}"))
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        for broker in &mut self.brokers {
            if broker.child.is_some() {
                broker.kill();
            }
        }
    }
}

struct Broker {
    /// From 1; also its node id.
    number: u32,
    port: u16,
    heap_mib: u32,
    jars: PathBuf,
    folder: PathBuf,
    /// `None` while it is stopped.
    child: Option<Child>,
}

impl Broker {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn properties_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    fn write_properties(
        &self,
        controller_port: u16,
        voters: &str,
        brokers: u32,
        more: &[(&str, &str)],
    ) {
        let mut text = PROPERTIES
            .replace("@ID@", &self.number.to_string())
            .replace("@VOTERS@", voters)
            .replace("@PORT@", &self.port.to_string())
            .replace("@CONTROLLER_PORT@", &controller_port.to_string())
            .replace("@DIR@", &self.folder.display().to_string())
            .replace("@REPLICAS@", &brokers.min(3).to_string())
            .replace("@MIN_INSYNC@", if brokers > 1 { "2" } else { "1" });
        for (name, value) in more {
            // In a properties file the last line of a name counts.
            text.push_str(&format!("{name}={value}\n"));
        }
        fs::create_dir_all(&self.folder).expect("a folder below a temporary one");
        fs::write(self.properties_file(), text).expect("a file in a folder of our own");
    }

    /// Adds a second listener.
    fn listen_on(&self, listener: &Listener, port: u16, controller_port: u16) {
        let Listener { name, protocol, advertised } = listener;
        let own = self.address();
        self.add_properties(&format!(
            "listeners=PLAINTEXT://{own},{name}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             advertised.listeners=PLAINTEXT://{own},{name}://{advertised}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,{name}:{protocol},CONTROLLER:PLAINTEXT\n"
        ));
    }

    /// Adds lines to the properties file, where the last line of a name counts.
    fn add_properties(&self, lines: &str) {
        let text = fs::read_to_string(self.properties_file()).expect("a file of our own");
        fs::write(self.properties_file(), text + lines).expect("a file in a folder of our own");
    }

    fn java(&self, heap: &[String], main: &str) -> Command {
        let mut command = Command::new("java");
        command.args(heap).arg("-cp").arg(self.jars.join("*")).arg(main).stdin(Stdio::null());
        command
    }

    fn launch(&mut self) {
        assert!(self.child.is_none(), "broker {} is running already", self.number);
        // A fresh log: readiness is looked for in it.
        let log = File::create(self.log_file()).expect("a file in a folder of our own");
        let errors = log.try_clone().expect("a second handle of an open file");
        let heap = [
            format!("-Xms{}m", self.heap_mib),
            format!("-Xmx{}m", self.heap_mib),
            // The cheapest collector to start and to run on two cores.
            "-XX:+UseSerialGC".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
        ];
        let child = self
            .java(&heap, "kafka.Kafka")
            .arg(self.properties_file())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("java, which `make setup` installs");
        guardian::watch(&child);
        self.child = Some(child);
    }

    /// The end of its log when it ended instead of starting.
    fn wait_until_started(&mut self) -> Result<(), String> {
        let log_file = self.log_file();
        let number = self.number;
        let child = self.running();
        let ready = wait_for(&format!("broker {number} to start"), PATIENCE, || {
            let log = fs::read_to_string(&log_file).unwrap_or_default();
            if log.contains("Kafka Server started") {
                return Some(Ok(()));
            }
            let ended = child.try_wait().expect("a child of this process").is_some();
            ended.then(|| Err(last_lines(&log, 20)))
        });
        if ready.is_err() {
            self.reap();
        }
        ready
    }

    fn stop(&mut self) {
        guardian::signal(self.running(), "TERM");
        let number = self.number;
        let child = self.running();
        wait_for(&format!("broker {number} to stop"), PATIENCE, || {
            child.try_wait().expect("a child of this process")
        });
        self.reap();
    }

    fn kill(&mut self) {
        // Also ends a frozen process. An error means that it has ended by itself.
        let _ = self.running().kill();
        self.reap();
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            guardian::forget(&child);
            child.wait().expect("a child of this process");
        }
    }

    fn running(&mut self) -> &mut Child {
        let number = self.number;
        self.child.as_mut().unwrap_or_else(|| panic!("broker {number} is not running"))
    }
}

/// A listener beside the plain one.
struct Listener {
    name: &'static str,
    protocol: &'static str,
    /// The address that clients are sent to.
    advertised: String,
}

/// Formats the storage of all brokers, at the same time.
fn format_storage(brokers: &[Broker]) {
    let heap = ["-XX:TieredStopAtLevel=1".to_owned(), "-XX:+UseSerialGC".to_owned()];
    let running: Vec<Child> = brokers
        .iter()
        .map(|broker| {
            broker
                .java(&heap, "kafka.tools.StorageTool")
                .args(["format", "-t", CLUSTER_ID, "-c"])
                .arg(broker.properties_file())
                .args(["--add-scram", &scram_credentials()])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("java, which `make setup` installs")
        })
        .collect();
    for child in running {
        let output = child.wait_with_output().expect("a child of this process");
        assert!(
            output.status.success(),
            "formatting a broker's storage failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The folder of the broker's jars, resolved by Maven if this machine has not got them yet.
fn kafka_jars() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka-jars.sh");
    let output = Command::new(&script)
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("running {}: {error}", script.display()));
    assert!(output.status.success(), "{} failed, see above", script.display());
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// Ports that nobody listens on, each handed out once, below the range from which the kernel takes the
/// ports of outgoing connections.
///
/// A port of that range could be lost while its broker is down: to any connection, even to that
/// of a client that keeps trying to reach the broker and is given the same port as its own.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_outgoing = range.split_whitespace().next().and_then(|port| port.parse().ok());
    // Linux's own default where the file cannot be read.
    let above: u32 = first_outgoing.unwrap_or(32_768).clamp(12_000, 60_000);
    let below: u32 = 10_000;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Programs that start at the same moment begin their search at different places.
    let start = std::process::id().wrapping_mul(97).wrapping_add(since_epoch.subsec_micros());
    let mut held = Vec::new();
    while held.len() < count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(step < 100_000, "no free ports on 127.0.0.1 between {below} and {above}");
        let port = below + start.wrapping_add(step) % (above - below);
        // Held until all are found, so that none is found twice.
        held.extend(TcpListener::bind(("127.0.0.1", port as u16)).ok());
    }
    held.iter().map(|listener| listener.local_addr().expect("a bound socket").port()).collect()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
