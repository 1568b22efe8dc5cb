//! Kafka Streams' own results: every golden file is run through Tidemill and compared.
//!
//! `cargo test --release --test goldens [-- FILTER]` runs the files whose path contains the filter.
//! Each scenario runs three times: on memory stores, on RocksDB stores, and through commits and
//! crashes at random steps; all have to agree with the file. In the environment:
//!
//! - `TIDEMILL_GOLDENS`: the folder of golden files (default: this one);
//! - `TIDEMILL_GOLDENS_ONLY`: a filter, as on the command line;
//! - `TIDEMILL_GOLDENS_PASSES`: some of `memory,rocksdb,crash` (default: all);
//! - `TIDEMILL_GOLDENS_OUT`: a folder to write each run to, as `check.py compare` takes it.
//!
//! Read [`golden`] (a file), [`scenarios`] (its topology), [`run`] and [`compare`].

#![allow(
    clippy::print_stdout,
    reason = "a test target without the standard harness reports itself"
)]

mod compare;
mod describe;
mod formats;
mod golden;
mod random;
mod run;
mod scenarios;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use golden::Golden;
use run::Pass;

fn main() -> ExitCode {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let folder = env::var_os("TIDEMILL_GOLDENS").map_or(home, PathBuf::from);
    let filter = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let filter = filter.or_else(|| env::var("TIDEMILL_GOLDENS_ONLY").ok()).unwrap_or_default();
    let passes =
        env::var("TIDEMILL_GOLDENS_PASSES").unwrap_or_else(|_| "memory,rocksdb,crash".to_owned());
    let passes: Vec<Pass> = passes.split(',').map(Pass::named).collect();
    let out = env::var_os("TIDEMILL_GOLDENS_OUT").map(PathBuf::from);

    let mut files = Vec::new();
    json_files(&folder, &mut files);
    files.sort();
    let (mut passed, mut failed) = (0, 0);
    for path in &files {
        // Every file was found below the folder.
        let name = path.strip_prefix(&folder).unwrap_or(path).display().to_string();
        if !name.contains(&filter) {
            continue;
        }
        let problems = check(path, &name, &passes, out.as_deref());
        if problems.is_empty() {
            passed += 1;
        } else {
            failed += 1;
            println!("FAILED {name}: {}", problems[0]);
            if problems.len() > 1 {
                println!("  and {} more", problems.len() - 1);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is wrong with one file's results.
fn check(path: &Path, name: &str, passes: &[Pass], out: Option<&Path>) -> Vec<String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return vec![format!("cannot be read: {error}")],
    };
    let group =
        path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    match group.as_deref() {
        Some("describe") => describe::check(&text),
        Some("formats") => formats::check(name, &text),
        _ => match serde_json::from_str::<Golden>(&text) {
            Ok(golden) => {
                passes.iter().flat_map(|pass| check_scenario(&golden, *pass, name, out)).collect()
            }
            Err(error) => vec![format!("is no golden file: {error}")],
        },
    }
}

fn check_scenario(golden: &Golden, pass: Pass, name: &str, out: Option<&Path>) -> Vec<String> {
    let run = match run::run(golden, pass) {
        Ok(run) => run,
        Err(problem) => return vec![format!("{pass:?}: {problem}")],
    };
    if let Some(out) = out.filter(|_| pass == Pass::Memory) {
        let path = out.join(name);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
            let text = serde_json::to_string(&run.to_json())?;
            fs::write(&path, text)
        });
        if let Err(error) = written {
            return vec![format!("{} cannot be written: {error}", path.display())];
        }
    }
    let problems = compare::differences(golden, &run);
    problems.into_iter().map(|problem| format!("{pass:?}: {problem}")).collect()
}

fn json_files(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if path.is_dir() {
            json_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            into.push(path);
        }
    }
}
