//! Records between two subtopologies travel in packs, and nobody notices.

use std::time::Duration;

use tempfile::TempDir;
use tidemill::config::Config;
use tidemill::prelude::*;
use tidemill::runtime::Streams;
use tidemill_test_support::records::{
    Outgoing, Received, create_topic, produce, read_committed, read_until, watermarks,
};
use tidemill_test_support::{KafkaCluster, unique};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// An application that only moves records, over a repartition topic.
struct Mover {
    bootstrap: String,
    application: String,
    folder: TempDir,
}

impl Mover {
    /// Creates its topics on the shared broker.
    fn open() -> Self {
        let (bootstrap, application) = (KafkaCluster::shared().bootstrap(), unique("mover"));
        for topic in ["in", "out", "dead", "table"] {
            create_topic(&bootstrap, &format!("{application}.{topic}"), 1, &[]);
        }
        let folder = TempDir::with_prefix("tidemill-mover-").expect("a temporary folder");
        Self { bootstrap, application, folder }
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.application)
    }

    fn between(&self) -> String {
        format!("{}-moved-repartition", self.application)
    }

    fn start(&self, more: &str) -> Streams {
        let builder = StreamsBuilder::new();
        let value = || Nullable(Bytes);
        builder
            .stream(self.topic("in"), Consumed::with(Bytes, value()))
            .repartition(Repartitioned::with(Bytes, value()).named("moved"))
            .to(self.topic("out"), Produced::with(Bytes, value()));
        self.run(&builder, more)
    }

    fn run(&self, builder: &StreamsBuilder, more: &str) -> Streams {
        let text = format!(
            "application.id = {:?}\nbootstrap.servers = {:?}\nstate.dir = {:?}\n\
             http.listen = 'off'\n{more}",
            self.application,
            self.bootstrap,
            self.folder.path(),
        );
        let config = Config::from_toml("mover.toml", &text).expect("a configuration");
        Streams::start(builder.build().expect("a topology"), &config).expect("an instance")
    }
}

/// What a record says, without where it lies.
type Said = (Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>, Vec<(String, Option<Vec<u8>>)>);

/// Records of all sizes and kinds.
fn records(count: usize) -> Vec<Outgoing> {
    let record = |number: usize| Outgoing {
        key: Some(format!("key{}", number % 7).into_bytes()),
        value: match number % 50 {
            0 => None,
            1 => Some(Vec::new()),
            // Larger than a pack.
            2 => Some(vec![b'x'; 20_000]),
            _ => Some(format!("value {number}").into_bytes()),
        },
        timestamp: Some(1_700_000_000_000 + (number * 7_919 % 10_000) as i64),
        headers: match number % 3 {
            0 => vec![("trace".to_owned(), Some(b"1".to_vec())), ("empty".to_owned(), None)],
            // Of a user's, whatever ours means.
            1 => vec![("tidemill.pack".to_owned(), Some(vec![1]))],
            _ => Vec::new(),
        },
        partition: None,
    };
    (0..count).map(record).collect()
}

#[test]
fn keys_values_times_headers_and_the_order_of_records_stay_as_they_were() {
    for guarantee in ["exactly_once", "at_least_once"] {
        let mover = Mover::open();
        let sent = records(2_000);
        produce(&mover.bootstrap, &mover.topic("in"), sent.clone());
        let streams = mover.start(&format!("processing.guarantee = '{guarantee}'\n"));
        let came = read_until(&mover.bootstrap, &mover.topic("out"), sent.len(), LIMIT);
        streams.handle().stop();
        streams.join().expect("an orderly end");
        let sent: Vec<Said> = sent
            .into_iter()
            .map(|said| (said.key, said.value, said.timestamp, said.headers))
            .collect();
        let came: Vec<Said> = came
            .into_iter()
            .map(|said| (said.key, said.value, Some(said.timestamp), said.headers))
            .collect();
        assert_eq!(came, sent, "{guarantee}");
        let between = watermarks(&mover.bootstrap, &mover.between())[0].1;
        assert!(between < 400, "{between} records and markers for 2,000 under {guarantee}");
    }
}

/// A left join wants records with null keys as well; and a record that no topic takes ends alone.
#[test]
fn records_without_a_key_travel_too_and_one_that_is_too_large_is_refused_by_itself() {
    let mover = Mover::open();
    let builder = StreamsBuilder::new();
    let (key, dead) = (|| Nullable(Bytes), mover.topic("dead"));
    let table = builder.table(
        mover.topic("table"),
        Consumed::with(key(), Bytes),
        Materialized::named("table", Bytes),
    );
    builder
        .stream(mover.topic("in"), Consumed::with(key(), Bytes))
        .map(|key, value| match &**value {
            b"large" => (key.clone(), vec![b'x'; 2_000_000]),
            _ => (key.clone(), value.clone()),
        })
        .left_join(&table, |_, value, _| value.clone(), Joined::with(key(), Bytes).named("moved"))
        .to(mover.topic("out"), Produced::with(key(), Bytes));
    let settings = format!(
        "production.exception.handler = 'continue'\n\
         errors.dead.letter.queue.topic.name = {dead:?}\n"
    );
    let streams = mover.run(&builder, &settings);
    let traced = Outgoing {
        headers: vec![("tidemill.pack".to_owned(), Some(vec![1]))],
        ..Outgoing::unkeyed("without a key")
    };
    let keyed = ["before", "large", "after"].map(|value| Outgoing::keyed("a", value));
    produce(&mover.bootstrap, &mover.topic("in"), [traced].into_iter().chain(keyed));
    let came = read_until(&mover.bootstrap, &mover.topic("out"), 3, LIMIT);
    streams.handle().stop();
    streams.join().expect("an orderly end");
    let values: Vec<&str> = came.iter().map(Received::text).collect();
    assert_eq!(values, ["without a key", "before", "after"]);
    assert_eq!(came[0].headers.len(), 1, "{:?}", came[0].headers);
    let letters = read_committed(&mover.bootstrap, &dead);
    let values: Vec<&str> = letters.iter().map(Received::text).collect();
    assert_eq!(values, ["large"]);
}

#[test]
fn records_that_travel_alone_are_read_and_what_only_seems_to_be_a_pack_is_a_dead_letter() {
    let mover = Mover::open();
    let dead = mover.topic("dead");
    let settings = format!(
        "deserialization.exception.handler = 'continue'\n\
         errors.dead.letter.queue.topic.name = {dead:?}\n"
    );
    let streams = mover.start(&settings);
    produce(&mover.bootstrap, &mover.topic("in"), [Outgoing::keyed("a", "packed")]);
    read_until(&mover.bootstrap, &mover.topic("out"), 1, LIMIT);
    let pack = |version: u8, value: &str| Outgoing {
        headers: vec![("tidemill.pack".to_owned(), Some(vec![version]))],
        ..Outgoing::unkeyed(value)
    };
    let alone = [
        Outgoing::keyed("b", "as earlier versions wrote it"),
        pack(1, "cut off"),
        pack(9, "of a later version"),
        Outgoing::keyed("c", "after those"),
    ];
    produce(&mover.bootstrap, &mover.between(), alone);
    let came = read_until(&mover.bootstrap, &mover.topic("out"), 3, LIMIT);
    let keys: Vec<_> =
        came.iter().map(|record| record.key.as_deref().unwrap_or_default()).collect();
    assert_eq!(keys, [b"a", b"b", b"c"]);
    streams.handle().stop();
    streams.join().expect("an orderly end");
    let letters = read_committed(&mover.bootstrap, &dead);
    let values: Vec<&str> = letters.iter().map(Received::text).collect();
    assert_eq!(values, ["cut off", "of a later version"]);
    let exception = letters[0].header("__streams.errors.exception");
    assert_eq!(exception, Some(Some(&b"tidemill.UnreadablePack"[..])));
}
