//! The second application: views of ads, repartitioned and joined with clicks, and the pairs
//! counted by campaign and window.
//!
//! ```text
//! views -> by ad -> (repartition) -> join within 2 s <- clicks
//!   join -> pairs
//!        -> by campaign -> (repartition) -> count in windows of 10 s -> totals
//! ```
//!
//! The grace is a day, far beyond the event time of a run, so what comes out does not depend on the
//! order in which records of different partitions arrive.

use std::time::Duration;

use tidemill::driver::{InputRecord, LocalRunner, RunnerSettings};
use tidemill::prelude::*;

use crate::load::Inputs;
use crate::verdict::Outputs;

/// How far apart in event time a view and its click may lie.
const APART: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Ads belong to so many campaigns.
const CAMPAIGNS: u32 = 30;

/// The repartition topics, without the application's id.
pub const REPARTITIONED: [&str; 2] = ["views-by-ad-repartition", "pairs-by-campaign-repartition"];

/// The prefix of the topics is the application's id.
pub fn topic(application: &str, name: &str) -> String {
    format!("{application}.{name}")
}

/// The topology of an application of that id.
///
/// # Errors
/// None, as it stands.
pub fn topology(application: &str) -> Result<Topology> {
    let builder = StreamsBuilder::new();
    let views = builder
        .stream(topic(application, "views"), Consumed::with(Utf8, Utf8))
        .select_key(|_, view| view.split(' ').next().unwrap_or_default().to_owned())
        .repartition(Repartitioned::with(Utf8, Utf8).named("views-by-ad"));
    let clicks = builder.stream(topic(application, "clicks"), Consumed::with(Utf8, Utf8));
    let pairs = views.join_stream(
        &clicks,
        |_, view, click| format!("{view} {click}"),
        JoinWindows::of(APART).grace(GRACE),
        StreamJoined::with(Utf8, Utf8, Utf8).store_name("pairs"),
    );
    pairs.to(topic(application, "pairs"), Produced::with(Utf8, Utf8));
    pairs
        .group_by(|ad, _| campaign(ad), Grouped::with(Utf8, Utf8).named("pairs-by-campaign"))
        .windowed_by(TimeWindows::of(WINDOW).grace(GRACE))
        .count(Materialized::named("totals", I64).caching(true))
        .to_stream()
        .map(|windowed, count| {
            let key = format!("{}@{}", windowed.key, windowed.window.start.millis());
            (key, count.unwrap_or_default().to_string())
        })
        .to(topic(application, "totals"), Produced::with(Utf8, Utf8));
    builder.build()
}

fn campaign(ad: &str) -> String {
    let number: u32 = ad.trim_start_matches("ad").parse().unwrap_or_default();
    format!("campaign{}", number % CAMPAIGNS)
}

/// What comes out of an uninterrupted run, in one thread and without Kafka.
///
/// # Errors
/// When the topology cannot be run.
pub fn uninterrupted(
    application: &str,
    inputs: &Inputs,
) -> std::result::Result<Outputs, Box<dyn std::error::Error>> {
    let settings =
        RunnerSettings { application_id: application.to_owned(), ..RunnerSettings::default() };
    let mut runner = LocalRunner::new(&topology(application)?, settings)?;
    let mut found = Outputs::new();
    let mut output = |record: tidemill_topology::node::Outgoing<'_>| {
        let text =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let records = found.entry(record.topic.name.to_string()).or_default();
        records.push((text(record.key), text(record.value)));
        Ok(())
    };
    let views = runner.input(&topic(application, "views"))?;
    let clicks = runner.input(&topic(application, "clicks"))?;
    for (input, records) in [(views, &inputs.views), (clicks, &inputs.clicks)] {
        for sent in records {
            let record = InputRecord {
                key: Some(sent.key.as_bytes()),
                value: Some(sent.value.as_bytes()),
                timestamp: Timestamp::new(sent.timestamp),
                headers: Headers::none(),
            };
            runner.process(input, &record, &mut output)?;
        }
        runner.commit(&mut output)?;
    }
    runner.close()?;
    Ok(found)
}
