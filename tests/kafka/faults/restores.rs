//! A listener is told how restores go.

use std::fs;
use std::sync::{Arc, Mutex};

use tidemill::runtime::{RestoreListener, RestoringStore};

use super::words::Words;

/// What a listener was told: of which partition, and how.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Started { partition: i32, records: i64 },
    Progressed { partition: i32, records: u64 },
    Ended { partition: i32, records: u64 },
    Suspended { partition: i32 },
}

#[derive(Default)]
struct Notes(Mutex<Vec<Told>>);

impl Notes {
    fn note(&self, store: RestoringStore<'_>, told: Told) {
        assert_eq!(store.store, "counts");
        assert!(store.topic.ends_with("-counts-changelog"), "{}", store.topic);
        assert_eq!(store.task.to_string(), format!("0_{}", store.partition));
        self.0.lock().expect("no panic").push(told);
    }
}

impl RestoreListener for Notes {
    fn started(&self, store: RestoringStore<'_>) {
        let records = store.end - store.position;
        self.note(store, Told::Started { partition: store.partition, records });
    }

    fn progressed(&self, store: RestoringStore<'_>, records: u64) {
        assert!(store.position <= store.end);
        self.note(store, Told::Progressed { partition: store.partition, records });
    }

    fn ended(&self, store: RestoringStore<'_>, restored: u64) {
        assert_eq!(store.position, store.end);
        self.note(store, Told::Ended { partition: store.partition, records: restored });
    }

    fn suspended(&self, store: RestoringStore<'_>, _: u64) {
        self.note(store, Told::Suspended { partition: store.partition });
    }
}

#[test]
fn a_listener_is_told_of_the_start_the_batches_and_the_end_of_each_restore() {
    let words = Words::open_on_shared(2);
    let notes = Arc::new(Notes::default());
    let instance = words.start_listened("one", Arc::clone(&notes) as Arc<dyn RestoreListener>);
    words.send(500);
    words.wait_for_counts(500, 1);
    instance.stop();
    assert_eq!(*notes.0.lock().expect("no panic"), [], "there was nothing to restore");

    fs::remove_dir_all(words.state("one")).expect("a folder of our own");
    let again = words.start_listened("one", Arc::clone(&notes) as Arc<dyn RestoreListener>);
    words.wait_until_running(&again);
    again.stop();
    let told = notes.0.lock().expect("no panic");
    let mut total = 0;
    for wanted in 0..2 {
        let of_partition: Vec<&Told> = told
            .iter()
            .filter(|told| match told {
                Told::Started { partition, .. }
                | Told::Progressed { partition, .. }
                | Told::Ended { partition, .. }
                | Told::Suspended { partition } => *partition == wanted,
            })
            .collect();
        let [Told::Started { records: to_read, .. }, batches @ .., Told::Ended { records, .. }] =
            &of_partition[..]
        else {
            panic!("{of_partition:?}");
        };
        let read: u64 = batches
            .iter()
            .map(|told| match told {
                Told::Progressed { records, .. } => *records,
                other => panic!("{other:?} between start and end"),
            })
            .sum();
        assert_eq!(read, *records);
        // Offsets of the transactions' ends are counted as well.
        assert!(*to_read > *records as i64, "{to_read} and {records}");
        total += records;
    }
    assert_eq!(total, 500);
}
