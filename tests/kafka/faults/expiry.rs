//! Entries that outlive their time are deleted from the changelog as well, and stay deleted.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use tidemill::config::Config;
use tidemill::prelude::*;
use tidemill::runtime::Streams;
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::records::{Outgoing, create_topic, produce, read_committed};
use tidemill_test_support::{KafkaCluster, unique};

use super::words::LIMIT;

/// A table whose entries live for a second, and its changes.
fn start(application: &str, folder: &TempDir) -> Streams {
    let builder = StreamsBuilder::new();
    let kept = Materialized::named("places", Utf8).time_to_live(Duration::from_secs(1));
    builder
        .table(format!("{application}.in"), Consumed::with(Utf8, Utf8), kept)
        .to_stream()
        .to(format!("{application}.out"), Produced::with(Utf8, Nullable(Utf8)));
    let text = format!(
        "application.id = '{application}'\nbootstrap.servers = '{}'\nstate.dir = '{}'\n\
         instance.id = 'one'\nhttp.listen = 'off'",
        KafkaCluster::shared().bootstrap(),
        folder.path().join("state").display(),
    );
    let config = Config::from_toml("places.toml", &text).expect("a configuration");
    Streams::start(builder.build().expect("a topology"), &config).expect("an instance")
}

/// Key, value and timestamp of what a topic has.
fn all(topic: &str) -> Vec<(String, Option<String>, i64)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let records = read_committed(&KafkaCluster::shared().bootstrap(), topic).into_iter();
    let parts = |record: tidemill_test_support::records::Received| {
        (text(record.key.unwrap_or_default()), record.value.map(text), record.timestamp)
    };
    records.map(parts).collect()
}

#[test]
fn an_entry_that_outlives_its_time_is_deleted_in_changelog_and_results_and_stays_so() {
    let bootstrap = KafkaCluster::shared().bootstrap();
    let application = unique("places");
    let (input, output) = (format!("{application}.in"), format!("{application}.out"));
    create_topic(&bootstrap, &input, 1, &[]);
    create_topic(&bootstrap, &output, 1, &[]);
    let folder = TempDir::with_prefix("tidemill-places-").expect("a temporary folder");
    let instance = start(&application, &folder);
    let send = |key: &str, value: &str, at: i64| {
        produce(&bootstrap, &input, [Outgoing::keyed(key, value).at(at)]);
    };
    let wait_for_results = |count: usize| {
        wait_for(&format!("{count} results"), LIMIT, || {
            let results = all(&output);
            (results.len() >= count).then_some(results)
        })
    };
    send("ann", "bath", 10_000);
    // An entry that comes and goes between two commits is never logged.
    wait_for_results(1);
    send("bob", "york", 10_500);
    send("eve", "rome", 11_000);
    let row =
        |key: &str, value: Option<&str>, at: i64| (key.to_owned(), value.map(str::to_owned), at);
    let expected = vec![
        row("ann", Some("bath"), 10_000),
        row("bob", Some("york"), 10_500),
        row("eve", Some("rome"), 11_000),
        row("ann", None, 11_000),
    ];
    assert_eq!(wait_for_results(4), expected);
    let mut logged = all(&format!("{application}-places-changelog"));
    logged.retain(|(key, ..)| key == "ann");
    assert_eq!(logged.last(), Some(&row("ann", None, 11_000)));
    instance.handle().stop();
    instance.join().expect("an orderly end");

    // With its disk lost, the order of expiry comes back from the changelog, and so does stream time.
    fs::remove_dir_all(folder.path().join("state")).expect("a folder of our own");
    let again = start(&application, &folder);
    send("eve", "oslo", 11_500);
    assert_eq!(
        wait_for_results(6)[4..],
        [row("eve", Some("oslo"), 11_500), row("bob", None, 11_500)]
    );
    let places = again.handle().store::<String, String>("places").expect("the store");
    let key = |name: &str| places.get(&name.to_owned()).expect("a store that can be read");
    assert_eq!((key("ann"), key("bob"), key("eve")), (None, None, Some("oslo".to_owned())));
    again.handle().stop();
    again.join().expect("an orderly end");
}
