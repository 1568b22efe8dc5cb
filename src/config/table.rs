//! The one table of configuration keys: parser, `config check`, errors and the manual read it.
//!
//! Where a key means what Kafka Streams' key of that name means, it has that name, and its
//! default unless the meaning says otherwise.

use super::key::{Default, Key, Kind};
use Default::{Absent, Required, Value};
use Kind::{Bytes, Choice, Count, Listen, Millis, Name, Path, Switch, Text};

const MIB: i64 = 1 << 20;
const DAY_MS: i64 = 86_400_000;
const HANDLER: Kind = Choice(&["fail", "continue"]);

/// A named group of keys: a heading of the manual.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Heading.
    pub title: &'static str,
    /// What these keys have in common.
    pub about: &'static str,
    /// Its keys, in reading order.
    pub keys: &'static [Key],
}

const fn key(name: &'static str, kind: Kind, default: Default, meaning: &'static str) -> Key {
    Key { name, kind, default, secret: false, meaning }
}

const fn secret(name: &'static str, default: Default, meaning: &'static str) -> Key {
    Key { name, kind: Text, default, secret: true, meaning }
}

/// Every key, by section.
pub static SECTIONS: &[Section] = &[
    Section {
        title: "Identity",
        about: "Who this is. All instances of an application share `application.id`.",
        keys: IDENTITY,
    },
    Section {
        title: "Processing",
        about: "Guarantee, commits, threads and the order in which inputs are read.",
        keys: PROCESSING,
    },
    Section {
        title: "Kafka",
        about: "The client settings that Tidemill chooses with care. Any other librdkafka \
                property passes through under `[kafka]`.",
        keys: KAFKA,
    },
    Section { title: "State", about: "Stores, their memory and their changelogs.", keys: STATE },
    Section {
        title: "Errors",
        about: "What happens to a record that cannot be read, processed or written.",
        keys: ERRORS,
    },
    Section { title: "HTTP", about: "Metrics, health and queries over HTTP.", keys: HTTP },
    Section { title: "Log", about: "Logs go to standard error.", keys: LOG },
    Section {
        title: "Exchange",
        about: "The flagship application of the `tidemill` command.",
        keys: EXCHANGE,
    },
];

static IDENTITY: &[Key] = &[
    key(
        "application.id",
        Name,
        Required,
        "Name of the application: its consumer group, and the prefix of its internal topics, \
         transactional ids and state folder. Two applications with one name on one cluster \
         take each other's partitions.",
    ),
    key(
        "bootstrap.servers",
        Text,
        Required,
        "Brokers to ask for the rest of the cluster: `host:port`, comma separated.",
    ),
    key(
        "instance.id",
        Name,
        Absent("generated once and kept in `state.dir`"),
        "Name of this instance within the application. It makes the instance a static member \
         of the group, so that a restart within `session.timeout.ms` has its tasks back at \
         once, and keeps its transactional ids, so that a restart ends what a crash left \
         open. Two running instances must not share it: the older one stops.",
    ),
];

static PROCESSING: &[Key] = &[
    key(
        "processing.guarantee",
        Choice(&["exactly_once", "at_least_once"]),
        Value("exactly_once"),
        "`exactly_once`: results, state and input positions are one Kafka transaction. \
         `at_least_once`: after a crash some results are written again.",
    ),
    key(
        "commit.interval.ms",
        Millis(1, DAY_MS),
        Value("100"),
        "Longest time between commits; readers with `read_committed` see results no sooner. \
         Kafka Streams waits 30000 under at-least-once; Tidemill's commit is cheap enough for \
         100 under both, so that changing the guarantee does not change latency.",
    ),
    key(
        "threads",
        Count(1, 1024),
        Value("1"),
        "Stream threads of this instance. Tasks are divided among them; more threads than \
         tasks lie idle.",
    ),
    key(
        "max.poll.records",
        Count(1, 1_000_000),
        Value("1000"),
        "Most records taken from the consumer at a time.",
    ),
    key(
        "buffered.records.per.partition",
        Count(1, 10_000_000),
        Value("1000"),
        "Records of one partition that wait in its task before that partition is no longer \
         read ahead.",
    ),
    key(
        "max.task.idle.ms",
        Millis(-1, DAY_MS),
        Value("0"),
        "How long a task with several inputs waits for one that is empty, so that records are \
         joined in timestamp order. 0: only while the empty input is known to lag; -1: never; \
         above 0: that long after it caught up.",
    ),
    key(
        "write.set.max.bytes",
        Bytes(64 << 10, i64::MAX),
        Value("32 MiB"),
        "Uncommitted writes of one thread's stores; beyond it a commit is made early.",
    ),
    key(
        "purge.interval.ms",
        Millis(1, DAY_MS),
        Value("30000"),
        "How often records are deleted that internal topics do not need any more: consumed ones of \
         repartition topics, expired ones of windowed changelogs. Kafka Streams' name for it is \
         `repartition.purge.interval.ms`.",
    ),
    key(
        "topology.optimization",
        Choice(&["none", "all"]),
        Value("none"),
        "`all` merges repartition topics, lets a table read its source topic as its changelog, and \
         keeps the records of a self join once; `none` leaves the topology as the code built it. \
         Changing it for an application that has run changes its internal topics: see `tidemill \
         topology --against`.",
    ),
];

static KAFKA: &[Key] = &[
    key(
        "transaction.timeout.ms",
        Millis(1_000, 900_000),
        Value("10000"),
        "After this the broker aborts a transaction whose owner fell silent. At least \
         `commit.interval.ms`; at most the broker's `transaction.max.timeout.ms`.",
    ),
    key(
        "session.timeout.ms",
        Millis(1_000, 1_800_000),
        Value("45000"),
        "A member that sends no heartbeat for so long loses its tasks. It bounds how soon \
         others take over after a crash, and how long a static member may be away.",
    ),
    key(
        "heartbeat.interval.ms",
        Millis(100, 600_000),
        Value("3000"),
        "Time between heartbeats; at most a third of `session.timeout.ms`.",
    ),
    key(
        "max.poll.interval.ms",
        Millis(1_000, DAY_MS),
        Value("300000"),
        "A member that does not poll for so long leaves the group. Bounds the time one batch \
         of records may take.",
    ),
    key(
        "retry.backoff.ms",
        Millis(1, 300_000),
        Value("100"),
        "Pause before a request that failed for a passing reason is sent again, such as results for \
         a partition that has no leader or too few replicas; it doubles each time. Results are \
         given up after two thirds of `transaction.timeout.ms` (at least once: after two minutes, \
         unless `message.timeout.ms` under `[kafka]` says otherwise): the transaction is rolled \
         back then, and its records are processed again, as often as it takes.",
    ),
    key(
        "retry.backoff.max.ms",
        Millis(1, 300_000),
        Value("1000"),
        "Longest such pause; at least `retry.backoff.ms`.",
    ),
    key(
        "auto.offset.reset",
        Choice(&["earliest", "latest"]),
        Value("earliest"),
        "Where an input is read from when the group has never committed a position for it.",
    ),
    key(
        "replication.factor",
        Count(-1, 32),
        Value("-1"),
        "Replicas of internal topics; -1: the broker's default.",
    ),
    key(
        "fetch.memory.bytes",
        Bytes(MIB, i64::MAX),
        Value("16 MiB"),
        "Memory for records fetched ahead and not yet processed, all threads together; as much \
         again for records that are restored. At least 16 MiB a thread are used.",
    ),
];

static STATE: &[Key] = &[
    key(
        "state.dir",
        Path,
        Value("/var/lib/tidemill"),
        "Folder of the stores; `<state.dir>/<application.id>` is locked by one process. \
         Losing it costs a restore from the changelogs, never data.",
    ),
    key(
        "state.memory.bytes",
        Bytes(8 * MIB, i64::MAX),
        Value("128 MiB"),
        "All stores of the process together, however many tasks run: half for RocksDB's block \
         cache and memtables, a quarter for entries kept for reads, a quarter for committed writes \
         on their way to RocksDB.",
    ),
    key(
        "statestore.cache.max.bytes",
        Bytes(0, i64::MAX),
        Value("10 MiB"),
        "Updates that caching stores (`Materialized::caching`) hold back until the commit, to merge \
         those of one key: all stores of the instance together, an equal part for each stream \
         thread. When there are more, they are forwarded early. 0 forwards every update at once, \
         as if no store were caching.",
    ),
    key(
        "state.flush.bytes",
        Bytes(64 << 10, i64::MAX),
        Value("16 MiB"),
        "Committed writes of one task are applied to RocksDB when they reach this size. \
         Larger batches cost less a write; a crash replays what was not applied.",
    ),
    key(
        "state.flush.interval.ms",
        Millis(0, DAY_MS),
        Value("5000"),
        "Committed writes are applied to RocksDB after at most this time; 0: at every \
         commit. It bounds what a restart after a crash replays.",
    ),
    key(
        "state.cleanup.delay.ms",
        Millis(0, 30 * DAY_MS),
        Value("600000"),
        "The state of a task that moved away is deleted after this time.",
    ),
    key(
        "standby.replicas",
        Count(0, 16),
        Value("0"),
        "Copies of each task's state kept warm on other instances, so that a takeover reads only \
         the end of its changelogs. The first copy is kept where the task falls if its instance \
         dies. Each copy costs its instance the disk of the state and the \
         reading of every change.",
    ),
    key(
        "acceptable.recovery.lag",
        Count(0, i64::MAX),
        Value("10000"),
        "Records by which a copy may lag behind its changelogs and still count as warm. A copy \
         that is to move to another instance stays until the new one is.",
    ),
    key(
        "join.when.warm",
        Switch,
        Value("false"),
        "With `standby.replicas`: an instance that is new to the group first copies the state of \
         all tasks that others run, and joins when the copies are warm. The tasks that it is given \
         then stop for no longer than a rebalance takes. It needs disk for all of the state until \
         it has joined.",
    ),
    key(
        "changelog.out.of.range",
        Choice(&["rebuild", "fail"]),
        Value("rebuild"),
        "When a store's position is no longer in its changelog: `rebuild` clears the store \
         and reads the changelog from its start, counted and logged; `fail` stops.",
    ),
];

static ERRORS: &[Key] = &[
    key(
        "input.out.of.range",
        Choice(&["fail", "skip"]),
        Value("fail"),
        "When a committed input position no longer exists, so records were lost before they \
         were read: `fail` stops; `skip` goes on at the earliest record, counted and logged.",
    ),
    key(
        "deserialization.exception.handler",
        HANDLER,
        Value("fail"),
        "A record that cannot be decoded: `fail` stops the task; `continue` drops and counts \
         it, to the dead-letter topic when there is one.",
    ),
    key(
        "processing.exception.handler",
        HANDLER,
        Value("fail"),
        "A record on which an operator fails; choices as for deserialization.",
    ),
    key(
        "production.exception.handler",
        HANDLER,
        Value("fail"),
        "A result that the broker refuses for good, such as one too large; choices as for \
         deserialization. Changelog records are never skipped.",
    ),
    key(
        "errors.dead.letter.queue.topic.name",
        Name,
        Absent("no dead-letter topic"),
        "Topic for records that a handler dropped, with headers that say whence and why. It \
         must exist.",
    ),
];

static HTTP: &[Key] = &[
    key(
        "http.listen",
        Listen,
        Value("127.0.0.1:9464"),
        "Where to serve HTTP; port 0 takes a free port and logs it; `off` serves nothing.",
    ),
    key(
        "http.advertised",
        Text,
        Absent("the address that HTTP is served at"),
        "The `host:port` under which other instances and clients reach this one's HTTP server, \
         as `application.server` of Kafka Streams.",
    ),
    key(
        "http.allow.remote",
        Switch,
        Value("false"),
        "Must be true for `http.listen` to leave the loopback. Set `http.token` as well \
         unless the network is trusted.",
    ),
    secret(
        "http.token",
        Absent("no token is asked for"),
        "Requests must carry `Authorization: Bearer <token>`, but for `/healthz` and \
         `/readyz`, which orchestrators probe.",
    ),
    key(
        "http.tls.certificate",
        Path,
        Absent("HTTP is not encrypted"),
        "The certificate that HTTP is served with, by TLS alone then: PEM, the server's own first, \
         then those up to its authority. Needs `http.tls.key`.",
    ),
    key(
        "http.tls.key",
        Path,
        Absent("HTTP is not encrypted"),
        "The private key of `http.tls.certificate`, in PEM.",
    ),
    key(
        "http.tls.ca",
        Path,
        Absent("queries are not sent on to other instances where HTTP is served by TLS"),
        "The authorities that vouch for the certificates of other instances, in PEM. Those have to \
         be for the host in `http.advertised`.",
    ),
    key(
        "http.max.connections",
        Count(1, 65_535),
        Value("256"),
        "Connections served at once; further ones wait to be accepted.",
    ),
    key(
        "http.max.header.bytes",
        Bytes(8 << 10, MIB),
        Value("16 KiB"),
        "Request line and headers together; larger requests get status 431.",
    ),
    key(
        "http.max.body.bytes",
        Bytes(0, 1 << 30),
        Value("1 MiB"),
        "Request body; larger ones get status 413.",
    ),
    key(
        "http.header.timeout.ms",
        Millis(1, 600_000),
        Value("5000"),
        "A connection that has not sent a whole request head for so long is closed, idle \
         ones included.",
    ),
    key(
        "http.request.timeout.ms",
        Millis(1, 600_000),
        Value("10000"),
        "Longest time to answer one request; then status 503.",
    ),
];

static LOG: &[Key] = &[
    key("log.format", Choice(&["text", "json"]), Value("text"), "`json` writes one object a line."),
    key(
        "log.level",
        Text,
        Value("info"),
        "`error`, `warn`, `info`, `debug` or `trace`; by module as in \
         `info,tidemill::kafka=debug`.",
    ),
];

static EXCHANGE: &[Key] = &[
    key("exchange.topics.orders", Name, Value("orders"), "Input: orders as JSON."),
    key(
        "exchange.topics.assets",
        Name,
        Value("assets"),
        "Input: compacted reference table of assets, keyed by `asset_id`.",
    ),
    key("exchange.topics.trades", Name, Value("trades"), "Output: trades, keyed by asset."),
    key(
        "exchange.topics.order-updates",
        Name,
        Value("order-updates"),
        "Output: what became of each order.",
    ),
    key(
        "exchange.topics.candles",
        Name,
        Value("candles"),
        "Output: open, high, low, close and volume a window and asset.",
    ),
    key(
        "exchange.topics.positions",
        Name,
        Value("positions"),
        "Output: shares held by investor and asset.",
    ),
    key(
        "exchange.topics.orders-dlq",
        Name,
        Value("orders-dlq"),
        "Output: orders that could not be decoded, bytes as they came.",
    ),
    key(
        "exchange.orders.keyed",
        Switch,
        Value("false"),
        "Orders are already keyed by `asset_id`: no repartition topic is needed.",
    ),
    key(
        "exchange.repartition.partitions",
        Count(1, 100_000),
        Absent("as many as the orders topic has"),
        "Partitions of the repartition topic, which bound how many tasks match. They must \
         agree with the assets topic.",
    ),
    key(
        "exchange.require_listed",
        Switch,
        Value("false"),
        "Reject orders for assets that the assets topic does not list, instead of trading \
         them with tick 0.0001 and lot 1.",
    ),
    key(
        "exchange.self_trade",
        Choice(&["allow", "cancel_newest"]),
        Value("allow"),
        "When an order meets one of the same investor: trade, or cancel the incoming rest.",
    ),
    key(
        "exchange.dedupe_window",
        Millis(1_000, 30 * DAY_MS),
        Absent("an id is refused only while its order rests"),
        "For so long, in event time, a NEW order with an `order_id` that its asset has seen is \
         refused as DUPLICATE_ORDER_ID, also after the first one closed: a sender may repeat what \
         was not acknowledged. The ids are kept in a store with a changelog.",
    ),
    key("exchange.candle.window.ms", Millis(1_000, DAY_MS), Value("60000"), "Width of a candle."),
    key(
        "exchange.candle.grace.ms",
        Millis(0, DAY_MS),
        Value("10000"),
        "How late, in event time, a trade may still change its candle.",
    ),
];

/// Every key, in the manual's order.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The key of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    keys().find(|key| key.name == name)
}

/// The known name that `name` was probably meant to be, if one is near enough.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    nearest_of(name, keys().map(|key| key.name))
}

/// The candidate most like `name`, if one is near enough to be worth naming.
pub fn nearest_of<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Underscores, dashes and capitals are the usual slips, so they cost nothing.
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], ".");
    let wanted = plain(name);
    candidates
        .map(|candidate| (strsim::jaro_winkler(&wanted, &plain(candidate)), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_default_is_a_legal_value_of_its_key() {
        for key in keys() {
            if let Value(text) = key.default {
                assert_eq!(key.kind.check(text), Ok(()), "{}", key.name);
            }
        }
    }

    #[test]
    fn names_and_variables_are_unique() {
        let names: BTreeSet<_> = keys().map(|key| key.name).collect();
        let variables: BTreeSet<_> = keys().map(Key::variable).collect();
        assert_eq!(names.len(), keys().count());
        assert_eq!(variables.len(), keys().count());
    }

    #[test]
    fn no_key_is_a_table_of_another() {
        for key in keys() {
            let inside = format!("{}.", key.name);
            assert!(keys().all(|other| !other.name.starts_with(&inside)), "{}", key.name);
        }
    }

    #[test]
    fn slips_find_the_key_that_was_meant() {
        assert_eq!(nearest("comit.interval.ms"), Some("commit.interval.ms"));
        assert_eq!(nearest("commit_interval_ms"), Some("commit.interval.ms"));
        assert_eq!(nearest("exchange.self-trade"), Some("exchange.self_trade"));
        assert_eq!(nearest("qqq"), None);
    }
}
