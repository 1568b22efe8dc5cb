//! `tidemill topology` as a user runs it before an upgrade.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn topology(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidemill")).arg("topology").args(arguments).output().unwrap()
}

/// What is printed, and the exit code.
fn against(saved: &Path, more: &[&str]) -> (String, Option<i32>) {
    let output = topology(&[&["--against", saved.to_str().unwrap()], more].concat());
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

fn saved(folder: &Path, form: &str, edit: impl Fn(String) -> String) -> std::path::PathBuf {
    let description = topology(&["--format", form]);
    assert!(description.status.success());
    let path = folder.join(form);
    fs::write(&path, edit(String::from_utf8(description.stdout).unwrap())).unwrap();
    path
}

#[test]
fn a_topology_compared_with_itself_does_not_differ() {
    let folder = tempfile::tempdir().unwrap();
    for form in ["json", "text"] {
        let path = saved(folder.path(), form, |text| text);
        assert_eq!(against(&path, &[]), ("no difference\n".to_owned(), Some(0)), "{form}");
    }
}

#[test]
fn an_upgrade_that_renames_a_store_breaks_and_ends_with_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    for form in ["json", "text"] {
        let path = saved(folder.path(), form, |text| text.replace("books", "old-books"));
        let (said, code) = against(&path, &[]);
        assert_eq!(code, Some(3), "{form}: {said}");
        assert!(said.starts_with("breaks     store old-books: is gone"), "{form}: {said}");
        assert!(said.contains("safe       store books: is new"), "{form}: {said}");
    }
}

#[test]
fn partitions_set_by_the_configuration_are_compared_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), "json", |text| text);
    let more = ["--set", "exchange.repartition.partitions=8", "--format", "json"];
    let (said, code) = against(&path, &more);
    assert_eq!(code, Some(3), "{said}");
    let comparison: serde_json::Value = serde_json::from_str(&said).unwrap();
    let first = &comparison["differences"][0];
    assert_eq!(first["subject"], "repartition topic orders-by-asset-repartition");
    assert_eq!(first["effect"], "breaks");
}

#[test]
fn a_file_that_is_no_description_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("soup");
    fs::write(&path, "Topologies:\nsoup").unwrap();
    let output = topology(&["--against", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("soup: ") && said.contains("line 2"), "{said}");
}
