//! A full disk costs nothing: what cannot be written stays in memory until there is room.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidemill_test_support::KafkaCluster;

use super::flow;
use super::market::{LIMIT, Market};
use super::outcome::Outcome;
use super::sender::Sender;

/// A small disk of its own, in memory.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this process may not mount.
    pub fn mount(folder: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("a folder in a folder of our own");
        let size = format!("size={mebibytes}m");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        mount.is_ok_and(|mount| mount.status.success()).then(|| Self(folder.to_owned()))
    }

    /// Writes to a file until nothing more goes in; again, if room was made meanwhile.
    pub fn fill(&self) {
        let filler = File::options().create(true).append(true).open(self.filler());
        let mut filler = filler.expect("room for a name");
        for size in [1 << 20, 1 << 12, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Removes that file.
    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("the file that fills the disk");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was killed may not be gone from it yet.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Says aloud that a test was not run, on a line that the test script counts.
pub fn not_run(why: &str) {
    let line = format!("\nnot run: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
}

#[test]
fn a_full_disk_is_named_and_nothing_is_lost_by_it() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let Some(disk) = SmallDisk::mount(&market.state("one"), 32) else {
        not_run("a full disk: this user may not mount a small one");
        return;
    };
    let orders = flow::generated(10_000, 5);
    let often = [("state.flush.interval.ms", "200")];
    let mut instance = market.start_ready("one", &often);
    let (before, after) = orders.split_at(2_000);
    let sender = Sender::to(&market);
    sender.send(before);
    market.wait_processed();
    disk.fill();
    sender.send(after);
    let said = instance.process.wait_for_log("no room for the state of task", LIMIT);
    assert!(said.contains("trying on"), "{said}");
    // Orders are matched all the same.
    market.wait_processed();
    disk.make_room();
    instance.stop();

    // Whatever had been written is whole: what lacks comes from the changelogs.
    let mut again = market.start_ready("one", &often);
    super::two_orders::assert_still_trades(&market);
    again.stop();
    let mut outcome = Outcome::of(&market);
    let of_flow = |asset: &String, _: &mut Vec<serde_json::Value>| !asset.starts_with("asset-");
    outcome.trades.retain(of_flow);
    outcome.updates.retain(of_flow);
    let expected = Outcome::replayed(&market, &orders);
    outcome.candles.retain(|key, _| expected.candles.contains_key(key));
    outcome.positions.retain(|key, _| expected.positions.contains_key(key));
    outcome.assert_same(&expected);
}
