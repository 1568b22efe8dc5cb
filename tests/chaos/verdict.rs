//! The comparison of what came out with what should have come out, and the proof that it can fail.

use std::collections::{BTreeMap, HashMap};

/// Differences that are shown; more are counted.
const SHOWN: usize = 3;

/// A key and a value, as text.
pub type Line = (String, String);

/// What came out, or should have, by topic.
pub type Outputs = BTreeMap<String, Vec<Line>>;

/// What of a topic does not depend on how tasks were spread and when they committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Every record, those of a key in their order.
    Sequence,
    /// Every record, in any order.
    Set,
    /// The last record of each key.
    Last,
}

/// How a topic differs from what it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that should have come out, or keys under [`Rule::Last`].
    pub expected: usize,
    /// Records, or keys, that did.
    pub found: usize,
    /// Not there, or not often enough.
    pub lost: usize,
    /// There too often.
    pub duplicated: usize,
    /// Never to be, or in another order.
    pub different: usize,
    /// Some of them, for people.
    pub examples: Vec<String>,
}

impl Tally {
    /// Whether the topic is what it should be.
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.different == 0
    }

    fn note(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < SHOWN {
            self.examples.push(example());
        }
    }
}

/// Compares what was found in a topic with what was expected.
pub fn compare(rule: Rule, expected: &[Line], found: &[Line]) -> Tally {
    match rule {
        Rule::Last => compare_last(expected, found),
        Rule::Set | Rule::Sequence => compare_all(rule, expected, found),
    }
}

fn compare_all(rule: Rule, expected: &[Line], found: &[Line]) -> Tally {
    let mut tally = Tally { expected: expected.len(), found: found.len(), ..Tally::default() };
    let mut counts: HashMap<&Line, (usize, usize)> = HashMap::new();
    expected.iter().for_each(|line| counts.entry(line).or_default().0 += 1);
    found.iter().for_each(|line| counts.entry(line).or_default().1 += 1);
    for ((key, value), (wanted, got)) in counts {
        if wanted > got {
            tally.lost += wanted - got;
            tally.note(|| format!("lost: {key}: {value}"));
        } else if wanted == 0 {
            tally.different += got;
            tally.note(|| format!("never to be: {key}: {value}"));
        } else if got > wanted {
            tally.duplicated += got - wanted;
            tally.note(|| format!("{got} times instead of {wanted}: {key}: {value}"));
        }
    }
    if rule == Rule::Sequence && tally.is_clean() {
        let (expected, found) = (by_key(expected), by_key(found));
        for (key, wanted) in &expected {
            let got = found.get(key).map_or(&[][..], Vec::as_slice);
            let moved = wanted.iter().zip(got).filter(|(wanted, got)| wanted != got).count();
            if moved > 0 {
                tally.different += moved;
                tally.note(|| format!("{moved} records of {key} in another order"));
            }
        }
    }
    tally
}

fn compare_last(expected: &[Line], found: &[Line]) -> Tally {
    let last = |lines: &[Line]| -> BTreeMap<String, String> { lines.iter().cloned().collect() };
    let (expected, found) = (last(expected), last(found));
    let mut tally = Tally { expected: expected.len(), found: found.len(), ..Tally::default() };
    for (key, wanted) in &expected {
        match found.get(key) {
            None => {
                tally.lost += 1;
                tally.note(|| format!("lost: {key}: {wanted}"));
            }
            Some(got) if got != wanted => {
                tally.different += 1;
                tally.note(|| format!("{key}: {got} instead of {wanted}"));
            }
            Some(_) => {}
        }
    }
    for (key, got) in found.iter().filter(|(key, _)| !expected.contains_key(*key)) {
        tally.different += 1;
        tally.note(|| format!("never to be: {key}: {got}"));
    }
    tally
}

fn by_key(lines: &[Line]) -> BTreeMap<&str, Vec<&str>> {
    let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in lines {
        keys.entry(key).or_default().push(value);
    }
    keys
}

/// Spoils what was found in each way that counts, and says in which of them the comparison did not
/// notice. What was found has to be right, and not empty.
pub fn blind_spots(rule: Rule, expected: &[Line], found: &[Line]) -> Vec<&'static str> {
    let mut blind = Vec::new();
    let mut must_see =
        |what: &'static str, seen: &dyn Fn(&Tally) -> bool, spoil: &dyn Fn(&mut Vec<Line>)| {
            let mut spoilt = found.to_vec();
            spoil(&mut spoilt);
            if !seen(&compare(rule, expected, &spoilt)) {
                blind.push(what);
            }
        };
    let middle = found.len() / 2;
    let of_key = found.get(middle).map(|(key, _)| key.clone()).unwrap_or_default();
    if rule == Rule::Last {
        must_see("a lost key", &|tally| tally.lost == 1, &|lines| {
            lines.retain(|(key, _)| *key != of_key);
        });
    } else {
        must_see("a lost record", &|tally| tally.lost == 1, &|lines| {
            lines.remove(middle);
        });
        must_see("a repeated record", &|tally| tally.duplicated == 1, &|lines| {
            lines.insert(middle, lines[middle].clone());
        });
    }
    must_see("a changed value", &|tally| tally.different == 1, &|lines| {
        if let Some(line) = lines.iter_mut().rev().find(|(key, _)| *key == of_key) {
            line.1.push('0');
        }
    });
    if rule == Rule::Sequence {
        must_see("two records that changed places", &|tally| tally.different > 0, &|lines| {
            let mut places = (0..lines.len()).filter(|at| lines[*at].0 == of_key);
            if let (Some(one), Some(other)) = (places.next(), places.next()) {
                lines.swap(one, other);
            }
        });
    }
    blind
}
