//! Who hosts what: the instances, their tasks, and the partitions of each store.

use serde_json::{Map, Value, json};
use tidemill_topology::graph::TaskId;

use super::readable::ReadableStores;
use crate::runtime::membership::Member;
use crate::status::{Holder, QueryError};

/// All of it, as JSON.
///
/// # Errors
/// When a store is not where the topology says.
pub fn metadata(stores: &ReadableStores) -> Result<Value, QueryError> {
    let members = stores.members();
    let instances: Vec<Value> = members.iter().map(instance).collect();
    let mut shown = Vec::new();
    for name in stores.names() {
        let place = stores.place(&name)?;
        let partitions = (0..place.partitions.unwrap_or(0)).map(|partition| {
            let task = place.task(partition);
            let mut shown = Map::new();
            shown.insert("partition".to_owned(), partition.into());
            shown.insert("task".to_owned(), task.to_string().into());
            let owner = match stores.holder(task) {
                Holder::Here => stores.own(),
                Holder::Other(owner) => Some(owner),
                Holder::Nobody => None,
            };
            shown.insert("owner".to_owned(), json!(owner));
            shown.insert("copies".to_owned(), json!(copies(&members, task)));
            Value::Object(shown)
        });
        shown.push(json!({
            "name": name,
            "global": place.is_global,
            "partitions": partitions.collect::<Vec<_>>(),
        }));
    }
    Ok(json!({ "instances": instances, "stores": shown }))
}

/// The instances that live and keep a copy of a task.
fn copies(members: &[Member], task: TaskId) -> Vec<Value> {
    let alive = members.iter().filter(|member| member.is_alive);
    let copies = alive.filter_map(|member| Some((member, member.standbys.get(&task)?)));
    let shown = copies.map(|(member, copy)| {
        json!({ "instance": member.instance, "host": member.host, "lag": copy.lag })
    });
    shown.collect()
}

fn instance(member: &Member) -> Value {
    let tasks: Map<String, Value> =
        member.tasks.iter().map(|(id, held)| (id.to_string(), held.state.clone().into())).collect();
    let standbys: Map<String, Value> = member
        .standbys
        .iter()
        .map(|(id, copy)| (id.to_string(), json!({ "position": copy.position, "lag": copy.lag })))
        .collect();
    json!({
        "instance": member.instance,
        "host": member.host,
        "alive": member.is_alive,
        "self": member.is_self,
        "tasks": tasks,
        "standbys": standbys,
    })
}
