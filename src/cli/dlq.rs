//! `tidemill dlq`: dead letters listed, shown, and replayed once each.

use std::collections::HashMap;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::process::Command;

use serde_json::json;
use tidemill::operations::OperationError;
use tidemill::operations::committed_range::RangeReader;
use tidemill::operations::dead_letters::{
    DeadLetter, DeadLetterTopic, LetterFilter, LetterPlace, LetterSource,
};
use tidemill::operations::letter_replay::{
    LetterEdit, LetterReplay, ReplayLog, ReplayReport, ReplayTarget,
};

use super::application::Application;
use super::failure::Failure;
use super::letter_lines::{read_edits, shown, write_letter};
use super::operation_args::{
    ApplicationArgs, DlqArgs, DlqCommand, DlqListArgs, DlqReplayArgs, DlqShowArgs, LetterArgs,
};
use super::output;
use super::point_in_time;
use super::progress::Progress;
use super::record_lines::LineReader;
use super::scratch_folder::ScratchFolder;
use super::sources::Sources;
use super::text_table::TextTable;

/// Bytes of a key, and letters of a message, that a line of a list shows.
const SHOWN: usize = 40;

/// Runs a command on dead letters.
///
/// # Errors
/// A configuration or a flag that cannot be used, or a cluster that refuses.
pub fn dlq(sources: &Sources, args: &DlqArgs) -> Result<(), Failure> {
    match &args.command {
        DlqCommand::List(args) => list(sources, args),
        DlqCommand::Show(args) => show(sources, args),
        DlqCommand::Replay(args) => replay(sources, args),
    }
}

/// A dead-letter topic and the application whose it is.
struct Letters {
    application: Application,
    topic: DeadLetterTopic,
}

impl Letters {
    fn open(
        sources: &Sources,
        args: &ApplicationArgs,
        topic: Option<&str>,
    ) -> Result<Self, Failure> {
        let application = Application::open(sources, "dlq", args, &[])?;
        let topic = topic.unwrap_or(&application.config.exchange.topics.orders_dlq);
        let topic = DeadLetterTopic::find(&application.admin, topic)?;
        Ok(Self { application, topic })
    }

    /// Hands each letter that is meant to `each`, and whether it was replayed.
    fn each(
        &self,
        filter: &LetterFilter,
        mut each: impl FnMut(&DeadLetter, bool) -> Result<ControlFlow<()>, OperationError>,
    ) -> Result<(), Failure> {
        let Application { config, cluster, admin } = &self.application;
        let mut reader = RangeReader::open(cluster, &config.application_id)?;
        let log = ReplayLog::read(&mut reader, admin, &config.application_id, &self.topic)?;
        self.topic.read(&mut reader, filter, |letter| each(&letter, log.contains(letter.place)))?;
        Ok(())
    }
}

fn filter(args: &LetterArgs) -> LetterFilter {
    let range = |from: Option<i64>, to: Option<i64>| {
        (from.is_some() || to.is_some()).then(|| from.unwrap_or(i64::MIN)..to.unwrap_or(i64::MAX))
    };
    LetterFilter {
        reason: args.reason.clone(),
        source: args.source.clone(),
        time: range(args.since.map(|time| time.0), args.until.map(|time| time.0)),
        partition: args.partition,
        offsets: range(args.from_offset.map(|offset| offset.max(0)), args.to_offset),
        key: args.key.as_ref().map(|key| key.as_bytes().to_vec()),
    }
}

fn list(sources: &Sources, args: &DlqListArgs) -> Result<(), Failure> {
    let letters = Letters::open(sources, &args.letters.application, args.letters.topic.as_deref())?;
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut count = 0;
    let mut table = TextTable::new(&["letter", "time", "error", "record", "key", "bytes", ""]);
    let mut lines = BufWriter::new(io::stdout().lock());
    letters.each(&filter(&args.letters), |letter, replayed| {
        if count == limit {
            return Ok(ControlFlow::Break(()));
        }
        count += 1;
        if args.json {
            write_letter(letter, replayed, &mut lines)?;
        } else {
            table.row(row(letter, replayed));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if args.json {
        return lines.flush().map_err(Failure::io("write to standard output"));
    }
    drop(lines);
    if table.is_empty() {
        return output::write(&format!("No such letter in {}.\n", letters.topic.name()));
    }
    output::write(&format!("{table}{count} letters in {}\n", letters.topic.name()))
}

fn row(letter: &DeadLetter, replayed: bool) -> [String; 7] {
    let key = letter
        .key
        .as_deref()
        .map_or("-".to_owned(), |key| String::from_utf8_lossy(key).chars().take(SHOWN).collect());
    let message: String = letter.error.message.chars().take(SHOWN).collect();
    [
        shown(letter.place),
        point_in_time::shown(letter.timestamp),
        format!("{}: {message}", letter.error.exception),
        record(&letter.source),
        key,
        letter.value.as_ref().map_or("-".to_owned(), |value| value.len().to_string()),
        if replayed { "replayed".to_owned() } else { String::new() },
    ]
}

/// Where a record lay, as `topic-partition@offset`.
fn record(source: &LetterSource) -> String {
    match (&source.topic, source.partition, source.offset) {
        (Some(topic), Some(partition), Some(offset)) => format!("{topic}-{partition}@{offset}"),
        (Some(topic), ..) => topic.clone(),
        _ => "unknown".to_owned(),
    }
}

fn show(sources: &Sources, args: &DlqShowArgs) -> Result<(), Failure> {
    let letters = Letters::open(sources, &args.application, args.topic.as_deref())?;
    let mut text = Vec::new();
    for place in &args.places {
        let mut found = false;
        letters.each(&LetterFilter::at(*place), |letter, replayed| {
            found = true;
            if args.json {
                write_letter(letter, replayed, &mut text)?;
            } else {
                text.extend_from_slice(whole(letter, replayed).as_bytes());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if !found {
            let topic = letters.topic.name();
            let place = shown(*place);
            return Err(Failure::Failed(format!("{topic} has no letter {place}")));
        }
    }
    output::write(&String::from_utf8_lossy(&text))
}

fn whole(letter: &DeadLetter, replayed: bool) -> String {
    let bytes = |bytes: &Option<Vec<u8>>| {
        bytes
            .as_deref()
            .map_or("null".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<10}{value}");
    };
    line("letter", &shown(letter.place));
    line("time", &point_in_time::shown(letter.timestamp));
    line("error", &letter.error.exception);
    line("message", &letter.error.message);
    line("place", &letter.error.place);
    line("record", &record(&letter.source));
    line("replayed", if replayed { "yes" } else { "no" });
    for header in &letter.headers {
        line("header", &format!("{}: {}", header.name, bytes(&header.value)));
    }
    line("key", &bytes(&letter.key));
    line("value", &bytes(&letter.value));
    text.push('\n');
    text
}

fn replay(sources: &Sources, args: &DlqReplayArgs) -> Result<(), Failure> {
    let letters = Letters::open(sources, &args.letters.application, args.letters.topic.as_deref())?;
    let filter = filter(&args.letters);
    let edits = match &args.from_file {
        Some(path) => Some(read_edits(LineReader::open(path)?)?),
        None if args.edit => Some(edited(&letters, &filter)?),
        None => None,
    };
    let Application { config, cluster, admin } = &letters.application;
    let target = args.to.clone().map_or(ReplayTarget::Source, ReplayTarget::Topic);
    if target == ReplayTarget::Topic(letters.topic.name().to_owned()) {
        let name = letters.topic.name();
        return Err(Failure::Failed(format!("{name} cannot be replayed to itself")));
    }
    let replay = LetterReplay {
        application_id: &config.application_id,
        topic: &letters.topic,
        filter,
        target,
        edits,
    };
    let report = if args.execute {
        let progress = Progress::open_ended("replay");
        replay.execute(cluster, admin, letters.application.replication(), |count| {
            progress.say(format!("{count} letters"));
        })?
    } else {
        replay.survey(cluster, admin)?
    };
    if args.json {
        let mut value = serde_json::to_value(&report).map_err(Failure::failed)?;
        value["executed"] = json!(args.execute);
        return output::json(&value);
    }
    output::write(&summary(&report, args.execute))
}

fn summary(report: &ReplayReport, executed: bool) -> String {
    let verb = if executed { "replayed" } else { "would be replayed" };
    let mut text = format!("{} letters {verb}\n", report.replayed);
    for (topic, count) in &report.by_topic {
        let _ = writeln!(text, "  {count} to {topic}");
    }
    for (count, why) in [
        (report.replayed_before, "were replayed before"),
        (
            report.without_bytes,
            "have neither key nor value, and stay; repair them with --from-file",
        ),
        (
            report.without_source,
            "do not say where they came from, and stay; name a topic with --to",
        ),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{count} letters {why}");
        }
    }
    if !executed {
        text.push_str("Nothing was written. --execute does it.\n");
    }
    text
}

/// Lets the user repair the letters that are meant and were not replayed.
fn edited(
    letters: &Letters,
    filter: &LetterFilter,
) -> Result<HashMap<LetterPlace, LetterEdit>, Failure> {
    let folder = ScratchFolder::new("dlq")?;
    let path = folder.path().join("letters.jsonl");
    let what = format!("write {}", path.display());
    let mut file = BufWriter::new(File::create(&path).map_err(Failure::io(what.clone()))?);
    letters.each(filter, |letter, replayed| {
        if !replayed {
            write_letter(letter, replayed, &mut file)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    file.flush().map_err(Failure::io(what))?;
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| env::var(name).ok());
    let editor = editor.filter(|editor| !editor.trim().is_empty()).ok_or_else(|| {
        Failure::Failed("--edit wants $VISUAL or $EDITOR to be set; or use --from-file".to_owned())
    })?;
    // Through the shell, since the variable may hold arguments.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(&path)
        .status()
        .map_err(Failure::io(format!("start the editor {editor}")))?;
    if !status.success() {
        return Err(Failure::Failed(format!(
            "the editor ended with {status}; nothing was replayed"
        )));
    }
    if fs::metadata(&path).map_err(Failure::io("read the repaired letters"))?.len() == 0 {
        return Ok(HashMap::new());
    }
    read_edits(LineReader::open(&path)?)
}
