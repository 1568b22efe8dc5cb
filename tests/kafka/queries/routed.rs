//! Two instances: whichever is asked answers with what the changelog says, while tasks move too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tidemill::prelude::*;
use tidemill::status::QueryError;
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::process::http_get;
use tidemill_test_support::records::read_committed;

use super::words::{LIMIT, START, Words};

const PARTITIONS: i32 = 4;
const WORDS: usize = 200;

fn word(n: usize) -> String {
    format!("word-{n:03}")
}

/// What the changelog of the counts says.
fn logged(words: &Words) -> BTreeMap<String, i64> {
    let topic = format!("{}-counts-changelog", words.name);
    let records = read_committed(words.bootstrap(), &topic).into_iter();
    records
        .filter_map(|record| {
            let key = String::from_utf8(record.key?).expect("text");
            Some((key, I64.deserialize(&record.value?).expect("a count")))
        })
        .collect()
}

/// What a range over everything answers, page by page, if every page is answered.
fn answered(address: &str) -> Option<BTreeMap<String, i64>> {
    let (mut found, mut after) = (BTreeMap::new(), String::new());
    loop {
        let (status, body) = http_get(address, &format!("/stores/counts?limit=37{after}")).ok()?;
        if status != 200 {
            assert_eq!(status, 503, "{body}");
            return None;
        }
        let page: Value = serde_json::from_str(&body).expect("JSON");
        let entries = page["entries"].as_array().expect("entries");
        let read = |entry: &Value| {
            assert!(entry.get("cursor").is_none(), "only those who ask for cursors see them");
            (
                entry["key"].as_str().expect("text").to_owned(),
                entry["value"].as_i64().expect("a count"),
            )
        };
        let last = found.last_key_value().map(|(key, _): (&String, &i64)| key.clone());
        let keys: Vec<_> = entries.iter().map(read).collect();
        assert!(keys.first().is_none_or(|(key, _)| Some(key) > last.as_ref()), "pages overlap");
        assert!(keys.is_sorted(), "a page out of order");
        found.extend(keys);
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Some(found),
        }
    }
}

/// Waits until an instance answers with all of the changelog, and compares each key alone as well.
fn assert_answers(words: &Words, address: &str) {
    let logged = logged(words);
    assert_eq!(logged.len(), WORDS);
    let found = wait_for("an answer to a range", LIMIT, || answered(address));
    assert_eq!(found, logged);
    for (key, count) in &logged {
        let (status, body) =
            http_get(address, &format!("/stores/counts/{key}")).expect("an answer");
        assert_eq!(status, 200, "{body}");
        let entry: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(entry["value"].as_i64(), Some(*count), "{body}");
    }
    let (status, body) = http_get(address, "/stores/counts/unheard").expect("an answer");
    assert_eq!(status, 404, "{body}");
}

#[test]
fn either_instance_answers_what_the_changelog_says_before_during_and_after_tasks_move() {
    let words = Words::new(PARTITIONS);
    let all: Vec<String> = (0..WORDS).map(word).collect();
    let say = || words.say(all.iter().map(|word| (word.as_str(), START)));
    let processed = |times: i64| {
        let done = || logged(&words).len() == WORDS && logged(&words).values().all(|n| *n == times);
        wait_for("the words to be counted", LIMIT, || done().then_some(()));
    };
    let settings = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "2000")];
    let one = words.start("one", &settings);
    one.wait_ready();
    say();
    processed(1);
    assert_answers(&words, &one.address());

    // During the move every answer is either right or 503 with the time to ask again: the counts
    // of a key never go back, and never beyond what was said.
    let moving = AtomicBool::new(true);
    let addresses = std::sync::Mutex::new(vec![one.address()]);
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let (mut seen, mut right, mut refused) = (BTreeMap::<String, i64>::new(), 0, 0);
            while moving.load(Ordering::Relaxed) {
                let addresses = addresses.lock().expect("no panic").clone();
                for (n, key) in all.iter().enumerate().step_by(7) {
                    let address = &addresses[n % addresses.len()];
                    let Ok((status, body)) = http_get(address, &format!("/stores/counts/{key}"))
                    else {
                        continue;
                    };
                    if status == 503 {
                        refused += 1;
                        continue;
                    }
                    assert_eq!(status, 200, "{body}");
                    let entry: Value = serde_json::from_str(&body).expect("JSON");
                    let count = entry["value"].as_i64().expect("a count");
                    let before = seen.insert(key.clone(), count).unwrap_or(1);
                    assert!((before..=2).contains(&count), "{key} went from {before} to {count}");
                    right += 1;
                }
            }
            (right, refused)
        });
        let two = words.start("two", &settings);
        two.wait_ready();
        addresses.lock().expect("no panic").push(two.address());
        say();
        processed(2);
        let both = |here: &dyn Fn() -> usize| {
            wait_for("its share of the tasks", LIMIT, || (here() == 2).then_some(()));
        };
        let here = |instance: &super::words::Instance| {
            instance.handle.store::<String, i64>("counts").expect("a store").partitions_here().len()
        };
        both(&|| here(&one));
        both(&|| here(&two));
        for address in [one.address(), two.address()] {
            assert_answers(&words, &address);
        }
        let (_, count) = two.get("/stores/counts?count=true");
        let count = count["approximate_entries"].as_u64().expect("a number") as usize;
        assert!((WORDS..=2 * WORDS).contains(&count), "an estimate of {WORDS}: {count}");
        let (_, metadata) = two.get("/metadata");
        let owners = metadata["stores"][0]["partitions"].as_array().expect("partitions").iter();
        let on_one = owners.filter(|partition| partition["owner"]["instance"] == "one").count();
        assert_eq!(on_one, 2, "{metadata}");
        // One leaves, and the other has everything again.
        addresses.lock().expect("no panic").remove(0);
        one.stop();
        wait_for("all tasks", LIMIT, || (here(&two) == PARTITIONS as usize).then_some(()));
        assert_answers(&words, &two.address());
        moving.store(false, Ordering::Relaxed);
        let (right, refused) = asker.join().expect("no wrong answer");
        println!("while tasks moved: {right} right answers, {refused} times 503");
        assert!(right > 0);
    });
}

#[test]
fn a_program_reads_copies_as_far_as_it_accepts_their_lag() {
    let words = Words::new(PARTITIONS);
    let settings = [
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "2000"),
        ("standby.replicas", "1"),
    ];
    let one = words.start("one", &settings);
    one.wait_ready();
    let two = words.start("two", &settings);
    two.wait_ready();
    let all: Vec<String> = (0..WORDS).map(word).collect();
    words.say(all.iter().map(|word| (word.as_str(), START)));
    let counts = || two.handle.store::<String, i64>("counts").expect("a store");
    wait_for("a share of the tasks, and copies of the others", LIMIT, || {
        let copies = counts().copies_here();
        let done = logged(&words).len() == WORDS;
        let here = counts().partitions_here();
        (done && here.len() == 2 && copies.len() == 2 && copies.values().all(|lag| *lag == 0))
            .then_some(())
    });
    let fresh = counts();
    let elsewhere: Vec<_> = all
        .iter()
        .filter(|key| matches!(fresh.get(key), Err(QueryError::Elsewhere { .. })))
        .collect();
    assert!(!elsewhere.is_empty() && elsewhere.len() < WORDS);
    let lenient = counts().max_lag(100);
    for key in &elsewhere {
        wait_for("its count in the copy", LIMIT, || {
            (lenient.get(key) == Ok(Some(1))).then_some(())
        });
        assert_eq!(lenient.owner(key).expect("an owner").expect("one").instance, "one");
    }
    let copied = fresh.copiers(elsewhere[0]).expect("a key with bytes");
    assert!(copied.is_empty(), "two copies it itself: {copied:?}");
    let entries: Vec<_> = lenient.all().entries().map(|entry| entry.expect("a copy").key).collect();
    assert_eq!(entries, all);
    // Windows and sessions are copied as well.
    let by_time = two.handle.store::<String, i64>("by-time").expect("a store").max_lag(100);
    let times = Timestamp::new(START)..=Timestamp::new(START);
    // A lag is that of the last fetch: of this changelog it may be an older one.
    wait_for("the windows of all words", LIMIT, || {
        let windows = by_time.fetch_all(times.clone()).entries();
        let counts: Vec<_> = windows.map(|entry| entry.expect("a copy").value).collect();
        (counts == vec![1; WORDS]).then_some(())
    });
    // A static member that has left keeps its tasks for the session: its copies answer meanwhile.
    one.stop();
    for key in &elsewhere {
        assert!(fresh.get(key).is_err() || fresh.get(key) == Ok(Some(1)));
        assert_eq!(lenient.get(key), Ok(Some(1)), "{key}");
    }
    wait_for("all tasks", LIMIT, || (fresh.partitions_here().len() == 4).then_some(()));
    for key in &elsewhere {
        assert_eq!(fresh.get(key), Ok(Some(1)), "{key}");
    }
}
