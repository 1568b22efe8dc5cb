//! Reads a saved description back: the JSON that [`Description::to_json`] gives, or text of
//! `describe()`, Tidemill's or Kafka Streams' own.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::graph::{Description, NodeDescription, NodeRole, SubtopologyDescription};

impl FromStr for Description {
    type Err = Error;

    /// # Errors
    /// When the text is no description.
    fn from_str(text: &str) -> Result<Self> {
        if text.trim_start().starts_with('{') {
            return serde_json::from_str(text).map_err(|error| {
                Error::wiring(format!("not the JSON of a topology's description: {error}"))
            });
        }
        let mut subtopologies: Vec<SubtopologyDescription> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            read_line(line.trim(), &mut subtopologies).ok_or_else(|| {
                let line_number = number + 1;
                Error::wiring(format!(
                    "line {line_number} is not of a topology's description: {line:?}"
                ))
            })?;
        }
        if subtopologies.is_empty() {
            return Err(Error::wiring("there is no subtopology in the description"));
        }
        for subtopology in &mut subtopologies {
            let mut stores: Vec<String> =
                subtopology.nodes.iter().flat_map(|node| node.stores.clone()).collect();
            stores.sort_unstable();
            stores.dedup();
            subtopology.stores = stores;
        }
        Ok(Self { subtopologies, state: None })
    }
}

/// Adds what a line says; `None` if it says nothing that is known.
fn read_line(line: &str, subtopologies: &mut Vec<SubtopologyDescription>) -> Option<()> {
    if line.is_empty() || line == "Topologies:" {
        return Some(());
    }
    if let Some(rest) = line.strip_prefix("Sub-topology: ") {
        let id = rest.split(' ').next()?.parse().ok()?;
        let is_global = rest.contains("for global store");
        subtopologies.push(SubtopologyDescription {
            id,
            is_global,
            nodes: Vec::new(),
            stores: Vec::new(),
        });
        return Some(());
    }
    let nodes = &mut subtopologies.last_mut()?.nodes;
    if let Some(names) = line.strip_prefix("-->") {
        nodes.last_mut()?.successors = list(names);
        return Some(());
    }
    if let Some(names) = line.strip_prefix("<--") {
        nodes.last_mut()?.predecessors = list(names);
        return Some(());
    }
    let (kind, rest) = line.split_once(": ")?;
    let (name, rest) = rest.split_once(" (").unwrap_or((rest, ""));
    let named = list(rest.trim_end_matches(')').split_once(": ").map_or("", |(_, names)| names));
    let (kind, topics, stores) = match kind {
        "Source" => (NodeRole::Source, named, Vec::new()),
        "Processor" => (NodeRole::Processor, Vec::new(), named),
        "Sink" => (NodeRole::Sink, named, Vec::new()),
        _ => return None,
    };
    nodes.push(NodeDescription {
        kind,
        name: name.to_owned(),
        topics,
        stores,
        predecessors: Vec::new(),
        successors: Vec::new(),
        size: 0,
    });
    Some(())
}

/// The names of a list, which may stand in brackets.
fn list(names: &str) -> Vec<String> {
    let names = names.trim().trim_start_matches('[').trim_end_matches(']');
    names
        .split(", ")
        .filter(|name| !name.is_empty() && *name != "none")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    fn counted() -> Topology {
        let builder = StreamsBuilder::new();
        builder
            .stream("words", Consumed::with(Utf8, Utf8))
            .group_by(|_, word| word.clone(), Grouped::with(Utf8, Utf8))
            .count(Materialized::named("counts", I64))
            .to_stream()
            .to("counted", Produced::with(Utf8, Nullable(I64)));
        builder.build().unwrap()
    }

    #[test]
    fn a_description_comes_back_from_its_json_and_but_for_the_state_from_its_text() {
        let described = counted().describe();
        let from_json: Description = described.to_json().to_string().parse().unwrap();
        assert_eq!(from_json.to_string(), described.to_string());
        assert_eq!(from_json.state, described.state);
        let from_text: Description = described.to_string().parse().unwrap();
        assert_eq!(from_text.to_string(), described.to_string());
        assert_eq!(from_text.state, None);
        let stores = |description: &Description| -> Vec<_> {
            description.subtopologies.iter().map(|one| one.stores.clone()).collect()
        };
        assert_eq!(stores(&from_text), stores(&described));
    }

    #[test]
    fn what_is_no_description_is_refused_with_its_line() {
        let line = "Topologies:\n   Sub-topology: 0\n    Cook: soup".parse::<Description>();
        assert!(line.unwrap_err().to_string().contains("line 3"));
        assert!("".parse::<Description>().is_err());
        assert!("{}".parse::<Description>().is_err());
    }
}
