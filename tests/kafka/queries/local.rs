//! One instance that has everything.

use serde_json::json;
use tidemill::prelude::*;
use tidemill::status::QueryError;
use tidemill_test_support::patience::wait_for;

use super::words::{Instance, LIMIT, START, Words};

const MINUTE: i64 = 60_000;

fn words(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("word-{n:03}")).collect()
}

/// An instance that has counted 300 words, each twice, over half an hour.
fn counted() -> (Words, Instance) {
    let words = Words::new(3);
    let instance = words.start("one", &[]);
    let all = self::words(300);
    let said = (0..2).flat_map(|round| {
        all.iter()
            .enumerate()
            .map(move |(n, word)| (word.as_str(), START + (round * 15 + n as i64 % 10) * MINUTE))
    });
    words.say(said);
    instance.wait_ready();
    let counts = instance.handle.store::<String, i64>("counts").expect("a store");
    wait_for("all words to be counted", LIMIT, || {
        let entries: Result<Vec<_>, _> = counts.all().entries().collect();
        let entries = entries.expect("stores that are here");
        (entries.len() == 300 && entries.iter().all(|entry| entry.value == 2)).then_some(())
    });
    (words, instance)
}

#[test]
fn a_program_asks_for_keys_ranges_windows_and_sessions_with_their_types() {
    let (_words, instance) = counted();
    let counts = instance.handle.store::<String, i64>("counts").expect("a store");
    assert_eq!(counts.get(&"word-007".to_owned()), Ok(Some(2)));
    assert_eq!(counts.get(&"unheard".to_owned()), Ok(None));
    let entry = counts.get_entry(&"word-007".to_owned()).expect("an answer").expect("an entry");
    assert_eq!(entry.timestamp, Some(Timestamp::new(START + 22 * MINUTE)));
    assert_eq!(counts.approximate_entries(), Ok(300));
    let keys = |page: Vec<_>| {
        page.into_iter().map(|entry: StoreEntry<String, i64>| entry.key).collect::<Vec<_>>()
    };
    let range = "word-010".to_owned()..="word-012".to_owned();
    let page = counts.range(range).reverse().page(10).expect("a page");
    assert_eq!(keys(page.entries), ["word-012", "word-011", "word-010"]);
    assert!(page.next.is_none());
    // Pages go on where the last one ended, over all partitions, in order.
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = counts.prefix(b"word-1").after(cursor).page(7).expect("a page");
        assert!(page.entries.len() <= 7);
        found.extend(keys(page.entries));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, words(200)[100..]);

    let by_time = instance.handle.store::<String, i64>("by-time").expect("a store");
    let key = "word-007".to_owned();
    let times = |from: i64, to: i64| Timestamp::new(START + from)..=Timestamp::new(START + to);
    let windows = by_time.fetch(&key, times(0, 60 * MINUTE)).page(10).expect("a page").entries;
    let starts = windows.iter().map(|entry| entry.window.expect("a window").start.millis() - START);
    assert_eq!(starts.collect::<Vec<_>>(), [0, 20 * MINUTE]);
    let first = by_time.fetch_all(times(0, 0)).entries().count();
    assert_eq!(first, 300);
    let sessions = instance.handle.store::<String, i64>("sessions").expect("a store");
    let found = sessions.fetch(&key, times(22 * MINUTE, 23 * MINUTE)).page(10).expect("a page");
    assert_eq!(found.entries.len(), 1);

    let misfit = |error: QueryError| matches!(error, QueryError::Misfit(_));
    assert!(misfit(by_time.get(&key).expect_err("it keeps windows")));
    assert!(misfit(counts.get_as_of(&key, Timestamp::new(0)).expect_err("no versions")));
    assert!(misfit(counts.fetch(&key, times(0, 1)).page(1).err().expect("no windows")));
    assert!(misfit(instance.handle.store::<String, String>("counts").err().expect("wrong types")));
    let unknown = instance.handle.store::<String, i64>("count").err().expect("no such store");
    assert_eq!(unknown.to_string(), "no store is named count; did you mean counts?");
    instance.stop();
    assert!(matches!(counts.get(&key), Err(QueryError::Elsewhere { .. })));
}

#[test]
fn http_answers_in_json_and_says_what_is_wrong() {
    let (_words, instance) = counted();
    let (status, answer) = instance.get("/stores/counts/word-007");
    assert_eq!((status, &answer["key"], &answer["value"]), (200, &json!("word-007"), &json!(2)));
    assert_eq!(answer["timestamp"], START + 22 * MINUTE);
    let (_, encoded) = instance.get("/stores/counts/d29yZC0wMDc?encoding=base64");
    assert_eq!(encoded, answer);
    let (_, page) = instance.get("/stores/counts?prefix=word-00&limit=4&reverse=true");
    let keys = |page: &serde_json::Value| {
        let entries = page["entries"].as_array().expect("entries").clone();
        entries
            .iter()
            .map(|entry| entry["key"].as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&page), ["word-009", "word-008", "word-007", "word-006"]);
    let next = page["next"].as_str().expect("more").to_owned();
    let path = format!("/stores/counts?prefix=word-00&limit=4&reverse=true&after={next}");
    assert_eq!(keys(&instance.get(&path).1), ["word-005", "word-004", "word-003", "word-002"]);
    let (_, count) = instance.get("/stores/counts?count=true");
    assert_eq!(count, json!({ "store": "counts", "approximate_entries": 300 }));
    let (_, windows) =
        instance.get(&format!("/stores/by-time/word-007?since={}", START + 20 * MINUTE));
    let window = json!({ "start": START + 20 * MINUTE, "end": START + 30 * MINUTE });
    assert_eq!(windows["entries"][0]["window"], window);
    let (_, stores) = instance.get("/stores");
    let counts =
        stores["stores"].as_array().expect("stores").iter().find(|s| s["name"] == "counts");
    let counts = counts.expect("it is there");
    assert_eq!((&counts["partitions"], &counts["here"]), (&json!(3), &json!([0, 1, 2])));
    assert_eq!(
        (&counts["kind"], &counts["entries_here"]),
        (&json!("timestamped_key_value"), &json!(300))
    );
    for (path, status, words) in [
        ("/stores/counts/unheard", 404, "is not known here"),
        ("/stores/count/word-007", 404, "did you mean counts?"),
        ("/stores/counts/word-007?as_of=1", 400, "keeps no versions"),
        ("/stores/counts/word-007?since=1", 400, "keeps no windows"),
        ("/stores/counts/word-007?partition=3", 400, "has the partitions 0 to 2"),
        ("/stores/counts?prefix=a&from=b", 400, "exclude each other"),
        ("/stores/counts?count=true&prefix=a", 400, "of whole partitions"),
        ("/stores/counts/word-007?max_lag=-1", 400, "expected a number of records"),
        ("/stores/counts?limit=0", 400, "expected a whole number"),
        ("/stores/counts?after=%21", 400, "not what an answer gave"),
        ("/stores/counts/%21?encoding=base64", 400, "no URL-safe base64"),
    ] {
        let (found, answer) = instance.get(path);
        let detail = answer["detail"].as_str().expect("a detail");
        assert!(found == status && detail.contains(words), "{path}: {found} {detail}");
    }
}
