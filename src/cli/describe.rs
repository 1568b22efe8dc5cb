//! `tidemill describe`: an application as its cluster and its instances see it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use tidemill::operations::description::{Description, instance_hosts};

use super::application::Application;
use super::failure::Failure;
use super::instance_http::get_json;
use super::operation_args::DescribeArgs;
use super::output;
use super::sources::Sources;
use super::text_table::TextTable;

/// Prints the description.
///
/// # Errors
/// A configuration that cannot be used, or a cluster that does not answer. An instance that does
/// not is no error.
pub fn describe(sources: &Sources, args: &DescribeArgs) -> Result<(), Failure> {
    let application = Application::open(sources, "describe", &args.application, &[])?;
    let description = Description::make(&application.admin, &application.footprint()?)?;
    let Application { config, cluster, admin } = &application;
    let http = &config.http;
    let addresses = if args.instance.is_empty() {
        instance_hosts(cluster, admin, &config.application_id)?.into_values().collect()
    } else {
        args.instance.clone()
    };
    let instances: BTreeMap<String, Instance> = addresses
        .into_iter()
        .map(|address| {
            let instance = match get_json(&address, "/tasks", http.token.as_ref()) {
                Ok(status) => Instance::Reached(status),
                Err(error) => Instance::Unreachable { error },
            };
            (address, instance)
        })
        .collect();
    if args.json {
        return output::json(&Whole { cluster: &description, instances: &instances });
    }
    output::write(&as_text(&description, &instances))
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    cluster: &'a Description,
    instances: &'a BTreeMap<String, Instance>,
}

/// What an instance says of itself, if it does.
#[derive(Serialize)]
#[serde(untagged)]
enum Instance {
    Reached(Value),
    Unreachable { error: String },
}

fn as_text(description: &Description, instances: &BTreeMap<String, Instance>) -> String {
    let Description { application_id, cluster_id, members, tasks, lag } = description;
    let mut text = format!(
        "application {application_id} on cluster {cluster_id}; members: {}, tasks: {}, lag: {lag}\n\n",
        members.len(),
        tasks.len()
    );
    let mut member_table = TextTable::new(&["member", "host", "tasks"]);
    for member in members {
        member_table.row([member.name.clone(), member.host.clone(), member.tasks.join(" ")]);
    }
    let mut input_table =
        TextTable::new(&["task", "member", "input", "partition", "committed", "end", "lag"]);
    let mut store_table = TextTable::new(&["task", "store", "changelog", "records"]);
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    for task in tasks {
        let member = task.member.as_deref().unwrap_or("nobody");
        for input in &task.inputs {
            input_table.row([
                task.id.clone(),
                member.to_owned(),
                input.topic.clone(),
                input.partition.to_string(),
                number(input.committed),
                number(input.end),
                input.lag.to_string(),
            ]);
        }
        for store in &task.stores {
            let records = number(store.changelog_records);
            store_table.row([
                task.id.clone(),
                store.name.clone(),
                store.changelog.clone(),
                records,
            ]);
        }
    }
    // Writing to a String cannot fail.
    if member_table.is_empty() {
        text.push_str("The group has no members: no instance runs.\n");
    } else {
        let _ = write!(text, "{member_table}");
    }
    let _ = write!(text, "\n{input_table}");
    if !store_table.is_empty() {
        let _ = write!(text, "\n{store_table}");
    }
    for (address, instance) in instances {
        let _ = writeln!(text, "\n{}", instance_line(address, instance));
    }
    text
}

fn instance_line(address: &str, instance: &Instance) -> String {
    let status = match instance {
        Instance::Unreachable { error } => {
            return format!("instance at http://{address}: not reached ({error})");
        }
        Instance::Reached(status) => status,
    };
    let word = |name: &str| status[name].as_str().unwrap_or_default();
    let tasks = status["tasks"].as_array().map_or(&[][..], Vec::as_slice);
    let tasks: Vec<String> = tasks
        .iter()
        .map(|task| {
            let id = task["id"].as_str().unwrap_or_default();
            format!("{id} {}", task["state"].as_str().unwrap_or_default())
        })
        .collect();
    let (id, state, reason) = (word("instance_id"), word("state"), word("reason"));
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!("instance {id} at http://{address}: {state}{reason}\n  {}", tasks.join(", "))
}
