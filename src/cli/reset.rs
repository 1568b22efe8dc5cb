//! `tidemill reset`: an application back to where its inputs are read anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::kafka::{Admin, Offset, TopicPartition};
use tidemill::operations::OperationError;
use tidemill::operations::footprint::require_idle;
use tidemill::operations::reset::{ResetPlan, ResetRequest, ResetStep, reset_local_state};
use tidemill::operations::starting_point::{StartingPoint, StartingPoints};

use super::application::{Application, configuration};
use super::failure::Failure;
use super::operation_args::ResetArgs;
use super::output;
use super::progress::Progress;
use super::record_lines::LineReader;
use super::sources::Sources;
use super::text_table::TextTable;

/// How long the cluster may take to tell the group's offsets.
const OFFSETS_WITHIN: Duration = Duration::from_secs(30);

const NOTHING_DONE: &str = "Nothing was changed. --execute does the above.\n";

/// Shows what a reset would do, or does it.
///
/// # Errors
/// A configuration or a flag that cannot be used, instances that run, or a cluster that refuses.
pub fn reset(sources: &Sources, args: &ResetArgs) -> Result<(), Failure> {
    if args.local {
        return reset_local(sources, args);
    }
    let application = Application::open(sources, "reset", &args.application, &[])?;
    let footprint = application.footprint()?;
    let id = &application.config.application_id;
    require_idle(&application.admin, id, Duration::from_secs(args.wait))?;
    if let Some(path) = &args.save_offsets {
        save_offsets(&application, path)?;
    }
    let state = &application.config.state.dir;
    let request = ResetRequest {
        points: starting_points(args)?,
        also_delete: args.also_delete.clone(),
        state_dir: (!args.keep_state).then(|| state.clone()),
    };
    let plan = ResetPlan::make(&application.admin, &footprint, &request)?;
    if args.execute {
        let progress = Progress::open_ended("reset");
        progress.say("offsets");
        plan.execute(&application.admin, |step| {
            progress.say(match step {
                ResetStep::Offsets => "internal topics",
                ResetStep::Topics => "local state",
                ResetStep::State => "done",
            });
        })?;
    }
    if args.json {
        return output::json(&Outcome { executed: args.execute, plan: &plan });
    }
    let servers = &application.config.kafka.bootstrap_servers;
    output::write(&as_text(&plan, servers, args.execute))
}

#[derive(Serialize)]
struct Outcome<'a> {
    executed: bool,
    #[serde(flatten)]
    plan: &'a ResetPlan,
}

fn as_text(plan: &ResetPlan, servers: &str, executed: bool) -> String {
    let mut text = format!("application {} on {servers}\n\n", plan.application_id);
    let mut offsets = TextTable::new(&["input", "partition", "offset", "becomes"]);
    for change in &plan.offsets {
        let from = change.from.map_or("-".to_owned(), |offset| offset.to_string());
        offsets.row([
            change.topic.clone(),
            change.partition.to_string(),
            from,
            change.to.to_string(),
        ]);
    }
    // Writing to a String cannot fail.
    let _ = write!(text, "{offsets}");
    let paths: Vec<String> =
        plan.delete_state.iter().map(|path| path.display().to_string()).collect();
    section(&mut text, "internal topics, deleted", &plan.delete_topics);
    section(&mut text, "local state, deleted", &paths);
    section(
        &mut text,
        "outputs, kept: what is processed again is written again behind what is there",
        &plan.keep_outputs,
    );
    section(
        &mut text,
        "kept, since this topology does not have them (--also-delete)",
        &plan.keep_unknown,
    );
    text.push('\n');
    text.push_str(if executed {
        "Done. On other machines of this application: tidemill reset --local --execute\n"
    } else {
        NOTHING_DONE
    });
    text
}

fn section(text: &mut String, heading: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{heading}\n  {}", lines.join("\n  "));
    }
}

fn reset_local(sources: &Sources, args: &ResetArgs) -> Result<(), Failure> {
    // Kafka is not asked, so its address is not needed.
    let sources = sources.with_presets("reset --local", &[("bootstrap.servers", "none")]);
    let config = configuration(&sources, "reset", &args.application)?;
    let folders: Vec<PathBuf> =
        reset_local_state(&config.state.dir, &config.application_id, args.execute)?;
    if args.json {
        let value = serde_json::json!({ "executed": args.execute, "delete_state": folders });
        return output::json(&value);
    }
    let folders: Vec<String> = folders.iter().map(|path| path.display().to_string()).collect();
    if folders.is_empty() {
        let root = config.state.dir.join(&config.application_id);
        return output::write(&format!("There is no local state in {}.\n", root.display()));
    }
    let mut text = format!("application {}\n", config.application_id);
    section(&mut text, "local state, deleted", &folders);
    text.push_str(if args.execute { "\nDone.\n" } else { "\n" });
    text.push_str(if args.execute { "" } else { NOTHING_DONE });
    output::write(&text)
}

fn starting_points(args: &ResetArgs) -> Result<StartingPoints, Failure> {
    let mut points = StartingPoints::all(StartingPoint::Earliest);
    for arg in &args.to {
        match &arg.topic {
            Some(topic) => {
                points.topics.insert(topic.clone(), arg.point);
            }
            None => points.others = arg.point,
        }
    }
    if let Some(path) = &args.offsets {
        points.partitions = read_offsets(LineReader::open(path)?)?;
    }
    Ok(points)
}

/// A line of a file of offsets.
#[derive(Serialize, Deserialize)]
struct OffsetLine {
    topic: String,
    partition: i32,
    offset: i64,
}

fn read_offsets(mut lines: LineReader) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
    let (mut offsets, mut number) = (BTreeMap::new(), 0);
    while let Some(line) = lines.next_line()? {
        number += 1;
        let line: OffsetLine = serde_json::from_slice(line).map_err(|error| {
            let reason =
                format!("expected {{\"topic\":\"orders\",\"partition\":0,\"offset\":17}}: {error}");
            Failure::from(OperationError::Line { line: number, reason })
        })?;
        let partition = TopicPartition::new(line.topic, line.partition);
        offsets.insert(partition, Offset(line.offset));
    }
    Ok(offsets)
}

/// Writes what the group has committed of the inputs.
fn save_offsets(application: &Application, path: &Path) -> Result<(), Failure> {
    let id = &application.config.application_id;
    let inputs = application.footprint()?.inputs();
    let committed = application.admin.group_offsets(id, OFFSETS_WITHIN).map_err(Failure::failed)?;
    let mut lines = String::new();
    for committed in committed.iter().filter(|found| inputs.contains(&*found.partition.topic)) {
        let line = OffsetLine {
            topic: committed.partition.topic.to_string(),
            partition: committed.partition.partition,
            offset: committed.offset.0,
        };
        lines.push_str(&serde_json::to_string(&line).map_err(Failure::failed)?);
        lines.push('\n');
    }
    fs::write(path, lines).map_err(Failure::io(format!("write {}", path.display())))
}
