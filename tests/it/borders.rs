//! The borders between the rooms of the code base, as ARCHITECTURE.md draws them.
//!
//! A rule looks at one source file and says what in it breaks the rule. Each has a test that it
//! finds an offender, for a rule that finds nothing proves nothing.

use std::fs;
use std::path::{Path, PathBuf};

mod code;

use code::Code;

/// A file's lines beyond which it is hardly one noun any more.
const MOST_LINES: usize = 700;

/// A source file of the product, by its path from the repository's root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_in(&self, rooms: &[&str]) -> bool {
        rooms.iter().any(|room| self.path.starts_with(room))
    }
}

/// What a rule finds in a file; empty where the file keeps it.
type Rule = fn(&Source) -> Vec<String>;

const RULES: [(&str, Rule); 9] = [
    ("topology is pure: no clock, file, environment, thread, network or randomness", impurity),
    ("imports go one way: src, state, topology", upward_import),
    ("a vendor has one place", misplaced_vendor),
    ("the exchange uses the public API alone", inside_knowledge),
    ("the exchange is used by the command line alone", use_of_the_exchange),
    ("unsafe is for the module that speaks librdkafka's C interface", misplaced_unsafe),
    ("a file starts with what it is", missing_doc),
    ("a file is one noun", overlong),
    ("what is written is finished", unfinished),
];

fn impurity(source: &Source) -> Vec<String> {
    const IMPURE: [&str; 9] = [
        "Instant",
        "SystemTime",
        "RandomState",
        "fs::",
        "env::",
        "thread::",
        "net::",
        "std::process",
        "rand::",
    ];
    if !source.is_in(&["topology/src/"]) {
        return Vec::new();
    }
    let code = Code::without_tests(&source.text);
    IMPURE.iter().filter_map(|word| code.line_with(word)).collect()
}

fn upward_import(source: &Source) -> Vec<String> {
    let above: &[&str] = if source.is_in(&["topology/"]) {
        &["tidemill", "tidemill_state"]
    } else if source.is_in(&["state/"]) {
        &["tidemill"]
    } else {
        &[]
    };
    let code = Code::of(&source.text);
    above.iter().filter_map(|name| code.line_using(name)).collect()
}

fn misplaced_vendor(source: &Source) -> Vec<String> {
    // A crate, and the only places where its name may stand.
    const PLACES: [(&str, &[&str]); 10] = [
        ("rdkafka", &["src/kafka/"]),
        ("rdkafka_sys", &["src/kafka/"]),
        ("rocksdb", &["state/src/rocksdb"]),
        ("prometheus", &["src/metrics"]),
        ("hyper", &["src/http"]),
        ("hyper_util", &["src/http"]),
        ("http_body_util", &["src/http"]),
        ("tokio", &["src/http", "src/cli", "src/main.rs"]),
        ("tokio_rustls", &["src/http"]),
        ("clap", &["src/cli", "src/main.rs"]),
    ];
    let code = Code::of(&source.text);
    let misplaced = |(vendor, places): &(&str, &[&str])| {
        if source.is_in(places) { None } else { code.line_using(vendor) }
    };
    PLACES.iter().filter_map(misplaced).collect()
}

fn inside_knowledge(source: &Source) -> Vec<String> {
    const INSIDES: [&str; 6] = [
        "crate::cli",
        "crate::http",
        "crate::kafka",
        "crate::metrics",
        "crate::runtime",
        "tidemill_state",
    ];
    if !source.is_in(&["src/exchange"]) {
        return Vec::new();
    }
    let code = Code::of(&source.text);
    INSIDES.iter().filter_map(|room| code.line_with(room)).collect()
}

fn use_of_the_exchange(source: &Source) -> Vec<String> {
    if !source.is_in(&["src/"]) || source.is_in(&["src/exchange", "src/cli", "src/main.rs"]) {
        return Vec::new();
    }
    // `super::exchange` may be a room's own module, such as the exchange's metrics.
    let code = Code::of(&source.text);
    ["crate::exchange", "tidemill::exchange"]
        .iter()
        .filter_map(|path| code.line_with(path))
        .collect()
}

fn misplaced_unsafe(source: &Source) -> Vec<String> {
    if source.is_in(&["src/kafka/"]) {
        return Vec::new();
    }
    Code::of(&source.text).line_with("unsafe").into_iter().collect()
}

fn missing_doc(source: &Source) -> Vec<String> {
    let first = source.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if first.starts_with("//! ") { Vec::new() } else { vec![format!("line 1: {first}")] }
}

fn overlong(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines > MOST_LINES { vec![format!("{lines} lines")] } else { Vec::new() }
}

fn unfinished(source: &Source) -> Vec<String> {
    let code = Code::of(&source.text);
    ["todo!", "unimplemented!"].iter().filter_map(|word| code.line_with(word)).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the product.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "topology/src", "state/src"] {
        collect(&root().join(folder), &mut files);
    }
    files
        .iter()
        .map(|file| {
            let path = file.strip_prefix(root()).expect("a file below the root");
            let text = fs::read_to_string(file).expect("a source file that is text");
            Source::new(&path.display().to_string(), &text)
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Asserts that `rule` objects to a file of this path with this text.
fn assert_breaks(rule: Rule, path: &str, text: &str) {
    assert!(!rule(&Source::new(path, text)).is_empty(), "nothing was found in {path}: {text}");
}

/// Asserts that `rule` has nothing against it.
fn assert_keeps(rule: Rule, path: &str, text: &str) {
    let found = rule(&Source::new(path, text));
    assert!(found.is_empty(), "{path}: {text}: {found:?}");
}

#[test]
fn every_file_keeps_the_borders() {
    let sources = sources();
    assert!(sources.len() > 3, "only {} source files were found", sources.len());
    let mut broken = Vec::new();
    for source in &sources {
        for (name, rule) in RULES {
            for found in rule(source) {
                broken.push(format!("{}: {found}\n    rule: {name}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "{} borders crossed:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn manifests_let_no_vendor_into_the_lower_rooms() {
    // A crate that is no dependency cannot be used at all.
    let lower = [
        ("topology", &["rdkafka", "rocksdb", "prometheus", "hyper", "tokio", "rand", "libc"][..]),
        ("state", &["rdkafka", "prometheus", "hyper", "tokio"][..]),
    ];
    for (room, vendors) in lower {
        let manifest = root().join(room).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("the room's manifest");
        let found: Vec<&str> = dependencies(&manifest)
            .into_iter()
            .filter(|name| vendors.contains(name) || *name == "tidemill")
            .collect();
        assert!(found.is_empty(), "{room} depends on {found:?}");
    }
    let topology = fs::read_to_string(root().join("topology/Cargo.toml")).expect("a manifest");
    assert!(!dependencies(&topology).contains(&"tidemill-state"), "topology depends on state");
}

/// The names in a manifest's `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()))
        .collect()
}

#[test]
fn dependencies_are_read_from_their_own_section_alone() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n\n[dev-dependencies]\nc = \"1\"\n";
    assert_eq!(dependencies(manifest), ["a", "b"]);
}

#[test]
fn an_impure_topology_is_found() {
    for line in [
        "let now = std::time::Instant::now();",
        "use std::time::{Duration, SystemTime};",
        "use std::{fs::File, io};",
        "let home = std::env::var(\"HOME\");",
        "std::thread::sleep(pause);",
        "let seed = rand::random();",
    ] {
        assert_breaks(impurity, "topology/src/x.rs", line);
        assert_keeps(impurity, "src/runtime/x.rs", line);
    }
    assert_keeps(impurity, "topology/src/x.rs", "// Instant::now() would differ in a replay.");
    assert_keeps(impurity, "topology/src/x.rs", "let instant = record.timestamp; offs::of(x);");
    assert_keeps(
        impurity,
        "topology/src/x.rs",
        "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::thread::spawn;\n}",
    );
}

#[test]
fn an_upward_import_is_found() {
    assert_breaks(upward_import, "topology/src/x.rs", "use tidemill_state::Store;");
    assert_breaks(upward_import, "state/src/x.rs", "use tidemill::Streams;");
    assert_keeps(upward_import, "state/src/x.rs", "use tidemill_topology::Record;");
    assert_keeps(upward_import, "src/x.rs", "use tidemill_state::Store;");
}

#[test]
fn a_vendor_outside_its_place_is_found() {
    assert_breaks(misplaced_vendor, "src/runtime/x.rs", "use rdkafka::Message;");
    assert_breaks(misplaced_vendor, "src/runtime/x.rs", "let x = ::rdkafka_sys::f();");
    assert_breaks(misplaced_vendor, "state/src/cache.rs", "fn f(db: &rocksdb::DB) {}");
    assert_breaks(misplaced_vendor, "src/runtime/x.rs", "use prometheus::Counter;");
    assert_breaks(misplaced_vendor, "src/metrics/mod.rs", "use hyper::Request;");
    assert_breaks(misplaced_vendor, "src/runtime/thread.rs", "tokio::spawn(f());");
    assert_keeps(misplaced_vendor, "src/kafka/librdkafka/client.rs", "use rdkafka::Message;");
    assert_keeps(misplaced_vendor, "state/src/rocksdb/mod.rs", "use rocksdb::DB;");
    // A module of ours of the same name.
    assert_keeps(misplaced_vendor, "state/src/lib.rs", "pub use crate::rocksdb::Database;");
    assert_keeps(misplaced_vendor, "src/x.rs", "/// Like `rdkafka::Message`.\nstruct X;");
}

#[test]
fn inside_knowledge_of_the_exchange_is_found() {
    assert_breaks(inside_knowledge, "src/exchange/book.rs", "use crate::runtime::Task;");
    assert_breaks(inside_knowledge, "src/exchange/book.rs", "use tidemill_state::Cache;");
    assert_keeps(inside_knowledge, "src/exchange/book.rs", "use crate::exchange::Price;");
    assert_keeps(inside_knowledge, "src/runtime/task.rs", "use crate::kafka::Offset;");
}

#[test]
fn a_use_of_the_exchange_by_the_runtime_is_found() {
    assert_breaks(use_of_the_exchange, "src/runtime/x.rs", "use crate::exchange::Book;");
    assert_keeps(use_of_the_exchange, "src/cli/run.rs", "use crate::exchange::topology;");
    assert_keeps(use_of_the_exchange, "src/lib.rs", "pub mod exchange;");
    assert_keeps(use_of_the_exchange, "src/metrics/x.rs", "use super::exchange::Counters;");
}

#[test]
fn unsafe_outside_the_kafka_border_is_found() {
    assert_breaks(misplaced_unsafe, "state/src/x.rs", "let x = unsafe { *pointer };");
    assert_keeps(misplaced_unsafe, "src/kafka/librdkafka/x.rs", "unsafe { f() }");
    assert_keeps(misplaced_unsafe, "src/x.rs", "// unsafe\n#![deny(unsafe_code)]\nf(\"unsafe\");");
}

#[test]
fn a_file_without_a_doc_is_found() {
    assert_breaks(missing_doc, "src/x.rs", "use std::fmt;\n//! Too late.");
    assert_keeps(missing_doc, "src/x.rs", "//! What it is.\n\nuse std::fmt;");
}

#[test]
fn an_overlong_file_is_found() {
    assert_breaks(overlong, "src/x.rs", &"line\n".repeat(MOST_LINES + 1));
    assert_keeps(overlong, "src/x.rs", &"line\n".repeat(MOST_LINES));
}

#[test]
fn unfinished_code_is_found() {
    assert_breaks(unfinished, "src/x.rs", "fn f() { todo!() }");
    assert_keeps(unfinished, "src/x.rs", "fn f() { done() } // no todo!");
}
