//! The golden files of Kafka Streams are whole: their own checker finds nothing wrong with them.

use std::path::Path;
use std::process::Command;

#[test]
fn the_golden_files_are_well_formed() {
    let checker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/check.py");
    let output = Command::new("python3").arg(&checker).output().expect("python3 (`make setup`)");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.ends_with("all well\n"), "{report}");
}
